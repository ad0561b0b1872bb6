"""The service's store: if a shared store fails, memory takes over, and no caller waits for long."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from proxy.base.log import get_logger
from proxy.metrics.book import BOOK, observe
from proxy.metrics.metric import DOWN, UP
from proxy.metrics.table import STORE_TIME, STORE_UP
from proxy.options.schemes import SCHEMES
from proxy.options.throttle import Throttle
from proxy.store.base import MOST_SCANNED, Store, Stored, StoreUnavailable, Taking, Untouched
from proxy.store.memory import MemoryStore

log = get_logger()

RETRY_SECONDS = 5.0
"""A failed store is tried again after this time, by one operation; the others do not wait for it."""

T = TypeVar("T")


@dataclass(slots=True)
class Retry:
    """Reading or writing: a full disk stops only one of them. `retry_at` is set while it is down."""

    retry_at: float | None = None

    def may_try(self, now: float) -> bool:
        """Return whether this caller should try it."""
        if self.retry_at is None:
            return True
        if now < self.retry_at:
            return False
        self.retry_at = now + RETRY_SECONDS  # this caller tries; others meanwhile do not
        return True

    def failed(self, now: float) -> None:
        """It was tried in vain."""
        self.retry_at = now + RETRY_SECONDS


class FallingBack:
    """A store, or memory while the store is unavailable. The event loop's thread owns its state.

    Methods for the service (get, put, delete, take, acquire, release) never raise. Methods for operators (purge, count,
    scan) raise StoreUnavailable: an operator must learn that nothing was done. While the store is down, buckets and
    locks apply per worker. Once it is back, memory is cleared: other workers may have written to the store meanwhile.
    """

    def __init__(
        self, store: Store, memory: MemoryStore, *, name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`name` is the store's name in the log; `clock` times the retries."""
        self._store, self._memory = store, memory
        self._name, self._clock = name, clock
        self._reading, self._writing = Retry(), Retry()
        self._since: float | None = None
        self._in_memory = 0
        way = {str(scheme): way for scheme, way in SCHEMES.items()}.get(name.partition(":")[0])
        self._at = None if way is None else STORE_TIME.table(way.kind)
        self._up = 0 if way is None else STORE_UP.at(way.kind)

    @property
    def available(self) -> bool:
        """Whether the store worked when last used."""
        return self._since is None

    @property
    def untouched(self) -> Untouched:
        """For how long no other process has written to the store."""
        return self._store.untouched

    async def get(self, key: str) -> Stored | None:
        """Return an entry; what was put while the store was down overrides what the store has."""
        kept = await self._memory.get(key) if self._since is not None else None
        if kept is not None and self._reading.retry_at is None:
            return kept
        # If a retry is due, ask the store even if memory has the entry: otherwise its recovery might never be noticed.
        stored = await self._do(self._reading, lambda: self._store.get(key), lambda: self._memory.get(key))
        return kept if kept is not None else stored

    async def get_all(self, keys: Sequence[str]) -> list[Stored | None]:
        """Return several entries; while the store is down, one after the other."""
        if self._since is not None:
            return [await self.get(key) for key in keys]
        return await self._do(self._reading, lambda: self._store.get_all(keys), lambda: self._memory.get_all(keys))

    async def put(self, key: str, value: bytes, lives: float) -> None:
        """Store an entry."""
        await self._do(
            self._writing,
            lambda: self._store.put(key, value, lives),
            lambda: self._memory.put(key, value, lives),
        )

    async def delete(self, key: str) -> None:
        """Remove an entry; if the store is down, its copy stays until it expires."""
        await self._memory.delete(key)
        await self._do(self._writing, lambda: self._store.delete(key), lambda: self._memory.delete(key))

    async def take(self, key: str, throttle: Throttle, tokens: int = 1) -> bool:
        """Take tokens from a bucket."""
        return await self._do(
            self._writing,
            lambda: self._store.take(key, throttle, tokens),
            lambda: self._memory.take(key, throttle, tokens),
        )

    async def take_each(self, takings: Sequence[Taking]) -> list[bool]:
        """Take tokens from several buckets."""
        return await self._do(
            self._writing, lambda: self._store.take_each(takings), lambda: self._memory.take_each(takings)
        )

    async def acquire(self, key: str, seconds: float) -> str | None:
        """Lock a key."""
        return await self._do(
            self._writing,
            lambda: self._store.acquire(key, seconds),
            lambda: self._memory.acquire(key, seconds),
        )

    async def release(self, key: str, token: str) -> bool:
        """Unlock a key, wherever it was locked."""
        if await self._memory.release(key, token):
            return True
        return await self._do(
            self._writing, lambda: self._store.release(key, token), lambda: self._memory.release(key, token)
        )

    async def purge(self, prefix: str = "") -> int:
        """Remove the entries whose keys begin with `prefix`.

        Raises:
            StoreUnavailable: the store still has them.
        """
        return await self._memory.purge(prefix) + await self._store.purge(prefix)

    async def count(self, prefix: str = "") -> int:
        """Return how many entries of the store have keys that begin with `prefix`.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        return await self._store.count(prefix)

    async def scan(self, prefix: str = "", most: int = MOST_SCANNED) -> list[tuple[str, Stored]]:
        """Return entries of the store whose keys begin with `prefix`.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        return await self._store.scan(prefix, most)

    async def close(self) -> None:
        await self._store.close()

    async def _do(self, side: Retry, real: Callable[[], Awaitable[T]], instead: Callable[[], Awaitable[T]]) -> T:
        began = self._clock()
        if side.retry_at is not None and not side.may_try(began):
            self._in_memory += 1
            return await instead()
        try:
            answer = await real()
        except StoreUnavailable as error:
            self._failed(side, error)
            return await instead()
        if self._at is not None:
            observe(STORE_TIME, self._at["read" if side is self._reading else "write"], self._clock() - began)
            BOOK.counts[self._up] = UP if self._since is None else DOWN
        if side.retry_at is not None:
            self._succeeded(side)
        return answer

    def _failed(self, side: Retry, error: StoreUnavailable) -> None:
        now = self._clock()
        side.failed(now)
        self._in_memory += 1
        if self._since is None:
            self._since = now
            if self._at is not None:
                BOOK.counts[self._up] = DOWN
            log.warning("store_unavailable", store=self._name, reason=error.reason)

    def _succeeded(self, side: Retry) -> None:
        side.retry_at = None
        if self._since is None or self._reading.retry_at is not None or self._writing.retry_at is not None:
            return
        seconds = round(self._clock() - self._since, 3)
        log.info("store_recovered", store=self._name, seconds=seconds, operations_in_memory=self._in_memory)
        self._since, self._in_memory = None, 0
        self._memory.clear()
