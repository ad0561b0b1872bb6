"""Substitution: `${name}` and `%{namespace:key}` in strings, split into parts once when a script is compiled.

Inserted values are not expanded again, so a header field that contains `%{…}` stays as it is. A macro without a
namespace belongs to the namespace `default`. `sieve.run.macros` defines which macros exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sieve.phases import Need

_PLACE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}|%\{(?:([A-Za-z_][A-Za-z0-9_]*):)?([^{}\r\n]+)\}")
_BARE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class VariablePart:
    """`${name}` in lower case; `start` and `end` are offsets in the string's value."""

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
    """`%{…}` that names no macro; it is not replaced."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Macro:
    """How one macro gets its text; `run` is a coroutine function if `waits`."""

    run: Callable[[Any], Any]
    waits: bool = False
    needs: Need = Need.NOTHING


Part = str | VariablePart | MacroPart | Unknown


Resolve = Callable[[str, str], Macro | None]
"""Finds the macro that a namespace, in lower case, and a key name; None if they name none."""


def no_macro(_namespace: str, _key: str) -> None:
    """Know none, as a reader that only wants the form of a script."""


def parts(text: str, resolve: Resolve) -> tuple[Part, ...]:
    """Cut a string into literal text and places to fill."""
    if "{" not in text:
        return (text,)
    pieces: list[Part] = []
    at = 0
    for place in _PLACE.finditer(text):
        if place.start() > at:
            pieces.append(text[at : place.start()])
        pieces.append(_part(place, resolve))
        at = place.end()
    if at < len(text) or not pieces:
        pieces.append(text[at:])
    return tuple(pieces)


def bare_names(text: str) -> list[VariablePart]:
    """Return the places of `$name` in a string, which are not replaced."""
    if "$" not in text:
        return []
    return [VariablePart(found[1].lower(), found.start(), found.end()) for found in _BARE.finditer(text)]


def _part(place: re.Match[str], resolve: Resolve) -> Part:
    if place[1] is not None:
        return VariablePart(place[1].lower(), place.start(), place.end())
    macro = resolve((place[2] or "default").lower(), place[3])
    if macro is None:
        return Unknown(place[0], place.start(), place.end())
    return MacroPart(macro, place.start(), place.end())
