"""DNS answers that probes share, and the pace at which they begin."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from proxy.base.tasks import TaskOwner, spawn
from proxy.callback.pace import ProbePacer
from proxy.callback.recent import SECONDS, RecentNames
from proxy.dns.resolver import Exchanger, NoSuchDomain, Resolver
from proxy.metrics.book import BOOK
from proxy.metrics.table import CACHE_HITS, CACHE_LOOKUPS

FOUND = [Exchanger(10, "mx.sender.test")]


class Gated:
    """A resolver that answers when it may."""

    def __init__(self) -> None:
        self.gate, self.asked, self.answer = asyncio.Event(), 0, cast("list[Exchanger] | Exception", FOUND)

    async def exchangers(self, _domain: str) -> list[Exchanger]:
        self.asked += 1
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_many_who_ask_at_once_share_one_query_and_later_ones_its_answer() -> None:
    resolver, clock = Gated(), Clock()
    names = RecentNames(cast(Resolver, resolver), clock)
    looked, found = BOOK.counts[CACHE_LOOKUPS.base], BOOK.counts[CACHE_HITS.base]
    asking = [spawn(names.exchangers("sender.test"), name="ask", owner=TaskOwner("test")) for _ in range(5)]
    await asyncio.sleep(0)
    resolver.gate.set()
    assert await asyncio.gather(*asking) == [FOUND] * 5
    assert await names.exchangers("sender.test") == FOUND
    assert resolver.asked == 1
    assert (BOOK.counts[CACHE_LOOKUPS.base] - looked, BOOK.counts[CACHE_HITS.base] - found) == (6, 5)
    clock.now += SECONDS
    await names.exchangers("sender.test")
    assert resolver.asked == 2
    assert (BOOK.counts[CACHE_LOOKUPS.base] - looked, BOOK.counts[CACHE_HITS.base] - found) == (7, 5)


async def test_a_failure_is_told_to_all_who_wait_and_not_remembered() -> None:
    resolver = Gated()
    resolver.answer = NoSuchDomain("sender.test")
    names = RecentNames(cast(Resolver, resolver))
    asking = [spawn(names.exchangers("sender.test"), name="ask", owner=TaskOwner("test")) for _ in range(2)]
    await asyncio.sleep(0)
    resolver.gate.set()
    heard = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in heard] == [NoSuchDomain, NoSuchDomain]
    with pytest.raises(NoSuchDomain):
        await names.exchangers("sender.test")
    assert resolver.asked == 2


async def test_where_the_first_is_cancelled_another_asks_again() -> None:
    resolver, owner = Gated(), TaskOwner("test")
    names = RecentNames(cast(Resolver, resolver))
    first = spawn(names.exchangers("sender.test"), name="ask", owner=owner)
    await asyncio.sleep(0)
    second = spawn(names.exchangers("sender.test"), name="ask", owner=owner)
    await asyncio.sleep(0)
    first.cancel()
    resolver.gate.set()
    assert await second == FOUND
    assert resolver.asked == 2


async def test_probes_begin_in_the_order_of_coming_and_one_that_leaves_holds_up_nobody() -> None:
    pace, begun = ProbePacer(), list[int]()

    async def begin(number: int) -> None:
        await pace.turn()
        begun.append(number)

    owner = TaskOwner("test")
    waiting = [spawn(begin(number), name="begin", owner=owner) for number in range(6)]
    await asyncio.sleep(0)
    assert begun == [0]
    waiting[2].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert begun == [0, 1, 3, 4, 5]
