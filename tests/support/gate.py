"""A gate between one Ringback and its upstream: it holds a transaction at the place that its first recipient names.

`reply.17@example.com` is held before the upstream's reply to the dot goes back, and so on, by the values of `Place`;
any other name passes. What is held comes free when Ringback dies, or by `release`. The upstream may be any server.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Self

from tests.support.conversation import reset
from tests.support.inbox import BLOCK, END
from tests.support.waiting import BOUND

DOT = b".\r\n"


class Place(Enum):
    """Where a transaction is held, and what becomes of it."""

    GO_AHEAD = "go-ahead"
    """The upstream's 354 is kept back; it never gets the message."""
    LOST_DOT = "lost-dot"
    """Our dot is kept back, and thrown away."""
    LATE_DOT = "late-dot"
    """Our dot is kept back; the upstream gets it when Ringback is dead."""
    REPLY = "reply"
    """The upstream's reply to the dot is kept back until `release`."""
    END = "end"
    """The upstream's reply to the dot is thrown away, and the connection ends, as if the upstream had died."""


_PLACE = re.compile(rb"RCPT TO:<(" + b"|".join(each.value.encode() for each in Place) + rb")\.")


class Gate:
    """Listens in the upstream's place, and connects to it for each connection that comes."""

    def __init__(self, upstream_port: int) -> None:
        """Name the upstream, on loopback."""
        self.port = 0
        self.held: Counter[Place] = Counter()
        """Transactions that came to a place since the last `begin`."""
        self.released = 0
        """Replies that were passed on by `release` since then."""
        self.release = asyncio.Event()
        self._upstream_port = upstream_port
        self._server: asyncio.Server | None = None
        self._passages: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """Count anew."""
        self.held.clear()
        self.released = 0
        self.release = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Stop listening and wait until what was late has come; cut what does not end by itself."""
        assert self._server is not None
        self._server.close()
        if self._passages:
            await asyncio.wait(self._passages, timeout=BOUND)
        for passage in self._passages:
            passage.cancel()
        await asyncio.gather(*self._passages, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passages.add(task)
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._upstream_port)
            await Passage(self, (reader, writer), upstream).run()
        except ConnectionError:
            pass
        finally:
            reset(writer)
            self._passages.discard(task)


class Passage:
    """One connection through the gate."""

    def __init__(
        self,
        gate: Gate,
        ringback: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Take both ends."""
        self._gate = gate
        self._from_ringback, self._to_ringback = ringback
        self._from_upstream, self._to_upstream = upstream
        self._place: Place | None = None
        self._said = b""
        """Commands of the transaction so far, to find the recipient in."""
        self._content: bytes | None = None
        """The end of what came of the content, while it comes."""
        self._dot_sent = False
        self._kept = b""
        """What is kept back of the dot."""

    async def run(self) -> None:
        """Pass on what comes until one side ends, then end the other."""
        back = asyncio.get_running_loop().create_task(self._back())
        forth = asyncio.get_running_loop().create_task(self._forth())
        try:
            await asyncio.wait((back, forth), return_when=asyncio.FIRST_COMPLETED)
            if self._kept and self._place is Place.LATE_DOT and not back.done():
                self._to_upstream.write(self._kept)
                await back  # until the upstream has replied
        finally:
            for task in (back, forth):
                task.cancel()
            await asyncio.gather(back, forth, return_exceptions=True)
            reset(self._to_upstream)

    async def _forth(self) -> None:
        with suppress(ConnectionError):
            while block := await self._from_ringback.read(BLOCK):
                self._to_upstream.write(self._command(block) if self._content is None else self._part(block))
                await self._to_upstream.drain()

    def _command(self, block: bytes) -> bytes:
        """Look for a place in a command; a transaction begins with MAIL."""
        self._said += block
        if (at := self._said.rfind(b"MAIL FROM:")) > 0:
            self._said = self._said[at:]
        found = _PLACE.search(self._said)
        self._place = Place(found[1].decode()) if found else None
        return block

    def _part(self, block: bytes) -> bytes:
        """Return what passes of a block of content: all of it, or all but the dot."""
        assert self._content is not None
        self._content = (self._content + block)[-len(END) :]
        if self._content != END:
            return block
        self._content = None
        self._said = b""
        if self._place in {Place.LOST_DOT, Place.LATE_DOT}:
            self._hold(self._place)
            self._kept = block[-len(DOT) :]
            return block[: -len(DOT)]
        self._dot_sent = True
        return block

    async def _back(self) -> None:
        with suppress(ConnectionError):
            while block := await self._from_upstream.read(BLOCK):
                if self._kept:
                    return  # the reply to a dot that came late; the client has left
                if block.startswith(b"354"):
                    if self._place is Place.GO_AHEAD:
                        self._hold(Place.GO_AHEAD)
                        continue
                    self._content = b"\r\n"
                elif self._dot_sent:
                    if self._place is Place.END:
                        return
                    self._dot_sent = False
                    await self._reply(block)
                    continue
                self._to_ringback.write(block)
                await self._to_ringback.drain()

    async def _reply(self, block: bytes) -> None:
        held = self._place is Place.REPLY
        if held:
            release = self._gate.release
            self._hold(Place.REPLY)
            await release.wait()
        self._to_ringback.write(block)
        await self._to_ringback.drain()
        self._gate.released += held

    def _hold(self, place: Place) -> None:
        self._gate.held[place] += 1
