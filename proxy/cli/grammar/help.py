"""A command's help as text: lines break between words only, at any width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import TextWrapper

from rich.console import Console
from rich.text import Text

from proxy.cli.grammar.tree import HELP, Command, Parameter

WIDEST = 100
"""Columns of help; longer lines are hard to read."""

_NARROWEST = 20
_NARROW = 70
"""Below this width, descriptions are printed below what they describe."""

_LONGEST_LABEL = 24

_HELP_OPTION = Parameter(HELP, "", "Show this help and exit.")


def show(command: Command, *, stderr: bool = False) -> None:
    """Print help, with bold headings on a terminal."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    text = Text(rendered(command, console.width))
    text.highlight_regex(r"(?m)^(Usage:|\w+:$)", "bold")
    console.print(text, soft_wrap=True)


def rendered(command: Command, columns: int) -> str:
    """Return the help of a command for a terminal of this width."""
    width = max(_NARROWEST, min(columns, WIDEST))
    parts = [_wrapped(f"Usage: {command.usage}", width, "         ")]
    parts += [_wrapped(each, width) for each in command.paragraphs]
    parts += _section("Arguments", [_row(each) for each in command.arguments], width)
    parts += _section("Options", [_row(each) for each in (*command.options, _HELP_OPTION)], width)
    commands = [(each.path[-1], f"{each.summary}.") for each in command.children if not each.hidden]
    return "\n\n".join([*parts, *_section("Commands", commands, width)])


def _row(parameter: Parameter) -> tuple[str, str]:
    label = parameter.label
    if parameter.names and parameter.names[0].startswith("--"):
        label = f"    {label}"  # long names, one below the other
    return label, " ".join([parameter.help, *parameter.notes]).strip()


def _section(title: str, rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    if not rows:
        return []
    column = min(max(len(label) for label, _ in rows), _LONGEST_LABEL) + 4
    return ["\n".join([f"{title}:", *_rows(rows, width, column)])]


def _rows(rows: Sequence[tuple[str, str]], width: int, column: int) -> Iterator[str]:
    for label, text in rows:
        if width < _NARROW or len(label) + 4 > column:
            indent = " " * (6 if width < _NARROW else column)
            yield _wrapped(label.lstrip() if width < _NARROW else label, width, "      ", "  ")
            yield from [_wrapped(text, width, indent, indent)] if text else []
        else:
            yield _wrapped(text, width, " " * column, f"  {label}".ljust(column))


def _wrapped(text: str, width: int, later: str = "", first: str = "") -> str:
    wrapper = TextWrapper(
        width, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(wrapper.wrap(text)) or first.rstrip()
