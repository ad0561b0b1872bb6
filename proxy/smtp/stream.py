"""The bytes from and to one client: a bounded buffer, lines and blocks under deadlines, one write per batch of replies.

It owns the session's only timer. A deadline runs only while we wait for the client, never while the client waits for
us.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from proxy.base import closing
from proxy.base.waiting import LazyTimer, WritePause

LONGEST_COMMAND = 2048
"""Octets of a command line. RFC 5321 section 4.5.3.1.4 requires 512; parameters need more."""

MOST_DISCARDED = 64 * 1024
"""Octets of an endless command that are skipped before the session is closed."""

LINES_IN_A_TURN = 50
"""Pipelined commands that are executed before other sessions get a turn."""

HIGH_WATER = 64 * 1024
LOW_WATER = 32 * 1024


class ClientGone(Exception):
    """The connection is closed or lost; nothing more can be read."""


class ClientIdle(Exception):
    """The client missed a deadline."""


class Draining(Exception):
    """Ringback is shutting down, and this session is between commands."""


class LineTooLong(Exception):
    """A command line exceeded the limit. It was read to its end, unless it is `endless`."""

    def __init__(self, *, endless: bool) -> None:
        """`endless`: no line end was found, so the session cannot go on."""
        self.endless = endless


class ClientStream:
    """Reads and writes for one session. Only one task may read."""

    __slots__ = (
        "_closing", "_flush_scheduled", "_interruptible", "_lines_in_turn", "_loop", "_outgoing", "_pause",
        "_reading_paused", "_timer", "_waiter", "buffer", "draining", "ended", "lost", "transport",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        """Start on a connected transport."""
        self._loop = loop
        self.transport = transport
        self.buffer = bytearray()
        self.ended = False
        """The client will send no more (it may still read)."""
        self.lost = False
        self.draining = False
        self._waiter: asyncio.Future[None] | None = None
        self._interruptible = False
        self._lines_in_turn = 0
        self._timer = LazyTimer(loop, self._ring)
        self._closing: asyncio.TimerHandle | None = None
        self._outgoing: list[bytes] = []
        self._flush_scheduled = False
        self._reading_paused = False
        self._pause = WritePause(loop)

    # ------------------------------------------------------------ reading

    async def line(self, seconds: float) -> bytes:
        """Return the next line with its line break; the whole line must come within `seconds`.

        Raises:
            ClientGone: the connection ended first.
            ClientIdle: the deadline passed.
            Draining: Ringback is shutting down.
            LineTooLong: the line exceeded LONGEST_COMMAND.
        """
        buffer, searched = self.buffer, 0
        deadline = self._loop.time() + seconds
        self._lines_in_turn += 1
        if self._lines_in_turn >= LINES_IN_A_TURN:
            # Measured: a full buffer of commands without I/O blocked the whole worker for half a second.
            self._lines_in_turn = 0
            await self._let_others(deadline)
        while (at := buffer.find(b"\n", searched)) < 0:
            searched = len(buffer)
            if searched > LONGEST_COMMAND:
                await self._discard_line(deadline)
            await self.more(deadline, interruptible=True)
        line = bytes(buffer[: at + 1])
        self.consume(at + 1)
        if at > LONGEST_COMMAND:
            raise LineTooLong(endless=False)
        return line

    async def _discard_line(self, deadline: float) -> None:
        """Skip the rest of an overlong line, then raise LineTooLong."""
        discarded = 0
        while (at := self.buffer.find(b"\n")) < 0:
            discarded += len(self.buffer)
            self.consume(len(self.buffer))
            if discarded > MOST_DISCARDED:
                raise LineTooLong(endless=True)
            await self.more(deadline)
        self.consume(at + 1)
        raise LineTooLong(endless=False)

    async def _let_others(self, deadline: float) -> None:
        """Give the loop a turn, and the client time to read its replies."""
        self.flush()
        await asyncio.sleep(0)
        if self._pause.resumed is not None:
            await self._wait(self._pause.resumed, deadline)

    async def more(self, deadline: float, *, interruptible: bool = False) -> None:
        """Send our replies, then wait for bytes beyond those in the buffer until `deadline` by the loop's clock.

        Raises:
            ClientGone, ClientIdle, and Draining if `interruptible`.
        """
        self._lines_in_turn = 0
        self.flush()
        if self._pause.resumed is not None:
            before = len(self.buffer)
            await self._wait(self._pause.resumed, deadline)
            if len(self.buffer) != before:  # shutdown came while we waited for room to write
                return
        if self.ended or self.lost:
            raise ClientGone
        if interruptible and self.draining:
            raise Draining
        self._waiter = self._loop.create_future()
        self._interruptible = interruptible
        try:
            await self._wait(self._waiter, deadline)
        finally:
            self._waiter = None

    async def speaks_within(self, seconds: float) -> bool:
        """Return whether the client sends anything within `seconds`. If it leaves or we shut down, the wait ends."""
        if not self.buffer:
            with suppress(ClientIdle, ClientGone, Draining):
                await self.more(self._loop.time() + seconds, interruptible=True)
        return bool(self.buffer)

    async def _wait(self, event: asyncio.Future[None], deadline: float) -> None:
        """Wait under the session's only timer."""
        self._timer.until(deadline)
        try:
            await event
        finally:
            self._timer.rest()

    def _ring(self) -> None:
        self._wake(ClientIdle())

    def consume(self, octets: int) -> None:
        """Drop what was read from the buffer's head, and resume reading if the buffer was too large."""
        del self.buffer[:octets]
        if self._reading_paused and len(self.buffer) < LOW_WATER:
            self._reading_paused = False
            with suppress(RuntimeError):  # a closing transport does not read
                self.transport.resume_reading()

    # ------------------------------------------------------------ writing

    def send_and_read(self, wire: bytes) -> None:
        """Queue a reply if the session's next step is to read.

        If the client has sent nothing more, reading waits, and waiting flushes. So most replies need no extra turn of
        the loop.
        """
        if self.buffer:
            self.send(wire)
        else:
            self._outgoing.append(wire)

    def send(self, wire: bytes) -> None:
        """Queue a reply. Replies from one turn of the loop are sent in one write."""
        self._outgoing.append(wire)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write the queued replies."""
        self._flush_scheduled = False
        # uvloop does not report a connection lost during the TLS handshake, and raises if we write to it.
        if self._outgoing and not self.lost and not self.transport.is_closing():
            self.transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    async def linger(self, seconds: float) -> None:
        """Send the queued replies and our FIN, and keep reading for a while.

        Closing with unread octets resets the connection, and a client that still sends would lose our last reply.
        """
        self.flush()
        with suppress(OSError, RuntimeError, NotImplementedError):  # TLS cannot half-close
            if not self.lost and self.transport.can_write_eof():
                self.transport.write_eof()
        deadline = self._loop.time() + seconds
        with suppress(ClientGone, ClientIdle):
            while True:
                self.consume(len(self.buffer))
                await self.more(deadline)

    def close(self) -> None:
        """Write the queued replies, then close. A client that does not read is cut off after a while."""
        self.flush()
        self._timer.cancel()
        if not self.lost:
            self._closing = closing.close(self.transport)

    # ------------------------------------------------------------ from the transport

    def received(self, data: bytes) -> None:
        """Buffer bytes from the client; pause reading if the session does not keep up."""
        self.buffer += data
        if len(self.buffer) > HIGH_WATER and not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()
        self._wake(None)

    def end(self) -> None:
        """The client half-closed. If we wait for it to read our replies, that wait goes on."""
        self.ended = True
        if self._waiter is not None:
            self._wake(ClientGone())

    def lose(self) -> None:
        """The connection is gone."""
        self.ended = self.lost = True
        self._outgoing.clear()
        self._timer.cancel()
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        self._wake(ClientGone())

    def drain(self) -> None:
        """Ringback is shutting down: end the wait for the next command, now or when it begins."""
        self.draining = True
        if self._interruptible and self._waiter is not None:
            self._wake(Draining())

    def pause_writing(self) -> None:
        """The client reads its replies too slowly."""
        self._pause.begin()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._pause.end()

    def _wake(self, error: Exception | None) -> None:
        """End the session task's wait, if it waits. A failure also ends a wait for writing."""
        waiter = self._waiter
        if waiter is None:
            if error is not None:
                self._pause.fail(error)
        elif waiter.done():
            return
        elif error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)
            waiter.exception()
