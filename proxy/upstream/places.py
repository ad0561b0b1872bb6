"""The limit on connections of all pools of a worker together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol


class Holder(Protocol):
    """A pool, which may end a connection for another pool."""

    def end_one_unused(self) -> bool:
        """End what is unused for longest; return whether there was anything."""
        ...


class Claimant(Protocol):
    """The slots of a pool, which may need another place."""

    def take_offered_place(self) -> bool:
        """Give a place to the longest waiter; return whether a waiter may have it."""
        ...


class Places:
    """How many connections all pools of the worker may still make, and the pools waiting for one."""

    def __init__(self, most: int, pools: Callable[[], Iterable[Holder]]) -> None:
        """`pools` returns those who share the places."""
        self._free, self._pools = most, pools
        self._hungry: deque[Claimant] = deque()

    def take(self, slots: Claimant) -> bool:
        """Take a place. If all are taken, end an idle connection of any pool; its place goes to these slots."""
        if self.take_free():
            return True
        any(each.end_one_unused() for each in self._pools())
        if self.take_free():  # one had died unnoticed, and its place was free at once
            return True
        self._hungry.append(slots)
        return False

    def take_free(self) -> bool:
        """Take a place if one is free."""
        taken = self._free > 0
        self._free -= taken
        return taken

    def free(self) -> None:
        """Give a place back, to the pool that has waited longest."""
        self._free += 1
        while self._hungry:
            if self._hungry.popleft().take_offered_place():
                self._free -= 1
                return
