"""Access to the outbox's file from the event loop: every call has a time limit, and one way to fail."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from proxy.base.log import get_logger
from proxy.mail.session import Letter
from proxy.outbox.file import Bounds, Delivery, Full, OutboxFile, Totals, anywhere
from proxy.outbox.marks import Key, own_key, read_key
from proxy.outbox.presence import Presence
from proxy.smtp.ports import OutboxFull, OutboxUnavailable

log = get_logger()

T = TypeVar("T")

ANSWER_SECONDS = 10.0
"""For one change; a disk may hang, and a client is waiting."""

HELD_SECONDS = 7200.0
"""Held letters are dropped after this time: their client never got its 250."""

LEASE_SECONDS = 1800.0
"""After this time, another worker may take a delivery whose owner neither ends nor makes progress."""


class OutboxStore:
    """Letters and deliveries in the state folder. A thread opens the file at the first use."""

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], float] = time.time,
        bounds: Bounds = Bounds(),  # noqa: B008 - frozen
        key_file: Path | None = None,
    ) -> None:
        """`clock` gives seconds since the epoch; `key_file` names a key outside the folder.

        Nothing is opened yet.
        """
        self._folder, self.clock, self._bounds = folder, clock, bounds
        self._key_file = key_file
        self._key: Key | None = None
        self.totals = Totals()
        """What the outbox held at the last access, for metrics."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._presence: Presence | None = None  # only the thread uses this and the next
        self._file: OutboxFile | None = None

    async def key(self) -> Key:
        """Return the key of the letters' marks, read or created at the first use."""
        if self._key is None:
            path, folder = self._key_file, self._folder
            self._key = await self._in_thread(lambda: own_key(folder) if path is None else read_key(path))
        return self._key

    async def add(self, letters: Sequence[Letter], origin: str, *, held: bool = False) -> int:
        """Store letters durably; return the number of deliveries. Held ones wait under the name of their origin."""
        now = self.clock()
        until = now + HELD_SECONDS
        name = origin if held else ""
        return await self._do(lambda file: file.add(letters, origin, now, held=name, until=until, bounds=self._bounds))

    async def release(self, origin: str, count: int, letters: Sequence[Letter]) -> None:
        """Make held deliveries due, which must be `count` of them, and store further letters."""
        await self._do(lambda file: file.release(origin, count, letters, self.clock()))

    async def drop(self, origin: str) -> None:
        """Delete what is held."""
        await self._do(lambda file: file.drop(origin))

    async def claim(self, most: int, has_place: Callable[[bytes], bool] = anywhere) -> list[Delivery]:
        """Lease due deliveries. `has_place` is called in a thread and says whether a recipient's delivery may start."""
        return await self._do(lambda file: file.claim(self.clock(), LEASE_SECONDS, most, has_place))

    async def content(self, letter: int) -> bytes:
        return await self._do(lambda file: file.content(letter))

    async def next_due(self, after: float = 0.0) -> float | None:
        """Return the next time after `after` when a delivery is due."""
        return await self._do(lambda file: file.next_due(after))

    async def listed(self, most: int, letter: int = 0) -> list[tuple[Delivery, float, bool]]:
        """Return deliveries, of one letter or of all, each with when it is due and whether it is under way."""
        return await self._do(lambda file: file.listed(most, letter))

    async def hasten(self, letters: Sequence[int]) -> int:
        """Make the waiting deliveries of these letters due; return how many."""
        return await self._do(lambda file: file.hasten(letters, self.clock()))

    async def take(self, letter: int) -> list[Delivery]:
        """Lease the waiting deliveries of a letter, whenever they are due."""
        return await self._do(lambda file: file.take(letter, self.clock(), LEASE_SECONDS))

    async def postpone(self, delivery: Delivery, seconds: float) -> None:
        """Try again in `seconds`."""
        await self._do(lambda file: file.postpone(delivery.id, self.clock() + seconds))

    async def finish(self, delivery: Delivery, report: Letter | None = None) -> None:
        """Remove a delivery, and store the report of its failure."""
        await self._do(lambda file: file.finish(delivery.id, report, delivery.origin, self.clock()))

    async def close(self) -> None:
        """Close the file, after earlier calls."""
        with suppress(TimeoutError, RuntimeError):  # RuntimeError: it is closed already
            async with asyncio.timeout(ANSWER_SECONDS):
                await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    async def _do(self, work: Callable[[OutboxFile], T]) -> T:
        """Run work in the thread. A call that timed out may still take effect, but before any later call.

        Raises:
            OutboxUnavailable: it failed, or took too long.
        """
        return await self._in_thread(lambda: self._work(work))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except Full as full:
            log.error("outbox_full", folder=str(self._folder), letters=self.totals.letters, octets=self.totals.octets)
            raise OutboxFull("the outbox is full") from full
        except (sqlite3.Error, OSError, RuntimeError, ValueError) as error:  # TimeoutError is an OSError
            reason = str(error) or f"no answer within {ANSWER_SECONDS:g} s"
            log.error("outbox_unavailable", folder=str(self._folder), reason=reason)
            raise OutboxUnavailable(reason) from error

    def _work(self, work: Callable[[OutboxFile], T]) -> T:
        if self._presence is None:
            self._presence = Presence(self._folder)
        if self._file is None:
            self._file = OutboxFile(self._folder, self._presence)
        try:
            try:
                return work(self._file)
            finally:
                self.totals = self._file.totals()
        except (sqlite3.Error, OSError):
            self._close_file()  # whatever the cause, the next call opens the file again
            raise

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _close(self) -> None:
        self._close_file()
        presence, self._presence = self._presence, None
        if presence is not None:
            presence.end()
