"""Whatever clients do, no window lets more through than its count in any of its lengths, by set and recorded times."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.counting.base import Counting, answered
from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import Reserve, Window
from proxy.counting.redis import RedisCounting
from proxy.counting.windows import PARTS
from proxy.options.store import parse_store_url
from tests.support.counting import Backing, Clock, counting_on
from tests.support.servers import RedisServer

LIMITS = st.tuples(st.integers(1, 5), st.sampled_from([1.0, 3.0, 60.0, 0.25]))
STEPS = st.lists(
    st.tuples(st.floats(0, 2, allow_nan=False), st.integers(1, 3), st.booleans(), st.booleans()), max_size=40
)
"""Seconds since the last, as a share of the window; events; whether a moment is reserved; which process asks."""


def most_in_any(times: Sequence[float], seconds: float) -> int:
    """Return the most events in any half-open interval of this length."""
    return max((sum(at <= each < at + seconds for each in times) for at in times), default=0)


async def _passed(
    backing: Backing,
    processes: Sequence[Counting],
    count: int,
    seconds: float,
    steps: list[tuple[float, int, bool, bool]],
) -> list[float]:
    now, passed = 0.0, []
    for share, events, reserves, second in steps:
        now += share * seconds
        await backing.at(now)
        process = processes[second]
        if reserves:
            reserved = await answered(process, Reserve("p", b"k", 100 * seconds, count, seconds))
            assert reserved is not None
            passed += [now + reserved.wait] if reserved.allowed else []
        else:
            counted = await answered(process, Window("p", b"k", count, seconds, events, within=True))
            assert counted is not None
            passed += [now] * events if counted.allowed else []
    return passed


@settings(max_examples=150, deadline=None)
@given(limit=LIMITS, steps=STEPS)
def test_a_window_in_memory_never_lets_too_many_through(
    limit: tuple[int, float], steps: list[tuple[float, int, bool, bool]]
) -> None:
    count, seconds = limit
    clock = Clock()
    counting = MemoryCounting(clock)
    now, passed = 0.0, []
    for share, events, reserves, _ in steps:
        now = clock.now = now + share * seconds
        if reserves:
            reserved = counting.ask(Reserve("p", b"k", 100 * seconds, count, seconds))
            assert reserved is not None
            passed += [now + reserved.wait] if reserved.allowed else []
        else:
            counted = counting.ask(Window("p", b"k", count, seconds, events, within=True))
            assert counted is not None
            passed += [now] * events if counted.allowed else []
    assert most_in_any(passed, seconds) <= count


@settings(max_examples=150, deadline=None)
@given(limit=LIMITS, steps=st.lists(st.floats(0, 2, allow_nan=False), max_size=40))
def test_a_window_refuses_at_most_a_sixteenth_too_early(limit: tuple[int, float], steps: list[float]) -> None:
    count, seconds = limit
    clock = Clock()
    counting = MemoryCounting(clock)
    passed: list[float] = []
    for share in steps:
        clock.now += share * seconds
        counted = counting.ask(Window("p", b"k", count, seconds, 1, within=True))
        assert counted is not None
        longer = seconds + seconds / PARTS
        if not counted.allowed:
            assert sum(clock.now - longer <= each for each in passed) >= count
        else:
            passed.append(clock.now)


@pytest.mark.parametrize("kind", ["keeper", pytest.param("redis", marks=pytest.mark.real("redis-server"))])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=LIMITS, steps=STEPS)
def test_a_window_that_processes_share_never_lets_too_many_through(
    kind: str,
    limit: tuple[int, float],
    steps: list[tuple[float, int, bool, bool]],
    request: pytest.FixtureRequest,
) -> None:
    server = request.getfixturevalue("redis_server") if kind == "redis" else None

    async def run() -> list[float]:
        with pytest.MonkeyPatch.context() as patch:
            async with counting_on(kind, patch, server) as backing:
                processes = [await backing.process(), await backing.process()]
                return await _passed(backing, processes, *limit, steps)

    assert most_in_any(asyncio.run(run()), limit[1]) <= limit[0]


@pytest.mark.real("redis-server")
async def test_a_window_never_lets_too_many_through_by_the_clock_of_redis(redis_server: RedisServer) -> None:
    url = parse_store_url(f"unix://{redis_server.socket}")
    machines = [RedisCounting(url, "recorded") for _ in range(2)]
    count, seconds, passed = 5, 0.1, []

    async def client(machine: RedisCounting) -> None:
        while len(passed) < 4 * count:
            counted = await machine.perform(Window("p", b"k", count, seconds, 1, within=True))
            assert counted is not None
            if counted.allowed:
                passed.append(counted.at)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as clients:
        for machine in machines * 2:
            clients.create_task(client(machine))
    for machine in machines:
        await machine.close()
    assert most_in_any(sorted(passed), seconds) <= count
