"""Decode content transfer encodings as leniently as mail programs (RFC 2045, 6)."""

from __future__ import annotations

import base64
import quopri
from collections.abc import Iterator

NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
_LONGEST_LINE = 1 << 20
_PIECE = 1 << 16
"""Octets decoded in one piece; divisible by 4."""

_MOST_ENDS = 1000
"""Maximum groups of base64 ending in `=` that are decoded separately in one part; the rest is one more group."""


def decoded(body: bytes, encoding: str) -> bytes:
    """Decode a part's body. An unknown encoding leaves it unchanged."""
    if encoding == "base64":
        return _from_base64(body)
    return _from_quoted_printable(body) if encoding == "quoted-printable" else body


def readings(body: bytes, encoding: str) -> Iterator[bytes]:
    """Yield the possible decoded forms of the body, the usual reading first.

    Some programs skip a `=` inside base64 like other noise; for others, it ends a group of four.
    """
    yield decoded(body, encoding)
    if encoding == "base64":
        groups = [group for group in body.rstrip(b"= \t\r\n-").split(b"=", _MOST_ENDS) if group]
        if len(groups) > 1:
            yield b"".join(map(_from_base64, groups))


def _from_base64(body: bytes) -> bytes:
    """Decode base64 in pieces, so that other threads can run in between."""
    digits = b"".join(body[at : at + _PIECE].translate(None, NOT_BASE64) for at in range(0, len(body), _PIECE))
    whole = len(digits) - len(digits) % 4
    pieces = [base64.b64decode(digits[at : min(at + _PIECE, whole)]) for at in range(0, whole, _PIECE)]
    return b"".join([*pieces, base64.b64decode(_tail(digits))])


def _from_quoted_printable(body: bytes) -> bytes:
    """Decode quoted-printable in pieces. A piece ends at a line end, unless the line is too long."""
    pieces, at = [], 0
    while at < len(body):
        line = body.find(b"\n", at + _PIECE, at + _LONGEST_LINE) + 1
        end = line or _before_escape(body, at + _LONGEST_LINE)
        pieces.append(quopri.decodestring(body[at:end]))
        at = end
    return b"".join(pieces)


def _before_escape(body: bytes, end: int) -> int:
    """Return an offset to split a long line without splitting an escape."""
    for back in range(8):
        if b"=" not in body[end - back - 2 : end - back]:
            return end - back
    return end


def _tail(digits: bytes) -> bytes:
    rest = len(digits) % 4
    return digits[-rest:] + b"=" * (4 - rest) if rest > 1 else b""
