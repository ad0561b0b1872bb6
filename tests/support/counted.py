"""A counting that several workers of one test share, as they would share a keeper."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from proxy.counting.base import CountingUnavailable
from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import Operation, Places

A = TypeVar("A")


class Apart:
    """Counts in this process, and answers as a keeper does: in a later turn of the loop."""

    def __init__(self, truth: MemoryCounting | None = None) -> None:
        self.truth = truth or MemoryCounting()
        self.asked: list[Operation[object]] = []
        self.turns: set[object] = set()
        """One entry for each turn of the loop in which something was asked."""
        self.down = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._turn: object | None = None

    def ask(self, operation: Operation[A]) -> Awaitable[A]:
        """Perform it at once, and answer later."""
        if self.down:
            raise CountingUnavailable
        loop = asyncio.get_running_loop()
        self.asked.append(operation)
        if self._turn is None:
            self._turn = object()
            self.turns.add(self._turn)
            loop.call_soon(self._turned)
        answer: asyncio.Future[A] = loop.create_future()
        self._answer_later(answer, self.truth.ask(operation))
        return answer

    def tell(self, operation: Operation[A]) -> None:
        """Perform it."""
        self.truth.tell(operation)

    async def close(self) -> None:
        """Nothing is open."""

    def places(self, key: str) -> int:
        """How many places are leased."""
        return self.truth.ask(Places(key.encode()))

    def _answer_later(self, answer: asyncio.Future[A], found: A) -> None:
        loop = asyncio.get_running_loop()
        if answer.cancelled():
            return
        if self.may_answer.is_set():
            loop.call_soon(lambda: answer.done() or answer.set_result(found))
        else:
            loop.call_soon(self._answer_later, answer, found)

    def _turned(self) -> None:
        self._turn = None
