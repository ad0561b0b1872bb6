"""Reads a message in chunks (BDAT, RFC 3030), with the same interface as `data.DataReader`.

Octets are counted, not searched, so no sequence ends the message. They are dot-stuffed here, because we send DATA to
the next hop. A BINARYMIME message may have any line breaks and also goes to the next hop in chunks; the dot-stuffing is
undone there. So a message has only one form in between.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from proxy.mail.replies import Reply
from proxy.mail.stuffing import stuffed
from proxy.smtp.connection import Connection
from proxy.smtp.pace import Pace
from sieve.message.line_breaks import has_bare_line_break

_ARGUMENT = re.compile(rb"([0-9]{1,12})(?: +(LAST))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one BDAT announces."""

    octets: int
    last: bool


class Interrupted(Exception):
    """Another command came within the message: it is in `line`. If it was not a command, `answer` is the reply."""

    def __init__(self, line: bytes, answer: Reply | None = None) -> None:
        """Keep the command."""
        super().__init__(line)
        self.line, self.answer = line, answer


def chunk_of(argument: bytes) -> Chunk | None:
    """Parse BDAT's argument; None if it is invalid."""
    found = _ARGUMENT.fullmatch(argument)
    return Chunk(int(found[1]), found[2] is not None) if found else None


class ChunkReader:
    """Reads one message from a session's stream, chunk by chunk."""

    def __init__(
        self,
        connection: Connection,
        first: Chunk,
        following: Callable[[Chunk], Awaitable[Chunk]],
        pace: Pace,
        *,
        binary: bool = False,
    ) -> None:
        """Start after the first BDAT. `following` acknowledges a chunk and returns the next one.

        `binary`: leave all line breaks and the end of the last line as they are.
        """
        self._connection, self._chunk, self._following = connection, first, following
        self._left = first.octets
        self._pace = pace
        self._binary = binary
        self._held = b""
        self._line_begins = True
        self.finished = False
        self.size = 0
        self.bare_line_break = False

    async def block(self) -> bytes:
        """Return the next octets of the message, dot-stuffed; with the last of them `finished` is set.

        Raises:
            ClientGone, ClientIdle: the client left or stalled.
            Interrupted: another command came between two chunks.
        """
        while True:
            if not self._left:
                if self._chunk.last:
                    self.finished = True
                    held, self._held = self._held, b""  # a CR without its LF
                    return self._form(held)
                self._chunk = await self._following(self._chunk)
                self._left = self._chunk.octets
                continue
            if not self._connection.buffer:
                await self._pace.more()
            if (block := self._take()) or self.finished:
                return block

    def _take(self) -> bytes:
        octets = min(len(self._connection.buffer), self._left)
        raw = self._held + bytes(self._connection.buffer[:octets])
        self._connection.consume(octets)
        self._left -= octets
        self.size += octets
        self.finished = self._chunk.last and not self._left
        self._held = b"\r" if raw.endswith(b"\r") and not self.finished else b""  # never split CR LF
        return self._form(raw.removesuffix(b"\r") if self._held else raw)

    def _form(self, raw: bytes) -> bytes:
        """Check line breaks, dot-stuff, and end the last line, because DATA cannot carry it without CRLF."""
        if not self._binary:
            self.bare_line_break |= has_bare_line_break(raw)
        block = stuffed(raw) if self._line_begins else stuffed(b"x" + raw)[1:]
        if raw:
            self._line_begins = raw.endswith(b"\r\n")
        return block + self._end() if self.finished else block

    def _end(self) -> bytes:
        return b"" if self._line_begins or self._binary else b"\r\n"

    async def drain(self, most: int) -> bool:
        """Read the rest of the current chunk, because a rejection is sent at once, not after the last chunk.

        Returns False without reading if more than `most` octets are left.

        Raises:
            ClientGone, ClientIdle: as `block`.
        """
        if self._left > most:
            return False
        while self._left:
            if not self._connection.buffer:
                await self._pace.more()
            octets = min(len(self._connection.buffer), self._left)
            self._connection.consume(octets)
            self._left -= octets
        return True
