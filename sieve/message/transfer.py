"""Content transfer encodings undone, as leniently as mail programs do it (RFC 2045, 6)."""

from __future__ import annotations

import base64
import quopri
from collections.abc import Iterator

NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
_LONGEST_LINE = 1 << 20
_PIECE = 1 << 16
"""Octets that are decoded at once; divisible by 4."""

_MOST_ENDS = 1000
"""Groups of base64 in one part that end with `=` and are decoded each for itself; the rest is one more."""


def decoded(body: bytes, encoding: str) -> bytes:
    """Return a part's body with this transfer encoding undone; one that is not known leaves it as it is."""
    if encoding == "base64":
        return _from_base64(body)
    return _from_quoted_printable(body) if encoding == "quoted-printable" else body


def readings(body: bytes, encoding: str) -> Iterator[bytes]:
    """Yield what the body may be decoded to, the usual reading first.

    Some programs skip a `=` within base64 as they skip other noise, for others a group of four ends there.
    """
    yield decoded(body, encoding)
    if encoding == "base64":
        groups = [group for group in body.rstrip(b"= \t\r\n-").split(b"=", _MOST_ENDS) if group]
        if len(groups) > 1:
            yield b"".join(map(_from_base64, groups))


def _from_base64(body: bytes) -> bytes:
    """Return what base64 holds, in pieces: another thread can run between two of them."""
    digits = b"".join(body[at : at + _PIECE].translate(None, NOT_BASE64) for at in range(0, len(body), _PIECE))
    whole = len(digits) - len(digits) % 4
    pieces = [base64.b64decode(digits[at : min(at + _PIECE, whole)]) for at in range(0, whole, _PIECE)]
    return b"".join([*pieces, base64.b64decode(_tail(digits))])


def _from_quoted_printable(body: bytes) -> bytes:
    """Return what quoted-printable holds, in pieces that end with a line unless it is too long."""
    pieces, at = [], 0
    while at < len(body):
        line = body.find(b"\n", at + _PIECE, at + _LONGEST_LINE) + 1
        end = line or _before_escape(body, at + _LONGEST_LINE)
        pieces.append(quopri.decodestring(body[at:end]))
        at = end
    return b"".join(pieces)


def _before_escape(body: bytes, end: int) -> int:
    """Return where to cut a line without an end so that no escape is cut: before the signs that may begin one."""
    for back in range(8):
        if b"=" not in body[end - back - 2 : end - back]:
            return end - back
    return end


def _tail(digits: bytes) -> bytes:
    rest = len(digits) % 4
    return digits[-rest:] + b"=" * (4 - rest) if rest > 1 else b""
