"""The bytes from and to one client: a bounded buffer, lines, one write for the replies of a turn, the only timer.

It has two sides. A turn uses the one that never waits: `take_line`, `outgoing`, `flush`. A command that must wait for
the client uses the other: `line`, `more`. It owns no session and knows no command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import cast, final

from proxy.base import closing
from proxy.base.waiting import LazyTimer, WritePause, nothing

LONGEST_COMMAND = 2048
"""Octets of a command line. RFC 5321 section 4.5.3.1.4 requires 512; parameters need more."""

MOST_DISCARDED = 64 * 1024
"""Octets of an endless command that are skipped before the session is closed."""

LINES_IN_A_TURN = 50
"""Pipelined lines that are taken before other sessions get a turn: a full buffer of commands took half a second."""

HIGH_WATER = 64 * 1024
"""Octets of a message in the buffer above which we stop reading from the client."""

BACKLOG = 4 * 1024
"""Octets of unread commands, and of unsent replies, above which we stop reading."""

SMALL_READ = 16 * 1024
"""Octets that one read brings at most, once a client has pipelined twice as many. uvloop reads up to 256,000."""

MOST_SAID = 2000
"""Octets of the dialogue that a session keeps for the history, between two turns."""

LINGER_SECONDS = 2.0
"""Seconds for a client that we cut off while it sends to read the reason."""


class ClientGone(Exception):
    """The connection is closed or lost; nothing more can be read."""


class ClientIdle(Exception):
    """The client missed a deadline."""


class Draining(Exception):
    """Ringback is shutting down, and this session is between commands."""


@final
class LineTooLong(Exception):
    """A command line exceeded the limit. It was read to its end, unless it is `endless`."""

    def __init__(self, *, endless: bool) -> None:
        """`endless`: no line end was found, so the session cannot continue."""
        self.endless = endless


_ROOM = memoryview(bytearray(SMALL_READ))
"""Where all small reads go: their octets are taken before the next read."""


class SmallReads(asyncio.BufferedProtocol):
    """Sits between a transport and its protocol, and limits how much one read returns."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        """Take the protocol's place at its transport, which is connected."""
        self.protocol = protocol
        self.eof_received = protocol.eof_received  # type: ignore[method-assign]  # it is the same, and so are these
        self.connection_lost = protocol.connection_lost  # type: ignore[method-assign]
        self.pause_writing = protocol.pause_writing  # type: ignore[method-assign]
        self.resume_writing = protocol.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 — asyncio's signature
        return _ROOM

    def buffer_updated(self, nbytes: int) -> None:
        self.protocol.data_received(bytes(_ROOM[:nbytes]))


class Connection:
    """One client's bytes. Its protocol's turn uses it, or the one task of a command that waits; never both at once."""

    __slots__ = (
        "_closing", "_discarded", "_flush_due", "_has_finished", "_interruptible", "_is_awaited", "_lines", "_loop",
        "_on_idle", "_pause", "_reading_paused", "_waiter", "buffer", "dialogues", "draining", "ended",
        "high_water", "is_stuck", "lost", "outgoing", "said", "stamp", "timer", "transport",
    )  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, on_idle: Callable[[], None]
    ) -> None:
        """Start on a connected transport. `on_idle` is called if a deadline set by `expect` passes."""
        self._loop = loop
        self.transport = transport
        self._on_idle = on_idle
        self.buffer = bytearray()
        self.ended = False
        """The client will send no more (it may still read)."""
        self.lost = False
        self.draining = False
        self._waiter: asyncio.Future[None] | None = None
        self._interruptible = False
        self._is_awaited = False
        self._has_finished = False
        """We have sent our FIN."""
        self._discarded = 0
        self._lines = 0
        self.timer = LazyTimer(loop, self._ring)
        """Rings if the client misses its deadline: set when a turn ends, and while a command waits for the client."""
        self.outgoing = b""
        """The replies of this turn, to which the turn adds its own."""
        self.said = bytearray()
        """The end of the dialogue since a refusal was last reported (`proxy.smtp.said`)."""
        self.stamp = b""
        """The mark before our next reply in `said`."""
        self.dialogues = 0
        """Refusals whose dialogue was reported."""
        self.high_water = HIGH_WATER
        """Octets in the buffer above which we stop reading."""
        self.is_stuck = False
        """The client does not read its replies."""
        self._closing: asyncio.TimerHandle | None = None
        self._flush_due = False
        self._reading_paused = False
        self._pause = WritePause(loop)

    # ------------------------------------------------------------ a turn reads

    def take_line(self) -> bytes | LineTooLong | None:
        """Return the next line with its line break, or None if it has not arrived.

        An overlong line is dropped, piece by piece, and LineTooLong is returned at its end, or if it has none.
        """
        buffer = self.buffer
        if not buffer:
            return None
        end = buffer.find(b"\n") + 1
        if not end:
            return self._discard(len(buffer)) if len(buffer) > LONGEST_COMMAND or self._discarded else None
        if end - 1 > LONGEST_COMMAND or self._discarded:
            self._discarded = 0
            self.consume(end)
            return LineTooLong(endless=False)
        line = bytes(buffer[:end])
        del buffer[:end]
        if self._reading_paused:
            self._read_on()
        return line

    def _discard(self, octets: int) -> LineTooLong | None:
        """Drop what came of an overlong line."""
        self._discarded += octets
        self.consume(octets)
        if self._discarded <= MOST_DISCARDED:
            return None
        self._discarded = 0
        return LineTooLong(endless=True)

    def put_back(self, line: bytes) -> None:
        """Put a line back in front of the others."""
        self.buffer[:0] = line

    def consume(self, octets: int) -> None:
        """Drop what was read from the buffer's head, and resume reading if the buffer was too large."""
        del self.buffer[:octets]
        if self._reading_paused:
            self._read_on()

    def _read_on(self) -> None:
        if len(self.buffer) <= self.high_water // 2:
            self._reading_paused = False
            with suppress(RuntimeError):  # a closing transport does not read
                self.transport.resume_reading()

    # ------------------------------------------------------------ a command waits

    async def line(self, seconds: float) -> bytes:
        """Return the next line with its line break; the whole line must come within `seconds`.

        Raises:
            ClientGone: the connection ended first.
            ClientIdle: the deadline passed.
            Draining: Ringback is shutting down.
            LineTooLong: the line exceeded LONGEST_COMMAND.
        """
        deadline = self._loop.time() + seconds
        self._lines += 1
        if self._lines >= LINES_IN_A_TURN:
            await self._let_others(deadline)
        while (line := self.take_line()) is None:
            await self.more(deadline, interruptible=True)
        if isinstance(line, LineTooLong):
            raise line
        return line

    async def more(self, deadline: float, *, interruptible: bool = False) -> None:
        """Send our replies, then wait for bytes beyond those in the buffer until `deadline` by the loop's clock.

        Raises:
            ClientGone, ClientIdle, and Draining if `interruptible`.
        """
        self._lines = 0
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

    async def _let_others(self, deadline: float) -> None:
        """Give the loop a turn, and the client time to read its replies."""
        self._lines = 0
        self.flush()
        await asyncio.sleep(0)
        if self._pause.resumed is not None:
            await self._wait(self._pause.resumed, deadline)

    async def _wait(self, event: asyncio.Future[None], deadline: float) -> None:
        """Wait under the session's only timer."""
        self._is_awaited = True
        self.timer.until(deadline)
        try:
            await event
        finally:
            self.timer.deadline = None
            self._is_awaited = False
            del event  # its failure has a traceback, which has this frame: only a garbage collection would free them

    def _ring(self) -> None:
        if self._is_awaited:
            self._wake(ClientIdle())
        else:
            self.timer.deadline = None
            self._on_idle()

    # ------------------------------------------------------------ writing

    def send(self, wire: bytes) -> None:
        """Queue a reply from within a command that waits. Replies from one turn of the loop are sent in one write."""
        self.outgoing += wire
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write the queued replies, and forget the beginning of the dialogue."""
        self._flush_due = False
        if len(self.said) > MOST_SAID:
            del self.said[:-MOST_SAID]
        outgoing, self.outgoing = self.outgoing, b""
        # uvloop does not report a connection lost during the TLS handshake, and raises if we write to it.
        if outgoing and not self.lost and not self._has_finished and not self.transport.is_closing():
            self.transport.write(outgoing)

    async def linger(self) -> None:
        """Send the queued replies and our FIN, and keep reading for a while.

        Closing with unread octets resets the connection, and a client that still sends would lose our last reply.
        """
        self.flush()
        with suppress(OSError, RuntimeError, NotImplementedError):  # TLS cannot half-close
            if not self.lost and self.transport.can_write_eof():
                self._has_finished = True
                self.transport.write_eof()
        deadline = self._loop.time() + LINGER_SECONDS
        with suppress(ClientGone, ClientIdle):
            while True:
                self.consume(len(self.buffer))
                await self.more(deadline)

    def close(self) -> None:
        """Write the queued replies, then close. A client that does not read is cut off after a while."""
        self.flush()
        self._let_go()
        if not self.lost:
            self._closing = closing.close(self.transport)

    def _let_go(self) -> None:
        """Ring no more, and forget the session: it then goes without a garbage collection, which stops all others."""
        self.timer.cancel()
        self._on_idle = nothing

    # ------------------------------------------------------------ from the transport

    def received(self, data: bytes) -> None:
        """Buffer bytes from the client; pause reading if the session does not keep up."""
        self.buffer += data
        if len(self.buffer) > self.high_water and not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()
            if self.high_water == BACKLOG and len(data) > 2 * SMALL_READ:  # TLS brings less at once
                self._read_less()
        if self._waiter is not None:
            self._wake(None)

    def _read_less(self) -> None:
        """Let reads be small from now on. Clients that pipeline a lot would hold half a megabyte each."""
        self.transport.set_protocol(SmallReads(self.protocol))

    @property
    def protocol(self) -> asyncio.Protocol:
        """The session, which owns this connection."""
        protocol = self.transport.get_protocol()
        return protocol.protocol if isinstance(protocol, SmallReads) else cast(asyncio.Protocol, protocol)

    def end(self) -> None:
        """The client half-closed. If we are waiting for it to read our replies, that wait continues."""
        self.ended = True
        if self._waiter is not None:
            self._wake(ClientGone())

    def lose(self) -> None:
        """The connection is gone. What it still had to say is not executed, and its replies hold nothing up."""
        self.ended = self.lost = True
        self.is_stuck = False
        self.outgoing = b""
        self.buffer.clear()
        self._let_go()
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
        self.is_stuck = True
        self._pause.begin()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.is_stuck = False
        self._pause.end()

    def _wake(self, error: Exception | None) -> None:
        """End a command's wait for the client, if it waits. A failure also ends a wait for writing."""
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
