"""The log's formats: each turns a canonical line of JSON into another one. `json` is the line itself.

Foreign text leaves here as printable ASCII. Only Ringback's own texts of several lines, such as a stack,
keep their line breaks, and only where the format can tell them from a new entry.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from functools import cache
from string import Formatter
from typing import Any

import msgspec

from proxy.events.sentences import SENTENCES

IDENTIFIER = "ringback"
"""SYSLOG_IDENTIFIER of the journal's entries."""

PREFIX = "RINGBACK_"
"""What the names of our own fields begin with in the journal."""

_HEAD = ("timestamp", "level", "event")
_BLOCKS = frozenset({"exception", "stack", "diagnostics"})
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3}
_MESSAGE_IDS = uuid.UUID("8d1c6f0e-6f0a-5d53-9d5f-0f4d0b0b7a52")


def message_id(event: str) -> str:
    """Return the journal's MESSAGE_ID of an event: always the same for a name."""
    return uuid.uuid5(_MESSAGE_IDS, event).hex


def sentence(event: Mapping[str, Any]) -> str:
    """Return what an event says to a person, in one line of printable ASCII."""
    return _Sentence(_template(event)).of(event)


def logfmt(line: bytes) -> bytes:
    """Return `name=value` pairs."""
    event = _read(line)
    pairs = [f"{name}={_logfmt_value(event[name])}" for name in (*_HEAD, *_own(event))]
    return f"{' '.join(pairs)}\n".encode("ascii")


def console(line: bytes) -> bytes:
    """Return time, level, a sentence, and the fields that it leaves out; then texts of several lines, indented."""
    event = _read(line)
    said = _Sentence(_template(event))
    rest = [
        f"{name}={_logfmt_value(event[name])}"
        for name in _own(event)
        if name not in said.names and name not in _BLOCKS and event[name] not in ("", [], None)
    ]
    clock = str(event["timestamp"]).partition("T")[2][:12]
    text = f"{clock} {event['level']:<7} {said.of(event)}"
    if rest:
        text += f"  [{event['event']} {' '.join(rest)}]"
    blocks = [f"    {name} | {part}" for name in _own(event) if name in _BLOCKS for part in _parts(event[name])]
    return "\n".join([text, *blocks, ""]).encode("ascii")


def journal(line: bytes) -> bytes:
    """Return an entry in the journal's native form (systemd.journal-fields(7)), to be sent to its socket."""
    event = _read(line)
    name = str(event["event"])
    fields = [
        ("MESSAGE", sentence(event)),
        ("PRIORITY", str(_PRIORITIES[event["level"]])),
        ("SYSLOG_IDENTIFIER", IDENTIFIER),
        ("MESSAGE_ID", message_id(name)),
    ]
    for key, value in event.items():
        fields += [(f"{PREFIX}{key.upper()}", text) for text in _journal_values(key, value)]
    return b"".join(_journal_field(key, text.encode("ascii")) for key, text in fields)


FORMS = {"json": None, "logfmt": logfmt, "console": console}
"""The formats of lines."""


class _Sentence:
    """A template, with the names that it uses."""

    def __init__(self, template: str) -> None:
        self._template = template
        self.names = _names(template)

    def of(self, event: Mapping[str, Any]) -> str:
        return self._template.format_map({name: _spoken(event.get(name, "")) for name in self.names})


def _template(event: Mapping[str, Any]) -> str:
    name = str(event["event"])
    own = SENTENCES.get(f"{name} {event.get('disposition', '')}")
    return own or SENTENCES.get(name) or name.replace("{", "{{").replace("}", "}}")


@cache
def _names(template: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in Formatter().parse(template) if name)


def _read(line: bytes) -> dict[str, Any]:
    try:
        event: dict[str, Any] = msgspec.json.decode(line)
    except msgspec.DecodeError:  # a lone surrogate
        event = json.loads(line)
    return event


def _own(event: Mapping[str, Any]) -> Iterator[str]:
    return (name for name in event if name not in _HEAD)


def _escaped(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return text.encode("unicode_escape", "backslashreplace").decode("ascii")


def _parts(text: object) -> list[str]:
    return [_escaped(part) for part in str(text).split("\n")]


def _text(value: object) -> str:
    """Return a value as text: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _spoken(value: object) -> str:
    """Return a value within a sentence. A quotation mark of a stranger does not end a quotation of ours."""
    if isinstance(value, list):
        return ", ".join(f"<{_spoken(each)}>" if "@" in str(each) else _spoken(each) for each in value) or "nobody"
    return _escaped(_text(value)).replace('"', '\\"')


def _logfmt_value(value: object) -> str:
    text = _text(value)
    if text and text.isascii() and text.isprintable() and not any(char in text for char in ' "=\\'):
        return text
    return json.dumps(text).replace("\x7f", "\\u007f")


def _journal_values(key: str, value: object) -> list[str]:
    if isinstance(value, list):
        return [_escaped(_text(each)) for each in value]
    if key in _BLOCKS:
        return ["\n".join(_parts(value))]
    return [] if value in ("", None) else [_escaped(_text(value))]


def _journal_field(key: str, octets: bytes) -> bytes:
    if b"\n" not in octets:
        return b"%b=%b\n" % (key.encode("ascii"), octets)
    return b"%b\n%b%b\n" % (key.encode("ascii"), len(octets).to_bytes(8, "little"), octets)
