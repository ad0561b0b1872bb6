"""A line for a few places in which the better rank goes first: who waits longest only among equals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count
from typing import Any


class Line:
    """Places, and those who wait for one. The event loop's thread owns it."""

    def __init__(self, places: int) -> None:
        """Begin with every place free."""
        self._free = places
        self._waiting: list[tuple[Any, int, asyncio.Future[None]]] = []
        self._numbers = count()

    @asynccontextmanager
    async def place(self, rank: Any) -> AsyncIterator[None]:
        """Wait for a place and hold it; the lowest rank is the next."""
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
            if turn.done() and not turn.cancelled():  # it got the place in the same moment
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiting:
            _, _, turn = heappop(self._waiting)
            if not turn.done():  # whoever left the line has cancelled it
                turn.set_result(None)
                return
        self._free += 1
