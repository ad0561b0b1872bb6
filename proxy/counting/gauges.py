"""Gauges in memory: caches of a bounded size, whose entries go up and down."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from proxy.counting.clock import Clock
from proxy.counting.operations import Gauge

MOST_CACHES = 1000
"""A script may compute their names. The least recently used is forgotten."""

MOST_GAUGES = 1_000_000
"""In all caches together. A new one then takes the place of its cache's oldest, or is not counted if it has none."""

GaugeState = tuple[str, bytes, int, float, int, float]
"""Cache, key, its size, how long its entries live, value, and when it was changed. Without a key: the cache itself."""


class _Cache:
    __slots__ = ("entries", "lives", "most")

    def __init__(self, most: int, lives: float) -> None:
        self.most, self.lives = most, lives
        self.entries: OrderedDict[bytes, tuple[int, float]] = OrderedDict()
        """Value and time of the last change, the oldest change first."""

    def expire(self, now: float) -> None:
        while self.lives and self.entries:
            key = next(iter(self.entries))
            if now <= self.entries[key][1] + self.lives:
                return
            del self.entries[key]


class Gauges:
    """Every cache of gauges in this process. The event loop's thread owns them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._caches: OrderedDict[str, _Cache] = OrderedDict()

    def __len__(self) -> int:
        """Return how many gauges there are."""
        return self._total()

    def _total(self) -> int:
        return sum([len(each.entries) for each in self._caches.values()])

    def change(self, operation: Gauge) -> int | None:
        """Perform the operation."""
        cache = self._cache(operation)
        if cache is None:
            return None
        now = self._clock()
        cache.expire(now)
        entries, key = cache.entries, operation.key
        value = entries.get(key, (0, 0.0))[0] + operation.change
        if operation.change:
            if key not in entries:
                if entries and (len(entries) >= cache.most or self._total() >= MOST_GAUGES):
                    entries.popitem(last=False)
                elif not entries and self._total() >= MOST_GAUGES:
                    return value
            entries[key] = (value, now)
            entries.move_to_end(key)
        return value

    def _cache(self, operation: Gauge) -> _Cache | None:
        caches, name = self._caches, operation.room
        cache = caches.get(name)
        if cache is not None:
            caches.move_to_end(name)
        elif operation.most > 0:
            if len(caches) >= MOST_CACHES:
                caches.popitem(last=False)
            cache = caches[name] = _Cache(operation.most, operation.lives)
        return cache

    def shown(self, room: str) -> Iterator[tuple[bytes, tuple[float, ...]]]:
        """Yield each key of a cache with its value."""
        cache = self._caches.get(room)
        if cache is not None:
            cache.expire(self._clock())
            for key, (value, _) in cache.entries.items():
                yield key, (value,)

    def forget(self, room: str, key: bytes) -> None:
        """Forget an entry."""
        if room in self._caches:
            self._caches[room].entries.pop(key, None)

    def states(self) -> Iterator[GaugeState]:
        """Yield the caches, and their entries, the oldest first."""
        for name, cache in self._caches.items():
            yield name, b"", cache.most, cache.lives, 0, -1.0
            for key, (value, changed) in cache.entries.items():
                yield name, key, cache.most, cache.lives, value, changed

    def adopt(self, state: GaugeState) -> None:
        """Take an entry as it was elsewhere."""
        name, key, most, lives, value, changed = state
        cache = self._caches.setdefault(name, _Cache(most, lives))
        if changed >= 0:
            cache.entries[key] = (value, changed)
