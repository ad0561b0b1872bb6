"""The canonical line of an event: JSON in ASCII, with every foreign byte escaped.

JSON escaping keeps control characters, ESC and non-ASCII bytes away from the terminal. `printable` cuts foreign text to
a readable length.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, TypeAlias

import msgspec
import structlog

LONGEST_FIELD = 250
"""Characters of foreign text that reach the log."""

_DEL = 0x7F
"""`bytes.__contains__` takes an integer ten times as fast as it takes bytes."""

NAME_AT = len('{"timestamp":"2026-11-28T12:00:00.000000Z","event":"')
"""The place of the event's name in a line."""


def name_of(line: bytes) -> bytes:
    """Return the name of a line's event."""
    return line[NAME_AT : line.find(b'"', NAME_AT)]


def printable(foreign: str | bytes, longest: int = LONGEST_FIELD) -> str:
    """Return foreign text as printable ASCII, cut at `longest` characters."""
    text = foreign.decode("ascii", "backslashreplace") if isinstance(foreign, bytes) else foreign
    if len(text) <= longest and text.isascii() and text.isprintable():  # as almost all is
        return text
    text = text[: longest + 1]
    if not (text.isascii() and text.isprintable()):
        text = text.encode("unicode_escape", "backslashreplace").decode("ascii")
    return text if len(text) <= longest else text[: longest - 3] + "..."


Alike: TypeAlias = Iterable[tuple[MutableMapping[str, Any], str]]
"""The fields of events that differ in one text, and that text. Most of them share their fields, in one object."""


class Several:
    """Lines of one event that differ in one text, such as a message's recipients. They are rendered when written.

    The log's thread does that: a thousand lines at once took the event loop 2 ms, a message with two recipients a tenth
    of its time.
    """

    __slots__ = ("_alike", "_name", "_render", "_stamp", "count")

    def __init__(
        self, render: Callable[[MutableMapping[str, Any]], bytes], name: str, count: int, alike: Alike
    ) -> None:
        """Take the time now. `name` is the field that differs; it is empty in the fields of each event."""
        self._render, self._name, self.count, self._alike = render, f'"{name}":""'.encode(), count, alike
        self._stamp = render({})[:NAME_AT]

    def rendered(self) -> list[bytes]:
        """Return the lines; only once. What events share is rendered once."""
        lines: list[bytes] = []
        known: dict[int, tuple[object, bytes, bytes]] = {}  # with the fields, so that no others get their identity
        for fields, text in self._alike:
            around = known.get(id(fields))
            if around is None:
                head, name, tail = self._render(fields).partition(self._name)  # within a string, a quote is escaped
                around = known[id(fields)] = fields, self._stamp + head[NAME_AT:] + name[:-2], tail
            _, before, after = around
            lines.append(before + _FAST.encode(printable(text)) + after)
        return lines


class Renderer:
    """Makes the line of an event: time, name, level, its fields, worker. The date is formatted once a second."""

    def __init__(self, worker: int | None) -> None:
        self._worker = worker
        self._date = (-1, b"")
        """A second, and how its lines begin."""
        self._heads: dict[tuple[str, str], bytes] = {}
        """Level and name → what follows the time, as JSON; the names of events are few."""

    def __call__(self, level: str, event: str, fields: MutableMapping[str, Any]) -> bytes:
        """Return the line. The time has a fixed length, so that the name is at NAME_AT. `fields` may change."""
        now = time.time_ns()
        second = now // 1_000_000_000
        known, date = self._date  # read and set as one, since any thread may log
        if second != known:
            date = time.strftime('{"timestamp":"%Y-%m-%dT%H:%M:%S', time.gmtime(second)).encode()
            self._date = (second, date)
        if self._worker is not None:
            fields["worker"] = self._worker
        if "exc_info" in fields:
            structlog.processors.format_exc_info(self, level, fields)
        head = self._heads.get((level, event)) or self._head(level, event)
        try:
            octets = _FAST.encode(fields)
        except (ValueError, TypeError, OverflowError, RecursionError):
            octets = _escaped(fields)
        if not octets.isascii() or _DEL in octets:
            octets = _escaped(fields)
        micro = now % 1_000_000_000 // 1000
        return b'%b.%06dZ",%b%b%b\n' % (date, micro, head, b"," if fields else b"", octets[1:])

    def _head(self, level: str, event: str) -> bytes:
        head = self._heads[level, event] = _ESCAPING.encode({"event": event, "level": level})[1:-1].encode()
        return head

    def dropped(self, count: int) -> bytes:
        """Return the last line of a log that has lost lines."""
        return self("warning", "log_dropped", {"count": count})


def _odd(value: object) -> str:
    return printable(repr(value))


_FAST = msgspec.json.Encoder(enc_hook=_odd)
_ESCAPING = json.JSONEncoder(default=_odd, check_circular=False, separators=(",", ":"))


def _escaped(fields: Mapping[str, Any]) -> bytes:
    """Return the fields in ASCII, as `json.dumps` would write them without spaces.

    msgspec takes a third of the time, but it leaves DEL and non-ASCII characters as they are and rejects lone
    surrogates. `printable` has escaped most foreign text before, so this is rare.
    """
    return _ESCAPING.encode(fields).encode("ascii")
