"""Compile tests: comparisons, with constant keys prepared in advance, and `not`, `anyof` and `allof`."""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable, Mapping
from types import CoroutineType
from typing import Any

from config.diagnostics import Diagnostic, Span
from sieve import errors
from sieve.check.binding import Bound
from sieve.compile import calls
from sieve.compile.captures import capturing
from sieve.compile.codes import Code, evaluated, guarded, joined, known, mapped
from sieve.compile.expressions import expression
from sieve.compile.tracing import watched_test
from sieve.library import Counts, Result, SieveFunction
from sieve.run import reasons
from sieve.run.backtracking import SlowPattern, any_pattern
from sieve.run.content import judged
from sieve.run.lists import Apply, each_of, found_any, matcher
from sieve.run.matching import FOLDING, Comparison, MatchType, counted, predicate
from sieve.run.patience import settled
from sieve.run.patterns import Pattern, PatternRefusedError
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError, Type, Value, as_list
from sieve.settings import Limits
from sieve.syntax import nodes


class Conditions:
    """Compiles the tests of one script."""

    def __init__(
        self,
        bound: Mapping[nodes.Call, Bound],
        diagnostics: list[Diagnostic],
        limits: Limits,
        *,
        traced: bool,
        captures: bool,
    ) -> None:
        """Find calls in `bound`, and report patterns that neither engine accepts or only the slow one."""
        self._limits = limits
        self._traced = traced
        self._captures = captures
        self._bound = bound
        self._diagnostics = diagnostics

    def compile(self, test: nodes.Test) -> Code:
        """Return code for the result of a test."""
        if isinstance(test, nodes.Not):
            return mapped(self.compile(test.test), operator.not_)
        if isinstance(test, nodes.Junction):
            return joined([self.compile(inner) for inner in test.tests], every=test.every)
        bound = self._bound.get(test) if isinstance(test, nodes.Call) else None
        if bound is None:
            return known(False)  # its error is already reported, so this script will not run
        value = calls.call(bound, traced=self._traced)
        if bound.comparison is not None and bound.key is not None:
            if bound.function.result is Result.TEST:
                value = mapped(value, truth)
            value = self._compared(value, bound.comparison, bound.key, bound.function)
        return watched_test(guarded(value, test.span), test.span) if self._traced else guarded(value, test.span)

    def _compared(self, value: Code, comparison: Comparison, key: nodes.Expression, function: SieveFunction) -> Code:
        keys = expression(key, Type.LIST)
        captures = self._captures and function.captures
        if comparison.match is MatchType.REGEX:
            return self._regex(value, comparison, keys, key.span, captures=captures)
        if captures and comparison.match is MatchType.MATCHES:
            return capturing(value, keys, comparison)
        if comparison.match is MatchType.COUNT and function.counts is not Counts.EVERY:
            return _counted(value, comparison, keys, function.counts)
        if not keys.is_constant:
            return _dynamic(value, comparison, keys)
        if value.is_text and comparison.match is not MatchType.COUNT:
            return mapped(value, predicate(comparison, keys.value))
        return _applied(value, matcher(comparison, keys.value))

    def _regex(self, value: Code, comparison: Comparison, keys: Code, span: Span, *, captures: bool) -> Code:
        """Compile `:regex`. It waits if RE2 rejects the pattern, or if the pattern is only known at run time."""
        folds = comparison.comparator in FOLDING
        if not keys.is_constant:
            return capturing(value, keys, comparison) if captures else _regex_at_run(value, keys, ignore_case=folds)
        try:
            patterns = [any_pattern(key, self._limits, ignore_case=folds) for key in keys.value]
        except PatternRefusedError as refused:
            self._diagnostics.append(errors.bad_pattern(span, str(refused)))
            return known(False)  # see above
        slow = [pattern for pattern in patterns if isinstance(pattern, SlowPattern)]
        if captures:
            return capturing(value, keys, comparison)
        if not slow:
            linear: list[Callable[[str], bool]] = [each.found for each in patterns if isinstance(each, Pattern)]
            return _applied(value, each_of(_any_of(linear)))
        self._diagnostics.append(errors.slow_pattern(span, slow[0].reason))

        async def waiting(frame: Frame) -> bool:
            return await found_any(as_list(await evaluated(value, frame)), patterns)

        return Code(waiting, waits=True)


def _applied(value: Code, apply: Apply) -> Code:
    """Compile a comparison with constant keys. A value that waits may be a whole body: compare it in a thread."""
    if not value.waits:
        return mapped(value, apply)
    run = value.run

    def may_wait(frame: Frame) -> Any:
        result = run(frame)
        return later(result) if result.__class__ is CoroutineType else judged(result, apply)

    async def later(result: Awaitable[Value]) -> bool:
        return await settled(judged(await result, apply))

    return Code(may_wait, waits=True)


def _any_of(predicates: list[Callable[[str], bool]]) -> Callable[[str], bool]:
    if len(predicates) == 1:
        return predicates[0]
    return lambda text: any(holds(text) for holds in predicates)


def _regex_at_run(value: Code, keys: Code, *, ignore_case: bool) -> Code:
    async def waiting(frame: Frame) -> bool:
        texts, wanted = as_list(await evaluated(value, frame)), await evaluated(keys, frame)
        try:
            patterns = [any_pattern(key, frame.settings.limits, ignore_case=ignore_case) for key in wanted]
        except PatternRefusedError as refused:
            raise ScriptError(reasons.not_a_pattern(str(refused))) from None
        return await found_any(texts, patterns)

    return Code(waiting, waits=True)


def _counted(value: Code, comparison: Comparison, keys: Code, counts: Counts) -> Code:
    """Compile `:count` of values of which the empty ones do not count (RFC 5229, 5; RFC 5183, 4)."""

    async def waiting(frame: Frame) -> bool:
        values, wanted = as_list(await evaluated(value, frame)), await evaluated(keys, frame)
        if counts is Counts.KNOWN and not values:
            return False
        return counted(comparison, wanted)(sum(text != "" for text in values))

    return Code(waiting, waits=True)


def _dynamic(value: Code, comparison: Comparison, keys: Code) -> Code:
    """Compile a comparison whose keys are only known at run time."""
    if value.waits or keys.waits:

        async def waiting(frame: Frame) -> bool:
            actual, wanted = await evaluated(value, frame), await evaluated(keys, frame)
            return await settled(judged(actual, matcher(comparison, wanted)))

        return Code(waiting, waits=True)
    run, wanted = value.run, keys.run
    return Code(lambda frame: matcher(comparison, wanted(frame))(run(frame)))


def truth(holds: Any) -> str:
    """Return a boolean as text, in the form that the Momentum functions use."""
    return "true" if holds else "false"
