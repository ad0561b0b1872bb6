"""Triplets in memory: who has tried to deliver, and when.

Triplets that never passed are in a table of their own: a stranger can create any number of these, and they must not
displace those that passed, which are worth more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import TypeVar

from proxy.counting.clock import Clock
from proxy.counting.operations import Delivered, Greylist, Seen

MOST_TRIED, MOST_PASSED, MOST_CLIENTS = 200_000, 400_000, 100_000
"""Entries; beyond that, the one that was used longest ago is dropped."""

Key = tuple[str, bytes]
"""Room and key."""

Triplet = tuple[float, float, int, float]
"""First and last attempt, how often it passed, and when it is forgotten."""

Known = tuple[int, float]
"""Messages of a client, and when it is forgotten."""


Entry = TypeVar("Entry", Triplet, Known)


class Triplets:
    """Every triplet and client. The event loop's thread owns them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tried: OrderedDict[Key, Triplet] = OrderedDict()
        self._passed: OrderedDict[Key, Triplet] = OrderedDict()
        self._clients: OrderedDict[Key, Known] = OrderedDict()

    def __len__(self) -> int:
        """Return how many triplets there are."""
        return len(self._tried) + len(self._passed)

    def attempt(self, operation: Greylist) -> Seen:
        """Perform the operation."""
        now, key, look = self._clock(), (operation.room, operation.key), operation.look
        client = self._messages((operation.room, operation.client), now) if operation.client else 0
        if operation.enough and client >= operation.enough:
            known = (operation.room, operation.client)
            if not look:
                self._put(self._clients, known, (client, now + operation.life), MOST_CLIENTS)
            return Seen(True, 0.0, now, now, 0, client)
        first, last, passed = self._before(key, now)
        wait = 0.0 if passed else max(0.0, first + operation.delay - now)
        if not passed and (first == now or wait > 0):
            if not look:
                self._put(self._tried, key, (first, now, 0, first + operation.window), MOST_TRIED)
            return Seen(False, wait or operation.delay, first, last, 0, client)
        if not look:
            self._tried.pop(key, None)
            self._put(self._passed, key, (first, now, passed + 1, now + operation.life), MOST_PASSED)
        return Seen(True, 0.0, first, last, passed + 1, client)

    def delivered(self, operation: Delivered) -> int:
        """Perform the operation."""
        now, client = self._clock(), (operation.room, operation.client)
        messages = max(0, self._messages(client, now) + operation.change)
        if operation.change:
            self._put(self._clients, client, (messages, now + operation.life), MOST_CLIENTS)
        return messages

    def _before(self, key: Key, now: float) -> tuple[float, float, int]:
        """Return the first attempt, the last one, and how often it passed; all now, if nothing is known."""
        for table in (self._passed, self._tried):
            held = table.get(key)
            if held is not None:
                if now <= held[3]:
                    return held[:3]
                del table[key]
        return now, now, 0

    def _messages(self, client: Key, now: float) -> int:
        messages, expires = self._clients.get(client, (0, now))
        return messages if now <= expires else 0

    def _put(self, table: OrderedDict[Key, Entry], key: Key, entry: Entry, most: int) -> None:
        table[key] = entry
        table.move_to_end(key)
        if len(table) > most:
            table.popitem(last=False)

    # ------------------------------------------------------------ for operators, and for other processes

    def shown(self, room: str) -> Iterator[tuple[bytes, tuple[float, ...]]]:
        """Yield each triplet of a room with its first and last attempt, how often it passed, and its expiry."""
        now = self._clock()
        for table in (self._passed, self._tried):
            for (of, key), triplet in table.items():
                if of == room and now <= triplet[3]:
                    yield key, triplet

    def clients(self, room: str) -> Iterator[tuple[bytes, tuple[float, ...]]]:
        """Yield each client of a room with its messages and its expiry."""
        now = self._clock()
        for (of, client), known in self._clients.items():
            if of == room and now <= known[1]:
                yield client, known

    def forget(self, room: str, key: bytes) -> None:
        """Forget a triplet."""
        self._passed.pop((room, key), None)
        self._tried.pop((room, key), None)

    def forget_client(self, room: str, client: bytes) -> None:
        """Forget a client."""
        self._clients.pop((room, client), None)

    def triplet(self, key: Key) -> Triplet | None:
        """Return the state of a key."""
        return self._passed.get(key) or self._tried.get(key)

    def client(self, key: Key) -> Known | None:
        """Return the state of a client."""
        return self._clients.get(key)

    def triplets(self) -> Iterator[tuple[Key, Triplet]]:
        """Yield the state of all triplets."""
        yield from self._tried.items()
        yield from self._passed.items()

    def every_client(self) -> Iterator[tuple[Key, Known]]:
        """Yield the state of all clients."""
        yield from self._clients.items()

    def adopt(self, key: Key, triplet: Triplet) -> None:
        """Take a triplet as it was elsewhere."""
        table, most = (self._passed, MOST_PASSED) if triplet[2] else (self._tried, MOST_TRIED)
        self._put(table, key, triplet, most)

    def adopt_client(self, key: Key, known: Known) -> None:
        """Take a client as it was elsewhere."""
        self._put(self._clients, key, known, MOST_CLIENTS)
