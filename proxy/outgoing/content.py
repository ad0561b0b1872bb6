"""How a message goes upstream: dot-stuffed after DATA (RFC 5321), or in counted chunks with BDAT (RFC 3030).

Both have the same interface, and their input is dot-stuffed, as it came from the client. DATA works with every upstream
and sends the bytes unchanged. BDAT is used only for BINARYMIME, where only a count can mark the end.
"""

from __future__ import annotations

from typing import Protocol

from proxy.mail.replies import Reply
from proxy.outgoing.wire import Answers, Wire, WireBroken

GO_AHEAD = 354
"""The reply to DATA that asks for the message."""


class Answered(Exception):
    """The upstream replied before the end of the message; `reply` is what it said."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


class OutgoingContent(Protocol):
    """A message being sent over one connection. If that fails, the methods raise WireBroken or TimeoutError."""

    async def send(self, block: bytes, seconds: float) -> None:
        """Send a dot-stuffed block. Wait up to `seconds` if the upstream does not keep up. Raises Answered."""
        ...

    def end(self, block: bytes) -> Answers:
        """Send the last block and the end in one write; return the replies to come. Raises Answered."""
        ...


class Dotted:
    """After the 354: the bytes unchanged, then the dot."""

    def __init__(self, wire: Wire, answers: int = 1) -> None:
        """Start right after the 354, and expect `answers` replies from now on: LMTP sends one per recipient.

        The upstream may refuse before the end.
        """
        self._wire = wire
        self._answers = wire.send(b"", answers)

    async def send(self, block: bytes, seconds: float) -> None:
        self._check()
        self._wire.write(block)
        await self._wire.drain(seconds, unless=self._answers)

    def end(self, block: bytes) -> Answers:
        """Send the last block and the dot."""
        wire = self._wire
        if self._answers.replies or wire.broken is not None:
            self._check()
        # If the last line had no line end, the dot would become part of it, and the message would never end.
        wire.transport.write(block + (b".\r\n" if block[-2:] == b"\r\n" or not block else b"\r\n.\r\n"))
        return self._answers

    def _check(self) -> None:
        if self._answers.replies:
            raise Answered(self._answers.replies[0])
        if self._wire.broken is not None:
            raise WireBroken(self._wire.broken)


class Chunked:
    """With BDAT: each block is a chunk, acknowledged before the next one is sent."""

    def __init__(self, wire: Wire, answers: int = 1) -> None:
        """Start after the envelope. The last chunk gets `answers` replies (RFC 2033 section 4.2)."""
        self._wire, self._answers = wire, answers
        self._tail = b"\r\n"

    async def send(self, block: bytes, seconds: float) -> None:
        """Send a block and wait until the upstream has accepted it, which is all the back-pressure needed."""
        (answer,) = await self._wire.read(self._chunk(block, b""), seconds)
        if not answer.accepted:
            raise Answered(answer)

    def end(self, block: bytes) -> Answers:
        return self._chunk(block, b" LAST", self._answers)

    def _chunk(self, block: bytes, last: bytes, answers: int = 1) -> Answers:
        octets = self._unstuffed(block)
        return self._wire.send(b"BDAT %d%b\r\n%b" % (len(octets), last, octets), answers)

    def _unstuffed(self, block: bytes) -> bytes:
        """Undo dot-stuffing. A block may begin anywhere, so the two bytes before it are checked too."""
        joined = self._tail + block
        octets = joined.replace(b"\r\n.", b"\r\n")[len(self._tail) :]
        self._tail = joined[-2:]
        return octets
