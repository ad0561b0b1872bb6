"""Man pages: one for `ringback`, and one for each command below it, in the macros of man(7)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from proxy.cli.grammar.statuses import STATUSES
from proxy.cli.grammar.tree import HELP, Command, Parameter

_HELP_OPTION = Parameter(HELP, "", "Show help and exit.")
_ENVIRONMENT = (
    ("NO_COLOR", "If it is set, output has no colours. Output that is not a terminal has none either."),
    ("COLUMNS", "The width of help and tables, instead of the terminal's."),
)


def pages(root: Command) -> dict[str, str]:
    """Return each man page by its file name."""
    found = [root, *(each for each in root.children if not each.hidden)]
    return {f"{_page_name(each)}.1": _page(each, root) for each in found}


def _page(command: Command, root: Command) -> str:
    lines = [f'.TH {_page_name(command).upper()} 1 "" Ringback "User commands"']
    lines += [".nh", ".ad l"]  # words are copied from here
    lines += [".SH NAME", f"{_escaped(_page_name(command))} \\- {_text(_lower(command.summary))}"]
    below = [each for each in command.all() if each is not command] if command is not root else []
    lines += [".SH SYNOPSIS"]
    for each in below or [command]:
        lines += [".nf", f"\\fB{_escaped(each.name)}\\fP{_escaped(each.usage.removeprefix(each.name))}", ".fi"]
    lines += [".SH DESCRIPTION", *_paragraphs(command.paragraphs)]
    lines += [*_listed(command.arguments), ".SH OPTIONS", *_listed((*command.options, _HELP_OPTION))]
    if command is root:
        lines += [".SH COMMANDS", *_commands(root)]
    elif below:
        lines.append(".SH COMMANDS")
        for each in below:
            lines += [f".SS {_escaped(each.name)}", *_paragraphs(each.paragraphs)]
            lines += _listed((*each.arguments, *each.options))
    return "\n".join([*lines, *_ending(command, root)]) + "\n"


def _ending(command: Command, root: Command) -> Iterator[str]:
    name = " ".join(command.path[1:])
    yield ".SH EXIT STATUS"
    for each in STATUSES:
        if command is root or each.concerns(name):
            who = f"{', '.join(each.commands)}: " if command is root and each.commands else ""
            yield from (".TP", f".B {each.number}", _text(f"{who}{each.meaning}."))
    yield ".SH ENVIRONMENT"
    for variable, meaning in _ENVIRONMENT:
        yield from (".TP", f".B {_escaped(variable)}", _text(meaning))
    yield ".SH SEE ALSO"
    others = [each for each in (root, *root.children) if not each.hidden and each.path != command.path]
    yield ",\n".join(f".BR {_escaped(_page_name(each))} (1)" for each in others).replace(",\n", " ,\n")


def _commands(root: Command) -> Iterator[str]:
    for each in root.children:
        if not each.hidden:
            yield from (".TP", f".BR {_escaped(_page_name(each))} (1)", _text(f"{each.summary}."))


def _listed(parameters: Sequence[Parameter]) -> Iterator[str]:
    for each in parameters:
        names = ", ".join(f"\\fB{_escaped(name)}\\fP" for name in each.names)
        label = f"{names} \\fI{_escaped(each.metavar)}\\fP" if each.metavar else names
        yield from (".TP", label.strip(), _text(" ".join([each.help, *each.notes]).strip()) or "\\&")


def _paragraphs(paragraphs: Sequence[str]) -> Iterator[str]:
    for each in paragraphs:
        yield from (".PP", _text(each))


def _page_name(command: Command) -> str:
    return "-".join(command.path)


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _text(text: str) -> str:
    """Return running text: text in backticks is bold."""
    return re.sub(r"`([^`]*)`", r"\\fB\1\\fP", _escaped(text))


def _escaped(text: str) -> str:
    """Return text that groff shows unchanged, even at the beginning of a line."""
    text = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("^", "\\(ha").replace("~", "\\(ti")
    )
    text = "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in text)
    return f"\\&{text}" if text.startswith(".") else text
