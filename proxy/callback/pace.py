"""The pace at which probes begin, so that a burst of them leaves the worker time for its mail.

What a probe costs the event loop comes spread over many of its turns, and mail takes its turn among them: where ten
thousand probes began at once, a message with a remembered sender took a second. One alone does not wait.
"""

from __future__ import annotations

import asyncio
from collections import deque

TICK_SECONDS = 0.001
"""Between two ticks at least; a loop that is busy comes to them later, and so begins fewer."""

EACH_TICK = 2


class Pace:
    """A line of those who want to begin. The event loop's thread owns it."""

    def __init__(self) -> None:
        """Begin with nobody in line."""
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._next: asyncio.TimerHandle | None = None

    async def turn(self) -> None:
        """Wait for a turn, in the order of coming."""
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
            if not future.done():  # who was cancelled has left
                future.set_result(None)
                begun += 1
        self._next = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick) if begun else None
