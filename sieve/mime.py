"""The structure of a message's body: its MIME parts, found in one pass, and what they hold (RFC 2045, 2046).

Nothing here recurses: nested multiparts are kept on a stack, and both their depth and the number of parts are capped,
so that a message made to hurt costs time in proportion to its length.
"""

from __future__ import annotations

import base64
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from sieve import charsets

DEEPEST = 100
"""Multiparts inside each other that are opened; what is deeper is the content of the part around it."""

MOST_PARTS = 1000

_UNFOLD = re.compile(r"\r?\n(?=[ \t])")
_PARAMETER = re.compile(r';\s*+([^\s=;"]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]*+))', re.DOTALL)
_EMPTY_LINE = re.compile(rb"\n\r?\n")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
_LONGEST_HEADER = 1 << 16
_LONGEST_LINE = 1 << 20
_PIECE = 1 << 16
"""Octets that are decoded at once; divisible by 4."""


@dataclass(slots=True)
class Part:
    """One part: where its header section and its body stand in the message, and what its header section says."""

    start: int
    body: int
    end: int
    fields: dict[str, str]
    depth: int
    is_open: bool = True
    children: int = 0
    parameters: dict[str, str] = field(init=False)
    content_type: str = field(init=False)

    def __post_init__(self) -> None:
        """Read the content type; without a usable one it is text/plain (RFC 2045, 5.2)."""
        declared, self.parameters = parameters(self.fields.get("content-type", ""))
        self.content_type = declared if declared.count("/") == 1 else "text/plain"

    @property
    def is_multipart(self) -> bool:
        """Whether it holds other parts."""
        return self.content_type.startswith("multipart/") and "boundary" in self.parameters

    @property
    def is_attachment(self) -> bool:
        """Whether its disposition says so (RFC 2183)."""
        return parameters(self.fields.get("content-disposition", ""))[0] == "attachment"

    @property
    def filename(self) -> str:
        """The name that its disposition or its content type gives."""
        disposition = parameters(self.fields.get("content-disposition", ""))[1]
        return disposition.get("filename") or self.parameters.get("name", "")

    @property
    def encoding(self) -> str:
        """The content transfer encoding, lower case."""
        return self.fields.get("content-transfer-encoding", "").strip().lower()


def parameters(value: str) -> tuple[str, dict[str, str]]:
    """Return the value of a structured field, lower case, and its parameters; RFC 2231's are put together."""
    text = value[:_LONGEST_HEADER]
    found: dict[str, str] = {}
    for match in _PARAMETER.finditer(text):
        name = match[1].lower()
        given = match[3] if match[2] is None else _ESCAPE.sub(r"\1", match[2])
        base, star, _ = name.partition("*")
        found[base] = found.get(base, "") + (_extended(given) if star else given)
    return text.partition(";")[0].strip().lower(), found


def _extended(value: str) -> str:
    """Undo RFC 2231's percent encoding; a character set at its front is taken as UTF-8."""
    text = value.split("'", 2)[-1] if value.count("'") >= 2 else value
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda each: bytes([int(each[1], 16)]), text.encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "replace")


def _fields(raw: bytes) -> dict[str, str]:
    """Return the first field of each name of a header section, unfolded."""
    text = _UNFOLD.sub("", raw.decode("utf-8", "surrogateescape"))
    found: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, body = line.partition(":")
        if colon:
            found.setdefault(name.strip().lower(), body.strip())
    return found


def _header_end(raw: bytes, start: int, end: int) -> int:
    """Return where the body begins that follows the header section at `start`."""
    if raw.startswith((b"\r\n", b"\n"), start):
        return raw.index(b"\n", start) + 1
    found = _EMPTY_LINE.search(raw, start, end)
    return found.end() if found is not None else end


class _Reader:
    """Finds the parts of one message."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.parts: list[Part] = []
        self._open: list[tuple[bytes, Part]] = []
        self._places: dict[bytes, list[int]] = {}
        """A boundary → where in `_open` it is: a line that looks like one costs the same at any depth."""
        self._unclosed: list[Part] = []
        self.is_valid = True

    def read(self) -> list[Part]:
        at = self._begin(0, depth=0)
        find = self._raw.find
        while self._open:
            line = at if self._raw.startswith(b"--", at) else find(b"\n--", at) + 1
            if line <= 0 and not self._raw.startswith(b"--", at):
                break
            end = find(b"\n", line)
            end = len(self._raw) if end < 0 else end + 1
            at = self._delimiter(line, end)
        self.is_valid = self.is_valid and not self._open
        for part in self.parts:
            part.end = len(self._raw) if part.is_open else part.end
        return self.parts

    def _begin(self, start: int, depth: int) -> int:
        """Take the part that begins at `start` and return where its body does."""
        most = len(self._raw) if depth == 0 else start + _LONGEST_HEADER
        body = _header_end(self._raw, start, min(most, len(self._raw)))
        part = Part(start, body, len(self._raw), _fields(self._raw[start : min(body, start + _LONGEST_HEADER)]), depth)
        self.parts.append(part)
        self._unclosed.append(part)
        if part.is_multipart and depth < DEEPEST:
            boundary = part.parameters["boundary"].encode("utf-8", "surrogateescape")
            self._places.setdefault(boundary, []).append(len(self._open))
            self._open.append((boundary, part))
        return body

    def _delimiter(self, line: int, end: int) -> int:
        """Look whether the line is a boundary of an open multipart; return where to go on."""
        text = self._raw[line + 2 : end].rstrip()
        opened, closed = self._place(text), self._place(text[:-2]) if text.endswith(b"--") else -1
        number = max(opened, closed)
        if number < 0:
            return end
        _, part = self._open[number]
        self._close(line, part)
        self._leave(number + 1)
        if closed > opened:
            self._leave(number)
            part.is_open, part.end = False, end
            self._unclosed.pop()
            return end
        if len(self.parts) >= MOST_PARTS:
            self._open.clear()
            self.is_valid = False
            return end
        part.children += 1
        return self._begin(end, part.depth + 1)

    def _place(self, boundary: bytes) -> int:
        """Return where the innermost open multipart of this boundary is, -1 if none is."""
        places = self._places.get(boundary)
        return places[-1] if places else -1

    def _leave(self, number: int) -> None:
        """Forget the open multiparts from `number` on."""
        for boundary, _ in reversed(self._open[number:]):
            self._places[boundary].pop()
        del self._open[number:]

    def _close(self, line: int, around: Part) -> None:
        """End every part inside `around` before the line break that belongs to the delimiter (RFC 2046, 5.1.1)."""
        end = line - 1 if line and self._raw[line - 1 : line] == b"\n" else line
        end = end - 1 if end and self._raw[end - 1 : end] == b"\r" else end
        while self._unclosed[-1] is not around:
            part = self._unclosed.pop()
            part.is_open, part.end = False, max(end, part.body)


@dataclass(frozen=True, slots=True)
class Structure:
    """A message and its parts, the message itself first."""

    raw: bytes
    parts: tuple[Part, ...]
    is_valid: bool
    """Whether every multipart is closed and holds at least one part."""

    @property
    def body(self) -> bytes:
        """Everything behind the header section."""
        return self.raw[self.parts[0].body :]

    def leaves(self) -> Iterator[Part]:
        """Yield the parts that hold no others."""
        return (part for part in self.parts if not part.is_multipart)

    def decoded(self, part: Part) -> bytes:
        """Return the body of a part with its transfer encoding undone."""
        body = self.raw[part.body : part.end]
        if part.encoding == "base64":
            return _from_base64(body)
        return _from_quoted_printable(body) if part.encoding == "quoted-printable" else body

    def text(self, part: Part) -> str:
        """Return the body of a text part, by its character set; an unknown one is read as UTF-8."""
        return charsets.decoded(self.decoded(part), part.parameters.get("charset", "utf-8"))


def _from_base64(body: bytes) -> bytes:
    """Return what base64 holds, in pieces: another thread can run between two of them."""
    digits = b"".join(body[at : at + _PIECE].translate(None, _NOT_BASE64) for at in range(0, len(body), _PIECE))
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


def structure(raw: bytes) -> Structure:
    """Find the parts of a message with its header section."""
    reader = _Reader(raw)
    parts = reader.read()
    childless = any(part.is_multipart and not part.children and part.depth < DEEPEST for part in parts)
    return Structure(raw, tuple(parts), reader.is_valid and not childless)
