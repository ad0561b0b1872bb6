"""Answers of a zone: which count, and patterns of them, such as `127.0.0.[2..11]`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

Octets = tuple[int, int, int, int]

_LISTED = 127
_ERROR = (127, 255, 255)
"""Answers by which a zone says that it does not answer us, such as 127.255.255.254 for a public resolver."""

_PART = re.compile(r"(?P<any>\*)|(?P<one>[0-9]{1,3})|\[(?P<some>[0-9.;]{1,100})\]")
_DOTTED = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}")
_RANGE = re.compile(r"([0-9]{1,3})(?:\.\.([0-9]{1,3}))?")


class BadCode(ValueError):
    """A pattern that cannot be read."""


def octets_of(answer: str) -> Octets | None:
    """Return the octets of an IPv4 address; None for any other text."""
    if _DOTTED.fullmatch(answer) is None:
        return None
    first, second, third, fourth = map(int, answer.split("."))
    return (first, second, third, fourth) if max(first, second, third, fourth) < 256 else None


def says_listed(octets: Octets) -> bool:
    """Whether an answer lists something: any other address does not come from a list (RFC 5782 section 2.1)."""
    return octets[0] == _LISTED and octets[:3] != _ERROR


def says_error(octets: Octets) -> bool:
    """Whether the zone refuses to answer."""
    return octets[:3] == _ERROR


@dataclass(frozen=True, slots=True)
class CodePattern:
    """Answers with these octets; `weight` None means the zone's."""

    text: str
    parts: tuple[frozenset[int], ...]
    weight: int | None = None

    def matches(self, octets: Octets) -> bool:
        """Whether an answer fits."""
        return all(octet in part for part, octet in zip(self.parts, octets, strict=True))


def pattern(text: str, weight: int | None = None) -> CodePattern:
    """Read a pattern: `127.0.0.2`, `127.0.0.[2..11]`, `127.0.*.[1;3]`.

    Raises:
        BadCode: it is not a pattern.
    """
    parts, at = [], 0
    for number in range(4):
        if number:
            if text[at : at + 1] != ".":
                raise BadCode(text)
            at += 1
        found = _PART.match(text, at)
        if found is None:
            raise BadCode(text)
        parts.append(_octets(found))
        at = found.end()
    if at != len(text):
        raise BadCode(text)
    return CodePattern(text, tuple(parts), weight)


_ALL = frozenset(range(256))


def _octets(part: re.Match[str]) -> frozenset[int]:
    if part["any"]:
        return _ALL
    found: set[int] = set()
    for piece in (part["one"] or part["some"]).split(";"):
        numbers = _RANGE.fullmatch(piece)
        if numbers is None:
            raise BadCode(piece)
        found.update(range(int(numbers[1]), int(numbers[2] or numbers[1]) + 1))
    if not found or not found <= _ALL:
        raise BadCode(part[0])
    return frozenset(found)


def weight_of(answers: Sequence[Octets], patterns: Sequence[CodePattern], weight: int) -> int | None:
    """Return the greatest weight among the answers that count; None if none does.

    Without patterns, every answer counts. Of several patterns that fit an answer, the first decides.
    """
    found = []
    for octets in answers:
        if not patterns:
            found.append(weight)
        for each in patterns:
            if each.matches(octets):
                found.append(weight if each.weight is None else each.weight)
                break
    return max(found, key=abs) if found else None
