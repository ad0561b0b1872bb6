"""Header fields as octets: how a header section is cut into fields, and how a new field is written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.mail.folding import LONGEST_LINE, folded

LONGEST_NAME = 998
"""Maximum length of a field name, and of the blanks after it: the line limit of RFC 5322 section 2.1.1."""

NAME = rb"[!-9;-~]{1,%d}[ \t]{0,%d}:" % (LONGEST_NAME, LONGEST_NAME)
"""The name of a field with its colon."""


@dataclass(slots=True)
class Field:
    """One header field as received, with line breaks. `name` is empty if the line is not a field."""

    name: str
    raw: bytes

    @property
    def body(self) -> str:
        """The unfolded body (RFC 5322 section 2.2.3)."""
        text = self.raw.decode("utf-8", "surrogateescape").partition(":")[2]
        return text.replace("\r\n", "").strip()


_END_OF_FIELD = re.compile(rb"\r\n(?![ \t])")
_FIELD_NAME = re.compile(NAME)


def parse(head: bytes) -> list[Field]:
    """Split a header section into fields; a line that is not a field keeps its place, without a name."""
    fields, at, head = [], 0, ended(head)
    for end in _END_OF_FIELD.finditer(head):
        name = _FIELD_NAME.match(head, at)
        fields.append(Field(_name(name[0] if name is not None else None), head[at : end.end()]))
        at = end.end()
    return fields


def taken_apart(head: bytes) -> tuple[list[Field], dict[str, list[Field]]]:
    """Return the fields of a header section, and the same by name."""
    fields = parse(head)
    return fields, named(fields)


def named(fields: Iterable[Field]) -> dict[str, list[Field]]:
    """Group fields by lower-case name."""
    found: dict[str, list[Field]] = {}
    for each in fields:
        found.setdefault(each.name.lower(), []).append(each)
    return found


def _name(octets: bytes | None) -> str:
    """Return a field name from the octets up to its colon (RFC 5322 section 3.6.8)."""
    return octets[:-1].rstrip(b" \t").decode() if octets else ""


def ended(head: bytes) -> bytes:
    """Return a header section whose last line ends with CRLF."""
    return head + b"\r\n" if head and not head.endswith(b"\r\n") else head


def written(name: str, body: str, most: int = LONGEST_LINE) -> bytes:
    """Return a field as octets, folded if the line would be longer than `most`."""
    return folded(f"{name}: {body}".encode("utf-8", "surrogateescape"), most) + b"\r\n"
