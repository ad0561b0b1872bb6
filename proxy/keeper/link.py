"""A connection between two of our processes: messages out in batches, messages in as they come."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from proxy.base.log import get_logger
from proxy.base.waiting import WritePause
from proxy.keeper.frames import BadFrame, FrameReader, Malformed, encode, framed

log = get_logger()

MOST_TOGETHER = 256
"""Messages in one frame. An address has at most some thousand octets, so a frame is never too long."""

MOST_UNREAD = 32 << 20
"""Octets that may wait for the other side to read them. It does not read, so it is given up."""

M = TypeVar("M")

Message: TypeAlias = msgspec.Struct


class Link(asyncio.Protocol, Generic[M]):
    """One connection. What is sent in one turn of the loop leaves in one frame."""

    def __init__(
        self,
        decode: Callable[[bytes], list[M]],
        heard: Callable[[Link[M], list[M]], None],
        lost: Callable[[Link[M]], None],
        *,
        worker: int = 0,
    ) -> None:
        """`heard` gets the messages of a frame; `lost` is called once, at the end; `worker` is for the log."""
        self._worker = worker
        self._unused: socket.socket | None = None
        self._closed = False
        self._decode, self._heard, self._lost = decode, heard, lost
        self._reader = FrameReader()
        self._out: list[Message] = []
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._pause = WritePause(self._loop)

    def begin(self, connection: socket.socket) -> Coroutine[Any, Any, None]:
        """Use a connection; it is closed if the work never runs."""
        self._unused = connection
        return self._begin()

    async def _begin(self) -> None:
        connection = self._unused
        if connection is None:
            return
        try:
            await self._loop.create_unix_connection(lambda: self, sock=connection)
        except OSError:  # the other side has gone
            self.abort()
            self._lost(self)

    def connection_made(self, transport: Any) -> None:
        """Take the transport, and send what waits."""
        self._transport, self._unused = transport, None
        self._flush()
        if self._closed:
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Hand on the messages of complete frames. Octets that are not ours end the connection."""
        try:
            for content in self._reader.feed(data):
                self._heard(self, self._decode(content))
        except (BadFrame, *Malformed) as error:
            log.error("keeper_link_malformed", peer=self._worker, reason=str(error))
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended does not matter
        """Nothing more comes or goes."""
        self._transport = None
        self._out.clear()
        self._pause.end()
        self._lost(self)

    def pause_writing(self) -> None:
        """The other side does not read as fast as we write."""
        self._pause.begin()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._pause.end()

    async def drained(self) -> None:
        """Return when the other side reads, or has gone."""
        if self._pause.resumed is not None:
            await self._pause.resumed

    def send(self, message: Message) -> None:
        """Send with the others of this turn."""
        self._out.append(message)
        if len(self._out) == 1 and self._transport is not None:
            self._loop.call_soon(self._flush)

    @property
    def unread(self) -> int:
        """Octets that the other side has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def close(self) -> None:
        """Close after everything was sent."""
        self._closed = True
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()
        else:
            self.forgo()

    def forgo(self) -> None:
        """Close a connection that was never used, because the work of `begin` was cancelled."""
        if self._unused is not None:
            self._unused.close()
            self._unused = None

    def _flush(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing() or not self._out:
            return
        out, self._out = self._out, []
        if len(out) <= MOST_TOGETHER:
            transport.writelines((_frame(out),))
        else:
            transport.writelines([_frame(out[at : at + MOST_TOGETHER]) for at in range(0, len(out), MOST_TOGETHER)])
        if self.unread > MOST_UNREAD:
            log.error("keeper_link_unread", peer=self._worker, octets=self.unread)
            self.abort()


def _frame(messages: Sequence[Message]) -> bytes:
    """Return messages as one frame, or as several if one is not enough.

    A message that is too long for any, or has a number of more than 64 bits, is left out: the others must not be lost.
    """
    try:
        return framed(encode(messages))
    except (BadFrame, OverflowError):
        half = len(messages) // 2
        return _frame(messages[:half]) + _frame(messages[half:]) if half else b""
