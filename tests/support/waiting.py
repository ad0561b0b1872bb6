"""Waiting for what happens elsewhere, always bounded; the bounds are reached only by a defect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

BOUND = 15.0
"""Seconds that any single step of a system test may take."""

T = TypeVar("T")


async def eventually(look: Callable[[], T], what: str, *, within: float = BOUND) -> T:
    """Return the first true result of `look`, which reads the state of another process.

    Raises:
        AssertionError: it stayed false for `within` seconds.
    """
    try:
        async with asyncio.timeout(within):
            while not (seen := look()):  # noqa: ASYNC110 - another process's state sets no event of ours
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {within:g} s: {what}") from None
    return seen


async def until_cancelled(done: list[str]) -> None:
    """Wait until cancelled, and say so in `done`."""
    try:
        await asyncio.Event().wait()
    finally:
        done.append("cancelled")


async def eventually_answered(ask: Callable[[], Awaitable[T]], what: str, *, within: float = BOUND) -> T:
    """Return the first true answer of `ask`, which asks another process.

    Raises:
        AssertionError: it stayed false for `within` seconds.
    """
    try:
        async with asyncio.timeout(within):
            while not (answer := await ask()):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {within:g} s: {what}") from None
    return answer
