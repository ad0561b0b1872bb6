"""Counting that partly survives a restart: greylisting, and series that request it.

Everything else ends with the process. Counts are in memory. The file is written a second later, in SQLite's thread, and
read once at startup.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from proxy.base.log import get_logger
from proxy.base.tasks import TaskOwner, at_once, spawn
from proxy.counting.clock import Clock
from proxy.counting.greylist import Key, Known, Triplet
from proxy.counting.memory import MemoryCounting
from proxy.counting.series import Part
from proxy.store.base import StoreUnavailable, decoded, encoded
from proxy.store.sqlite import MOST_ENTRIES, SqliteStore

log = get_logger()

WRITE_SECONDS = 1.0
"""How much a kill may lose."""

MOST_TOGETHER = 250
"""Entries that are written together."""

AHEAD_SECONDS = 300.0
"""How far in the future a stored time may be."""

_RETRY_SECONDS = 5.0

_encode = msgspec.msgpack.Encoder().encode
_part_of = msgspec.msgpack.Decoder(Part).decode
_key_of = msgspec.msgpack.Decoder(Key).decode
_amount_of = msgspec.msgpack.Decoder(int).decode
_triplet_of = msgspec.msgpack.Decoder(Triplet).decode
_known_of = msgspec.msgpack.Decoder(Known).decode


class FiledCounting(MemoryCounting):
    """Counts in memory, and writes to a file what must outlive a restart. Nothing is opened before `start`."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        """`path` names the file. It is created when there is something to write."""
        super().__init__(clock, dirty=self._changed)
        self._path = path
        self._store = SqliteStore(path, self.clock)
        self._owner = TaskOwner("counting file")
        self._dirty: dict[tuple[str, Any], None] = {}
        self._writes = True
        self._wakes: asyncio.Event | None = None
        self._fails = False

    async def start(self) -> None:
        """Read the file, if there is one, and write to it from now on."""
        self._wakes = asyncio.Event()
        if self._path.exists():
            await self._read()
        spawn(self._write_along(), name="counting file", owner=self._owner)

    def pause(self) -> None:
        """Write nothing: the keeper of a new configuration does."""
        self._writes = False

    def resume(self) -> None:
        """Write again: it has failed."""
        self._writes = True

    async def close(self) -> None:
        """Write what is not written yet, and close the file."""
        await self._owner.cancel()
        if self._writes:
            await self._write()
        await self._store.close()

    # ------------------------------------------------------------ writing

    def _changed(self, kind: str, key: Any) -> None:
        self._dirty[kind, key] = None
        if self._wakes is not None:
            self._wakes.set()

    async def _write_along(self) -> None:
        while self._wakes is not None:
            await self._wakes.wait()
            await asyncio.sleep(_RETRY_SECONDS if self._fails else WRITE_SECONDS)
            self._wakes.clear()
            if self._writes:
                await self._write()
            if self._dirty:
                self._wakes.set()

    async def _write(self) -> None:
        """Write everything that has changed. If the file cannot be written, it stays to be written."""
        while self._dirty:
            part = [self._dirty.popitem()[0] for _ in range(min(MOST_TOGETHER, len(self._dirty)))]
            try:
                await at_once([self._put(kind, key) for kind, key in part])
            except ExceptionGroup as errors:
                ours, others = errors.split(StoreUnavailable)
                if others is not None:
                    raise others from None
                self._dirty |= dict.fromkeys(part)
                if not self._fails:
                    log.warning("counting_not_written", path=str(self._path), reason=_reason(ours))
                self._fails = True
                return
            self._fails = False

    async def _put(self, kind: str, key: Any) -> None:
        name = decoded(kind.encode() + b":" + _encode(key))
        value, expires = self._record(kind, key)
        if value is None:
            await self._store.delete(name)
        else:
            await self._store.put(name, _encode(value), max(1.0, expires - self.clock()))

    def _record(self, kind: str, key: Any) -> tuple[Any, float]:
        """Return what is to be written of a key, and when it is forgotten; None if there is nothing any more."""
        if kind == "series":
            (_, interval, number), index, _ = key
            return self.series.part(key) or None, (index + number) * interval
        if kind == "greylist":
            triplet = self.triplets.triplet(key)
            return triplet, triplet[3] if triplet is not None else 0.0
        known = self.triplets.client(key)
        return known, known[1] if known is not None else 0.0

    # ------------------------------------------------------------ reading

    async def _read(self) -> None:
        readers: dict[str, Callable[[bytes, bytes], None]] = {
            "series": lambda key, value: self.series.adopt(_part_of(key), _amount_of(value), kept=True),
            "greylist": lambda key, value: self.triplets.adopt(_key_of(key), self._believed(_triplet_of(value))),
            "client": lambda key, value: self.triplets.adopt_client(_key_of(key), _known_of(value)),
        }
        read = 0
        for kind, adopt in readers.items():
            try:
                entries = await self._store.scan(f"{kind}:", MOST_ENTRIES)
            except StoreUnavailable as error:
                log.warning("counting_not_read", path=str(self._path), reason=error.reason)
                return
            for name, stored in entries:
                try:
                    adopt(encoded(name).partition(b":")[2], stored.value)
                except msgspec.DecodeError:
                    continue  # of another release
                read += 1
        log.info("counting_read", path=str(self._path), entries=read)

    def _believed(self, triplet: Triplet) -> Triplet:
        """Return a triplet as it is, or as of now if it is of the future: the time of day was set back."""
        first, last, passed, expires = triplet
        late = last - self.clock()
        return triplet if late <= AHEAD_SECONDS else (first - late, last - late, passed, expires - late)


def _reason(errors: BaseException | None) -> str:
    """Return the first error's own words."""
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return str(errors)
