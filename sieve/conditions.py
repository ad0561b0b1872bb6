"""Tests to closures: comparisons, prepared as far as their keys are known, and `not`, `anyof`, `allof` around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from config.diagnostics import Diagnostic, Span
from sieve import calls, errors, nodes
from sieve.binding import Bound
from sieve.calls import settled
from sieve.expressions import expression, known
from sieve.library import Result
from sieve.matching import CASEMAP, Comparison, MatchType, counted, predicate
from sieve.patterns import PatternRefusedError, linear_pattern
from sieve.runtime import Code, Frame, located
from sieve.values import Type, Value, as_list

Apply = Callable[[Value], bool]


class Conditions:
    """Compiles the tests of one script."""

    def __init__(self, bound: Mapping[nodes.Call, Bound], diagnostics: list[Diagnostic]) -> None:
        """Look calls up in `bound` and report patterns that no engine takes."""
        self._bound = bound
        self._diagnostics = diagnostics

    def compile(self, test: nodes.Test) -> Code:
        """Return code that gives the truth of a test."""
        if isinstance(test, nodes.Not):
            return _negated(self.compile(test.test))
        if isinstance(test, nodes.Junction):
            return _joined([self.compile(each) for each in test.tests], every=test.every)
        bound = self._bound.get(test) if isinstance(test, nodes.Call) else None
        if bound is None:
            return known(False)  # its mistake is reported, and nothing of this script will run
        value = calls.call(bound)
        if bound.comparison is not None and bound.key is not None:
            if bound.function.result is Result.TEST:
                value = _truth_as_text(value)
            value = self._compared(value, bound.comparison, bound.key)
        return _guarded(value, test.span)

    def _compared(self, value: Code, comparison: Comparison, key: nodes.Expression) -> Code:
        keys = expression(key, Type.LIST)
        if not keys.is_constant:
            return _dynamic(value, comparison, keys)
        try:
            return _applied(value, matcher(comparison, keys.value))
        except PatternRefusedError as refused:
            self._diagnostics.append(errors.bad_pattern(key.span, str(refused)))
            return known(False)  # see above


def _guarded(code: Code, span: Span) -> Code:
    """Give every failure of a test the test's own place: an `if` may run over many lines."""
    run = code.run
    if code.waits:

        async def waiting(frame: Frame) -> Any:
            try:
                return await run(frame)
            except Exception as error:
                raise located(error, span) from error

        return Code(waiting, waits=True)

    def guarded(frame: Frame) -> Any:
        try:
            return run(frame)
        except Exception as error:
            raise located(error, span) from error

    return Code(guarded)


def matcher(comparison: Comparison, keys: Sequence[str]) -> Apply:
    """Return a function that tells whether a value, any element of a list, matches any key.

    Raises:
        PatternRefusedError: a key of `:regex` is no pattern.
    """
    if comparison.match is MatchType.COUNT:
        count = counted(comparison, keys)
        return lambda value: count(len(as_list(value)))
    if comparison.match is MatchType.REGEX:
        patterns = [linear_pattern(key, ignore_case=comparison.comparator == CASEMAP) for key in keys]
        return _each(lambda text: any(pattern.found(text) for pattern in patterns))
    return _each(predicate(comparison, keys))


def _each(holds: Callable[[str], bool]) -> Apply:
    def apply(value: Value) -> bool:
        if isinstance(value, str):
            return holds(value)
        return any(map(holds, as_list(value)))

    return apply


def _applied(value: Code, apply: Apply) -> Code:
    run = value.run
    if value.waits:

        async def waiting(frame: Frame) -> bool:
            return apply(await run(frame))

        return Code(waiting, waits=True)
    return Code(lambda frame: apply(run(frame)))


def _dynamic(value: Code, comparison: Comparison, keys: Code) -> Code:
    """Compile a comparison whose keys are known only when it runs."""
    if value.waits or keys.waits:

        async def waiting(frame: Frame) -> bool:
            found, wanted = await settled(value, frame), await settled(keys, frame)
            return matcher(comparison, wanted)(found)

        return Code(waiting, waits=True)
    run, wanted = value.run, keys.run
    return Code(lambda frame: matcher(comparison, wanted(frame))(run(frame)))


def _truth_as_text(code: Code) -> Code:
    """Return what a test gives as the text that a key is compared with."""
    run = code.run
    if code.waits:

        async def waiting(frame: Frame) -> str:
            return truth(await run(frame))

        return Code(waiting, waits=True)
    return Code(lambda frame: truth(run(frame)))


def truth(holds: Any) -> str:
    """Return the text of a truth, as the manual's functions give it."""
    return "true" if holds else "false"


def _negated(code: Code) -> Code:
    run = code.run
    if code.waits:

        async def waiting(frame: Frame) -> bool:
            return not await run(frame)

        return Code(waiting, waits=True)
    return Code(lambda frame: not run(frame))


def _joined(codes: list[Code], *, every: bool) -> Code:
    """Compile allof or anyof; what decides the answer ends the asking."""
    if any(code.waits for code in codes):

        async def waiting(frame: Frame) -> bool:
            for code in codes:
                if bool(await code.run(frame) if code.waits else code.run(frame)) is not every:
                    return not every
            return every

        return Code(waiting, waits=True)
    runs = [code.run for code in codes]

    def joined(frame: Frame) -> bool:
        for run in runs:
            if bool(run(frame)) is not every:
                return not every
        return every

    return Code(joined)
