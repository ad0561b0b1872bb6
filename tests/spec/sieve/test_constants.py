"""Functions that count, ask databases, read bounces or choose a route: if one were a constant, a case would fail.

Each is replaced by what only returns one of its own results. What needs several processes, a client's open connections
or a thread that waits is in tests/spec/counting and tests/proxy/modules.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sieve.library import SieveFunction
from sieve.standard import standard_library
from tests.spec.sieve.cases import Case, compiled, host_of, read_cases, shown

FAMILIES = ("throttles", "gauges", "caches", "datasource", "bounces", "machine")
ELSEWHERE = {"ec_shared_throttle_check", "ec_thread_pool_get_queue_size"}

FUNCTIONS = [
    each
    for each in standard_library().functions.values()
    if (inspect.getmodule(each.run) or inspect).__name__.rpartition(".")[2] in FAMILIES or each.name in {
        "audit_series", "audit_series_add", "ec_inc_counter", "ec_set_binding", "ec_set_binding_group",
        "ec_valid_binding", "ec_valid_binding_group",
    }
]  # fmt: skip

CASES = [each for each in read_cases() if "outcome" in each.parts]


async def holds(case: Case) -> bool:
    script, _ = compiled(case)
    assert script is not None
    host = host_of(case)
    try:
        outcome = await script.run(host)
    except (AttributeError, TypeError, ValueError):  # the compiler relies on what the function returns
        return False
    await host.all_lists.close()
    wanted = case.parts["outcome"].rstrip("\n")
    return shown(outcome, host, wanted) == wanted


@contextmanager
def replaced(function: SieveFunction, run: Callable[..., Any]) -> Iterator[None]:
    """Let a function, which is frozen, run something else."""
    own = function.run
    object.__setattr__(function, "run", run)
    try:
        yield
    finally:
        object.__setattr__(function, "run", own)


def recording(function: SieveFunction, results: list[Any]) -> Callable[..., Any]:
    """Return the function's own code, which also notes its results."""
    run = function.run

    async def later(found: Any) -> Any:
        results.append(await found)
        return results[-1]

    def at_once(*given: Any, **tags: Any) -> Any:
        found = run(*given, **tags)
        if inspect.isawaitable(found):
            return later(found)
        results.append(found)
        return found

    return at_once


def constant(function: SieveFunction, value: object) -> Callable[..., Any]:
    async def later(*_given: Any, **_tags: Any) -> object:
        return value

    return later if inspect.iscoroutinefunction(function.run) else lambda *_given, **_tags: value


@pytest.mark.parametrize(
    "function", [each for each in FUNCTIONS if each.name not in ELSEWHERE], ids=lambda each: each.name
)
async def test_a_function_has_a_case_that_fails_if_it_were_a_constant(function: SieveFunction) -> None:
    own = [each for each in CASES if re.search(rf"\b{function.name}\b", each.parts["script"])]
    results: list[Any] = []
    with replaced(function, recording(function, results)):
        assert all([await holds(each) for each in own])
    for value in [each for at, each in enumerate(results) if each not in results[:at]][:5]:
        with replaced(function, constant(function, value)):
            assert not all([await holds(each) for each in own]), f"nothing fails if it is always {value!r}"
    assert results
