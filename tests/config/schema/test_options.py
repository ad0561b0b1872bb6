"""Declaring options, and binding what is written to them."""

from pathlib import Path
from typing import Annotated, Self

import pytest
from pydantic import ValidationError, field_validator, model_validator

from config.diagnostics import render
from config.errors import not_a
from config.language.nodes import Value
from config.loader import load
from config.schema.declared import declared
from config.schema.options import Options, option
from config.schema.readers import ReadContext, Unreadable, ValueReader, scalar
from config.schema.specs import ModuleSpec, Schema
from config.schema.values import Seconds


class Nothing(Options):
    pass


def loaded_from(folder: Path, core: type[Options], text: str) -> tuple[Options | None, str]:
    path = folder / "main.conf"
    path.write_text(text, encoding="utf-8")
    loaded = load(path, Schema(core=core))
    printed = render(loaded.diagnostics).replace(f"{folder}/", "")
    return (loaded.settings.core if loaded.settings else None), printed


def test_a_declaration_knows_everything_about_its_option() -> None:
    class Core(Options):
        wait: Seconds = option(
            5, doc="How long.", aliases=("Pause",), unit="seconds", ge=1, le=9, reloadable=False, scopes=("domain",)
        )

    one = declared(Core)["wait"]
    assert (one.name, one.aliases, one.doc, one.unit) == ("wait", ("pause",), "How long.", "seconds")
    assert (one.required, one.default, one.ge, one.le) == (False, 5, 1, 9)
    assert (one.reloadable, one.scopes, one.reader.wanted) == (False, frozenset({"domain"}), "a duration")


def test_bound_options_cannot_be_changed_and_hold_nothing_undeclared() -> None:
    class Core(Options):
        wait: Seconds = option(5, doc="How long.")

    with pytest.raises(ValidationError):
        Core().wait = 6
    with pytest.raises(ValidationError):
        Core(other=1)


def test_a_type_without_a_reader_is_a_programmers_mistake() -> None:
    class Core(Options):
        raw: complex = option(0j, doc="No reader knows it.")

    with pytest.raises(TypeError, match="no option can be declared as <class 'complex'>"):
        Schema(core=Core)


def test_two_options_of_one_name_are_a_programmers_mistake() -> None:
    class Core(Options):
        one: int = option(1, doc="One.", aliases=("other",))
        other: int = option(1, doc="Other.")

    with pytest.raises(ValueError, match="Core declares other twice"):
        Schema(core=Core)


def test_two_modules_of_one_type_are_a_programmers_mistake() -> None:
    with pytest.raises(ValueError, match="two modules have the same type"):
        Schema(core=Nothing, modules=(ModuleSpec("x", Nothing), ModuleSpec("X", Nothing)))


def test_a_type_of_another_package_brings_its_reader(tmp_path: Path) -> None:
    def read(value: Value, reading: ReadContext) -> complex:
        node = scalar(value, reading, "a complex number")
        try:
            return complex(node.text)
        except ValueError:
            raise Unreadable(not_a("a complex number", node.text, node.span, "write 1+2j")) from None

    class Core(Options):
        raw: Annotated[complex, ValueReader(read, "a complex number", write=str)] = option(0j, doc="A number.")

    core, _ = loaded_from(tmp_path, Core, "Raw = 1+2j")
    assert core is not None
    assert core.raw == 1 + 2j
    assert loaded_from(tmp_path, Core, "Raw = x")[1] == (
        "main.conf:1:7: error: `x` is not a complex number\n    1 | Raw = x\n      |       ^\n  hint: write 1+2j\n"
    )


def test_a_computed_default_is_computed_when_the_file_is_loaded(tmp_path: Path) -> None:
    calls: list[str] = []

    class Core(Options):
        name: str = option(default_factory=lambda: calls.append("called") or "computed", doc="A name.")

    Schema(core=Core)
    assert calls == []
    core, _ = loaded_from(tmp_path, Core, "")
    assert core is not None
    assert core.name == "computed"


def test_what_a_validator_of_one_option_refuses_stands_at_its_value(tmp_path: Path) -> None:
    class Core(Options):
        name: str = option("", doc="A name.")

        @field_validator("name")
        @classmethod
        def _no_x(cls, name: str) -> str:
            if "x" in name:
                raise ValueError("it must not hold an x")
            return name

    assert loaded_from(tmp_path, Core, "Name = axe")[1] == (
        "main.conf:1:8: error: `Name`: it must not hold an x\n    1 | Name = axe\n      |        ^~~\n"
    )


def test_what_a_validator_of_the_global_scope_refuses_stands_at_the_last_option_it_names(tmp_path: Path) -> None:
    class Core(Options):
        low: int = option(1, doc="Low.")
        high: int = option(5, doc="High.")
        other: int = option(5, doc="Other.")

        @model_validator(mode="after")
        def _in_order(self) -> Self:
            if self.low > self.high:
                raise ValueError("low is above high")
            return self

    assert loaded_from(tmp_path, Core, "High = 3\nLow = 4\nOther = 1\n")[1] == (
        "main.conf:2:7: error: low is above high\n    2 | Low = 4\n      |       ^\n"
    )


def test_an_option_of_the_global_scope_without_default_must_be_set(tmp_path: Path) -> None:
    class Core(Options):
        name: str = option(doc="A name.")

    assert loaded_from(tmp_path, Core, "")[1] == "error: `Name` must be set\n  hint: write Name = …\n"
