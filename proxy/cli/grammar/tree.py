"""The tree of commands, read from the declarations that typer parses. It does not print anything."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import typer

HELP = ("-h", "--help")
PROGRAM = "ringback"


@dataclass(frozen=True, slots=True)
class Prints:
    """Beside a `--json` option in its `Annotated`: the type of what the command prints."""

    kind: Any
    lines: bool = False
    """Whether the command prints one value per line, instead of one document."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """An option or an argument of a command."""

    names: tuple[str, ...]
    """As typed; empty for an argument."""
    metavar: str
    """The value's name in help; empty for a flag."""
    help: str
    required: bool = False
    repeated: bool = False
    choices: tuple[str, ...] = ()
    bounds: str = ""
    default: str = ""
    is_path: bool = False

    @property
    def label(self) -> str:
        """The parameter as help shows it: `-c, --config FILE`."""
        return f"{', '.join(self.names)} {self.metavar}".strip()

    @property
    def notes(self) -> list[str]:
        """What the declaration says beyond its help text, as sentences."""
        found = [f"One of: {', '.join(self.choices)}."] if self.choices else []
        found += [f"{self.bounds[:1].upper()}{self.bounds[1:]}."] if self.bounds else []
        found += ["May be given more than once."] if self.repeated and self.names else []
        found += [f"Default: {self.default}."] if self.default else []
        return found + (["Required."] if self.required and self.names else [])


@dataclass(frozen=True, slots=True)
class Command:
    """A command or a group of commands."""

    path: tuple[str, ...]
    paragraphs: tuple[str, ...]
    """Its help: the first paragraph is the summary."""
    arguments: tuple[Parameter, ...]
    options: tuple[Parameter, ...]
    """Without `--help`, which every command has."""
    children: tuple[Command, ...] = ()
    hidden: bool = False
    prints: Prints | None = None

    @property
    def name(self) -> str:
        """All its words."""
        return " ".join(self.path)

    @property
    def summary(self) -> str:
        """The first sentence of its help, without its full stop."""
        return next(iter(self.paragraphs), "").partition(". ")[0].removesuffix(".")

    @property
    def usage(self) -> str:
        """How to type it: required options, optional ones, arguments or commands."""
        words = [self.name, *(f"{each.names[0]} {each.metavar}" for each in self.options if each.required)]
        if any(not each.required for each in self.options):
            words.append("[OPTIONS]")
        words += [each.metavar if each.required else f"[{each.metavar}]" for each in self.arguments]
        return " ".join([*words, *(["COMMAND ..."] if self.children else [])])

    def all(self) -> Iterator[Command]:
        """Yield this command and those below it that are not hidden."""
        yield self
        for child in self.children:
            if not child.hidden:
                yield from child.all()


def tree(application: typer.Typer) -> Command:
    """Return the tree of an application's commands."""
    return described(typer.main.get_command(application), (PROGRAM,))


def described(command: Any, path: tuple[str, ...]) -> Command:
    """Return one of typer's commands with those below it."""
    callback = command.callback
    hints = get_type_hints(callback, include_extras=True) if callback else {}
    parameters = [each for each in command.params if not each.hidden]
    found = [(each, _parameter(each, hints.get(each.name))) for each in parameters]
    prints = [mark for hint in hints.values() for mark in _marks(hint) if isinstance(mark, Prints)]
    return Command(
        path,
        tuple(" ".join(each.split()) for each in inspect.cleandoc(command.help or "").split("\n\n") if each),
        tuple(shown for each, shown in found if each.param_type_name == "argument"),
        tuple(shown for each, shown in found if each.param_type_name == "option"),
        tuple(described(below, (*path, name)) for name, below in getattr(command, "commands", {}).items()),
        command.hidden,
        next(iter(prints), None),
    )


def _parameter(parameter: Any, hint: Any) -> Parameter:
    is_option = parameter.param_type_name == "option"
    kind, marks = _value_type(hint), _marks(hint)
    choices = tuple(str(each.value) for each in kind) if isinstance(kind, type) and issubclass(kind, Enum) else ()
    flag = bool(getattr(parameter, "is_flag", False))
    names = (*parameter.opts, *parameter.secondary_opts) if is_option else ()
    repeated = parameter.multiple or parameter.nargs != 1
    return Parameter(
        tuple(sorted(names, key=len)),
        "" if flag else _metavar(parameter, kind, repeated=repeated and not is_option),
        " ".join((parameter.help or "").split()),
        parameter.required,
        repeated,
        choices,
        _bounds(next((each for each in marks if hasattr(each, "min")), None)),
        _default(parameter),
        kind is Path and not flag,
    )


def _marks(hint: Any) -> Sequence[Any]:
    return getattr(hint, "__metadata__", ())


def _value_type(hint: Any) -> Any:
    """Return the type of one value: without Annotated, None and list."""
    kind = get_args(hint)[0] if _marks(hint) else hint
    if get_origin(kind) in {Union, UnionType}:
        kind = next(each for each in get_args(kind) if each is not type(None))
    return get_args(kind)[0] if get_origin(kind) is list else kind


_METAVARS: Mapping[Any, str] = {Path: "FILE", int: "NUMBER", float: "NUMBER", str: "TEXT"}


def _metavar(parameter: Any, kind: Any, *, repeated: bool) -> str:
    word: str = parameter.metavar or ""
    if not word and parameter.param_type_name == "option":
        word = _METAVARS.get(kind, parameter.name.upper())
    if not word:
        word = parameter.name.upper() if kind is not Path or "file" not in parameter.name else "FILE"
        word = "FILE" if word == "PATH" else word
    return f"{word.removesuffix('...')}..." if repeated else word


def _bounds(declared: Any) -> str:
    low, high = getattr(declared, "min", None), getattr(declared, "max", None)
    if low is not None and high is not None:
        return f"from {low:g} to {high:g}"
    if low is not None:
        return f"at least {low:g}"
    return f"at most {high:g}" if high is not None else ""


def _default(parameter: Any) -> str:
    value: Any = parameter.default
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if not parameter.show_default or value is None or value is False or value == "" or callable(value):
        return ""
    return str(value.value if isinstance(value, Enum) else value)
