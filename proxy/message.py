"""The message of a transaction: its header section field by field, and its body where policy asked for it.

A field that nobody edits goes on byte for byte, so that signatures over it stay valid (RFC 6376). Nothing here knows
SMTP but dot-stuffing: bytes are held as they came over the wire and given out unstuffed.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

IN_MEMORY = 1 << 20
"""Octets of a message that policy reads whole which are held in memory; the rest goes to a file."""

BLOCK = 64 * 1024

_LINE_BREAK = re.compile(rb"\r\n|\r|\n")
_BEFORE_WORD = re.compile(rb"(?<=[^ \t]) (?=[^ \t])")

LONGEST_LINE = 900
"""Octets after which a field that we write is folded; RFC 5322 section 2.1.1 allows 998."""


@dataclass(slots=True)
class Field:
    """One header field, or a line that is none (`name` empty): the octets as they came, line breaks included."""

    name: str
    raw: bytes

    @property
    def body(self) -> str:
        """The unfolded body (RFC 5322 section 2.2.3)."""
        text = self.raw.decode("utf-8", "surrogateescape").partition(":")[2]
        return text.replace("\r\n", "").strip()


class Message:
    """A message as scripts see it: reads show what edits did. Owned by its transaction."""

    def __init__(self, head: bytes, content: Content | None = None) -> None:
        """Take the header section, unstuffed and without the empty line; and the content, where it was kept."""
        self._head = head
        self._content = content
        self._fields: list[Field] | None = None
        self._new_body: bytes | None = None
        self._raw: bytes | None = None
        self.head_changed = False

    # ------------------------------------------------------------ reading

    def header(self, name: str) -> Sequence[str]:
        """Return the unfolded bodies of every field of that name (case-insensitive), top to bottom."""
        wanted = name.lower()
        return [field.body for field in self._parsed() if field.name.lower() == wanted]

    def fields(self) -> Sequence[tuple[str, str]]:
        """Return every field as name and unfolded body, top to bottom."""
        return [(field.name, field.body) for field in self._parsed() if field.name]

    @property
    def size(self) -> int:
        """Octets with CRLF line ends, before dot-stuffing."""
        head = sum(len(field.raw) for field in self._parsed())
        if self._new_body is not None:
            return head + 2 + len(self._new_body)
        content = self._content
        return head + 2 if content is None else head + content.octets - content.stuffed_lines

    @property
    def stuffed_lines(self) -> int:
        """Lines that begin with a dot: each has one octet more on the wire (RFC 5321 section 4.5.2)."""
        head = sum(field.raw.startswith(b".") for field in self._parsed())
        if self._new_body is not None:
            return head + self._new_body.count(b"\n.") + self._new_body.startswith(b".")
        return head if self._content is None else head + self._content.stuffed_lines

    async def raw(self) -> bytes:
        """Return header section and body, with CRLF line ends and no dot-stuffing; the same object until an edit."""
        if self._raw is None:
            head = self.head_bytes() if self.head_changed else _ended(self._head)
            body = self._new_body if self._new_body is not None else self._content.body() if self._content else b""
            self._raw = head + b"\r\n" + body
        return self._raw

    def head_bytes(self) -> bytes:
        """Return the header section as it is now, every line ended, without the empty line."""
        return b"".join(field.raw for field in self._parsed())

    def close(self) -> None:
        """Let the message and what was kept of it go; nothing more can be read."""
        self._raw = None
        if self._content is not None:
            self._content.close()

    @property
    def is_whole(self) -> bool:
        """Whether the body is there, too."""
        return self._content is not None or self._new_body is not None

    def forget(self) -> None:
        """Let the message in one piece go, after policy has read it."""
        self._raw = None

    @property
    def new_body(self) -> bytes | None:
        """The body that replaces the one that came, unstuffed; None where none does."""
        return self._new_body

    def _parsed(self) -> list[Field]:
        if self._fields is None:
            self._fields = _parse(self._head)
        return self._fields

    # ------------------------------------------------------------ edits

    def add_header(self, name: str, body: str) -> None:
        """Add a field above the others."""
        fields = self._parsed()
        # Lines that begin with a blank would be taken for the rest of a field that stands above them.
        at = next((at for at, each in enumerate(fields) if each.raw[:1] not in {b" ", b"\t"}), len(fields))
        fields.insert(at, Field(name, _written(name, body)))
        self._edited()

    def delete_header(self, name: str) -> None:
        """Remove every field of that name (case-insensitive)."""
        wanted = name.lower()
        self._fields = [field for field in self._parsed() if field.name.lower() != wanted]
        self._edited()

    def change_header(self, name: str, number: int, body: str) -> None:
        """Give the field of that name with this number, from 0 at the top, another body."""
        wanted = name.lower()
        same = [field for field in self._parsed() if field.name.lower() == wanted]
        if number < len(same):
            same[number].raw = _written(same[number].name, body)
            self._edited()

    def replace_body(self, body: bytes) -> None:
        """Replace everything behind the header section's empty line.

        Every line break becomes CRLF, and the last line has one: a bare CR or LF that a script brought in could end the
        message for another server (SMTP smuggling).
        """
        body = _LINE_BREAK.sub(b"\r\n", body)
        self._new_body = body if not body or body.endswith(b"\r\n") else body + b"\r\n"
        self._raw = None

    def _edited(self) -> None:
        self.head_changed = True
        self._raw = None


class Content:
    """What came over the wire behind the header section, its empty line included, still dot-stuffed.

    It is kept in memory up to IN_MEMORY octets, beyond that in a temporary file without a name. Owned by one reception.
    """

    def __init__(self, folder: Path | None) -> None:
        """Begin empty; `folder` is where a file would be made, the system's choice unless given."""
        where = None if folder is None else str(folder)
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=where)  # noqa: SIM115 — close() is ours
        self.octets = 0
        self.stuffed_lines = 0
        self._line_begins = False

    def write(self, block: bytes) -> None:
        """Add what came."""
        self.octets += len(block)
        self.stuffed_lines += block.count(b"\n.") + (self._line_begins and block[:1] == b".")
        self._line_begins = block[-1:] == b"\n"
        self._file.write(block)

    def blocks(self) -> Iterator[bytes]:
        """Return everything again, from the start, block by block."""
        self._file.seek(0)
        while block := self._file.read(BLOCK):
            yield block

    def body(self) -> bytes:
        """Return the body in one piece, unstuffed, without the empty line."""
        return unstuffed(b"".join(self.blocks()).removeprefix(b"\r\n"))

    def close(self) -> None:
        """Let the memory, or the file, go."""
        self._file.close()


def unstuffed(block: bytes) -> bytes:
    """Undo dot-stuffing (RFC 5321 section 4.5.2)."""
    return block.removeprefix(b".").replace(b"\r\n.", b"\r\n") if b"\n." in block or block[:1] == b"." else block


def stuffed(block: bytes) -> bytes:
    """Do dot-stuffing, for a block that begins a line."""
    if block[:1] != b"." and b"\n." not in block:
        return block
    return (b"." if block[:1] == b"." else b"") + block.replace(b"\r\n.", b"\r\n..")


def _parse(head: bytes) -> list[Field]:
    """Part a header section into fields; a line that is none stays where it is, nameless."""
    fields: list[Field] = []
    if not head:
        return fields
    for line in _ended(head).split(b"\r\n")[:-1]:
        raw = line + b"\r\n"
        if line[:1] in {b" ", b"\t"} and fields:
            fields[-1].raw += raw
            continue
        name, colon, _ = line.partition(b":")
        name = name.rstrip(b" \t")
        named = bool(colon) and bool(name) and all(33 <= octet <= 126 for octet in name)  # RFC 5322 section 3.6.8
        fields.append(Field(name.decode() if named else "", raw))
    return fields


def _ended(head: bytes) -> bytes:
    return head + b"\r\n" if head and not head.endswith(b"\r\n") else head


def _written(name: str, body: str) -> bytes:
    """Return a field as octets, folded at blanks where a line would be too long."""
    line = f"{name}: {body}".encode("utf-8", "surrogateescape")
    pieces: list[bytes] = []
    while len(line) > LONGEST_LINE:
        # Folded before a word, never within a run of blanks: a line of blanks alone could be taken for the empty line.
        blanks = [found.start() for found in _BEFORE_WORD.finditer(line, len(name) + 2, LONGEST_LINE)]
        if not blanks:
            break
        pieces.append(line[: blanks[-1]])
        line = line[blanks[-1] :]
    return b"\r\n".join((*pieces, line)) + b"\r\n"
