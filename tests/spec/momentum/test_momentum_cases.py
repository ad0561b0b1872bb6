"""What becomes of configurations as they ran in Momentum: one file for each kind of thing that they contain.

`NAME.conf` is loaded with the schema of the server; the lines that each file needs besides are added. `NAME.expected`
holds what is then in force and the diagnostics, as in `tests/spec/config`; `[not_enforced]` is that code.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path

import pytest

from config.diagnostics import Source, in_order, render_one
from config.language.formatter import format_text, parsed
from config.loader import Loaded, load
from config.schema.momentum import catalogue
from config.settings import Settings
from config.tools.converter import convert
from config.tools.questions import evaluate
from config.tools.show import describe, show
from proxy.app import SCHEMA

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*.conf"))
GATEWAY = 'Gateway = 192.0.2.25\nHostname = "mx.test"\n'
LISTENER = "ESMTP_Listener = ( 127.0.0.1:25 )\n"
MISTAKES = "mistakes_that_stay_mistakes"
NESTED = {
    "binding_group": 'Binding_Group "g" {{ {0} }}',
    "binding": 'Binding "b" {{ {0} }}',
    "domain": 'Domain "d.test" {{ {0} }}',
    "host": 'Host "h.test" {{ {0} }}',
    "pathway_group": 'Pathway_Group "p" {{ {0} }}',
    "pathway": 'Pathway "p" {{ {0} }}',
    "esmtp_listener": 'ESMTP_Listener {{ {0}\n Listen "127.0.0.1:26" {{ }} }}',
    "listen": 'ESMTP_Listener {{ Listen "127.0.0.1:26" {{ {0} }} }}',
    "peer": 'ESMTP_Listener {{ Listen "127.0.0.1:26" {{ Peer "192.0.2.0/24" {{ {0} }} }} }}',
    "global": "{0}",
}


def completed(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return text + GATEWAY if re.search(r"^ESMTP_Listener", text, re.MULTILINE) else text + GATEWAY + LISTENER


def loaded(folder: Path, text: str) -> Loaded:
    path = folder / "ecelerity.conf"
    path.write_text(text, encoding="utf-8")
    return load(path, SCHEMA)


def errors(folder: Path, text: str) -> list[str]:
    return [each.message for each in loaded(folder, text).diagnostics if each.is_error]


def outcome(folder: Path, text: str) -> str:
    found = loaded(folder, text)
    said = "no settings\n" if found.settings is None else show(found.settings) + answers(found.settings, text)
    for each in in_order(found.diagnostics):
        first, *rest = render_one(each).splitlines(keepends=True)
        said += first.replace("\n", f" [{each.code}]\n") if each.code else first
        said += "".join(rest)
    return said.replace(f"{folder}/", "")


def answers(settings: Settings, text: str) -> str:
    said = ""
    for line in re.findall(r"^# ((?:client|eval) .+)$", text, re.MULTILINE):
        verb, *words = line.split()
        said += f"? {line}\n"
        if verb == "eval":
            said += f"  {evaluate(settings, words)}\n"
            continue
        address, name = words
        for listener in settings.core.esmtp_listener:  # type: ignore[attr-defined]
            setting = settings.for_client(listener, ip_address(address)).setting(name)
            said += f"  {listener}: {describe(name, setting, SCHEMA.core)}\n"
    return said


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_file_of_momentum_means_what_stands_beside_it(path: Path, tmp_path: Path) -> None:
    expected = path.with_suffix(".expected").read_text(encoding="utf-8")
    assert outcome(tmp_path, completed(path)) == expected


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_only_the_file_of_mistakes_is_refused(path: Path, tmp_path: Path) -> None:
    assert bool(errors(tmp_path, completed(path))) is (path.stem == MISTAKES)


GOOD = [path for path in CASES if path.stem != MISTAKES]


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_formatting_changes_no_meaning_and_formatting_again_changes_nothing(path: Path) -> None:
    once = format_text(completed(path))
    assert format_text(once) == once
    assert parsed(Source("a", once)).statements == parsed(Source("a", completed(path))).statements


def meaning(folder: Path, text: str) -> str:
    """Return what is in force, without the places: for clients, in scopes, and in modules."""
    found = outcome(folder, text).partition("ecelerity.conf:")[0]
    settings = loaded(folder, text).settings
    assert settings is not None
    asked = re.sub(r"  # .*", "", found[found.find("?") :]) if "?" in found else ""
    modules = [(each.type, each.name, each.passive, str(each.options)) for each in settings.modules]
    listeners = [
        (str(each), each.backlog, each.concurrency, each.enabled, each.floats)
        for each in settings.core.esmtp_listener  # type: ignore[attr-defined]
    ]
    return f"{asked}{modules}{sorted(listeners)}{sorted(map(str, settings.scopes.places))}"


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_converted_file_means_the_same(path: Path, tmp_path: Path) -> None:
    text = completed(path)
    converted = convert(text, schema=SCHEMA)
    kept = "# client" in converted.text or "# eval" in converted.text
    questions = (
        "" if kept else "".join(f"{line}\n" for line in re.findall(r"^# (?:client|eval) .+$", text, re.MULTILINE))
    )
    assert meaning(tmp_path, questions + converted.text) == meaning(tmp_path, text)


BRACKETS = [
    (path, sign, at)
    for path in GOOD
    for sign in "{}()[]"
    for at, line in enumerate(completed(path).splitlines())
    if sign in re.sub(r'"[^"]*"|#.*|/\S*/(?= \{)', "", line)
]


@pytest.mark.parametrize(
    ("path", "sign", "at"), BRACKETS, ids=[f"{path.stem}-{sign}-{at}" for path, sign, at in BRACKETS]
)
def test_a_file_that_lacks_a_bracket_is_refused(path: Path, sign: str, at: int, tmp_path: Path) -> None:
    lines = completed(path).splitlines()
    quoted = [span.span() for span in re.finditer(r'"[^"]*"|/\S*/(?= \{)', lines[at])]
    place = next(
        index
        for index, char in enumerate(lines[at])
        if char == sign and not any(start <= index < end for start, end in quoted)
    )
    lines[at] = lines[at][:place] + lines[at][place + 1 :]
    assert errors(tmp_path, "\n".join(lines) + "\n")


# ---------------------------------------------------------------- the table of names


def test_every_path_by_which_22_loads_a_module_loads(tmp_path: Path) -> None:
    lines = [f"{line.kind} {line.path} name{index} {{ }}" for index, line in enumerate(catalogue().lines.values())]
    assert errors(tmp_path, GATEWAY + LISTENER + "\n".join(lines) + "\n") == []


def test_every_module_and_stanza_of_3x_and_4x_loads(tmp_path: Path) -> None:
    names = catalogue().modules.keys() - {"ds_core"}
    assert errors(tmp_path, GATEWAY + LISTENER + "".join(f'{name} "x" {{ }}\n' for name in sorted(names))) == []


@pytest.mark.parametrize("scope", NESTED)
def test_every_option_is_known_in_each_of_its_scopes(scope: str, tmp_path: Path) -> None:
    names = [each.name for each in catalogue().options.values() if scope in each.scopes and each.name != "pathway"]
    text = GATEWAY + LISTENER + NESTED[scope].format("\n".join(f"{name} = 1" for name in names)) + "\n"
    assert [each for each in errors(tmp_path, text) if each.startswith("unknown") or "not allowed" in each] == []


def test_every_module_that_a_line_names_is_in_the_table() -> None:
    assert {line.module for line in catalogue().lines.values()} <= catalogue().modules.keys() | {"sieve", "smtp_cbv"}


def test_every_effect_has_words(tmp_path: Path) -> None:
    names = [each.name for each in catalogue().options.values() if each.effect and "global" in each.scopes]
    found = loaded(tmp_path, GATEWAY + LISTENER + "".join(f"{name} = yes\n" for name in names)).diagnostics
    assert {each.message.split("`")[1] for each in found if each.code == "not_enforced"} >= set(names) - {"use_ssl"}
