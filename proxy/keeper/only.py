"""The counting of an only worker, which is the keeper as well, until the keeper of a new configuration takes over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.base.tasks import TaskOwner, spawn
from proxy.counting.base import Counting
from proxy.counting.leases import ALONE
from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import Operation
from proxy.counting.sharing import SharedCounting

Asking = Callable[[MemoryCounting], Counting]
"""Makes what asks whoever has taken over, and counts in the given tables if that one does not answer."""


class OnlyCounting:
    """Counts here. Once another process has taken over, it counts, even for the sessions that end here.

    The event loop's thread owns its state.
    """

    def __init__(self, own: MemoryCounting | SharedCounting, asking: Asking) -> None:
        """Count with `own`; `asking` is used when it is paused."""
        self.own, self._asking = own, asking
        self._kept: Counting | None = None
        self._meanwhile = MemoryCounting()
        self._owner = TaskOwner("handed over")
        self.paused: Callable[[], None] = lambda: None
        """Called when another process counts."""
        self.resumed: Callable[[], None] = lambda: None
        """Called when this one counts again."""
        self.ask: Callable[[Operation[Any]], Any] = own.ask
        self.tell: Callable[[Operation[Any]], None] = own.tell

    @property
    def local(self) -> MemoryCounting:
        """The tables of this process."""
        return self.own.local

    async def start(self) -> None:
        """Read what has outlived a restart."""
        await self.own.start()

    def pause(self) -> None:
        """Another process counts on: ask it, and tell it which places this one has."""
        self.own.pause()
        if self._kept is None:
            self._meanwhile = MemoryCounting()
            self._meanwhile.leases.hold(ALONE, self.local.leases.held_by(self.own.alone))
            self._kept = self._asking(self._meanwhile)
            self.ask, self.tell = self._kept.ask, self._kept.tell
            self.paused()

    def resume(self) -> None:
        """It has failed: count on from what was handed over."""
        kept, self._kept = self._kept, None
        if kept is not None:
            self.ask, self.tell = self.own.ask, self.own.tell
            self.local.leases.hold(self.own.alone, self._meanwhile.leases.held_by(ALONE))
            spawn(kept.close(), name="close the way to a successor", owner=self._owner)
            self.resumed()
        self.own.resume()

    def connect(self, owner: str) -> None:
        """A worker of another configuration lives."""
        self.own.connect(owner)

    def disconnect(self, owner: str) -> None:
        """Whether it lives is not known."""
        self.own.disconnect(owner)

    def drop(self, owner: str) -> None:
        """It has ended."""
        self.own.drop(owner)

    async def close(self) -> None:
        """Give places back, and write what outlives a restart."""
        if self._kept is not None:
            await self._kept.close()
        await self._owner.cancel()
        await self.own.close()


def counts_itself(counting: Counting) -> MemoryCounting | SharedCounting | None:
    """Return what counts for this machine, if this process does."""
    own = counting.own if isinstance(counting, OnlyCounting) else counting
    return own if isinstance(own, MemoryCounting | SharedCounting) else None
