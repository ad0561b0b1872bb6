"""The store of one worker: bounded dictionaries, gone with the process. No method waits.

Entries expire by the monotonic clock; only `Stored.expires_at`, which callers see, is a time of day.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence

from cachetools import TLRUCache

from proxy.options.throttle import Buckets, Throttle
from proxy.store.base import MOST_SCANNED, Stored, Taking, Untouched, decoded, encoded
from proxy.store.clocks import Clock, steady

MOST_ENTRIES = 100_000
"""Most entries, and most locks; beyond that, the least recently used one is dropped."""


EntryState = tuple[bytes, bytes, float]
"""Key, value and expiry."""

BucketState = tuple[bytes, int, int, float, float]
"""Key, limit (count and seconds), tokens, and when they were counted."""


class MemoryStore:
    """Entries, buckets and locks of one worker. The event loop's thread owns them."""

    def __init__(self, clock: Clock = time.time, *, most: int = MOST_ENTRIES, ticking: Clock | None = None) -> None:
        """`most` bounds entries and locks separately; `clock` gives the time of day, `ticking` times expiry."""
        self._clock, self._most = clock, most
        self._ticking = ticking or steady(clock)
        self.untouched = Untouched()
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._entries: TLRUCache[str, tuple[bytes, float]] = TLRUCache(self._most, _expiry, timer=self._ticking)
        self._locks: TLRUCache[str, tuple[str, float]] = TLRUCache(self._most, _expiry, timer=self._ticking)
        self._buckets = Buckets(self._ticking)

    async def get(self, key: str) -> Stored | None:
        """Return an entry that has not expired."""
        held = self._entries.get(key)
        return None if held is None else self._stored(held)

    async def get_all(self, keys: Sequence[str]) -> list[Stored | None]:
        """Return several entries."""
        return [await self.get(key) for key in keys]

    async def put(self, key: str, value: bytes, lives: float) -> None:
        """Store an entry for `lives` seconds."""
        self._entries[key] = (value, self._ticking() + lives)

    async def delete(self, key: str) -> None:
        """Remove an entry."""
        self._entries.pop(key, None)

    async def purge(self, prefix: str = "") -> int:
        """Remove the entries whose keys begin with `prefix`."""
        found = list(self._beginning(prefix))
        for key in found:
            del self._entries[key]
        return len(found)

    async def count(self, prefix: str = "") -> int:
        """Return how many entries have keys that begin with `prefix`."""
        return sum(1 for _ in self._beginning(prefix))

    async def scan(self, prefix: str = "", most: int = MOST_SCANNED) -> list[tuple[str, Stored]]:
        """Return entries whose keys begin with `prefix`."""
        found = [(key, held) for key in self._beginning(prefix) if (held := self._entries.get(key)) is not None]
        return [(key, self._stored(held)) for key, held in found[:most]]

    async def take(self, key: str, throttle: Throttle, tokens: int = 1) -> bool:
        """Take tokens from a bucket."""
        return self._buckets.take(key, throttle, tokens)

    async def take_each(self, takings: Sequence[Taking]) -> list[bool]:
        """Take tokens from several buckets."""
        return [self._buckets.take(*each) for each in takings]

    async def acquire(self, key: str, seconds: float) -> str | None:
        """Lock a key."""
        if key in self._locks:
            return None
        token = secrets.token_hex(8)
        self._locks[key] = (token, self._ticking() + seconds)
        return token

    async def release(self, key: str, token: str) -> bool:
        """Unlock a key."""
        held = self._locks.get(key)
        if held is None or held[0] != token:
            return False
        del self._locks[key]
        return True

    def states(self) -> tuple[list[EntryState], list[BucketState]]:
        """Return entries and buckets, for the process that takes over. Locks end with their holder."""
        entries = [(encoded(key), value, expires) for key, (value, expires) in self._entries.items()]
        buckets = [
            (encoded(key), throttle.count, throttle.seconds, tokens, at)
            for key, throttle, tokens, at in self._buckets.states()
        ]
        return entries, buckets

    def adopt(self, entries: Iterable[EntryState], buckets: Iterable[BucketState]) -> None:
        """Hold what another process of this machine held, by the same clock."""
        for key, value, expires in entries:
            self._entries[decoded(key)] = (value, expires)
        for key, count, seconds, tokens, at in buckets:
            self._buckets.adopt(decoded(key), Throttle(count, seconds), tokens, at)

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def _stored(self, held: tuple[bytes, float]) -> Stored:
        return Stored(held[0], self._clock() + held[1] - self._ticking())

    def _beginning(self, prefix: str) -> Iterator[str]:
        self._entries.expire()
        return iter([key for key in self._entries if key.startswith(prefix)])


def _expiry(_key: str, held: tuple[object, float], _now: float) -> float:
    return held[1]
