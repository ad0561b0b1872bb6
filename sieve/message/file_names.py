"""The names of attachments, as the programs that open them read them: more than one reading of what a sender wrote."""

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
"""Windows drops dots and blanks at the end of a name, so `a.exe. ` is a program there."""

_UNSEEN = frozenset({"Cc", "Cf"})


def readings(values: Iterable[str], charset: str) -> tuple[str, ...]:
    """Return the names that these values may be read as; `charset` is that of the part, for names in eight bits."""
    found: dict[str, None] = {}
    for value in values:
        for text in _characters(value, charset):
            for name in _decoded(text):
                found.update(dict.fromkeys(_saved(name)))
    found.pop("", None)
    return tuple(found)


def _characters(value: str, charset: str) -> Iterator[str]:
    """Yield a value whose octets may be of no known set."""
    if value.isascii() or not re.search("[\udc80-\udcff]", value):
        yield value
        return
    raw = value.encode("utf-8", "surrogateescape")
    yield from (charsets.decoded(raw, each) for each in (charset, "windows-1252", "utf-8"))


def _decoded(text: str) -> Iterator[str]:
    """Yield a name with its encoded words decoded, which RFC 2047 forbids here and every program does, and as it is."""
    spoken = joined_words(text)
    yield spoken
    yield text
    if "%" in text:
        raw = text.encode("utf-8", "surrogateescape")
        yield charsets.decoded(_PERCENT.sub(lambda each: bytes([int(each[1], 16)]), raw), "utf-8")


def _saved(name: str) -> Iterator[str]:
    """Yield a name, then what a program makes of it that saves the file: no controls, no folder, no dots at the end."""
    name = name.strip(" \t\r\n")
    shown = name
    if not name.isprintable():
        shown = "".join(char for char in name if unicodedata.category(char) not in _UNSEEN)
    for each in dict.fromkeys((name, shown, name.partition("\x00")[0])):
        yield each
        kept = each.rstrip(_DROPPED_AT_THE_END)
        yield kept
        yield _SEPARATORS.split(kept)[-1].strip()
