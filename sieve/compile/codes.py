"""Compiled expressions: a callable that takes the frame, and functions to combine them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sieve.run.runtime import Frame


@dataclass(frozen=True, slots=True)
class Code:
    """A compiled expression: call `run` with the frame, and await the result if `waits`.

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
    if code.waits:

        async def waiting(frame: Frame) -> Any:
            return change(await run(frame))

        return Code(waiting, waits=True)
    return Code(lambda frame: change(run(frame)))


def followed(code: Code, after: Callable[[Frame, Any], Any]) -> Code:
    """Return code that calls `after` with the frame and the result of `code`."""
    run = code.run
    if code.waits:

        async def waiting(frame: Frame) -> Any:
            return after(frame, await run(frame))

        return Code(waiting, waits=True)
    return Code(lambda frame: after(frame, run(frame)))


def preceded(code: Code, before: Callable[[Frame], None]) -> Code:
    """Return code that calls `before` with the frame, then runs `code`."""
    run = code.run
    if code.waits:

        async def waiting(frame: Frame) -> Any:
            before(frame)
            return await run(frame)

        return Code(waiting, waits=True)

    def both(frame: Frame) -> Any:
        before(frame)
        return run(frame)

    return Code(both)


async def settled(code: Code, frame: Frame) -> Any:
    """Run `code`, await it if it waits, and return its result."""
    return await code.run(frame) if code.waits else code.run(frame)
