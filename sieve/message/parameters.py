"""The parameters of a MIME field, in every reading that a receiving program may use (RFC 2045, 2231).

To hide a name from filters, senders write fields that programs read differently: unclosed quotes, duplicate parameters,
comments, pieces out of order. So a parameter has a list of values here, the standard's reading first. No limit cuts the
list; the work is linear in the length of the field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import regex

from sieve.message import charsets
from sieve.message.comments import QUOTED, without_comments
from sieve.message.encoded_words import joined_words

_PIECES = regex.compile(rf'{QUOTED}|[^";]++|;', regex.DOTALL)
_PIECES_WITHOUT_ESCAPES = re.compile(r'"[^"]*+"?|[^";]++|;')
_CONTENT = regex.compile(r'"((?:[^"\\]|\\.|\\\Z)*+)"?', regex.DOTALL)
_CONTENT_WITHOUT_ESCAPES = re.compile(r'"([^"]*+)"?')
_BLANK_OR_QUOTE = re.compile(r'[\s"]')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_DIGITS_THAT_COUNT = 18

_KNOWN = re.compile(
    r"""(?<![^\s;,"'])(filename|name|boundary|charset)["']?\s*+(\*\s*+([0-9]++)?\s*+(\*)?)?["']?\s*+=""",
    re.IGNORECASE,
)
"""The parameters that mail programs use. They are found anywhere, so a missing semicolon hides none."""


@dataclass(frozen=True, slots=True)
class _Given:
    """A parameter as written in the field, or a piece of one (RFC 2231, 3)."""

    name: str
    number: int | None
    is_extended: bool
    raw: str


def _segments(text: str, pieces: re.Pattern[str] | regex.Pattern[str]) -> tuple[list[str], bool]:
    """Split at semicolons outside quotes; also tell whether all quotes are closed."""
    segments: list[list[str]] = [[]]
    is_closed = True
    for piece in pieces.finditer(text):
        if piece[0] == ";":
            segments.append([])
            continue
        segments[-1].append(piece[0])
        is_closed = is_closed and (not piece[0].startswith('"') or (len(piece[0]) > 1 and piece[0].endswith('"')))
    return ["".join(segment) for segment in segments], is_closed


def _given(segment: str) -> Iterator[_Given]:
    """Yield the parameters of one segment. The first one's value is the whole rest; others end before the next."""
    places = list(_KNOWN.finditer(segment))
    ends = [len(segment), *(following.start() for following in places[2:]), len(segment)]
    for place, end in zip(places, ends, strict=False):
        number = None if place[3] is None else int(place[3][-_DIGITS_THAT_COUNT:])
        is_extended = place[4] is not None or (place[2] is not None and number is None)
        yield _Given(place[1].lower(), number, is_extended, segment[place.end() : end].strip())


def _ways_to_cut(text: str) -> Iterator[list[str]]:
    """Yield the field split at semicolons: by the standard, then like programs with simpler handling of quotes."""
    ways = [without_comments(text, only_between_words=True), text, without_comments(text), joined_words(text)]
    for way in dict.fromkeys(ways):
        segments, is_closed = _segments(way, _PIECES)
        yield segments
        if "\\" in way:
            segments, also_closed = _segments(way, _PIECES_WITHOUT_ESCAPES)
            is_closed = is_closed and also_closed
            yield segments
        if not is_closed:
            yield way.split(";")


def forms(raw: str) -> dict[str, None]:
    """Return the readings of a value, in order: quoted, with or without escapes; unquoted, to a space or the end."""
    readings: list[str] = []
    if raw.startswith('"'):
        for pattern in (_CONTENT, _CONTENT_WITHOUT_ESCAPES):
            content = pattern.match(raw)
            readings.append(content[1] if content else "")
        readings.insert(0, _ESCAPE.sub(lambda pair: pair[1], readings[0]))  # other threads can run between two calls
        readings.append(raw.replace('"', ""))
    else:
        word = _BLANK_OR_QUOTE.split(raw, maxsplit=1)[0]
        readings += [word, raw, raw.replace('"', ""), raw.strip("'"), raw.partition(",")[0].strip("'")]
    return dict.fromkeys(readings)


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _unescaped(raw: bytes) -> bytes:
    return _PERCENT.sub(lambda each: bytes([int(each[1], 16)]), raw)


def _in_charset(raw: bytes, charset: str) -> Iterator[str]:
    """Decode octets in the named set; if the set is unknown or the octets are invalid, also in windows-1252."""
    text = charsets.decoded(raw, charset)
    yield text
    if charsets.codec_of(charset) is None or "\ufffd" in text:
        yield charsets.decoded(raw, "windows-1252")


def _extended(text: str) -> Iterator[str]:
    """Decode an extended value: `utf-8'en'%41` (RFC 2231, 4). The first parts may be missing."""
    pieces = text.split("'", 2)
    if len(pieces) == 3:
        yield from _in_charset(_unescaped(_octets(pieces[2])), pieces[0].strip())
    if len(pieces) != 3 or charsets.codec_of(pieces[0]) is None:
        yield from _in_charset(_unescaped(_octets(text)), "utf-8")
    if len(pieces) == 2:
        yield from _in_charset(_unescaped(_octets(pieces[1])), pieces[0])


def _orders(pieces: list[_Given]) -> Iterator[list[_Given]]:
    """Yield the possible orders of a value's pieces."""
    first: dict[int, _Given] = {}
    for piece in pieces:
        first.setdefault(piece.number or 0, piece)
    last = {piece.number or 0: piece for piece in pieces}
    numbers = sorted(first)
    yield [first[number] for number in numbers]
    yield [last[number] for number in numbers]
    yield pieces
    whole = [number for place, number in enumerate(numbers) if number == place]
    yield [first[number] for number in whole]


def _joined(pieces: list[_Given]) -> Iterator[str]:
    """Yield the joined pieces: each up to its space or quote, then each whole."""
    ways = [tuple(next(iter(forms(piece.raw)), "") for piece in pieces), tuple(p.raw.replace('"', "") for p in pieces)]
    for texts in dict.fromkeys(ways):
        yield from _put_together(pieces, texts)


def _put_together(pieces: list[_Given], texts: tuple[str, ...]) -> Iterator[str]:
    """Join pieces: by RFC 2231, then with percent-decoding of all of them or none."""
    head, quote, rest = texts[0].partition("'")
    is_marked = bool(quote and "'" in rest)
    charset, opening = (head, rest.partition("'")[2]) if is_marked else ("utf-8", texts[0])
    is_extended = any(piece.is_extended for piece in pieces)
    if is_extended:
        start = opening if pieces[0].is_extended else texts[0]
        both = zip([start, *texts[1:]], pieces, strict=True)
        raw = b"".join(_unescaped(_octets(text)) if piece.is_extended else _octets(text) for text, piece in both)
        yield from _in_charset(raw, charset if pieces[0].is_extended else "utf-8")
    else:
        yield "".join(texts)
    if is_extended or is_marked:
        yield from _in_charset(_unescaped(_octets("".join([opening, *texts[1:]]))), charset)


@dataclass(frozen=True)
class Parameters:
    """A structured field: its value and its parameters."""

    text: str

    @cached_property
    def value(self) -> str:
        """The text before the first semicolon, in lower case, without comments and quotes."""
        return without_comments(self.text).partition(";")[0].strip().strip("\"'").strip().lower()

    @cached_property
    def _found(self) -> dict[str, list[_Given]]:
        every = dict.fromkeys(each for cut in _ways_to_cut(self.text) for part in cut for each in _given(part))
        found: dict[str, list[_Given]] = {}
        for each in every:
            found.setdefault(each.name, []).append(each)
        return found

    def all(self, name: str) -> tuple[str, ...]:
        """Return all readings of a parameter; empty if the field does not have it.

        The plain form comes first: `filename`, then `filename*`, then `filename*0`.
        """
        given = self._found.get(name, [])
        values: dict[str, None] = {}
        for parameter in given:
            if parameter.number is None and not parameter.is_extended:
                values.update(forms(parameter.raw))
        for parameter in given:
            if parameter.number is None and parameter.is_extended:
                values.update(dict.fromkeys(text for form in forms(parameter.raw) for text in _extended(form)))
        pieces = [parameter for parameter in given if parameter.number is not None]
        if pieces:
            values.update(dict.fromkeys(text for order in _orders(pieces) if order for text in _joined(order)))
        values.pop("", None)
        return tuple(values)


def parameters(text: str) -> Parameters:
    """Parse a structured field, such as Content-Type."""
    return Parameters(text)
