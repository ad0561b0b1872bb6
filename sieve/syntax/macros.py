"""Interpolation: `${name}` and `%{namespace:key}` in strings, cut into parts once when a script is compiled.

A value that is put in is never looked at again, so that a header holding `%{…}` arrives as it was. A macro without a
namespace is of the namespace `default`: the letters of SPF, else a context variable of the message or the connection.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sieve.phases import Need
from sieve.run.message_macros import date, rfc2822_reader
from sieve.run.spf import spf_macro

_PLACE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}|%\{(?:([A-Za-z_][A-Za-z0-9_]*):)?([^{}\r\n]+)\}")
_BARE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class VariablePart:
    """`${name}`, lower case; `start` and `end` are offsets in the string's value."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class MacroPart:
    """`%{namespace:key}` and the macro it names."""

    macro: Macro
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """`%{…}` that names no macro; it stays as it is written."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Macro:
    """How one macro gets its text; `run` is a coroutine function where `waits`."""

    run: Callable[[Any], Any]
    waits: bool = False
    needs: Need = Need.NOTHING


Part = str | VariablePart | MacroPart | Unknown


def parts(text: str) -> tuple[Part, ...]:
    """Cut a string into literal text and places to fill."""
    if "{" not in text:
        return (text,)
    found: list[Part] = []
    at = 0
    for place in _PLACE.finditer(text):
        if place.start() > at:
            found.append(text[at : place.start()])
        found.append(_part(place))
        at = place.end()
    if at < len(text) or not found:
        found.append(text[at:])
    return tuple(found)


def bare_names(text: str) -> list[VariablePart]:
    """Return where `$name` stands in a string, which is not replaced."""
    if "$" not in text:
        return []
    return [VariablePart(found[1].lower(), found.start(), found.end()) for found in _BARE.finditer(text)]


def _part(place: re.Match[str]) -> Part:
    if place[1] is not None:
        return VariablePart(place[1].lower(), place.start(), place.end())
    resolve = NAMESPACES.get((place[2] or "default").lower())
    macro = resolve(place[3]) if resolve is not None else None
    if macro is None:
        return Unknown(place[0], place.start(), place.end())
    return MacroPart(macro, place.start(), place.end())


def _conn(key: str) -> Macro:
    return Macro(lambda frame: frame.host.vctx_conn.get(key, ""))


def _mess(key: str) -> Macro:
    return Macro(lambda frame: frame.host.vctx_mess.get(key, ""))


def _spf(key: str) -> Macro | None:
    letter = spf_macro(key)
    if letter is None:
        return None
    return Macro(letter.wait, waits=True) if letter.waits else Macro(letter.run)


def _rfc822(key: str) -> Macro | None:
    return Macro(date) if key.strip().lower() == "date" else None


def _rfc2822(key: str) -> Macro | None:
    read = rfc2822_reader(key)
    return None if read is None else Macro(read, waits=True, needs=Need.BODY)


def _default(key: str) -> Macro:
    """Return SPF's letter, which all examples write short, else a variable of the message or the connection."""
    letter = _spf(key)
    if letter is not None:
        return letter

    def run(frame: Any) -> Any:
        host = frame.host
        found = host.vctx_mess.get(key)
        return host.vctx_conn.get(key, "") if found is None else found

    return Macro(run)


NAMESPACES: dict[str, Callable[[str], Macro | None]] = {
    "vctx_conn": _conn,
    "vctx_mess": _mess,
    "spfv1": _spf,
    "rfc822": _rfc822,
    "rfc2822": _rfc2822,
    "default": _default,
}
"""What resolves the keys of a namespace, once, when a script is compiled; None for a key that it does not have."""
