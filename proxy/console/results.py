"""`Result`: what a command found, as text for people and scripts, and as JSON.

Every text from outside is escaped: a line shows no control character, no ESC and no direction mark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.base.log import printable

LONGEST_CELL = 2000


@dataclass(frozen=True, slots=True)
class Result:
    """`value` is plain data for JSON. Without `text`, it is written as label and value, or as a table."""

    value: Any
    text: str | None = None

    @property
    def lines(self) -> list[str]:
        """The text's lines, which are safe to show."""
        written = self.text if self.text is not None else "\n".join(_written(self.value))
        return [shown(line) for line in written.split("\n")] if written else []


def shown(line: str) -> str:
    """Return a line in which everything that is not printable ASCII is escaped."""
    return line if line.isascii() and line.isprintable() else printable(line, len(line) * 12 + LONGEST_CELL)


def _written(value: Any, indent: str = "") -> list[str]:
    if isinstance(value, Mapping):
        return _labelled(value, indent)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return _table(value, indent)
    return [f"{indent}{cell(value)}"]


def _labelled(value: Mapping[str, Any], indent: str) -> list[str]:
    width = max((len(label(name)) for name in value), default=0)
    lines = []
    for name, each in value.items():
        if isinstance(each, Mapping) or (isinstance(each, list) and each and isinstance(each[0], Mapping)):
            lines += [f"{indent}{label(name)}:", *_written(each, indent + "  ")]
        else:
            lines.append(f"{indent}{label(name) + ':':<{width + 1}} {cell(each)}")
    return lines


def _table(rows: Sequence[Any], indent: str) -> list[str]:
    """Return rows with a head; rows that are no mappings, one a line."""
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        return [f"{indent}{cell(row)}" for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[label(name).upper() for name in names], *([cell(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(names))]
    return [
        indent + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells
    ]


def label(name: str) -> str:
    """Return a name as people read it."""
    return name.replace("_", " ")


def cell(value: Any) -> str:
    """Return a value in one line."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, list | tuple):
        return ", ".join(cell(each) for each in value) or "-"
    return shown(str(value))
