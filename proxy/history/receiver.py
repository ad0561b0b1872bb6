"""The control process's end: it gives frames to the writer, and says which are in a file."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Protocol

from proxy.history.sender import NUMBER
from proxy.history.settings import HistorySettings
from proxy.history.writer import Batch, Writer

MOST_WAITING = 64
"""Frames that may wait for the writer; no more is read until it has caught up, and the senders decide what to drop."""


class Peer(Protocol):
    """A process that sends: `proxy.control.observers.Peer`."""

    def tell(self, octets: bytes) -> None:
        """Write to it, or do nothing if it has gone."""
        ...


class Reading(Protocol):
    """What reads from all processes: `proxy.control.observers.Observers`."""

    def pause(self) -> None:
        """Read nothing for a while."""
        ...

    def resume(self) -> None:
        """Read again."""
        ...


def _nobody_waits(_number: int) -> None:
    """This process does not send its lines again."""


class Receiver:
    """A part of the control process. The event loop's thread owns its state."""

    name = "history"

    def __init__(self, settings: HistorySettings) -> None:
        """Nothing is opened before `start`."""
        self._settings = settings
        self.reading: Reading | None = None
        """The reader of the processes' frames, which needs `take` and so is created later."""
        self._writer: Writer | None = None
        self._loop = asyncio.get_running_loop()
        self._source, self._numbers = int.from_bytes(secrets.token_bytes(NUMBER - 1)), count(1)

    @property
    def writes(self) -> bool:
        """Whether History is on."""
        return self._settings.on

    async def start(self) -> None:
        """Begin to write; with History off, what comes is dropped."""
        if self._settings.on:
            self._writer = Writer(self._settings)

    async def stop(self) -> None:
        """Write what was taken."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await asyncio.to_thread(writer.close)

    def take(self, peer: Peer, content: bytes) -> None:
        """Hand a frame's lines to the writer."""
        source, number = int.from_bytes(content[:NUMBER]), int.from_bytes(content[NUMBER : 2 * NUMBER])
        writer = self._writer
        if writer is None:
            peer.tell(content[NUMBER : 2 * NUMBER])
            return
        writer.put(Batch(source, number, content[2 * NUMBER :].splitlines(), partial(self._written, peer)))
        if writer.waiting > MOST_WAITING and self.reading is not None:
            self.reading.pause()

    def take_own(self, lines: bytes) -> None:
        """Hand lines of this process's own log to the writer, in the log's thread."""
        writer = self._writer
        if writer is not None and writer.waiting <= MOST_WAITING:
            writer.put(Batch(self._source, next(self._numbers), lines.splitlines(), _nobody_waits))

    def _written(self, peer: Peer, number: int) -> None:
        """Note, in the writer's thread, that a frame is in a file."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._confirm, peer, number)

    def _confirm(self, peer: Peer, number: int) -> None:
        peer.tell(number.to_bytes(NUMBER))
        if self.reading is not None and (self._writer is None or self._writer.waiting <= MOST_WAITING // 2):
            self.reading.resume()
