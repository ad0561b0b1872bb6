"""Fold the header fields that we write (RFC 5322 sections 2.1.1 and 2.2.3) by adding line breaks only."""

from __future__ import annotations

import re
from collections.abc import Iterator

LONGEST_LINE = 900
"""Octets after which a field that we write is folded; RFC 5322 section 2.1.1 allows 998."""

PREFERRED_LINE = 78
"""Maximum octets per line of a folded field, if its words allow it."""

_MOST = 998
_BLANKS = re.compile(rb"[ \t]++")


def folded(field: bytes, most: int = LONGEST_LINE) -> bytes:
    """Return a field, given as one line without its end, in lines of 78 octets if it is longer than `most`.

    A line breaks only before blanks followed by a word, so no line is blank: blank lines are obsolete syntax (RFC 5322
    section 3.2.2), and some servers mistake them for the empty line. A word longer than a line gets its own line,
    because cutting would change it. Trailing blanks are removed.
    """
    if len(field) <= most:
        return field
    field = field.rstrip(b" \t")
    begin = 0
    pieces = []
    for place, word_end, is_first in _words(field):
        # A name is alone on its line only if the first word is too long for the rest of the line.
        if word_end - begin > (_MOST if is_first else PREFERRED_LINE):
            pieces.append(field[begin:place])
            begin = place
    return b"\r\n".join((*pieces, field[begin:]))


def _words(field: bytes) -> Iterator[tuple[int, int, bool]]:
    """Yield where a line may end before each word, where the word ends, and whether it is the first of the body."""
    colon = field.find(b":") + 1
    runs = [found.span() for found in _BLANKS.finditer(field)]
    nexts = [*(start for start, _ in runs), len(field)][1:]
    for (start, end), word_end in zip(runs, nexts, strict=True):
        # If a line has no room for blanks and the word, the first blanks end the line before.
        yield max(start, min(word_end - _MOST, end - 1), 1), word_end, start <= colon
