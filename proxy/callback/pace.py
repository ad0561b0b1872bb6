"""Limits how fast probes start, so that the worker has time for its mail during a burst of probes.

The work of a probe is spread over many turns of the event loop, and mail takes turns with it. If ten thousand probes
started at once, a message whose sender was cached took a second. A single probe does not wait.
"""

from __future__ import annotations

import asyncio
from collections import deque

TICK_SECONDS = 0.001
"""Shortest time between two ticks; a busy loop ticks later and so starts fewer probes."""

EACH_TICK = 2


class ProbePacer:
    """A queue of probes waiting to start. The event loop's thread owns it."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._next: asyncio.TimerHandle | None = None

    async def turn(self) -> None:
        """Wait for a turn, first come, first served."""
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = loop.call_later(TICK_SECONDS, self._tick)
            return
        future = loop.create_future()
        self._waiting.append(future)
        await future

    def _tick(self) -> None:
        begun = 0
        while self._waiting and begun < EACH_TICK:
            future = self._waiting.popleft()
            if not future.done():  # the waiter was cancelled
                future.set_result(None)
                begun += 1
        self._next = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick) if begun else None
