"""Folding of header fields that we write (RFC 5322 sections 2.1.1 and 2.2.3): only line breaks are added."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST_LINE = 900
"""Octets after which a field that we write is folded; RFC 5322 section 2.1.1 allows 998."""

PREFERRED_LINE = 78
"""Octets of a line of a field that is folded, if its words allow it."""

_MOST = 998
_BLANKS = re.compile(rb"(?<![ \t])[ \t]++(?=[^ \t])")
"""A run of blanks before a word, looked at once: blanks at the end cost no more than others."""


def folded(field: bytes, most: int = LONGEST_LINE) -> bytes:
    """Return a field, given as one line without its end, in lines of 78 octets if it is longer than `most`.

    A word that is longer has a line of its own: to cut it would change it.
    """
    if len(field) <= most:
        return field
    begin = last = 0
    pieces = []
    for place in (*_places(field), len(field)):
        if place - begin > PREFERRED_LINE and last > begin:
            pieces.append(field[begin:last])
            begin = last
        last = place
    return b"\r\n".join((*pieces, field[begin:]))


def _places(field: bytes) -> Iterator[int]:
    """Yield where a line may end: before blanks that a word follows, so that no line is of blanks alone.

    Such a line is obsolete syntax (RFC 5322 section 3.2.2), and some servers take it for the empty line.
    """
    colon = field.find(b":") + 1
    for blanks in _BLANKS.finditer(field):
        start, end = blanks.span()
        if start > colon:
            yield max(start, end - LONGEST_LINE)  # of a longer run of blanks, the rest ends the line before
        elif _word_end(field, end) > _MOST:  # a name alone in its line, only if the first word leaves no choice
            yield max(start, 1)


def _word_end(field: bytes, start: int) -> int:
    found = _BLANKS.search(field, start)
    return found.start() if found is not None else len(field)
