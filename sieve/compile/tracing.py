"""Trace a script for `sieve run --trace`. A script compiled without tracing pays no cost for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from types import CoroutineType
from typing import Any

from config.diagnostics import Span
from sieve.compile.codes import Code, followed, preceded
from sieve.run.runtime import Frame


class Seen(StrEnum):
    """The kind of an event."""

    STATEMENT = "statement"
    CALL = "call"
    TEST = "test"
    SET = "set"


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One step of a script."""

    seen: Seen
    place: Span
    """Its position in the source."""
    text: str
    """The text of the statement or test, or the name of the function or variable."""
    arguments: tuple[Any, ...] = ()
    """The arguments of a function."""
    value: Any = None
    """The result of a function or test, or the new value of a variable."""


def _first_line(span: Span) -> str:
    return span.text.partition("\n")[0].rstrip()


def _tell(frame: Frame, event: TraceEvent) -> None:
    if frame.trace is not None:
        frame.trace(event)


def watched_statement(code: Code, span: Span) -> Code:
    """Return code that reports the statement before it runs."""
    event = TraceEvent(Seen.STATEMENT, span, _first_line(span))
    return preceded(code, lambda frame: _tell(frame, event))


def watched_test(code: Code, span: Span) -> Code:
    """Return code that reports the test's result."""
    text = _first_line(span)

    def told(frame: Frame, verdict: Any) -> Any:
        _tell(frame, TraceEvent(Seen.TEST, span, text, value=bool(verdict)))
        return verdict

    return followed(code, told)


def watched_function(run: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a function's code that reports its arguments and its result."""

    def told(frame: Frame, arguments: tuple[Any, ...], result: Any) -> Any:
        _tell(frame, TraceEvent(Seen.CALL, frame.at, name, arguments, result))
        return result

    async def later(frame: Frame, arguments: tuple[Any, ...], result: Awaitable[Any]) -> Any:
        return told(frame, arguments, await result)

    def watched(frame: Frame, *values: Any, **tags: Any) -> Any:
        result, arguments = run(frame, *values, **tags), (*values, *tags.items())
        return (later if isinstance(result, CoroutineType) else told)(frame, arguments, result)

    return watched


def watched_assignment(code: Code, span: Span, names: tuple[str, ...]) -> Code:
    """Return code that reports the variables' values after the assignment."""

    def told(frame: Frame, ended: Any) -> Any:
        for name in names:
            _tell(frame, TraceEvent(Seen.SET, span, name, value=frame.variables.get(name)))
        return ended

    return followed(code, told)
