"""`Result`: what a command found, as text for people and scripts, as JSON, and as XML.

All text from outside is escaped: no line contains a control character, an ESC or a direction mark.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from proxy.base.log import printable

LONGEST_CELL = 2000


@dataclass(frozen=True, slots=True)
class Result:
    """`value` is plain data for JSON. Without `text`, it is written as label and value, or as a table."""

    value: Any
    text: str | None = None
    replaced: bool = False
    """Whether another process answers from now on, because this one is replaced."""

    @property
    def lines(self) -> list[str]:
        """The text's lines, which are safe to show."""
        written = self.text if self.text is not None else "\n".join(_written(self.value))
        return [shown(line) for line in written.split("\n")] if written else []


def as_json(_name: str, value: Any) -> str:
    """Return a command's value in one line of JSON."""
    return json.dumps(value)


def as_xml(name: str, value: Any) -> str:
    """Return a command's value as one element in ASCII: a member's name is an element, a list's member an `item`."""
    made = Element(_tag(name))
    _fill(made, value)
    return tostring(made, encoding="unicode").encode("ascii", "xmlcharrefreplace").decode("ascii")


def form_of(line: str) -> tuple[Callable[[str, Any], str] | None, str]:
    """Return how a command line wants its values written, None for text, and the command without that word."""
    word, _, command = line.partition(" ")
    form = _FORMS.get(word) if command.strip() else None
    return (None, line) if form is None else (form, command.strip())


def _fill(element: Element, value: Any) -> None:
    if isinstance(value, Mapping):
        for name, each in value.items():
            _fill(_member(element, str(name)), each)
    elif isinstance(value, list | tuple):
        for each in value:
            _fill(SubElement(element, "item"), each)
    elif isinstance(value, bool):
        element.text = "true" if value else "false"
    elif value is not None:
        element.text = _NOT_XML.sub(lambda found: ascii(found[0])[1:-1], str(value))


def _member(element: Element, name: str) -> Element:
    """Add an element; a name that XML does not allow becomes the attribute of an `item`."""
    if _NAME.fullmatch(name):
        return SubElement(element, name)
    return SubElement(element, "item", {"name": _NOT_XML.sub(lambda found: ascii(found[0])[1:-1], name)})


_FORMS: Mapping[str, Callable[[str, Any], str]] = {"json": as_json, "xml": as_xml}


def _tag(words: str) -> str:
    tag = re.sub(r"[^A-Za-z0-9_]+", "_", words).strip("_")
    return tag if _NAME.fullmatch(tag) else "answer"


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not allow, not even as references."""


_TYPED = str.maketrans({"…": "...", "→": "->"})
"""Signs that help, hints and explanations have."""


def shown(line: str) -> str:
    """Return a line in printable ASCII: our own signs as they are typed, everything else escaped."""
    line = line.translate(_TYPED)
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
    """Return rows with a head; rows that are not mappings, one a line."""
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
