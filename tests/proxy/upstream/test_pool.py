"""Connections to one upstream: counted, kept while unused, handed over to whoever waits longest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.mail.session import Session
from proxy.smtp.forwarded import proxy_header
from proxy.upstream import pool as subject
from proxy.upstream import slots
from proxy.upstream.failures import PoolFull, RefusedUs, Unreachable
from proxy.upstream.pool import ConnectionPool
from proxy.upstream.pools import Pools
from proxy.upstream.routes import Router
from tests.support.exchanger import Dialogue, Exchanger, Step, is_silent, says
from tests.support.inbox import Inbox
from tests.support.worker import assembly, core, resolver, settled

BOUND = 10.0


@contextlib.asynccontextmanager
async def pooling(upstream: Exchanger, **options: Any) -> AsyncIterator[ConnectionPool]:
    pools = Pools(resolver())
    try:
        yield pools.of(Router(assembly(upstream.port, **options).settings).default)
    finally:
        await pools.close()


async def test_a_connection_that_was_given_back_is_taken_again() -> None:
    async with Exchanger() as upstream, pooling(upstream) as pool:
        first = await pool.take(None)
        assert not first.used
        pool.give_back(first)
        second = await pool.take(None)
        assert second is first
        assert second.used
        assert len(upstream.dialogues) == 1


async def test_a_fresh_connection_is_a_new_one() -> None:
    async with Exchanger() as upstream, pooling(upstream) as pool:
        first = await pool.take(None)
        pool.give_back(first)
        assert await pool.take(None, fresh=True) is not first
        assert len(upstream.dialogues) == 2


async def test_the_connection_used_last_is_taken_first() -> None:
    async with Exchanger() as upstream, pooling(upstream) as pool:
        one, two = await pool.take(None), await pool.take(None)
        pool.give_back(one)
        pool.give_back(two)
        assert await pool.take(None) is two


async def test_what_the_upstream_carries_is_known_from_the_last_connection() -> None:
    async with Exchanger(extensions=("8bitmime", "SIZE 10")) as upstream, pooling(upstream) as pool:
        assert pool.capabilities == frozenset()
        await pool.take(None)
        assert pool.capabilities == {"8BITMIME", "SIZE"}


async def test_who_finds_the_pool_full_gets_the_next_connection_that_comes_back() -> None:
    async with Exchanger() as upstream, pooling(upstream, max_outbound_connections=1) as pool:
        first = await pool.take(None)
        loop = asyncio.get_running_loop()
        waiting = [loop.create_task(pool.take(None)) for _ in range(2)]
        await asyncio.sleep(0)
        assert not any(each.done() for each in waiting)
        pool.give_back(first)
        async with asyncio.timeout(BOUND):
            assert await waiting[0] is first
        assert not waiting[1].done()
        pool.drop(first, "test")
        async with asyncio.timeout(BOUND):
            last = await waiting[1]
        assert last is not first
        assert pool._slots.taken == 1


async def test_who_waits_too_long_for_a_place_is_told_that_the_pool_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "PLACE_SECONDS", 0.01)
    async with Exchanger() as upstream, pooling(upstream, max_outbound_connections=1) as pool:
        first = await pool.take(None)
        with pytest.raises(PoolFull):
            await pool.take(None)
        pool.give_back(first)
        assert await pool.take(None) is first


async def test_who_asks_for_a_new_connection_and_waits_is_not_handed_a_used_one() -> None:
    async with Exchanger() as upstream, pooling(upstream, max_outbound_connections=1) as pool:
        first = await pool.take(None)
        waiting = asyncio.get_running_loop().create_task(pool.take(None, fresh=True))
        await asyncio.sleep(0)
        pool.give_back(first)
        async with asyncio.timeout(BOUND):
            taken = await waiting
        assert taken is not first
        assert not taken.used
        await upstream.until(lambda: len(upstream.open_dialogues) == 1, "the used one is ended")
        assert (len(upstream.dialogues), pool._slots.taken) == (2, 1)


async def test_who_gives_up_waiting_leaves_the_place_to_the_next() -> None:
    async with Exchanger() as upstream, pooling(upstream, max_outbound_connections=1) as pool:
        first = await pool.take(None)
        loop = asyncio.get_running_loop()
        leaving, staying = (loop.create_task(pool.take(None)) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        pool.give_back(first)
        async with asyncio.timeout(BOUND):
            assert await staying is first


async def test_who_is_given_a_connection_in_the_moment_of_giving_up_hands_it_on() -> None:
    async with Exchanger() as upstream, pooling(upstream, max_outbound_connections=1) as pool:
        first = await pool.take(None)
        leaving = asyncio.get_running_loop().create_task(pool.take(None))
        await asyncio.sleep(0)
        pool.give_back(first)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert await pool.take(None) is first
        assert pool._slots.taken == 1


async def test_connecting_given_up_frees_the_place() -> None:
    async with Exchanger(script={Step.BANNER: is_silent()}) as upstream, pooling(upstream) as pool:
        connecting = asyncio.get_running_loop().create_task(pool.take(None))
        await upstream.until(lambda: bool(upstream.dialogues), "it connects")
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert pool._slots.taken == 0


async def test_an_upstream_that_cannot_be_reached_frees_the_place_and_is_an_alarm() -> None:
    upstream = await Exchanger().start()
    await upstream.stop()
    async with pooling(upstream) as pool:
        with capture_logs() as log, pytest.raises(Unreachable):
            await pool.take(None)
        assert pool._slots.taken == 0
        assert [(each["event"], each["log_level"]) for each in log] == [
            ("upstream_unreachable", "error"), ("upstream_down", "error"),
        ]  # fmt: skip


async def test_an_upstream_that_refuses_us_frees_the_place() -> None:
    async with Exchanger(script={Step.BANNER: says("554 not you")}) as upstream, pooling(upstream) as pool:
        with pytest.raises(RefusedUs):
            await pool.take(None)
        assert pool._slots.taken == 0


async def test_a_connection_that_nobody_used_for_a_while_is_closed_politely() -> None:
    async with Exchanger() as upstream, pooling(upstream, idle_timeout=0.05) as pool:
        pool.give_back(await pool.take(None))
        await upstream.until(lambda: not upstream.open_dialogues, "it is closed")
        assert upstream.commands[-1] == "QUIT"
        await settled(pool)
        assert pool._slots.taken == 0


async def test_a_connection_that_delivered_enough_is_closed() -> None:
    async with Exchanger() as upstream, pooling(upstream, max_deliveries_per_connection=2) as pool:
        connection = await pool.take(None)
        connection.deliveries = 2
        pool.give_back(connection)
        await settled(pool)
        assert (upstream.commands[-1], pool._slots.taken) == ("QUIT", 0)


async def test_a_connection_with_errors_is_only_its_sessions_and_ends_with_it() -> None:
    async with Exchanger() as upstream, pooling(upstream) as pool:
        one, two = session("127.0.0.2"), session("127.0.0.3")
        first = await pool.take(one)
        first.errors = 1
        pool.keep_for(one, first)
        second = await pool.take(two)
        assert second is not first
        pool.give_back(second)
        assert await pool.take(one) is first, "rather than one without errors"
        pool.keep_for(one, first)
        pool.forget(two)
        assert len(upstream.open_dialogues) == 2
        pool.forget(one)
        await upstream.until(lambda: len(upstream.open_dialogues) == 1, "the one's ends")
        assert await pool.take(one) is second
        await settled(pool)
        assert pool._slots.taken == 1


@pytest.mark.parametrize(
    ("options", "errors", "deliveries"),
    [({}, subject.MOST_ERRORS, 0), ({"max_deliveries_per_connection": 1}, 1, 1), ({"upstream_hold": 0.01}, 1, 0)],
    ids=["too many errors", "delivered enough", "its session idles"],
)
async def test_a_connection_with_errors_is_not_kept_for_long(
    options: dict[str, Any], errors: int, deliveries: int
) -> None:
    async with Exchanger() as upstream, pooling(upstream, **options) as pool:
        connection = await pool.take(None)
        connection.errors, connection.deliveries = errors, deliveries
        pool.keep_for(session("127.0.0.2"), connection)
        await upstream.until(lambda: not upstream.open_dialogues, "it is closed")
        await settled(pool)
        assert (upstream.commands[-1], pool._slots.taken) == ("QUIT", 0)


async def test_a_connection_with_errors_makes_room_for_who_waits() -> None:
    async with Exchanger() as upstream, pooling(upstream, max_outbound_connections=1) as pool:
        one, two = session("127.0.0.2"), session("127.0.0.3")
        first = await pool.take(one)
        first.errors = 1
        pool.keep_for(one, first)
        second = await pool.take(two)
        assert second is not first
        second.errors = 1
        waiting = asyncio.get_running_loop().create_task(pool.take(one))
        await asyncio.sleep(0)
        pool.keep_for(two, second)
        async with asyncio.timeout(BOUND):
            assert await waiting is not second
        assert (len(upstream.open_dialogues), pool._slots.taken) == (1, 1)


async def test_a_connection_with_errors_that_the_upstream_closed_is_replaced() -> None:
    async with Exchanger() as upstream, pooling(upstream) as pool:
        one = session("127.0.0.2")
        first = await pool.take(one)
        first.errors = 1
        pool.keep_for(one, first)
        first.wire.abort("test")
        assert await pool.take(one) is not first
        assert pool._slots.taken == 1


async def test_closing_says_goodbye_on_every_unused_connection() -> None:
    async with Exchanger() as upstream, pooling(upstream) as pool:
        for each in [await pool.take(None) for _ in range(3)]:
            pool.give_back(each)
        await pool.close()
        assert upstream.count("QUIT") == 3
        assert pool._slots.taken == 0


# ---------------------------------------------------------------- whom a connection speaks for


class Balanced(Exchanger):
    """An upstream that reads a version 2 PROXY header of TCP over IPv4, or LOCAL, before its greeting."""

    def __init__(self) -> None:
        super().__init__()
        self.clients: list[str] = []

    async def _before_banner(self, dialogue: Dialogue, inbox: Inbox) -> None:
        del dialogue
        while (header := proxy_header(bytes(inbox._unread))) is None:
            await inbox.more()
        inbox.take(header.octets)
        self.clients.append(header.client[0] if header.client else "")


def session(address: str) -> Session:
    return Session(asyncio.get_running_loop(), (address, 40025), ("127.0.0.1", 25), core())


async def test_a_connection_that_named_a_client_is_its_sessions_alone_and_ends_with_it() -> None:
    async with Balanced() as upstream, pooling(upstream, Upstream_Proxy_Protocol="v2") as pool:
        one, two = session("127.0.0.2"), session("127.0.0.3")
        first = await pool.take(one)
        pool.give_back(first)
        second = await pool.take(two)
        assert second is not first
        assert await pool.take(one) is first
        pool.give_back(first)
        pool.give_back(second)
        pool.forget(one)
        await upstream.until(lambda: len(upstream.open_dialogues) == 1, "the one's ends")
        assert await pool.take(two) is second
        assert upstream.clients == ["127.0.0.2", "127.0.0.3"]


async def test_a_connection_that_named_nobody_is_not_handed_to_a_client_that_waits() -> None:
    async with (
        Balanced() as upstream,
        pooling(upstream, Upstream_Proxy_Protocol="v2", Max_Outbound_Connections=1) as pool,
    ):
        nobody = await pool.take(None)
        waiting = asyncio.get_running_loop().create_task(pool.take(session("127.0.0.2")))
        await asyncio.sleep(0)
        pool.give_back(nobody)
        async with asyncio.timeout(BOUND):
            taken = await waiting
        assert taken is not nobody
        assert upstream.clients == ["", "127.0.0.2"]


async def test_who_was_told_that_the_pool_is_full_stands_in_line_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        Balanced() as upstream,
        pooling(upstream, Upstream_Proxy_Protocol="v2", Max_Outbound_Connections=1) as pool,
    ):
        one = session("127.0.0.2")
        first = await pool.take(one)
        monkeypatch.setattr(slots, "PLACE_SECONDS", 0.01)
        with pytest.raises(PoolFull):
            await pool.take(session("127.0.0.3"))
        pool.give_back(first)  # no client waits for a slot, so it need not be ended
        assert await pool.take(one) is first


# ---------------------------------------------------------------- all pools together


@contextlib.asynccontextmanager
async def two_pools(one: Exchanger, two: Exchanger, most: int) -> AsyncIterator[tuple[ConnectionPool, ConnectionPool]]:
    pools = Pools(resolver(), most)
    try:
        yield (
            pools.of(Router(assembly(one.port).settings).default),
            pools.of(Router(assembly(two.port).settings).default),
        )
    finally:
        await pools.close()


async def test_an_unused_connection_of_another_pool_makes_room_where_all_together_are_at_their_limit() -> None:
    async with Exchanger() as one, Exchanger() as two, two_pools(one, two, 1) as (first, second):
        first.give_back(await first.take(None))
        async with asyncio.timeout(BOUND):
            taken = await second.take(None)
        assert not one.open_dialogues
        second.give_back(taken)
        async with asyncio.timeout(BOUND):
            await first.take(None)
        assert (first._slots.taken, second._slots.taken, first._slots._places._free) == (1, 0, 0)


async def test_an_unused_connection_of_another_pool_that_is_dead_makes_room_at_once() -> None:
    async with Exchanger() as one, Exchanger() as two, two_pools(one, two, 1) as (first, second):
        dead = await first.take(None)
        first.give_back(dead)
        dead.wire.abort("the upstream ended it")
        async with asyncio.timeout(BOUND):
            await second.take(None)
        assert (first._slots.taken, second._slots.taken, first._slots._places._free) == (0, 1, 0)


async def test_who_waits_for_a_place_of_all_pools_gets_it_in_turn() -> None:
    async with Exchanger() as one, Exchanger() as two, two_pools(one, two, 1) as (first, second):
        held = await first.take(None)
        loop = asyncio.get_running_loop()
        waiting = [loop.create_task(pool.take(None)) for pool in (second, first, second)]
        await asyncio.sleep(0)
        first.drop(held, "test")
        for at, pool in ((1, first), (0, second), (2, second)):
            async with asyncio.timeout(BOUND):
                pool.drop(await waiting[at], "test")
        assert (first._slots.taken, second._slots.taken, first._slots._places._free) == (0, 0, 1)


async def test_who_gives_up_waiting_for_a_place_of_all_pools_leaves_it_to_the_next() -> None:
    async with Exchanger() as one, Exchanger() as two, two_pools(one, two, 1) as (first, second):
        held = await first.take(None)
        waiting = asyncio.get_running_loop().create_task(second.take(None))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        first.drop(held, "test")
        assert first._slots._places._free == 1
        await first.take(None)
