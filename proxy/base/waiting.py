"""Waiting for a peer, in either role: a connection's one timer, and the pause while its transport takes no more."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any


def nothing() -> None:
    """Replace a callback that is no longer wanted."""


def fail(answer: asyncio.Future[Any], error: Exception) -> None:
    """Answer with a failure that perhaps nobody waits for, and that asyncio does not report then."""
    answer.set_exception(error)
    answer.exception()


class LazyTimer:
    """Rings when a deadline passes.

    A wait that ends in time leaves the timer alone, and the next one resets it only if it would fire too late: a
    timer made and cancelled for each of three replies cost 15 µs per message.
    """

    __slots__ = ("_handle", "_loop", "_rings", "deadline", "rings_at")

    def __init__(self, loop: asyncio.AbstractEventLoop, rings: Callable[[], None]) -> None:
        """Call `rings` when a deadline has passed."""
        self._loop, self._rings = loop, rings
        self.deadline: float | None = None
        """When to ring, by the loop's clock. None, which may be set: do not ring."""
        self.rings_at = math.inf
        """When it looks at the deadline next."""
        self._handle: asyncio.TimerHandle | None = None

    def until(self, deadline: float) -> None:
        """Ring at `deadline`, by the loop's clock, unless the wait ends first."""
        self.deadline = deadline
        if self.rings_at > deadline:
            if self._handle is not None:
                self._handle.cancel()
            self.rings_at, self._handle = deadline, self._loop.call_at(deadline, self._look)

    def rest(self) -> None:
        """The wait has ended: do not ring."""
        self.deadline = None

    def cancel(self) -> None:
        """The connection has ended: leave nothing in the loop, and forget the callback."""
        self.deadline = None
        self._rings = nothing
        if self._handle is not None:
            self._handle.cancel()
            self._handle, self.rings_at = None, math.inf

    def _look(self) -> None:
        self._handle, self.rings_at = None, math.inf
        if self.deadline is None:
            return
        if self._loop.time() < self.deadline:
            self.rings_at, self._handle = self.deadline, self._loop.call_at(self.deadline, self._look)
        else:
            self._rings()


class WritePause:
    """Between a transport's `pause_writing` and its `resume_writing`, `resumed` is a future; otherwise None."""

    __slots__ = ("_loop", "resumed")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start with a transport that takes octets."""
        self._loop = loop
        self.resumed: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """The transport's buffer is full."""
        if self.resumed is None:
            self.resumed = self._loop.create_future()

    def end(self) -> None:
        """The transport takes more."""
        resumed, self.resumed = self.resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)

    def fail(self, error: Exception) -> None:
        """The transport will take no more: end the wait for it with an error."""
        if self.resumed is not None and not self.resumed.done():
            self.resumed.set_exception(error)
            self.resumed.exception()  # read once: there may be no waiter
