"""Leases in memory: places that processes have, such as their open connections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from proxy.counting.clock import Clock
from proxy.counting.networks import ByNetwork
from proxy.counting.operations import Leased
from proxy.counting.presence import is_here_only, split

ALIVE_SECONDS = 5.0
"""A process that is silent for longer loses its places, unless it is known to live."""

ALONE = ""
"""The owner in a process that counts for itself alone. It never has to report that it is alive."""

LeaseState = tuple[str, list[tuple[bytes, int]]]
"""An owner, and each key with its places."""


class Leases:
    """Every lease. The event loop's thread owns them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[str, Counter[bytes]] = {}
        self._heard: dict[str, float] = {}
        self._totals: Counter[bytes] = Counter()
        self._connected = {ALONE}
        self._present: dict[bytes, ByNetwork] = {}
        """For the beginnings that were asked for: the leased places by address."""

    @property
    def total(self) -> int:
        """How many places are leased."""
        return self._totals.total()

    def connect(self, owner: str) -> None:
        """Know from its connection that an owner lives, until `drop`."""
        self._connected.add(owner)

    def disconnect(self, owner: str) -> None:
        """Know it no longer: it has to say so, within ALIVE_SECONDS."""
        self._connected.discard(owner)
        self._heard[owner] = self._clock()

    def lease(self, owner: str, places: Sequence[tuple[bytes, int]]) -> Leased:
        """Lease one place of each key, or none."""
        self._expire()
        totals = self._totals
        for at, (key, most) in enumerate(places):
            if most and totals[key] >= most:
                return Leased(at, [totals[each] for each, _ in places])
        self._heard[owner] = self._clock()
        held = self._held.setdefault(owner, Counter())
        for key, _ in places:
            held[key] += 1
            self._change(key, 1)
        return Leased(-1, [totals[each] for each, _ in places])

    def give_back(self, owner: str, keys: Sequence[bytes]) -> None:
        """Return one place of each key. One that the owner does not have is not counted down."""
        held = self._held.get(owner)
        for key in keys:
            if held is not None and held[key] > 0:
                self._less(held, key, 1)

    def hold(self, owner: str, held: Sequence[tuple[bytes, int]] | None = None) -> bool:
        """Note that an owner is alive, and possibly which places it has; return whether it was known."""
        known = owner in self._heard
        if held is not None:
            self._free(owner)
            self._held[owner] = Counter(dict(held))
            for key, places in held:
                self._change(key, places)
        self._heard[owner] = self._clock()
        return known

    def drop(self, owner: str) -> None:
        """Free the places of an owner that has ended."""
        self._heard.pop(owner, None)
        self._connected.discard(owner)
        self._free(owner)

    def _free(self, owner: str) -> None:
        held = self._held.pop(owner, Counter[bytes]())
        for key, places in tuple(held.items()):
            self._less(held, key, places)

    def places(self, key: bytes) -> int:
        """Return how many places of a key are leased."""
        self._expire()
        return self._totals[key]

    def present(self, begin: bytes, address: bytes, mask: int) -> int:
        """Return how many places whose keys begin so and end in an address are leased within a network."""
        self._expire()
        table = self._present.get(begin)
        if table is None:
            table = self._present[begin] = ByNetwork()
            for key, places in self._totals.items():
                if is_here_only(key) and split(key)[0] == begin:
                    table.add(split(key)[1], places)
        if table.wants(len(address), mask):
            table.begin(len(address), mask)
        return table.total(address, mask)

    def _less(self, held: Counter[bytes], key: bytes, places: int) -> None:
        held[key] -= places
        if held[key] <= 0:
            del held[key]
        self._change(key, -places)

    def _change(self, key: bytes, places: int) -> None:
        self._totals[key] += places
        if self._totals[key] <= 0:
            del self._totals[key]
        if self._present and is_here_only(key):
            begin, address = split(key)
            if begin in self._present:
                self._present[begin].add(address, places)
                if not self._totals[key]:
                    self._present[begin].forget(address)

    def _expire(self) -> None:
        ended = self._clock() - ALIVE_SECONDS
        for owner, heard in tuple(self._heard.items()):
            if heard < ended and owner not in self._connected:
                self.drop(owner)

    def held_by(self, owner: str) -> list[tuple[bytes, int]]:
        """Return an owner's places."""
        return list(self._held.get(owner, {}).items())

    def shown(self) -> Iterator[tuple[bytes, tuple[float, ...]]]:
        """Yield each key with its leased places."""
        self._expire()
        for key, places in self._totals.items():
            yield key, (places,)

    def states(self) -> Iterator[LeaseState]:
        """Yield each owner and its places."""
        self._expire()
        for owner, held in list(self._held.items()):
            yield owner, list(held.items())

    def adopt(self, state: LeaseState) -> None:
        """Take an owner's places as they were elsewhere. It has to say that it lives within ALIVE_SECONDS."""
        self.hold(*state)
