"""Compiled expressions: a callable over the frame, whether it waits, and the few ways to build one on another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sieve.run.runtime import Frame


@dataclass(frozen=True, slots=True)
class Code:
    """A compiled expression: call `run` with the frame, and await the result where `waits`.

    A constant's value is known: `run` gives it for any frame.
    """

    run: Callable[[Any], Any]
    waits: bool = False
    is_constant: bool = False
    value: Any = None


def known(value: Any) -> Code:
    """Return the code of a constant."""
    return Code(lambda _frame: value, is_constant=True, value=value)


def mapped(code: Code, change: Callable[[Any], Any]) -> Code:
    """Return code that gives `change` of what `code` gives."""
    run = code.run
    if code.waits:

        async def waiting(frame: Frame) -> Any:
            return change(await run(frame))

        return Code(waiting, waits=True)
    return Code(lambda frame: change(run(frame)))


def followed(code: Code, after: Callable[[Frame, Any], Any]) -> Code:
    """Return code that gives what `after` makes, in the run's frame, of what `code` gives."""
    run = code.run
    if code.waits:

        async def waiting(frame: Frame) -> Any:
            return after(frame, await run(frame))

        return Code(waiting, waits=True)
    return Code(lambda frame: after(frame, run(frame)))


def preceded(code: Code, before: Callable[[Frame], None]) -> Code:
    """Return code that does `before` in the run's frame, then what `code` does."""
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
    """Return what `code` gives, waited for where it waits."""
    return await code.run(frame) if code.waits else code.run(frame)
