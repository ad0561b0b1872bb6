"""Verdicts in the memory of one process, packed: 100,000 remembered senders take 40 MB.

It is bounded in octets as well as in entries, because exchangers choose how much they say: a text of 1,000 characters
drives out three others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from proxy.callback.packed import Packed, pack, unpack

OCTETS_EACH = 400
"""Memory for each remembered verdict, on the average: key, verdict and the place of both in the dictionary."""

_COUNTED = 392
"""How much of that the entries may take by our count; the rest is for what is not counted."""

_PLACE = 44
"""Octets of a dictionary for each entry whose key is text, at the least favourable fill (CPython 3.11 to 3.13)."""


class VerdictMemory:
    """Packed verdicts by key; those that were not used for the longest time go first, roughly.

    There are three dictionaries. An entry that is used moves to the young one. When the old one is empty, the next
    younger one takes its place, so an entry is given up only if it was not used while others filled a third of the
    memory. An exact order took more memory than the verdicts: `cachetools.LRUCache` needs 250 octets an entry. The
    event loop's thread owns it.
    """

    __slots__ = ("_middle", "_most", "_octets", "_old", "_order", "_young", "evicted")

    def __init__(self, most: int) -> None:
        """`most` bounds the entries, and their memory to OCTETS_EACH times as many octets."""
        self._most = most
        self.evicted = 0
        """Evicted entries. The reader resets it."""
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._young: dict[str, bytes] = {}
        self._middle: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}
        self._order: list[str] = []
        """The keys of `_old` when it became so, oldest last."""
        self._octets = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._middle) + len(self._old)

    def __iter__(self) -> Iterator[tuple[str, Packed]]:
        """Yield keys and verdicts, the less recently used first. Changes meanwhile are not seen."""
        for key, packed in (*self._old.items(), *self._middle.items(), *self._young.items()):
            yield key, unpack(packed)

    @property
    def octets(self) -> int:
        """Memory that the entries take."""
        return self._octets

    def get(self, key: str) -> Packed | None:
        """Return what is remembered, valid or not."""
        packed = self._young.get(key)
        if packed is None:
            packed = self._middle.pop(key, None) or self._old.pop(key, None)
            if packed is None:
                return None
            self._young[key] = packed
        return unpack(packed)

    def peek(self, key: str) -> Packed | None:
        """Return the same, and leave the entry as recently used as it was."""
        packed = self._young.get(key) or self._middle.get(key) or self._old.get(key)
        return None if packed is None else unpack(packed)

    def put(self, key: str, held: Packed) -> None:
        """Remember a verdict, and forget others if that is too much."""
        self.drop(key)
        packed = self._young[key] = pack(held)
        self._octets += _cost(key, packed)
        while self._octets > self._most * _COUNTED or len(self) > self._most:
            self._forget_one()
        if not self._old and len(self._young) * 3 >= self._most:
            self._age()

    def drop(self, key: str) -> None:
        """Forget one key, if it is remembered."""
        packed = self._young.pop(key, None) or self._middle.pop(key, None) or self._old.pop(key, None)
        if packed is not None:
            self._octets -= _cost(key, packed)

    def _age(self) -> None:
        self._old, self._middle, self._young = self._middle, self._young, {}
        self._order = list(self._old)
        self._order.reverse()

    def _forget_one(self) -> None:
        while not self._old:
            self._age()
        while self._old:
            key = self._order.pop()
            if key in self._old:
                self.drop(key)
                self.evicted += 1
                return


def _cost(key: str, packed: bytes) -> int:
    return sys.getsizeof(key) + sys.getsizeof(packed) + _PLACE
