"""docs/commands.md: every command, the exit statuses, and what `--json` prints."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.cli.grammar.statuses import STATUSES
from proxy.cli.grammar.tree import Command, Parameter

_HEAD = """\
# Commands

This page is generated from the code. `ringback COMMAND --help` and `man ringback-COMMAND`
show the same for one command.

An error on the command line says what is wrong, and what to write instead. Text from mail, files and other servers is
escaped before it is printed. Output has colours only on a terminal, and none if `NO_COLOR` is set. Help fits the
terminal's width, or `COLUMNS`.

"""

_COMPLETION = """\
## Completion

`docs/completion` has the scripts for bash, zsh and fish, and `ringback completion SHELL` prints them. They contain all
words, so Tab does not have to start Ringback. An installed package has them, and the man pages, under `share`.

"""

_JSON = """\
## JSON

`proxy/cli/schema.json` is one JSON Schema for the output of all commands that have `--json`. Its `$defs` have one
entry for each command. Fields may be added; existing fields keep their names and types.

| command | prints |
|---|---|
"""


def page(root: Command) -> str:
    """Return the page."""
    parts = [_HEAD, *(_section(each) for each in root.all()), _COMPLETION]
    parts += [_JSON, *(f"| `{each.name}` | {_printed(each)} |\n" for each in root.all() if each.prints)]
    parts.append("\n## Exit statuses\n\nThey follow sysexits(3).\n\n| status | commands | meaning |\n|---|---|---|\n")
    for each in STATUSES:
        commands = ", ".join(f"`{name}`" for name in each.commands) or "all"
        parts.append(f"| {each.number} | {commands} | {each.meaning} |\n")
    return "".join(parts)


def _printed(command: Command) -> str:
    return "one value on each line" if command.prints and command.prints.lines else "one document"


def _section(command: Command) -> str:
    paragraphs = "\n\n".join(command.paragraphs)
    rows = "".join(_rows(command))
    table = f"| | |\n|---|---|\n{rows}\n" if rows else ""
    return f"## {command.name}\n\n```\n{command.usage}\n```\n\n{paragraphs}\n\n{table}"


def _rows(command: Command) -> Iterator[str]:
    for each in (*command.arguments, *command.options):
        yield f"| `{_cell(each.label)}` | {_cell(_meaning(each))} |\n"


def _meaning(parameter: Parameter) -> str:
    return " ".join([parameter.help, *parameter.notes])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
