"""Values in memory: bounded, each with its expiry."""

from __future__ import annotations

import math
from collections.abc import Iterator

from cachetools import TLRUCache

from proxy.counting.clock import Clock

MOST_OCTETS = 64 << 20
"""Of all keys and values. Beyond that, the one that was used longest ago is dropped."""

_ENTRY_OCTETS = 200
"""What an entry takes besides."""

ValueState = tuple[str, bytes, bytes, float]
"""Room, key, value, and expiry; 0: never."""


class Values:
    """Every value. The event loop's thread owns them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._values: TLRUCache[tuple[str, bytes], tuple[bytes, float]] = TLRUCache(
            MOST_OCTETS,
            lambda _key, held, _now: held[1],
            timer=clock,
            getsizeof=lambda held: len(held[0]) + _ENTRY_OCTETS,
        )

    def __len__(self) -> int:
        """Return how many values there are."""
        return len(self._values)

    def put(self, room: str, key: bytes, value: bytes, lives: float) -> None:
        """Keep a value."""
        self._values[room, key] = (value, self._clock() + lives if lives else math.inf)

    def get(self, room: str, key: bytes) -> bytes | None:
        """Return a value that has not expired."""
        held = self._values.get((room, key))
        return held[0] if held is not None else None

    def shown(self, room: str) -> Iterator[tuple[bytes, tuple[float, ...]]]:
        """Yield each key of a room with its expiry."""
        for of, key, _, expires in self.states():
            if of == room:
                yield key, (expires,)

    def forget(self, room: str, key: bytes) -> None:
        """Forget a value."""
        self._values.pop((room, key), None)

    def states(self) -> Iterator[ValueState]:
        """Yield everything that is kept."""
        self._values.expire()
        for (room, key), (value, expires) in list(self._values.items()):
            yield room, key, value, 0.0 if expires == math.inf else expires

    def adopt(self, state: ValueState) -> None:
        """Take a value as it was elsewhere."""
        room, key, value, expires = state
        self._values[room, key] = (value, expires or math.inf)
