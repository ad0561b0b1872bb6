"""The interface that performs operations, and how to wait for its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from inspect import isawaitable
from typing import Protocol, TypeVar

from typing_extensions import TypeIs

from proxy.counting.operations import Operation

A = TypeVar("A")


class CountingUnavailable(Exception):
    """The shared counting does not answer, and `on_store_error = defer` forbids to count without it."""


class Counting(Protocol):
    """Performs operations, in the order in which one process asks for them.

    Everything sent in one turn of the loop travels together. If a shared counting does not answer in time, this
    process's own count is the answer for the time being, unless `on_store_error = defer`.
    """

    async def start(self) -> None:
        """Read what has outlived a restart. Never raises."""
        ...

    def ask(self, operation: Operation[A]) -> A | Awaitable[A]:
        """Perform it, and return the answer: at once if it is at hand, otherwise something to wait for.

        Raises:
            CountingUnavailable: see there. It may come from the awaitable as well.
        """
        ...

    def tell(self, operation: Operation[A]) -> None:
        """Perform it. No caller waits for the answer; later operations see its effect. Never raises."""
        ...

    async def close(self) -> None:
        """Return all places, and write what outlives a restart. Never raises."""
        ...


async def answered(counting: Counting, operation: Operation[A]) -> A:
    """Perform an operation and return its answer.

    Raises:
        CountingUnavailable: see `Counting`.
    """
    answer = counting.ask(operation)
    return await answer if is_later(answer) else answer


def is_later(answer: A | Awaitable[A]) -> TypeIs[Awaitable[A]]:
    """Whether an answer has to be waited for. Counts, and the keeper's and Redis's futures, are quick to see."""
    if type(answer) is int:
        return False
    return isinstance(answer, asyncio.Future) or isawaitable(answer)
