"""The client side of an SMTP conversation: a strict reply parser and a pipelined writer, for relay and probes.

`proxy.outgoing.handshake` connects and comes to EHLO, and puts a `Wire` on the connection. From there replies are
paired with commands by a queue, so many may be outstanding, and whatever does not fit the grammar of RFC 5321 section
4.2.1 (mixed codes, a bare LF, an overlong line, a reply that nobody asked for) breaks the wire: a mispaired reply could
turn a refusal into a 250.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

from proxy.base import closing
from proxy.base.waiting import LazyTimer, WritePause
from proxy.mail.replies import Reply

LONGEST_LINE = 2048
"""Bytes of one reply line; RFC 5321 section 4.5.3.1.5 allows 512, real servers exceed it."""

MOST_LINES = 100
LONGEST_REPLY = 32 * 1024

_CODE_LENGTH = 3


class WireBroken(Exception):
    """The conversation cannot continue: the peer closed, reset, or violated the syntax."""


Listener = Callable[[bool, bytes], None]
"""Receives what is said on a wire: whether we said it, and the bytes."""


class Garbled(WireBroken):
    """The peer violated the syntax, or sent an unexpected reply."""


class ReplyParser:
    """A strict parser from bytes to replies. Its state is the unfinished reply."""

    __slots__ = ("_buffer", "_code", "_lines", "_size")

    def __init__(self) -> None:
        self._buffer = b""
        self._lines: list[bytes] = []
        self._code = b""
        self._size = 0

    def feed(self, received: bytes) -> Iterator[Reply]:
        """Yield the replies that these bytes complete. Replies before the first error are yielded first.

        Raises:
            Garbled: the bytes are not a reply.
        """
        *lines, rest = (self._buffer + received).split(b"\n")
        for line in lines:
            finished = self._line(line)
            if finished is not None:
                yield finished
        if len(rest) > LONGEST_LINE:
            raise Garbled("a reply line is too long")
        self._buffer = rest

    @property
    def at_rest(self) -> bool:
        """Whether no byte of another reply has arrived."""
        return not self._buffer and not self._lines

    def _line(self, line: bytes) -> Reply | None:
        code, separator, text = line[:_CODE_LENGTH], line[3:4], line[4:-1]
        self._size += len(line)
        _check_line(line, code, separator)
        if self._lines and code != self._code:
            raise Garbled("a reply mixes codes")
        if self._size > LONGEST_REPLY or len(self._lines) >= MOST_LINES:
            raise Garbled("a reply is too long")
        self._code = code
        self._lines.append(text)
        if separator == b"-":
            return None
        finished = Reply(int(code), tuple(self._lines))
        self._lines, self._size = [], 0
        return finished


def _check_line(line: bytes, code: bytes, separator: bytes) -> None:
    """Check one line without its LF by RFC 5321 section 4.2: `2yz text CR`, code 200 to 599."""
    if len(line) > LONGEST_LINE:
        raise Garbled("a reply line is too long")
    if not line.endswith(b"\r") or line.find(b"\r") != len(line) - 1 or b"\0" in line:
        raise Garbled("a reply line contains a bare line break or NUL")
    if not (code.isdigit() and b"200" <= code <= b"599") or separator not in {b" ", b"-", b"\r"}:
        raise Garbled("a line is not a reply")


class Wire(asyncio.Protocol):
    """One connection as a client. Its holder owns it; it is not shared."""

    def __init__(self, transport: asyncio.Transport, extensions: dict[str, str]) -> None:
        """Take over a connected transport; `extensions` are the peer's EHLO keywords in lower case."""
        self.transport = transport
        self.extensions = extensions
        self.listener: Listener | None = None
        self.peer_name = ""
        """The name that the peer gives in its reply to EHLO, in lower case."""
        self.broken: str | None = None
        """Why the conversation cannot continue, or None."""
        self.garbled = False
        """The peer violated the syntax, or sent an unexpected reply: its last reply may belong to another command."""
        self._parser = ReplyParser()
        self._awaited: deque[asyncio.Future[Reply]] = deque()
        self._loop = asyncio.get_running_loop()
        self._waited_for: asyncio.Future[Reply] | None = None
        self._timer = LazyTimer(self._loop, self._ring)
        self._pause = WritePause(self._loop)
        self._closing: asyncio.TimerHandle | None = None
        self._lost: asyncio.Future[None] = self._loop.create_future()

    # ------------------------------------------------------------ for the holder

    def send(self, commands: bytes, replies: int = 1) -> list[asyncio.Future[Reply]]:
        """Write commands in one piece and return a future for each expected reply.

        If the conversation ends before its reply, a future fails with WireBroken.
        """
        awaited = [self._loop.create_future() for _ in range(replies)]
        if self.broken is not None:
            for future in awaited:
                future.set_exception(WireBroken(self.broken))
                future.exception()
            return awaited
        self._awaited.extend(awaited)
        if commands:
            self.transport.write(commands)
            if self.listener is not None:
                self.listener(True, commands)
        return awaited

    async def ask(self, command: bytes, seconds: float) -> Reply:
        """Send one command and return its reply.

        Raises:
            WireBroken: the conversation ended first.
            TimeoutError: no reply within `seconds`; the wire is unusable then.
        """
        (answer,) = self.send(command)
        return await self.read(answer, seconds)

    async def read(self, answer: asyncio.Future[Reply], seconds: float) -> Reply:
        """Wait for one reply. A timeout breaks the wire, because a late reply would be matched to another command.

        Raises:
            WireBroken: the conversation ended first.
            TimeoutError: no reply within `seconds`.
        """
        if answer.done():
            return answer.result()
        self._waited_for = answer
        self._timer.until(self._loop.time() + seconds)
        try:
            return await answer
        except TimeoutError:
            self.abort("no reply in time")
            raise
        except asyncio.CancelledError:
            self.abort("given up")
            raise
        finally:
            self._timer.rest()
            self._waited_for = None

    def _ring(self) -> None:
        """End the wait for a reply whose time is up."""
        if self._waited_for is not None and not self._waited_for.done():
            self._waited_for.set_exception(TimeoutError())

    def write(self, block: bytes) -> None:
        """Write message content, which expects no reply."""
        if self.broken is None:
            self.transport.write(block)

    async def drain(self, seconds: float, unless: asyncio.Future[Reply]) -> None:
        """Wait until the transport accepts more, or `unless` is done: a peer that has refused may stop reading.

        Raises:
            WireBroken: the conversation ended.
            TimeoutError: the peer did not read for `seconds`; the wire is unusable then.
        """
        resumed = self._pause.resumed
        if resumed is not None and self.broken is None:
            done, _ = await asyncio.wait((resumed, unless), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                self.abort("the peer does not read")
                raise TimeoutError
        if self.broken is not None and not unless.done():
            raise WireBroken(self.broken)

    def abort(self, why: str) -> None:
        """End the connection at once. Unsent bytes are dropped, so a half-sent message stays incomplete."""
        self._break(why)
        self.transport.abort()

    async def quit(self, seconds: float) -> None:
        """Send QUIT, wait briefly for the reply, close, and wait as long for the connection to end; then abort it."""
        with suppress(WireBroken, TimeoutError):
            await self.ask(b"QUIT\r\n", seconds)
        self.close()
        await self._gone(seconds)

    async def _gone(self, seconds: float) -> None:
        """Wait until the socket is closed: until then, connection limits still count it."""
        gone, _ = await asyncio.wait((self._lost,), timeout=seconds)
        if not gone:
            self.transport.abort()

    def close(self) -> None:
        """Close the connection after the written data is sent."""
        self._break("closed by us")
        self._close()

    def _close(self) -> None:
        """Close the transport; a peer that does not read is finally cut off."""
        if self._closing is None and not self.transport.is_closing():
            self._closing = closing.close(self.transport)

    # ------------------------------------------------------------ for the transport

    def data_received(self, data: bytes) -> None:
        """Match the replies to the commands."""
        if self.listener is not None:
            self.listener(False, data)
        try:
            for each in self._parser.feed(data):
                self._pair(each)
        except Garbled as error:
            self.garbled = True
            self.abort(str(error))

    def _pair(self, each: Reply) -> None:
        if not self._awaited:
            raise Garbled(f"an unexpected reply: {each.code}")
        future = self._awaited.popleft()
        if not future.done():
            future.set_result(each)

    def eof_received(self) -> bool:
        """The peer closed; a half-open connection is useless here."""
        self._break("closed by the peer")
        self._close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail everything that waits."""
        if self._closing is not None:
            self._closing.cancel()
        if not self._lost.done():
            self._lost.set_result(None)
        self._break("closed by the peer" if exc is None else "reset by the peer")

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._pause.begin()

    def resume_writing(self) -> None:
        """The transport takes more."""
        self._pause.end()

    def _break(self, why: str) -> None:
        if self.broken is None:
            self.broken = why
        self._timer.cancel()
        while self._awaited:
            future = self._awaited.popleft()
            if not future.done():
                future.set_exception(WireBroken(self.broken))
                future.exception()  # read once: a wire may break with nobody waiting
        self._pause.fail(WireBroken(self.broken))


def extensions_of(answer: Reply) -> dict[str, str]:
    """Return the EHLO keywords of a reply, in lower case, with their parameters (RFC 5321 section 4.1.1.1)."""
    found = {}
    for line in answer.lines[1:]:
        keyword, _, parameters = line.decode("ascii", "replace").strip().partition(" ")
        found[keyword.lower()] = parameters
    return found
