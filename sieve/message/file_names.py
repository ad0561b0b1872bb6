"""The names of attachments. Programs read malformed names differently, so a name can have several readings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from sieve.message import charsets
from sieve.message.encoded_words import joined_words

_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_SEPARATORS = re.compile(r"[\\/]")
_DROPPED_AT_THE_END = ". \t\r\n\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(
    map(chr, range(0x2000, 0x200B))
)
"""Windows drops dots and spaces at the end of a name, so `a.exe. ` is a program there."""

_UNSEEN = frozenset({"Cc", "Cf"})


def readings(values: Iterable[str], charset: str) -> tuple[str, ...]:
    """Return all readings of these values as names; `charset` is the part's, for 8-bit names."""
    names: dict[str, None] = {}
    for value in values:
        for text in _characters(value, charset):
            for name in _decoded(text):
                names.update(dict.fromkeys(_saved(name)))
    names.pop("", None)
    return tuple(names)


def _characters(value: str, charset: str) -> Iterator[str]:
    """Yield the readings of a value whose octets may have no declared set."""
    if value.isascii() or not re.search("[\udc80-\udcff]", value):
        yield value
        return
    raw = value.encode("utf-8", "surrogateescape")
    yield from (charsets.decoded(raw, each) for each in (charset, "windows-1252", "utf-8"))


def _decoded(text: str) -> Iterator[str]:
    """Yield a name with encoded words decoded, then unchanged. RFC 2047 forbids decoding here, but programs do it."""
    spoken = joined_words(text)
    yield spoken
    yield text
    if "%" in text:
        raw = text.encode("utf-8", "surrogateescape")
        yield charsets.decoded(_PERCENT.sub(lambda pair: bytes([int(pair[1], 16)]), raw), "utf-8")


def _saved(name: str) -> Iterator[str]:
    """Yield a name, then the name of the saved file: without control characters, folders, and trailing dots."""
    name = name.strip(" \t\r\n")
    shown = name
    if not name.isprintable():
        shown = "".join(char for char in name if unicodedata.category(char) not in _UNSEEN)
    for spelling in dict.fromkeys((name, shown, name.partition("\x00")[0])):
        yield spelling
        kept = spelling.rstrip(_DROPPED_AT_THE_END)
        yield kept
        yield _SEPARATORS.split(kept)[-1].strip()
