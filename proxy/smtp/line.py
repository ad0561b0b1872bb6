"""A queue for a few places. The lowest rank goes first; among equal ranks, the longest wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count
from typing import Any


class Line:
    """Places and the tasks that wait for one. Owned by the event loop's thread."""

    def __init__(self, places: int) -> None:
        """Start with every place free."""
        self._free = places
        self._waiting: list[tuple[Any, int, asyncio.Future[None]]] = []
        self._numbers = count()

    @asynccontextmanager
    async def place(self, rank: Any) -> AsyncIterator[None]:
        """Wait for a place and hold it. The lowest rank is next."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(rank)
        try:
            yield
        finally:
            self._leave()

    async def _wait(self, rank: Any) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (rank, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it got the place at the same moment
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiting:
            _, _, turn = heappop(self._waiting)
            if not turn.done():  # a task that left the queue has cancelled its future
                turn.set_result(None)
                return
        self._free += 1
