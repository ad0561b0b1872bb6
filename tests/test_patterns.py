"""No pattern of ours uses what `re` gets wrong in a Python that Ringback supports.

Before Python 3.11.5, a possessive group or an atomic group whose content can backtrack matches wrongly (cpython issue
106052). Debian 12 ships 3.11.2. A possessive single character or set is correct everywhere.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from re import _constants as codes  # type: ignore[attr-defined] - typeshed has no stubs of the parser
from re import _parser as parser  # type: ignore[attr-defined] - as above
from types import ModuleType
from typing import Any

import pytest

import config
import proxy
import sieve

_SINGLE = (codes.IN, codes.LITERAL, codes.NOT_LITERAL, codes.ANY)


def uses_a_possessive_group(pattern: str | bytes, flags: int = 0) -> bool:
    """Return whether a pattern has an atomic group, or a possessive repeat of more than one character or set."""
    return _has_one(parser.parse(pattern, flags))


def _has_one(tree: Any) -> bool:
    for code, argument in tree:
        if code is codes.ATOMIC_GROUP:
            return True
        if code is codes.POSSESSIVE_REPEAT and (len(argument[2]) != 1 or argument[2][0][0] not in _SINGLE):
            return True
        if any(_has_one(inner) for inner in _inner(code, argument)):
            return True
    return False


def _inner(code: Any, argument: Any) -> Iterator[Any]:
    if code in {codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT}:
        yield argument[2]
    elif code is codes.SUBPATTERN:
        yield argument[3]
    elif code in {codes.ASSERT, codes.ASSERT_NOT, codes.BRANCH}:
        yield from argument[1] if code is codes.BRANCH else (argument[1],)


def _modules() -> Iterator[ModuleType]:
    for package in (config, sieve, proxy):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                yield importlib.import_module(module.name)


def _patterns(module: ModuleType) -> Iterator[tuple[str, re.Pattern[Any]]]:
    for name, value in vars(module).items():
        several = value if isinstance(value, tuple | list) else value.values() if isinstance(value, dict) else (value,)
        for each in several:
            if isinstance(each, re.Pattern):
                yield f"{module.__name__}.{name}", each


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"[a-z]*+x", False),
        (r"a++|.?+", False),
        (r"(?:a|bc)*+", True),
        (r"(?:ab)++", True),
        (r"(?>a|b)", True),
        (r"x(?=(?:a|bc)*+)", True),
        (r"(x(?:y(?:a|bc)*+)?)", True),
    ],
)
def test_a_possessive_group_is_seen_wherever_it_stands(pattern: str, *, expected: bool) -> None:
    assert uses_a_possessive_group(pattern) is expected


def test_no_pattern_uses_a_possessive_group() -> None:
    patterns = {name: pattern for module in _modules() for name, pattern in _patterns(module)}
    assert len(patterns) > 100
    flags = {
        name: each.flags & ~re.UNICODE if isinstance(each.pattern, bytes) else each.flags
        for name, each in patterns.items()
    }
    assert [name for name, each in patterns.items() if uses_a_possessive_group(each.pattern, flags[name])] == []
