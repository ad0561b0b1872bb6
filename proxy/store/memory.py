"""The store of one worker: dictionaries, bounded, gone with the process. Nothing in it waits."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator

from cachetools import TLRUCache

from proxy.store.base import MOST_SCANNED, Stored
from proxy.throttle import Buckets, Throttle

MOST_ENTRIES = 100_000
"""Entries, and locks; of more, what was not used for longest goes."""


class MemoryStore:
    """Entries, buckets and locks of one worker. The event loop's thread owns them."""

    def __init__(self, clock: Callable[[], float] = time.time, *, most: int = MOST_ENTRIES) -> None:
        """Begin empty; `most` bounds the entries and the locks, each."""
        self._clock, self._most = clock, most
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._entries: TLRUCache[str, Stored] = TLRUCache(self._most, _expiry, timer=self._clock)
        self._locks: TLRUCache[str, tuple[str, float]] = TLRUCache(self._most, _lock_expiry, timer=self._clock)
        self._buckets = Buckets(self._clock)

    async def get(self, key: str) -> Stored | None:
        """Return an entry that has not expired."""
        return self._entries.get(key)

    async def put(self, key: str, value: bytes, lives: float) -> None:
        """Keep an entry for `lives` seconds."""
        self._entries[key] = Stored(value, self._clock() + lives)

    async def delete(self, key: str) -> None:
        """Remove an entry."""
        self._entries.pop(key, None)

    async def purge(self, prefix: str = "") -> int:
        """Remove the entries whose keys begin so."""
        found = list(self._beginning(prefix))
        for key in found:
            del self._entries[key]
        return len(found)

    async def count(self, prefix: str = "") -> int:
        """Return how many entries have keys that begin so."""
        return sum(1 for _ in self._beginning(prefix))

    async def scan(self, prefix: str = "", most: int = MOST_SCANNED) -> list[tuple[str, Stored]]:
        """Return entries whose keys begin so."""
        found = [(key, stored) for key in self._beginning(prefix) if (stored := self._entries.get(key)) is not None]
        return found[:most]

    async def take(self, key: str, throttle: Throttle, tokens: int = 1) -> bool:
        """Take tokens from a bucket."""
        return self._buckets.take(key, throttle, tokens)

    async def acquire(self, key: str, seconds: float) -> str | None:
        """Lock a key."""
        if key in self._locks:
            return None
        token = secrets.token_hex(8)
        self._locks[key] = (token, self._clock() + seconds)
        return token

    async def release(self, key: str, token: str) -> bool:
        """Unlock a key."""
        held = self._locks.get(key)
        if held is None or held[0] != token:
            return False
        del self._locks[key]
        return True

    async def close(self) -> None:
        """There is nothing to let go of."""

    def _beginning(self, prefix: str) -> Iterator[str]:
        self._entries.expire()
        return iter([key for key in self._entries if key.startswith(prefix)])


def _expiry(_key: str, stored: Stored, _now: float) -> float:
    return stored.expires_at


def _lock_expiry(_key: str, held: tuple[str, float], _now: float) -> float:
    return held[1]
