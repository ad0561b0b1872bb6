"""Line breaks of mail: only CRLF is one (RFC 5321 section 2.3.8)."""

from __future__ import annotations

from io import IncrementalNewlineDecoder

_ONLY_CRLF = frozenset({None, "\r\n"})


def has_bare_line_break(octets: bytes) -> bool:
    """Whether there is a CR or LF on its own.

    The decoder of text files notes the kinds of line breaks that it sees, with three instructions for an octet. To
    remove each CRLF and look for what is left took four times as many.
    """
    decoder = IncrementalNewlineDecoder(None, translate=False)
    decoder.decode(octets.decode("latin-1"), final=True)
    return decoder.newlines not in _ONLY_CRLF
