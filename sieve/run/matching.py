"""Comparisons in tests: match types, comparators and relations.

`predicate(comparison, keys)` returns a function that tells whether a text matches any of the keys. Work that depends
only on the keys is done once. `sieve.run.patterns` matches patterns.
"""

from __future__ import annotations

import operator
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sieve.run.patterns import Pattern, glob_pattern

Predicate = Callable[[str], bool]


class MatchType(StrEnum):
    """RFC 5228, 2.7.1, RFC 5231, and `:regex`."""

    IS = "is"
    CONTAINS = "contains"
    MATCHES = "matches"
    REGEX = "regex"
    VALUE = "value"
    COUNT = "count"


MATCH_TYPES = frozenset(MatchType)
RELATIONAL = frozenset({MatchType.VALUE, MatchType.COUNT})

OCTET, CASEMAP, NUMERIC, UNICODE = "i;octet", "i;ascii-casemap", "i;ascii-numeric", "i;unicode-casemap"
COMPARATORS = (OCTET, CASEMAP, NUMERIC, UNICODE)
FOLDING = frozenset({CASEMAP, UNICODE})
"""The comparators that ignore letter case."""

RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
    "eq": operator.eq,
    "ne": operator.ne,
    "bitwise-and": lambda left, right: bool(_bits(left) & _bits(right)),
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A match type with its comparator and, for `:value` and `:count`, its relation."""

    match: MatchType = MatchType.IS
    comparator: str = OCTET
    relation: str = ""
    strict: bool = False
    """Whether `?` is one octet, as standard Sieve has it, and not one character."""

    @property
    def octets(self) -> bool:
        """Whether a character is one octet (RFC 5228, 2.7.1)."""
        return self.strict and self.comparator in {OCTET, CASEMAP}


_PIECE = 1 << 14
"""Non-ASCII text is folded in pieces of this many characters, so that other threads can run in between."""

_UPPER = {lower: lower - 32 for lower in range(ord("a"), ord("z") + 1)}


def casemapped(text: str) -> str:
    """Fold `text` for i;ascii-casemap: only the 26 ASCII letters (RFC 4790, 9.2.1)."""
    if text.isascii():
        return text.upper()
    return "".join([_casemapped(text[at : at + _PIECE]) for at in range(0, len(text), _PIECE)])


def _casemapped(piece: str) -> str:
    try:
        return piece.encode().upper().decode()  # in bytes, only ASCII letters have a case
    except UnicodeEncodeError:  # foreign bytes
        return piece.translate(_UPPER)


def unicode_casemapped(text: str) -> str:
    """Fold `text` for i;unicode-casemap: title case, then the full decomposition (RFC 5051, 2)."""
    if text.isascii():
        return text.upper()
    titled = [title if len(title := char.title()) == 1 else char for char in text]
    return unicodedata.normalize("NFKD", "".join(titled))


_INFINITY = float("inf")
_LEADING_DIGITS = re.compile(r"[0-9]{1,300}(?![0-9])")
"""A number with more digits counts as infinity."""


def numeric(text: str) -> float:
    """Return the value for i;ascii-numeric: the leading digits, or infinity without digits (RFC 4790, 9.1)."""
    found = _LEADING_DIGITS.match(text)
    return int(found[0]) if found is not None else _INFINITY


def _bits(value: object) -> int:
    number = value if isinstance(value, int | float) else numeric(str(value))
    return 0 if number == _INFINITY else int(number)


def _identity(text: str) -> str:
    return text


_FOLD: dict[str, Callable[[str], object]] = {
    OCTET: _identity,
    CASEMAP: casemapped,
    NUMERIC: numeric,
    UNICODE: unicode_casemapped,
}
FOLD_TEXT: dict[str, Callable[[str], str]] = {CASEMAP: casemapped, UNICODE: unicode_casemapped}


def predicate(comparison: Comparison, keys: Sequence[str]) -> Predicate:
    """Return a function that tells whether a text matches any of `keys`; not for `:regex` and `:count`."""
    if comparison.match is MatchType.IS:
        return _is(comparison.comparator, keys)
    if comparison.match is MatchType.CONTAINS:
        return _contains(comparison.comparator, keys)
    if comparison.match is MatchType.MATCHES:
        return _matches(comparison, keys)
    return _related(comparison, keys)


def _is(comparator: str, keys: Sequence[str]) -> Predicate:
    if comparator == OCTET:
        return keys[0].__eq__ if len(keys) == 1 else frozenset(keys).__contains__
    fold = _FOLD[comparator]
    folded = frozenset(fold(key) for key in keys)
    return lambda text: fold(text) in folded


def _contains(comparator: str, keys: Sequence[str]) -> Predicate:
    if comparator == OCTET:
        if len(keys) == 1:
            key = keys[0]
            return lambda text: key in text
        return lambda text: any(key in text for key in keys)
    fold = FOLD_TEXT.get(comparator, casemapped)
    folded = [fold(key) for key in keys]

    def contains(text: str) -> bool:
        text = fold(text)
        return any(key in text for key in folded)

    return contains


def _matches(comparison: Comparison, keys: Sequence[str]) -> Predicate:
    fold = FOLD_TEXT.get(comparison.comparator, _identity)
    patterns: list[Pattern] = [glob_pattern(fold(key), octets=comparison.octets) for key in keys]
    if len(patterns) == 1:
        search = patterns[0].found
        return lambda text: search(fold(text))
    return lambda text: any(pattern.found(fold(text)) for pattern in patterns)


def _related(comparison: Comparison, keys: Sequence[str]) -> Predicate:
    fold = _FOLD[comparison.comparator]
    relation = RELATIONS[comparison.relation]
    folded = [fold(key) for key in keys]
    if len(folded) == 1:
        (only,) = folded
        return lambda text: relation(fold(text), only)
    return lambda text: any(relation(fold(text), key) for key in folded)


def counted(comparison: Comparison, keys: Sequence[str]) -> Callable[[int], bool]:
    """Return a function that compares the number of values with the keys (RFC 5231, 4.2)."""
    relation = RELATIONS[comparison.relation]
    wanted = [numeric(key) for key in keys]
    return lambda count: any(relation(count, key) for key in wanted)
