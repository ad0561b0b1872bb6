"""`Max_Outbound_Connections` among several workers: each test has two workers' pools for one next hop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.upstream import sharing as subject
from proxy.upstream import slots
from proxy.upstream.failures import PoolFull
from proxy.upstream.pool import ConnectionPool, PooledConnection
from proxy.upstream.pools import Pools
from proxy.upstream.routes import Router
from tests.support.counted import Apart
from tests.support.exchanger import Exchanger
from tests.support.waiting import eventually
from tests.support.worker import assembly, resolver, settled

BOUND = 10.0


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "LOOK_SECONDS", 0.01)


@contextlib.asynccontextmanager
async def two(upstream: Exchanger, counting: Apart, **options: Any) -> AsyncIterator[tuple[ConnectionPool, ...]]:
    both = [Pools(resolver(), counting=counting) for _ in range(2)]
    found = Router(assembly(upstream.port, **options).settings).default
    try:
        yield tuple(pools.of(found) for pools in both)
    finally:
        for pools in both:
            await pools.close()


def key(pool: ConnectionPool) -> str:
    return f"max_outbound_connections {subject.shared_name(pool.upstream)}"


async def taken(pool: ConnectionPool) -> PooledConnection:
    async with asyncio.timeout(BOUND):
        return await pool.take(None)


async def test_two_workers_make_as_many_connections_as_one_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "PLACE_SECONDS", 0.1)
    counting = Apart()
    async with Exchanger() as upstream, two(upstream, counting, max_outbound_connections=3) as (first, second):
        connections = [await taken(first), await taken(second), await taken(first)]
        with pytest.raises(PoolFull):
            await second.take(None)
        assert (len(upstream.open_dialogues), counting.places(key(first))) == (3, 3)
        for each in connections:
            each.pool.drop(each, "test")
        assert not counting.places(key(first))


async def test_a_connection_that_nobody_uses_makes_room_for_another_worker() -> None:
    counting = Apart()
    async with Exchanger() as upstream, two(upstream, counting, max_outbound_connections=1) as (first, second):
        first.give_back(await taken(first))
        assert first.state["idle"] == 1
        connection = await taken(second)
        assert (first.state["idle"], counting.places(key(first))) == (0, 1)
        second.give_back(connection)


async def test_a_worker_that_wants_many_gets_as_many_as_others_leave_unused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counting = Apart()
    async with Exchanger() as upstream, two(upstream, counting, max_outbound_connections=8) as (first, second):
        unused = [await taken(first) for _ in range(8)]
        for each in unused:
            first.give_back(each)
        told: list[int] = []
        wanted = subject.Sharing.wanted

        async def listened(sharing: subject.Sharing) -> int:
            told.append(await wanted(sharing))
            return told[-1]

        monkeypatch.setattr(subject.Sharing, "wanted", listened)
        connections = await asyncio.gather(*[taken(second) for _ in range(6)])
        assert max(told) > 1  # otherwise each look makes room for one
        assert counting.places(key(first)) <= 8
        for each in connections:
            second.give_back(each)


async def test_a_busy_worker_gives_up_every_connection_that_others_want() -> None:
    counting = Apart()
    async with Exchanger() as upstream, two(upstream, counting, max_outbound_connections=1) as (first, second):
        busy = asyncio.Event()

        async def keeps_busy() -> None:
            while not busy.is_set():
                connection = await taken(first)
                await asyncio.sleep(0.005)
                first.give_back(connection)

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(keeps_busy())
            await asyncio.sleep(0.02)
            second.give_back(await taken(second))
            busy.set()
        await eventually(lambda: counting.places(key(first)) <= 1, "no more than there may be")


async def test_who_stops_waiting_for_the_answer_keeps_no_place() -> None:
    counting = Apart()
    async with Exchanger() as upstream, two(upstream, counting, max_outbound_connections=1) as (first, second):
        counting.may_answer.clear()
        taking = asyncio.get_running_loop().create_task(first.take(None))
        await eventually(lambda: counting.asked, "it is asked")
        taking.cancel()
        counting.may_answer.set()
        await settled(first)
        await eventually(lambda: not counting.places(key(first)), "it is given back")
        assert not first._slots.taken
        second.give_back(await taken(second))


async def test_a_place_is_leased_from_before_the_connection_is_made_until_it_is_closed() -> None:
    counting = Apart()
    async with Exchanger() as upstream, two(upstream, counting) as (first, _):
        connection = await taken(first)
        assert counting.places(key(first)) == 1
        first.give_back(connection)
        assert counting.places(key(first)) == 1
        assert first.end_one_unused()
        await settled(first)
        assert not counting.places(key(first))


async def test_if_nobody_can_count_there_is_no_place_and_no_wait_for_one() -> None:
    counting = Apart()
    async with Exchanger() as upstream, two(upstream, counting) as (first, _):
        counting.down = True
        with pytest.raises(PoolFull):
            await first.take(None)
        assert not first._slots.taken
        counting.down = False
        first.give_back(await taken(first))


async def test_a_worker_does_not_give_way_to_itself() -> None:
    counting = Apart()
    async with Exchanger() as upstream, two(upstream, counting, max_outbound_connections=1) as (first, _):
        mine = subject.Sharing(counting, "x", 1)
        mine.want(3)
        assert await mine.wanted() == 0
        assert await subject.Sharing(counting, "x", 1).wanted() == 3
        first.give_back(await taken(first))


@pytest.mark.parametrize(
    ("gateway", "own"),
    [
        ("192.0.2.9", False),
        ("mx.example.com", False),
        ("[2001:db8::9]:25", False),
        ("127.0.0.3", True),
        ("[::1]:25", True),
        ("localhost", True),
        ("unix:/run/lmtp", True),
    ],
)
def test_a_next_hop_that_each_machine_has_itself_is_not_shared_with_other_machines(gateway: str, own: bool) -> None:  # noqa: FBT001 — a case
    found = Router(assembly(2525, gateway=f'"{gateway}"').settings).default
    name = subject.shared_name(found)
    assert (name != found.name, name.endswith(found.name)) == (own, True)
