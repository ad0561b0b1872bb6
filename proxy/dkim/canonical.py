"""The canonical forms of RFC 6376 section 3.4. Only operations that take time in proportion to the octets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from proxy.mail.fields import Field, named

_TAB_TO_SPACE = bytes.maketrans(b"\t", b" ")

PIECE = 16 * 1024
"""Octets of a body that are read in one piece: about 0.1 ms."""


def _collapsed(octets: bytes) -> bytes:
    """Return octets with each run of blanks as one space. Each turn halves the longest run."""
    octets = octets.translate(_TAB_TO_SPACE)
    while b"  " in octets:
        octets = octets.replace(b"  ", b" ")
    return octets


# ---------------------------------------------------------------- header fields


def header_field(raw: bytes, canon: str) -> bytes:
    """Return the canonical form of a whole field, with its line break."""
    if canon == "simple":
        return raw
    name, _, value = raw.partition(b":")
    value = _collapsed(value.replace(b"\r\n", b"")).strip(b" ")
    return name.rstrip(b" \t").lower() + b":" + value + b"\r\n"


def signed_fields(fields: Sequence[Field], names: Sequence[str], canon: str) -> Iterator[bytes]:
    """Yield the fields that a signature covers: of each name the last that is left (RFC 6376 section 5.4.2)."""
    left = {name: list(same) for name, same in named(fields).items()}
    for name in names:
        same = left.get(name)
        if same:
            yield header_field(same.pop().raw, canon)


def without_value(raw: bytes) -> bytes:
    """Return a signature field with its `b=` empty, as it was when it was signed (RFC 6376 section 3.7)."""
    name, colon, body = raw.partition(b":")
    specs = body.split(b";")
    for at, spec in enumerate(specs):
        tag, equals, _ = spec.partition(b"=")
        if tag.strip() == b"b":
            specs[at] = tag + equals
    return name + colon + b";".join(specs)


def signed_header(fields: Sequence[Field], own: bytes, names: Sequence[str], canon: str) -> bytes:
    """Return what is hashed for a signature: the fields it covers, and its own field without the value."""
    last = header_field(without_value(own), canon)
    return b"".join(signed_fields(fields, names, canon)) + last.removesuffix(b"\r\n")


# ---------------------------------------------------------------- body


class SimpleBody:
    """A body without the empty lines at its end; an empty one is one line break (RFC 6376 section 3.4.3).

    It takes at most PIECE octets at once, and none ends between CR and LF.
    """

    __slots__ = ("_begun", "_lines")

    def __init__(self) -> None:
        """Start before the first octet."""
        self._lines = 0
        """Line breaks that are left out if nothing follows."""
        self._begun = False

    def feed(self, octets: bytes) -> Iterator[bytes]:
        """Yield the canonical form of what is certain, in pieces."""
        text = _without_line_breaks(octets)
        if text:
            while self._lines:
                lines = min(self._lines, PIECE // 2)
                self._lines -= lines
                yield b"\r\n" * lines
            self._begun = True
            yield text
        self._lines += (len(octets) - len(text)) // 2

    def finish(self) -> Iterator[bytes]:
        """Yield the end."""
        yield b"\r\n"


class RelaxedBody(SimpleBody):
    """The same with each run of blanks as one space, none at the end of a line; an empty body is empty (3.4.4)."""

    __slots__ = ("_blank",)

    def __init__(self) -> None:
        """Start before the first octet."""
        super().__init__()
        self._blank = b""
        """A space, if the last octets were blanks."""

    def feed(self, octets: bytes) -> Iterator[bytes]:
        """Yield the canonical form of what is certain, in pieces."""
        octets = _collapsed(self._blank + octets).replace(b" \r\n", b"\r\n")
        self._blank = b" " if octets.endswith(b" ") else b""
        yield from super().feed(octets[:-1] if self._blank else octets)

    def finish(self) -> Iterator[bytes]:
        """Yield the end."""
        if self._begun:
            yield b"\r\n"


def _without_line_breaks(octets: bytes) -> bytes:
    """Return octets without the CRLFs at their end. A bare CR or LF, which only BINARYMIME may have, stays."""
    text = octets.rstrip(b"\r\n")
    end = octets[len(text) :]
    if end != b"\r\n" * (len(end) // 2):
        kept = len(end)
        while end.endswith(b"\r\n", 0, kept):
            kept -= 2
        text += end[:kept]
    return text
