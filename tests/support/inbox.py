"""What a client has sent to a scripted server that was not read yet: lines, then content, from one buffer."""

from __future__ import annotations

import asyncio

END = b"\r\n.\r\n"
"""Line end, dot, line end; the first of them is part of the content."""

BLOCK = 64 * 1024


class Gone(Exception):
    """The connection ended."""


class Inbox:
    """What the client has sent that was not read yet, as bytes."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._unread = bytearray()

    async def line(self) -> bytes:
        """Return the next line with its line end."""
        while (at := self._unread.find(b"\n")) < 0:
            await self.more()
        return self.take(at + 1)

    @property
    def holds_line(self) -> bool:
        """Whether there is a whole line to read."""
        return b"\n" in self._unread

    async def more(self) -> bytes:
        """Wait for the next block and append it to what is unread."""
        block = await self._reader.read(BLOCK)
        if not block:
            raise Gone
        self._unread += block
        return block

    def take(self, count: int) -> bytes:
        """Return the first `count` unread bytes, or all, as read."""
        taken = bytes(self._unread[:count])
        del self._unread[:count]
        return taken

    def find_end(self, start: int) -> int:
        """Return where `END` begins, looking from `start`; -1 if it has not come."""
        return self._unread.find(END, max(0, start))

    def __len__(self) -> int:
        """Count the unread bytes."""
        return len(self._unread)

    def put_back(self, first: bytes) -> None:
        """Make these the next unread bytes."""
        self._unread[:0] = first
