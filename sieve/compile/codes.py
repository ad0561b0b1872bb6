"""Compiled code: a callable that takes the frame of a run, and the ways to combine code.

Whatever a compiled expression, call or test does in a run is here, so a run can be followed in two places: here, and in
`sieve.run.runtime`. The other modules of this room decide what is combined.

Code that may wait returns `Soon` (`sieve.run.patience`): its value, or a coroutine if it really has to wait. Combined
code passes a value on at once, and only a coroutine makes it a coroutine, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import CoroutineType
from typing import Any

from config.diagnostics import Span
from sieve.run.patience import settled
from sieve.run.runtime import Frame, located
from sieve.run.values import COERCE, UNSET, Type, as_text


@dataclass(frozen=True, slots=True)
class Code:
    """A compiled expression: call `run` with the frame. If it `waits`, the result may be a coroutine.

    For a constant, `run` returns the same value for any frame.
    """

    run: Callable[[Any], Any]
    waits: bool = False
    is_constant: bool = False
    value: Any = None
    is_text: bool = False
    """Whether the result is always text, never a list or a number."""


def known(value: Any) -> Code:
    """Return code for a constant."""
    return Code(lambda _frame: value, is_constant=True, value=value)


def variable(name: str, wanted: Type) -> Code:
    """Return code for the value of a variable, as a parameter of the type `wanted` gets it."""
    if wanted is Type.PLACE:
        return Code(lambda frame: frame.variables.get(name, UNSET))
    if wanted is Type.ANY:
        return Code(lambda frame: frame.variables.get(name, ""))
    coerce = COERCE[wanted]
    if coerce is as_text:
        return Code(partial(_text_in, name), is_text=True)
    return Code(lambda frame: coerce(frame.variables.get(name, "")))


def _text_in(name: str, frame: Frame) -> str:
    value = frame.variables.get(name, "")
    return value if value.__class__ is str else as_text(value)


# ---------------------------------------------------------------- one code after another


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


# ---------------------------------------------------------------- calls of functions


def called(
    run: Callable[..., Any], arguments: Sequence[Code], keywords: Mapping[str, Code], *, waits: bool = False
) -> Code:
    """Return code that calls `run` with the frame and its arguments. `waits`: the call may return a coroutine.

    Calls with few arguments have their own closures, because building an argument list costs as much as the call.
    """
    given = [*arguments, *keywords.values()]
    if any(code.waits for code in given):
        return Code(_after_arguments(run, arguments, keywords), waits=True)
    if all(code.is_constant for code in given):
        return Code(_with_constants(run, arguments, keywords), waits=waits)
    if keywords:
        return Code(_with_tags(run, arguments, keywords), waits=waits)
    runs = [code.run for code in arguments]
    if len(runs) == 1:
        only = runs[0]
        return Code(lambda frame: run(frame, only(frame)), waits=waits)
    return Code(lambda frame: run(frame, *[argument(frame) for argument in runs]), waits=waits)


def _with_constants(
    run: Callable[..., Any], arguments: Sequence[Code], keywords: Mapping[str, Code]
) -> Callable[[Frame], Any]:
    values = tuple([code.value for code in arguments])
    if not keywords:
        return lambda frame: run(frame, *values)
    tags = {name: code.value for name, code in keywords.items()}
    return lambda frame: run(frame, *values, **tags)


def _with_tags(
    run: Callable[..., Any], arguments: Sequence[Code], keywords: Mapping[str, Code]
) -> Callable[[Frame], Any]:
    runs = [code.run for code in arguments]
    tags = [(name, code.run) for name, code in keywords.items()]
    return lambda frame: run(
        frame, *[argument(frame) for argument in runs], **{name: value(frame) for name, value in tags}
    )


def _after_arguments(
    run: Callable[..., Any], arguments: Sequence[Code], keywords: Mapping[str, Code]
) -> Callable[[Frame], Any]:
    async def waiting(frame: Frame) -> Any:
        values = [await evaluated(code, frame) for code in arguments]
        tags = {name: await evaluated(code, frame) for name, code in keywords.items()}
        return await settled(run(frame, *values, **tags))

    return waiting


# ---------------------------------------------------------------- tests


def guarded(code: Code, span: Span) -> Code:
    """Return code whose failure has the position of its test, because an `if` can have many lines."""
    run = code.run

    def guard(frame: Frame) -> Any:
        try:
            result = run(frame)
        except Exception as error:
            raise located(error, span) from error
        return later(result) if result.__class__ is CoroutineType else result

    async def later(result: Awaitable[Any]) -> Any:
        try:
            return await result
        except Exception as error:
            raise located(error, span) from error

    return Code(guard, waits=code.waits)


def joined(codes: Sequence[Code], *, every: bool) -> Code:
    """Return code for allof (`every`) or anyof, which runs no test that cannot change the result."""
    runs = [code.run for code in codes]

    def join(frame: Frame) -> Any:
        for number, run in enumerate(runs, 1):
            result = run(frame)
            if result.__class__ is CoroutineType:
                return rest(frame, result, number)
            if bool(result) is not every:
                return not every
        return every

    async def rest(frame: Frame, result: Any, number: int) -> bool:
        for run in runs[number:]:
            if bool(await settled(result)) is not every:
                return not every
            result = run(frame)
        return bool(await settled(result))

    return Code(join, waits=any(code.waits for code in codes))


def chosen(branches: Sequence[tuple[Code, Code]]) -> Code:
    """Return code that runs the block of the first test that holds; it tells whether the phase ended."""
    pairs = [(test.run, block.run) for test, block in branches]

    def choose(frame: Frame) -> Any:
        for number, (test, run) in enumerate(pairs):
            holds = test(frame)
            if holds.__class__ is CoroutineType:
                return rest(frame, holds, number)
            if holds:
                return run(frame)
        return False

    async def rest(frame: Frame, holds: Any, number: int) -> bool:
        for test, run in pairs[number:]:
            if await settled(test(frame) if holds is None else holds):
                return bool(await settled(run(frame)))
            holds = None
        return False

    return Code(choose, waits=any(test.waits or block.waits for test, block in branches))
