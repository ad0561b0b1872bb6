"""Comparisons that set the match variables of standard Sieve (RFC 5229, 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from sieve.compile.codes import Code, evaluated
from sieve.run import reasons
from sieve.run.backtracking import SlowPattern, any_pattern
from sieve.run.content import judged
from sieve.run.matching import FOLD_TEXT, FOLDING, Comparison, MatchType
from sieve.run.patience import settled
from sieve.run.patterns import Pattern, PatternRefusedError, glob_pattern
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError, as_list

_MOST = 100
"""The number of match variables."""


def capturing(value: Code, keys: Code, comparison: Comparison) -> Code:
    """Compile `:matches` or `:regex` so that the first match sets the match variables."""

    async def waiting(frame: Frame) -> bool:
        texts, wanted = as_list(await evaluated(value, frame)), await evaluated(keys, frame)
        patterns = _patterns(frame, comparison, wanted)
        fold = FOLD_TEXT.get(comparison.comparator) if comparison.match is MatchType.MATCHES else None
        for text in texts:
            for pattern in patterns:
                if isinstance(pattern, SlowPattern):
                    groups = await pattern.groups(text)
                else:
                    groups = await settled(judged(text, partial(_groups, pattern, fold)))
                if groups is not None:
                    _keep(frame, groups)
                    return True
        return False

    return Code(waiting, waits=True)


def _groups(pattern: Pattern, fold: Callable[[str], str] | None, text: str) -> tuple[str, ...] | None:
    """Return the groups of a match as they are written in the text, if folding keeps its length."""
    return pattern.groups(text) if fold is None else pattern.groups_as_written(text, fold)


def _patterns(frame: Frame, comparison: Comparison, keys: Sequence[str]) -> list[Pattern | SlowPattern]:
    folds = comparison.comparator in FOLDING
    if comparison.match is MatchType.MATCHES:
        fold = FOLD_TEXT.get(comparison.comparator)
        return [glob_pattern(key if fold is None else fold(key), octets=comparison.octets) for key in keys]
    try:
        return [any_pattern(key, frame.settings.limits, ignore_case=folds) for key in keys]
    except PatternRefusedError as refused:
        raise ScriptError(reasons.not_a_pattern(str(refused))) from None


def _keep(frame: Frame, found: Sequence[str]) -> None:
    """Set the match variables to a new match and clear the previous ones."""
    for number in range(_MOST):
        if number < len(found):
            frame.variables[str(number)] = found[number]
        elif frame.variables.pop(str(number), None) is None:
            break
