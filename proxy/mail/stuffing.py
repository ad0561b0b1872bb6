"""Dot-stuffing (RFC 5321 section 4.5.2), and the rest of a message as received, which is stored stuffed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

IN_MEMORY = 1 << 20
"""How many octets of a stored message stay in memory. A larger message goes to a temporary file."""

BLOCK = 64 * 1024


class StuffedBody:
    """The octets after the header section as received: the empty line and the body, still dot-stuffed.

    Up to IN_MEMORY octets stay in memory; more go to an unnamed temporary file. Owned by the task that receives it.
    """

    def __init__(self, folder: Path | None) -> None:
        """Create an empty body. `folder` is for the temporary file; None means the system default."""
        where = None if folder is None else str(folder)
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=where)  # noqa: SIM115 — close() is ours
        self.octets = 0
        self.stuffed_lines = 0
        self._end = b"\r\n"
        """The last two octets written. It starts as CRLF because the body follows a header line."""

    def write(self, block: bytes) -> None:
        """Append a block of octets from the wire."""
        self.octets += len(block)
        # Only after CRLF: BINARYMIME may contain a bare LF, and a dot after it is not stuffed.
        self.stuffed_lines += block.count(b"\r\n.") + (self._end + block[:2]).count(b"\r\n.")
        self._end = (self._end + block[-2:])[-2:]
        self._file.write(block)

    def blocks(self) -> Iterator[bytes]:
        """Yield the content from the start, in blocks."""
        self._file.seek(0)
        while block := self._file.read(BLOCK):
            yield block

    def body(self) -> bytes:
        """Return the whole body, unstuffed and without the empty line."""
        return unstuffed(b"".join(self.blocks()).removeprefix(b"\r\n"))

    def close(self) -> None:
        """Release the memory or the file."""
        self._file.close()


def unstuffed(block: bytes) -> bytes:
    """Remove dot-stuffing (RFC 5321 section 4.5.2)."""
    return block.removeprefix(b".").replace(b"\r\n.", b"\r\n") if _has_dots(block) else block


def stuffed(block: bytes) -> bytes:
    """Add dot-stuffing to a block that starts at the beginning of a line."""
    if not _has_dots(block):
        return block
    return (b"." if block[:1] == b"." else b"") + block.replace(b"\r\n.", b"\r\n..")


def _has_dots(block: bytes) -> bool:
    """Whether a line begins with a dot. `find` takes half of the time of `in`, which first asks for an integer."""
    return block.find(b"\n.") >= 0 or block[:1] == b"."
