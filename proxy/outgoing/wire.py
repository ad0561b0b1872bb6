"""The client side of an SMTP conversation: a strict reply parser and a pipelined writer, for relay and probes.

`proxy.outgoing.handshake` connects, sends EHLO, and puts a `Wire` on the connection. The wire pairs replies with
commands by a queue, so several commands may be outstanding. Anything that violates the grammar of RFC 5321 section
4.2.1 (mixed codes, a bare LF, an overlong line, an unsolicited reply) breaks the wire, because a mispaired reply could
turn a rejection into a 250.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from proxy.base import closing
from proxy.base.waiting import LazyTimer
from proxy.mail.replies import Reply

LONGEST_LINE = 2048
"""Bytes of one reply line; RFC 5321 section 4.5.3.1.5 allows 512, real servers exceed it."""

MOST_LINES = 100
LONGEST_REPLY = 32 * 1024

_CODE_LENGTH = 3
_CLOSING = 421

_MOST_KNOWN = 256
_LONGEST_KNOWN = 256

_PLAIN_LINE = re.compile(rb"([2-5]\d\d)(?: ([^\r\n\0]{0,%d}))?\r\n" % _LONGEST_KNOWN)
_PLAIN_REPLIES = re.compile(rb"(?:%b)+" % _PLAIN_LINE.pattern)
"""Whole replies of one line each, as almost all are. The parser reads them with the same result, in more steps."""

_known: dict[bytes, tuple[Reply, ...]] = {}
"""Plain replies by their octets: servers say the same thing to most commands. The event loop's thread owns it."""


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

    def feed(self, received: bytes) -> Iterable[Reply]:
        """Return the replies that these bytes complete. Replies before the first error come first.

        Raises, while the result is read:
            Garbled: the bytes are not a reply.
        """
        if not self._buffer and not self._lines:
            plain = _known.get(received) or _read_plain(received)
            if plain:
                return plain
        return self._read(received)

    def _read(self, received: bytes) -> Iterator[Reply]:
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


def _read_plain(received: bytes) -> tuple[Reply, ...]:
    """Return the replies if all of them are plain and whole; otherwise nothing."""
    if (line := _PLAIN_LINE.fullmatch(received)) is not None:
        replies: tuple[Reply, ...] = (Reply(int(line[1]), (line[2] or b"",)),)
    elif _PLAIN_REPLIES.fullmatch(received) is not None:
        lines = received.splitlines(keepends=True)
        replies = tuple([(_known.get(each) or _read_plain(each))[0] for each in lines])
        if len(received) > _LONGEST_KNOWN:
            return replies
    else:
        return ()
    if len(_known) >= _MOST_KNOWN:
        _known.clear()  # replies to messages fill it, because each has its own queue id; the others are soon back
    _known[received] = replies
    return replies


def _check_line(line: bytes, code: bytes, separator: bytes) -> None:
    """Check one line without its LF against RFC 5321 section 4.2: `2yz text CR`, code 200 to 599."""
    if len(line) > LONGEST_LINE:
        raise Garbled("a reply line is too long")
    if not line.endswith(b"\r") or line.find(b"\r") != len(line) - 1 or b"\0" in line:
        raise Garbled("a reply line contains a bare line break or NUL")
    if not (code.isdigit() and b"200" <= code <= b"599") or separator not in {b" ", b"-", b"\r"}:
        raise Garbled("a line is not a reply")


class Answers:
    """The replies to commands that were sent together, as they arrive. The wire fills them in."""

    __slots__ = ("closing", "missing", "replies")

    def __init__(self, expected: int) -> None:
        self.missing = expected
        self.replies: list[Reply] = []
        self.closing = False
        """One of them is a 421: the peer closes the connection."""


class Wire(asyncio.Protocol):
    """One connection as a client. Its holder owns it and is the only one who waits on it."""

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
        self._next: Answers | None = None
        """The command whose replies come next."""
        self._later: list[Answers] = []
        """What was sent after that, and has replies to come too. It is short, and an empty deque takes 0.6 KB."""
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        """The holder's wait: for `_read`, or for room in the transport."""
        self._read: Answers | None = None
        self._seconds = 0.0
        """Time for each reply of `_read` after the first."""
        self._unused: Callable[[], None] | None = None
        self._timer = LazyTimer(self._loop, self._ring)
        self._paused = False
        """The transport's buffer is full."""
        self._closing: asyncio.TimerHandle | None = None
        self._lost: asyncio.Future[None] = self._loop.create_future()

    # ------------------------------------------------------------ for the holder

    def send(self, commands: bytes, replies: int = 1) -> Answers:
        """Write commands in one piece; `read` returns the replies."""
        answers = Answers(replies)
        self._unused = None
        if self.broken is None:
            if self._next is None and replies:
                self._next = answers
            elif replies:
                self._later.append(answers)
            if commands:
                self.transport.write(commands)
                if self.listener is not None:
                    self.listener(True, commands)
        return answers

    async def ask(self, command: bytes, seconds: float) -> Reply:
        """Send one command and return its reply, a 421 too.

        Raises:
            WireBroken: the conversation ended first.
            TimeoutError: no reply within `seconds`; the wire is unusable then.
        """
        return (await self.read(self.send(command), seconds, closing_is_a_reply=True))[0]

    async def read(
        self, answers: Answers, seconds: float, further: float | None = None, *, closing_is_a_reply: bool = False
    ) -> list[Reply]:
        """Wait for all of the replies: `seconds` for the first, then `further` for each.

        A 421 is not a verdict on a command: the wire is aborted, unless `closing_is_a_reply`. A timeout breaks the wire
        too, because a late reply would be matched to another command. `answers.replies` keeps the replies before that.

        Raises:
            WireBroken: the conversation ended first, or ends with one of the replies.
            TimeoutError: no reply in time.
        """
        while answers.missing and (closing_is_a_reply or not answers.closing):
            if self.broken is not None:
                raise WireBroken(self.broken)
            self._read = answers
            self._seconds = seconds if further is None else further
            waiter = self._waiter = self._loop.create_future()
            timer = self._timer
            timer.deadline = self._loop.time() + (self._seconds if answers.replies else seconds)
            if timer.rings_at > timer.deadline:  # mostly it looks early enough
                timer.until(timer.deadline)
            try:
                await waiter
            except (TimeoutError, asyncio.CancelledError) as ended:
                self.abort("no reply in time" if isinstance(ended, TimeoutError) else "given up")
                raise
            finally:
                self._read = self._waiter = None
                del waiter  # its failure has a traceback, which has this frame
        if answers.closing and not closing_is_a_reply:
            self._end_at_421(answers)
        return answers.replies

    def _end_at_421(self, answers: Answers) -> None:
        at = [reply.code for reply in answers.replies].index(_CLOSING)
        text = answers.replies[at].text
        del answers.replies[at:]
        answers.closing = False
        self.abort(text)
        raise WireBroken(text)

    @property
    def is_awaited(self) -> bool:
        """Whether the holder waits on it."""
        return self._waiter is not None

    def when_unused(self, seconds: float, then: Callable[[], None]) -> None:
        """Call `then` once, unless something is sent within `seconds`."""
        self._unused = then
        self._timer.until(self._loop.time() + seconds)

    def _ring(self) -> None:
        """A time is up: end the wait, or the time in which nothing was sent."""
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_exception(TimeoutError())
        elif self._unused is not None:
            then, self._unused = self._unused, None
            then()

    def write(self, block: bytes) -> None:
        """Write message content, which expects no reply."""
        if self.broken is None:
            self.transport.write(block)

    async def drain(self, seconds: float, unless: Answers) -> None:
        """Wait until the transport accepts more, or `unless` has a reply: a peer that has refused may stop reading.

        Raises:
            WireBroken: the conversation ended.
            TimeoutError: the peer did not read for `seconds`; the wire is unusable then.
        """
        while self._paused and self.broken is None and not unless.replies:
            waiter = self._waiter = self._loop.create_future()
            self._timer.until(self._loop.time() + seconds)
            try:
                await waiter
            except TimeoutError:
                self.abort("the peer does not read")
                raise
            finally:
                self._waiter = None
                del waiter
        if self.broken is not None and not unless.replies:
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
            self._pair(self._parser.feed(data))
        except Garbled as error:
            self.garbled = True
            self.abort(str(error))
        waiter, read = self._waiter, self._read
        if waiter is None or waiter.done():
            return
        if read is None or not read.missing or read.closing:
            waiter.set_result(None)
        elif read.replies:
            self._timer.until(self._loop.time() + self._seconds)

    def _pair(self, replies: Iterable[Reply]) -> None:
        for reply in replies:
            answers = self._next
            if answers is None:
                raise Garbled(f"an unexpected reply: {reply.code}")
            answers.replies.append(reply)
            answers.missing -= 1
            if not answers.missing:
                self._next = self._later.pop(0) if self._later else None
            if reply.code == _CLOSING:
                answers.closing = True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

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
        self._paused = True

    def resume_writing(self) -> None:
        """The transport takes more."""
        self._paused = False
        if self._read is None:
            self._wake()

    def _break(self, why: str) -> None:
        if self.broken is None:
            self.broken = why
        self._timer.cancel()
        self._unused = None
        self._next = None
        self._later.clear()
        self._wake()


def extensions_of(answer: Reply) -> dict[str, str]:
    """Return the EHLO keywords of a reply, in lower case, with their parameters (RFC 5321 section 4.1.1.1)."""
    found = {}
    for line in answer.lines[1:]:
        keyword, _, parameters = line.decode("ascii", "replace").strip().partition(" ")
        found[keyword.lower()] = parameters
    return found
