"""Compiled expressions: a callable that takes the frame, and functions to combine them.

Code that may wait returns `Soon` (`sieve.run.patience`): its value, or a coroutine if it really has to wait. Combined
code passes a value on at once, and only a coroutine makes it a coroutine, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import CoroutineType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sieve.run.runtime import Frame


@dataclass(frozen=True, slots=True)
class Code:
    """A compiled expression: call `run` with the frame. If it `waits`, the result may be a coroutine.

    For a constant, `run` returns the same value for any frame.
    """

    run: Callable[[Any], Any]
    waits: bool = False
    is_constant: bool = False
    value: Any = None


def known(value: Any) -> Code:
    """Return code for a constant."""
    return Code(lambda _frame: value, is_constant=True, value=value)


def mapped(code: Code, change: Callable[[Any], Any]) -> Code:
    """Return code that applies `change` to the result of `code`."""
    run = code.run
    if not code.waits:
        return Code(lambda frame: change(run(frame)))

    def may_wait(frame: Frame) -> Any:
        result = run(frame)
        return later(result) if result.__class__ is CoroutineType else change(result)

    async def later(result: Awaitable[Any]) -> Any:
        return change(await result)

    return Code(may_wait, waits=True)


def followed(code: Code, after: Callable[[Frame, Any], Any]) -> Code:
    """Return code that calls `after` with the frame and the result of `code`."""
    run = code.run
    if not code.waits:
        return Code(lambda frame: after(frame, run(frame)))

    def may_wait(frame: Frame) -> Any:
        result = run(frame)
        return later(frame, result) if result.__class__ is CoroutineType else after(frame, result)

    async def later(frame: Frame, result: Awaitable[Any]) -> Any:
        return after(frame, await result)

    return Code(may_wait, waits=True)


def preceded(code: Code, before: Callable[[Frame], None]) -> Code:
    """Return code that calls `before` with the frame, then runs `code`."""
    run = code.run

    def both(frame: Frame) -> Any:
        before(frame)
        return run(frame)

    return Code(both, waits=code.waits)


async def evaluated(code: Code, frame: Frame) -> Any:
    """Run `code`, wait if it has to, and return its result."""
    result = code.run(frame)
    return await result if result.__class__ is CoroutineType else result
