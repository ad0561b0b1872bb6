"""How a message goes upstream: dot-stuffed behind DATA (RFC 5321), or in counted chunks by BDAT (RFC 3030).

Both have one face. What comes in is dot-stuffed, as it came from the client. DATA is what every upstream knows, and the
octets go on as they are; BDAT is for BINARYMIME alone, whose line breaks may be anything, so that only a count can tell
where it ends.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from proxy.mail.replies import Reply
from proxy.outgoing.wire import Wire, WireBroken

GO_AHEAD = 354
"""The reply to DATA that asks for the message."""

_CLOSING = 421


class Answered(Exception):
    """The upstream answered before the end of the message; `reply` is what it said."""

    def __init__(self, reply: Reply) -> None:
        """Keep the reply."""
        super().__init__(reply.text)
        self.reply = reply


async def read(wire: Wire, answer: asyncio.Future[Reply], seconds: float) -> Reply:
    """Wait for one reply. A 421 says that the upstream closes: that is no verdict but the end of the connection.

    Raises:
        WireBroken: the conversation ended first, or ends with this.
        TimeoutError: no reply within `seconds`.
    """
    found = await wire.read(answer, seconds)
    if found.code == _CLOSING:
        wire.abort(found.text)
        raise WireBroken(found.text)
    return found


class Content(Protocol):
    """A message on its way over one connection. Its methods raise WireBroken and TimeoutError where that ends."""

    async def send(self, block: bytes, seconds: float) -> None:
        """Send a dot-stuffed block, waiting at most so long where the upstream does not keep up. Raises Answered."""
        ...

    def end(self, block: bytes) -> list[asyncio.Future[Reply]]:
        """Send the last block and the end in one write; return the answers to come. Raises Answered."""
        ...


class Dotted:
    """Behind 354: the octets as they came, then the dot."""

    def __init__(self, wire: Wire, answers: int = 1) -> None:
        """Begin right after the 354. The answers, of which LMTP gives one for each recipient, are awaited from here on.

        An upstream may refuse in the middle.
        """
        self._wire = wire
        self._answers = wire.send(b"", answers)
        self._answer = self._answers[0]

    async def send(self, block: bytes, seconds: float) -> None:
        """Send a block."""
        self._check()
        self._wire.write(block)
        await self._wire.drain(seconds, unless=self._answer)

    def end(self, block: bytes) -> list[asyncio.Future[Reply]]:
        """Send the last block and the dot."""
        self._check()
        # A last line without its end would take the dot into it, and the message would never end.
        self._wire.write(block + (b".\r\n" if block.endswith(b"\r\n") or not block else b"\r\n.\r\n"))
        return self._answers

    def _check(self) -> None:
        if self._answer.done():
            raise Answered(self._answer.result())


class Chunked:
    """By BDAT: each block a chunk of its own, acknowledged before the next one leaves."""

    def __init__(self, wire: Wire, answers: int = 1) -> None:
        """Begin right after the envelope; the last chunk has so many answers (RFC 2033 section 4.2)."""
        self._wire, self._answers = wire, answers
        self._tail = b"\r\n"

    async def send(self, block: bytes, seconds: float) -> None:
        """Send a block and wait until the upstream has taken it, which is all the back-pressure that is needed."""
        (taken,) = self._chunk(block, b"")
        answer = await read(self._wire, taken, seconds)
        if not answer.accepted:
            raise Answered(answer)

    def end(self, block: bytes) -> list[asyncio.Future[Reply]]:
        """Send the last block."""
        return self._chunk(block, b" LAST", self._answers)

    def _chunk(self, block: bytes, last: bytes, answers: int = 1) -> list[asyncio.Future[Reply]]:
        octets = self._unstuffed(block)
        return self._wire.send(b"BDAT %d%b\r\n%b" % (len(octets), last, octets), answers)

    def _unstuffed(self, block: bytes) -> bytes:
        """Undo dot-stuffing. A block may begin anywhere, so the two octets before it are looked at again."""
        joined = self._tail + block
        octets = joined.replace(b"\r\n.", b"\r\n")[len(self._tail) :]
        self._tail = joined[-2:]
        return octets
