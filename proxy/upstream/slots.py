"""`Slots`: how many connections one pool has, and the transactions that wait for one of them."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from proxy.metrics.book import BOOK
from proxy.metrics.table import POOL_LIMIT, POOL_WAITING, POOLED, UPSTREAM_ERRORS
from proxy.upstream.failures import PoolFull
from proxy.upstream.places import Places

PLACE_SECONDS = 20.0
"""How long a transaction waits for a place in a full pool before it gets 451 4.4.5."""

C = TypeVar("C")
"""The pool's connections."""

C_contra = TypeVar("C_contra", contravariant=True)


class Pool(Protocol[C_contra]):
    """What has the connections: `proxy.upstream.pool.ConnectionPool`."""

    def end_one_unused(self) -> bool:
        """End what is unused for longest; return whether there was anything."""

    def give_back(self, connection: C_contra) -> None:
        """Take a connection back that is between transactions."""


class Slots(Generic[C]):
    """Counts the connections of one pool, within its own limit and the worker's. It opens none itself."""

    __slots__ = ("_loop", "_number", "_places", "_pool", "most", "owes", "taken", "waiting")

    def __init__(self, pool: Pool[C], most: int, places: Places, number: int) -> None:
        """Allow `most` connections, each with one of the worker's places. `number` is the upstream's in the metrics."""
        self._pool, self.most, self._places, self._number = pool, most, places, number
        self._loop = asyncio.get_running_loop()
        self.taken = 0
        self.owes = False
        """Others want a slot: the next that comes back is theirs."""
        self.waiting: deque[tuple[asyncio.Future[C | None], tuple[object, ...]]] = deque()
        """The transactions that wait, with the client that each would announce."""

    async def take(self, identity: tuple[object, ...]) -> C | None:
        """Take a slot, or wait for one; it comes with a connection if that one can be shared.

        Raises:
            PoolFull: all slots were taken for PLACE_SECONDS.
        """
        return None if self._take_now() else await self._wait(identity)

    def look(self) -> None:
        """Add what there is now to the gauges of the upstream."""
        counts, number = BOOK.counts, self._number
        counts[POOLED.base + number] += self.taken
        limit = POOL_LIMIT.base + number
        counts[limit] = max(counts[limit], self.most)
        counts[POOL_WAITING.base + number] += len(self.waiting)

    async def lease(self) -> bool:
        """Return whether a slot that was just taken may be used: always, if no other worker has to be asked."""
        return True

    async def close(self) -> None:
        """Nothing is under way."""

    def _take_now(self) -> bool:
        """Take a slot if one is free. If the pool is full, end an unused connection."""
        if self.taken >= self.most:
            self._pool.end_one_unused()
        taken = self.taken < self.most and self._places.take(self)
        self.taken += taken
        return taken

    async def _wait(self, identity: tuple[object, ...]) -> C | None:
        place: asyncio.Future[C | None] = self._loop.create_future()
        waiter = (place, identity)
        self.waiting.append(waiter)
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                return await place
        except BaseException as error:
            with suppress(ValueError):
                self.waiting.remove(waiter)
            if place.done() and not place.cancelled():
                self._hand_back(place.result())  # it was handed over just as we gave up
            if isinstance(error, TimeoutError):
                raise self._full() from None
            raise

    def _full(self) -> PoolFull:
        BOOK.counts[UPSTREAM_ERRORS.at(self._number, "busy")] += 1
        return PoolFull()

    def take_free(self) -> bool:
        """Take a slot if one is free now."""
        if self.taken >= self.most or not self._places.take_free():
            return False
        self.taken += 1
        return True

    def take_offered_place(self) -> bool:
        """Give a place of the worker's to the longest waiter here; return whether a waiter may have it."""
        if self.taken >= self.most or not self.hand_over(None):
            return False
        self.taken += 1
        return True

    def free(self) -> None:
        """Hand over a slot without a connection, or count one less."""
        if not self.hand_over(None):
            self._let_go()

    def _let_go(self) -> None:
        self.taken -= 1
        self._places.free()

    def hand_over(self, connection: C | None) -> bool:
        """Give a slot, with or without its connection, to the longest waiter; return whether there was a waiter."""
        while self.waiting:
            place, _ = self.waiting.popleft()
            if not place.done():
                place.set_result(connection)
                return True
        return False

    def _hand_back(self, connection: C | None) -> None:
        if connection is None:
            self.free()
        else:
            self._pool.give_back(connection)
