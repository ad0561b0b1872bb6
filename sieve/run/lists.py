"""Compare the values of a list with the keys of a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sieve.run.backtracking import SlowPattern
from sieve.run.content import judged
from sieve.run.matching import Comparison, MatchType, counted, predicate
from sieve.run.patience import settled
from sieve.run.patterns import Pattern
from sieve.run.values import Value, as_list

Apply = Callable[[Value], bool]


def matcher(comparison: Comparison, keys: Sequence[str]) -> Apply:
    """Return a function that tells whether a value, or any element of a list, matches any key; not for `:regex`."""
    if comparison.match is MatchType.COUNT:
        count = counted(comparison, keys)
        return lambda value: count(len(as_list(value)))
    return each_of(predicate(comparison, keys))


def each_of(holds: Callable[[str], bool]) -> Apply:
    """Return a function that tells whether a value, or any element of a list, passes."""

    def apply(value: Value) -> bool:
        if value.__class__ is str:
            return holds(value)
        return any(map(holds, as_list(value)))

    return apply


async def found_any(texts: Sequence[str], patterns: Sequence[Pattern | SlowPattern]) -> bool:
    """Tell whether any pattern matches any text."""
    for text in texts:
        for pattern in patterns:
            if await settled(pattern.found(text) if isinstance(pattern, SlowPattern) else judged(text, pattern.found)):
                return True
    return False
