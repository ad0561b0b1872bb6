"""Reads DATA in blocks up to CRLF.CRLF. Blocks are checked as they pass and never split into lines.

Only CRLF.CRLF ends a message. A bare CR or LF is remembered, because another server might read it as the end of the
message (SMTP smuggling). The bytes stay dot-stuffed and go to the next hop unchanged. Source: RFC 5321 section 4.5.2.
"""

from __future__ import annotations

from proxy.smtp.connection import Connection
from proxy.smtp.pace import Pace
from sieve.message.line_breaks import has_bare_line_break

_END = b"\r\n.\r\n"
GATHERED = 64 * 1024
"""Octets gathered before we send DATA to the next hop, so that most mail goes there in one burst."""

_SMALLEST_BLOCK = 4 * 1024
"""Octets to collect before a block is passed on: many small blocks cost more than one."""

_LARGEST_BLOCK = 64 * 1024
"""Most octets of a block, so that many concurrent large messages need little memory."""

_CR = 0x0D


class DataReader:
    """Reads one message from a session's stream, block by block."""

    def __init__(self, connection: Connection, pace: Pace) -> None:
        """Start right after the 354; `pace` says how slow the client may be."""
        self._connection = connection
        self.pace = pace
        self._at_start = True
        self._searched = 0
        self._end = -1
        """Where the end of data begins in the buffer, once it was found."""
        self.finished = False
        self.size = 0
        """Octets so far, including dot-stuffing, without the end of data."""
        self.bare_line_break = False

    def has_arrived(self) -> bool:
        """Whether the whole message is in the buffer, or as much as is gathered before it is passed on."""
        buffer = self._connection.buffer
        self._end = buffer.find(_END, self._searched)
        if self._end >= 0 or buffer[:3] == b".\r\n":
            return True
        octets = len(buffer)
        self._searched = max(octets - len(_END) + 1, 0)
        return octets >= GATHERED

    async def block(self) -> bytes:
        """Return the next bytes of the message; with the last of them `finished` is set.

        Raises:
            ClientGone: the connection ended before the end of the message.
            ClientIdle: the client sent nothing for the block's deadline.
        """
        while True:
            found = self._take()
            if found or self.finished:
                self.size += len(found)
                return found
            await self.pace.more()

    async def drain(self, most: int) -> bool:
        """Read to the end and keep nothing, because a rejection is sent only after the client's dot.

        Returns False if the end did not come within `most` more octets.

        Raises:
            ClientGone, ClientIdle: as `block`.
        """
        most += self.size
        while not self.finished:
            if self.size > most:
                return False
            await self.block()
        return True

    def _take(self) -> bytes:
        """Return the part of the buffer that is certainly content. The rest may belong to a CRLF or the end of data."""
        buffer = self._connection.buffer
        if self._at_start:
            if len(buffer) < 3 and b".\r\n".startswith(buffer):  # the three octets of ".CRLF"
                return b""
            self._at_start = False
            if buffer[:3] == b".\r\n":  # an empty message: the CRLF before its dot ended the DATA command
                return self._emit(0, 3, finished=True)
        at = self._end if self._end >= 0 else buffer.find(_END)
        if at >= 0:
            return self._emit(at + 2, at + 5, finished=True)  # the content's last CRLF; with ".CRLF"
        safe = min(len(buffer) - (len(_END) - 1), _LARGEST_BLOCK)
        if safe > 0 and buffer[safe - 1] == _CR:
            safe -= 1  # never split CR LF
        if safe <= 0 or (safe < _SMALLEST_BLOCK and not self._connection.ended):
            return b""
        return self._emit(safe, safe, finished=False)

    def _emit(self, content: int, consumed: int, *, finished: bool) -> bytes:
        self.finished = finished
        self._end = -1
        block = bytes(self._connection.buffer[:content])
        self._connection.consume(consumed)
        if has_bare_line_break(block):
            self.bare_line_break = True
        return block
