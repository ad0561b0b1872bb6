"""The canonical line of an event: JSON in ASCII, with every foreign byte escaped.

JSON escaping keeps control characters, ESC and non-ASCII bytes away from the terminal. `printable` cuts foreign text to
a readable length.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, MutableMapping
from typing import Any

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
