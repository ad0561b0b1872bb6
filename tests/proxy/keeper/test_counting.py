"""Workers that count in their keeper: it dies, hangs, is replaced, and hands over."""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.base.tasks import TaskOwner, spawn
from proxy.counting import clock as clocks
from proxy.counting.base import Counting, CountingUnavailable, answered
from proxy.counting.file import FiledCounting
from proxy.counting.local import Meanwhile
from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import (
    Add,
    Delivered,
    Gauge,
    Get,
    Greylist,
    Lease,
    Operation,
    Places,
    Put,
    Return,
    Sum,
    Take,
    Window,
)
from proxy.counting.tables import adopt, tables_of
from proxy.keeper import counters as keepers
from proxy.keeper import counting as room
from proxy.keeper.counters import Counters
from proxy.keeper.counting import KeptCounting
from proxy.keeper.door import Door, Doors, knock, knocked
from proxy.keeper.frames import encode, framed
from proxy.keeper.handover import Successor
from proxy.keeper.messages import Count, Hello
from proxy.keeper.only import OnlyCounting
from proxy.keeper.service import ONLY_WORKER, SUCCESSOR, KeeperService
from proxy.keeper.tenure import Tenure
from tests.support.counting import Clock
from tests.support.waiting import eventually

ONE = bytes((192, 0, 2, 1))


class Machine:
    """A door for each configuration, with keepers behind it and workers before it."""

    def __init__(self) -> None:
        self.clock = Clock(1000.0)
        self.doors = [Door()]
        self.keepers: list[tuple[KeeperService, MemoryCounting]] = []
        self.workers: list[KeptCounting] = []
        self.insides: list[socket.socket] = []
        self.owner = TaskOwner("test")

    def keeper(self, counting: MemoryCounting | None = None) -> tuple[KeeperService, MemoryCounting]:
        counted = counting or MemoryCounting(self.clock)
        insides = [each.inside.dup() for each in self.doors]
        self.insides += insides
        service = KeeperService(None, insides, len(self.doors), counted)
        self.keepers.append((service, counted))
        return service, counted

    def worker(self, *, slot: int = 1, defers: bool = False) -> KeptCounting:
        meanwhile = Meanwhile(name="keeper", defers=defers, counting=MemoryCounting(self.clock))
        worker = KeptCounting(self.doors[-1].outside, Hello(len(self.doors), slot, counts=True), meanwhile)
        self.workers.append(worker)
        return worker

    async def reload(self, counting: MemoryCounting | None = None) -> tuple[KeeperService, MemoryCounting]:
        before = self.doors[-1].outside
        self.doors.append(Door())
        service, counted = self.keeper(counting)
        await Successor(None, counted).take_over(before, Hello(len(self.doors), SUCCESSOR))
        service.open()
        return service, counted

    async def kill(self, keeper: KeeperService) -> None:
        """End a keeper without handing over: its workers lose their connections, and what it knew is gone."""
        await keeper.leave()

    async def close(self) -> None:
        for worker in self.workers:
            await worker.close()
        for service, _ in self.keepers:
            await service.leave()
        await self.owner.cancel()
        for each in (*self.doors, *self.insides):
            each.close()


@asynccontextmanager
async def _machine() -> AsyncIterator[Machine]:
    the = Machine()
    try:
        yield the
    finally:
        await the.close()


async def test_what_one_turn_of_the_loop_asks_and_tells_travels_in_one_frame_and_in_order() -> None:
    async with _machine() as the:
        service, _ = the.keeper()
        service.open()
        worker = the.worker()
        for _ in range(4):
            worker.tell(Window("t", b"k", 3, 60.0, 1))
        asked = [answered(worker, Window("t", b"k", 3, 60.0, 1)) for _ in range(2)]
        totals = [counted.total for counted in await asyncio.gather(*asked) if counted is not None]
        assert totals == [5, 6]


async def test_a_dead_keepers_replacement_begins_from_nothing_and_no_question_fails() -> None:
    async with _machine() as the:
        first, _ = the.keeper()
        first.open()
        worker, other = the.worker(), the.worker(slot=2)
        await answered(worker, Window("t", b"k", 3, 60.0, 2))
        assert (await answered(worker, Lease([(b"client", 3)]))).full == -1
        assert (await answered(other, Lease([(b"client", 3)]))).full == -1
        await the.kill(first)
        asked = spawn(answered(worker, Window("t", b"k", 3, 60.0, 1)), name="ask", owner=the.owner)
        await asyncio.sleep(0)
        second, counted = the.keeper()
        second.open()
        resumed = await asked
        assert resumed is not None
        assert resumed.total == 1
        await eventually(lambda: counted.ask(Places(b"client")) == 2, "both workers have told their places")
        worker.tell(Return([b"client"]))
        assert await answered(worker, Places(b"client")) == 1
        assert (await answered(other, Lease([(b"client", 3), (b"x", 1)]))).totals == [2, 1]


async def test_a_worker_counts_alone_while_its_keeper_is_silent_and_together_again_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "DEADLINE_SECONDS", 0.05)
    async with _machine() as the:
        worker = the.worker()
        with capture_logs() as logged:
            alone = [await answered(worker, Take("r", b"k", 2, 60)) for _ in range(3)]
            assert [each.allowed for each in alone] == [True, True, False]
            leased = [await answered(worker, Lease([(b"client", 2)])) for _ in range(3)]
            assert [each.full for each in leased] == [-1, -1, 0]
            worker.tell(Return([b"client"]))
            monkeypatch.setattr(room, "DEADLINE_SECONDS", 60.0)
            service, counted = the.keeper()
            service.open()
            await eventually(lambda: counted.ask(Places(b"client")) == 1, "the worker has told its places")
            assert (await answered(worker, Take("r", b"k", 2, 60))).allowed
        assert [each["event"] for each in logged] == ["counting_alone", "counting_together"]


async def test_with_defer_nothing_is_counted_without_the_keeper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "DEADLINE_SECONDS", 0.05)
    async with _machine() as the:
        worker = the.worker(defers=True)
        for _ in range(2):
            with pytest.raises(CountingUnavailable):
                await answered(worker, Window("t", b"k", 3, 60.0, 1))
        worker.tell(Window("t", b"k", 3, 60.0, 1))


async def test_a_dead_workers_places_are_free_and_its_successor_has_none() -> None:
    async with _machine() as the:
        service, counted = the.keeper()
        service.open()
        worker = the.worker()
        await answered(worker, Lease([(b"client", 3)]))
        await worker.close()
        await eventually(lambda: counted.ask(Places(b"client")) == 0, "its places are free")
        again = the.worker()
        assert (await answered(again, Lease([(b"client", 1)]))).full == -1


async def test_whoever_left_before_its_place_was_leased_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "DEADLINE_SECONDS", 5.0)
    async with _machine() as the:
        worker = the.worker()
        asked = spawn(answered(worker, Lease([(b"client", 1)])), name="ask", owner=the.owner)
        await asyncio.sleep(0)
        asked.cancel()
        service, counted = the.keeper()
        service.open()
        await answered(worker, Get("v", b""))
        await eventually(lambda: counted.ask(Places(b"client")) == 0, "the place was returned")


async def test_the_keeper_of_a_new_configuration_knows_all_that_was_counted() -> None:
    async with _machine() as the:
        service, _ = the.keeper()
        service.open()
        worker = the.worker()
        await answered(worker, Window("t", b"k", 3, 60.0, 2))
        await answered(worker, Gauge("c", b"\xff", 5, 10, 300.0))
        await answered(worker, Add("s", 300, 6, ONE, 7))
        await answered(worker, Put("v", b"k", b"value", 60.0))
        await answered(worker, Take("r", b"k", 2, 60))
        await answered(worker, Lease([(b"client", 3)]))
        await answered(worker, Greylist("g", b"k", 60.0, 1000.0, 5000.0))
        await answered(worker, Delivered("g", b"c", 3, 5000.0))
        _, counted = await the.reload()
        assert (counted.ask(Window("t", b"k")) or pytest.fail("no window")).total == 2
        assert counted.ask(Gauge("c", b"\xff")) == 5
        assert counted.ask(Sum("s", 300, 6, ONE, 24)) == 7
        assert counted.ask(Get("v", b"k")) == b"value"
        assert counted.ask(Take("r", b"k", 2, 60, 0)).left == 1.0
        assert counted.ask(Places(b"client")) == 1
        assert counted.ask(Delivered("g", b"c", 0)) == 3
        assert await answered(worker, Places(b"client")) == 1  # the same connection, not another
        the.clock.now += 60.0
        assert counted.ask(Greylist("g", b"k", 60.0, 1000.0, 5000.0)).passes
        assert await answered(worker, Gauge("c", b"\xff", 1)) == 6


async def test_a_rejected_configurations_keeper_gives_back() -> None:
    async with _machine() as the:
        service, _ = the.keeper()
        service.open()
        worker = the.worker()
        await answered(worker, Window("t", b"k", 3, 60.0, 2))
        await answered(worker, Lease([(b"client", 3)]))
        with capture_logs() as logged:
            ours = knock(the.doors[0].outside, encode(Hello(2, SUCCESSOR)))
            await eventually(
                lambda: [each for each in logged if each["event"] == "keeper_handed_over"], "it hands over"
            )
            ours.close()
            counted = await answered(worker, Window("t", b"k"))
        assert counted is not None
        assert counted.total == 2
        assert await answered(worker, Places(b"client")) == 1


class OnlyWorker:
    """A worker that is its machine's keeper as well."""

    def __init__(self, the: Machine, own: MemoryCounting | None = None) -> None:
        def asking(meanwhile: MemoryCounting) -> KeptCounting:
            hello = Hello(generation, ONLY_WORKER, counts=True)
            return KeptCounting(outside, hello, Meanwhile(name="keeper", defers=False, counting=meanwhile))

        generation, outside = len(the.doors), the.doors[-1].outside
        self.own = own or MemoryCounting(the.clock)
        self.counting = OnlyCounting(self.own, asking)
        insides = [each.inside.dup() for each in the.doors]
        the.insides += insides
        before = the.doors[-2].outside if len(the.doors) > 1 else None
        self.tenure = Tenure(Doors(insides, before, generation), self.counting, None)

    async def close(self) -> None:
        await self.tenure.end()
        await self.counting.close()


EVERYTHING: tuple[Operation[Any], ...] = (
    Window("t", b"k", 3, 60.0, 2),
    Gauge("c", b"\xff", 5, 10, 300.0),
    Add("s", 300, 6, ONE, 7),
    Add("own", 300, 6, ONE, 4, here=True),
    Put("v", b"k", b"value", 60.0),
    Take("r", b"k", 2, 60),
    Lease([(b"client", 3)]),
    Greylist("g", b"k", 60.0, 1000.0, 5000.0),
    Delivered("g", b"c", 3, 5000.0),
)


async def seen(counting: Counting) -> list[Any]:
    """Return what `EVERYTHING` has left."""
    window = await answered(counting, Window("t", b"k"))
    return [
        window and window.total,
        await answered(counting, Gauge("c", b"\xff")),
        await answered(counting, Sum("s", 300, 6, ONE, 24)),
        await answered(counting, Sum("own", 300, 6, ONE, 32, here=True)),
        await answered(counting, Get("v", b"k")),
        (await answered(counting, Take("r", b"k", 2, 60, 0))).left,
        await answered(counting, Places(b"client")),
        (await answered(counting, Greylist("g", b"k", 60.0, 1000.0, 5000.0, look=True))).passes,
        await answered(counting, Delivered("g", b"c", 0)),
    ]


ALL_THERE = [2, 5, 7, 4, b"value", 1.0, 1, False, 3]


async def test_an_only_worker_hands_everything_to_the_next_one_and_the_old_ones_sessions_count_there() -> None:
    async with _machine() as the:
        first = OnlyWorker(the)
        await first.tenure.begin()
        for each in EVERYTHING:
            await answered(first.counting, each)
        assert await seen(first.counting) == ALL_THERE
        the.doors.append(Door())
        second = OnlyWorker(the)
        await second.tenure.begin()
        assert await seen(second.counting) == ALL_THERE
        first.tenure.retire()
        assert await seen(first.counting) == ALL_THERE, "there, too, the new one answers"
        await answered(first.counting, Gauge("c", b"\xff", 1))
        assert (await answered(second.counting, Gauge("c", b"\xff"))) == 6
        await answered(second.counting, Lease([(b"client", 3)]))
        first.counting.tell(Return([b"client"]))  # a session of the old worker ends
        await eventually(lambda: second.own.ask(Places(b"client")) == 1, "its place is free, and no other")
        first.counting.tell(Return([b"client"]))
        await answered(first.counting, Lease([(b"other", 3)]))
        assert second.own.ask(Places(b"client")) == 1, "a place that was not taken is not given back"
        await first.close()  # with a session that never said that it ended
        await eventually(lambda: second.own.ask(Places(b"other")) == 0, "an ended worker has no places")
        second.counting.tell(Return([b"client"]))
        assert second.own.ask(Places(b"client")) == 0
        await second.close()


async def test_one_worker_becomes_several_and_several_become_one() -> None:
    async with _machine() as the:
        first = OnlyWorker(the)
        await first.tenure.begin()
        for each in EVERYTHING:
            await answered(first.counting, each)
        await the.reload()
        old, worker = first.counting, the.worker(slot=2)
        assert await seen(worker) == ALL_THERE
        assert await seen(old) == ALL_THERE
        await first.close()
        assert (await seen(worker))[6] == 0, "its places ended with it"
        await answered(worker, Lease([(b"client", 3)]))
        the.doors.append(Door())
        last = OnlyWorker(the)
        await last.tenure.begin()
        assert await seen(last.counting) == ALL_THERE
        assert await seen(worker) == ALL_THERE
        await worker.close()
        await eventually(lambda: last.own.ask(Places(b"client")) == 0, "the old worker has ended")
        await last.close()


async def test_an_only_worker_counts_on_if_its_successor_fails() -> None:
    async with _machine() as the:
        first = OnlyWorker(the)
        await first.tenure.begin()
        for each in EVERYTHING:
            await answered(first.counting, each)
        the.doors.append(Door())
        second = OnlyWorker(the)
        await second.tenure.begin()
        await answered(first.counting, Lease([(b"client", 3)]))
        first.counting.tell(Return([b"client"]))
        await answered(first.counting, Places(b"client"))
        await second.close()
        await eventually(lambda: first.counting.ask == first.own.ask, "the first counts again")
        assert await seen(first.counting) == ALL_THERE
        first.counting.tell(Return([b"client"]))
        assert first.own.ask(Places(b"client")) == 0
        await first.close()


async def test_a_serialized_series_is_not_counted_twice_if_file_and_predecessor_have_it(tmp_path: Path) -> None:
    path, clock = tmp_path / "counting.db", Clock(1_000_000.0)
    async with _machine() as the:
        old = FiledCounting(path, clock)
        await old.start()
        old.ask(Add("kept", 300, 6, ONE, 7, keep=True))
        await old.close()
        old.ask(Add("kept", 300, 6, ONE, 2, keep=True))  # after it was written
        service, _ = the.keeper(old)
        service.open()
        new = FiledCounting(path, clock)
        await new.start()
        assert new.ask(Sum("kept", 300, 6, ONE, 32)) == 7
        await the.reload(new)
        for mask in (32, 24):
            assert new.ask(Sum("kept", 300, 6, ONE, mask)) == 9
        await new.close()


async def test_a_clock_that_is_set_back_before_a_reload_or_a_restart_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, ticks = [1_000_000.0], [50.0]
    fake = SimpleNamespace(time=lambda: now[0], monotonic=lambda: ticks[0])
    monkeypatch.setattr(clocks, "time", fake)
    path = tmp_path / "counting.db"
    old = FiledCounting(path)
    await old.start()
    assert old.ask(Take("r", b"k", 1, 10)).allowed
    assert (old.ask(Window("t", b"k", 1, 16.0, 1, within=True)) or pytest.fail("no window")).allowed
    assert not old.ask(Greylist("g", b"k", 60.0, 100_000.0, 5000.0)).passes
    await old.close()
    now[0] -= 36_000.0
    new = MemoryCounting()
    for each in tables_of(old):
        adopt(new, each)
    for counting in (old, new):
        assert not counting.ask(Take("r", b"k", 1, 10)).allowed
        assert not (counting.ask(Window("t", b"k", 1, 16.0, 1, within=True)) or pytest.fail("no window")).allowed
    ticks[0] += 18.0
    for counting in (old, new):
        assert counting.ask(Take("r", b"k", 1, 10)).allowed
        assert (counting.ask(Window("t", b"k", 1, 16.0, 1, within=True)) or pytest.fail("no window")).allowed
    again = FiledCounting(path)  # the process was started anew
    await again.start()
    ticks[0] += 60.0
    assert again.ask(Greylist("g", b"k", 60.0, 100_000.0, 5000.0)).passes
    await again.close()


async def test_a_keeper_that_ends_without_a_successor_writes_what_it_counted_last(tmp_path: Path) -> None:
    path = tmp_path / "counting.db"
    counting = FiledCounting(path, Clock(1_000_000.0))
    await counting.start()
    service = KeeperService(None, [], counting=counting)
    service.open()
    counting.ask(Add("kept", 300, 6, ONE, 7, keep=True))
    await service.leave()
    await counting.close()
    again = FiledCounting(path, Clock(1_000_000.0))
    await again.start()
    assert again.ask(Sum("kept", 300, 6, ONE, 32)) == 7
    await again.close()


async def test_a_door_whose_outer_side_is_closed_everywhere_costs_nothing_more() -> None:
    door = Door()
    service = KeeperService(None, [door.inside])
    service.open()
    door.outside.close()
    loop = asyncio.get_running_loop()
    await eventually(lambda: not loop.remove_reader(door.inside.fileno()), "nobody reads it any more")
    await service.leave()
    door.close()


async def test_greylisting_and_serialized_series_outlive_a_restart_and_all_else_does_not(tmp_path: Path) -> None:
    path = tmp_path / "counting.db"
    clock = Clock(1_000_000.0)
    first = FiledCounting(path, clock)
    await first.start()
    assert not path.exists()
    first.ask(Greylist("g", b"k\xff", 60.0, 1000.0, 5000.0, b"c"))
    first.ask(Delivered("g", b"c", 2, 5000.0))
    first.ask(Add("kept", 300, 6, ONE, 7, keep=True))
    first.ask(Add("lost", 300, 6, ONE, 7))
    first.ask(Window("t", b"k", 2, 60.0, 1))
    await first.close()
    clock.now += 60.0
    second = FiledCounting(path, clock)
    await second.start()
    try:
        assert second.ask(Greylist("g", b"k\xff", 60.0, 1000.0, 5000.0, b"c")).passes
        assert second.ask(Delivered("g", b"c", 0)) == 2
        assert second.ask(Sum("kept", 300, 6, ONE, 32, 0, 5)) == 7
        assert second.ask(Sum("lost", 300, 6, ONE, 32, 0, 5)) == 0
        assert second.ask(Window("t", b"k")) is None
    finally:
        await second.close()


async def test_a_worker_that_only_tells_hears_how_far_the_keeper_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepers, "PERFORMED_SECONDS", 0.0)
    async with _machine() as the:
        service, counted = the.keeper()
        service.open()
        worker = the.worker()
        for _ in range(3):
            worker.tell(Add("s", 300, 6, ONE, 1))
        await eventually(lambda: not worker.waiting, "everything was taken")
        assert counted.ask(Sum("s", 300, 6, ONE, 32)) == 3
        await the.kill(service)
        _, replaced = the.keeper()
        the.keepers[-1][0].open()
        await answered(worker, Get("v", b""))
        assert replaced.ask(Sum("s", 300, 6, ONE, 32)) == 0  # it was taken once, so it is not told again


async def test_what_was_told_and_asked_of_a_dead_keeper_comes_to_its_replacement_once_and_in_order() -> None:
    async with _machine() as the:
        worker = the.worker()  # there is no keeper yet
        worker.tell(Window("t", b"k", 9, 60.0, 1))
        first = spawn(answered(worker, Window("t", b"k", 9, 60.0, 1)), name="ask", owner=the.owner)
        await asyncio.sleep(0)
        worker.tell(Window("t", b"k", 9, 60.0, 5))
        second = spawn(answered(worker, Window("t", b"k", 9, 60.0, 0)), name="ask", owner=the.owner)
        await asyncio.sleep(0)
        service, _ = the.keeper()
        service.open()
        totals = [counted.total for counted in (await first, await second) if counted is not None]
        assert totals == [2, 7]
        assert not worker.waiting


async def test_what_a_worker_tells_last_comes_to_the_keeper_and_it_does_not_say_that_it_counts_alone() -> None:
    async with _machine() as the:
        service, counted = the.keeper()
        service.open()
        worker = the.worker()
        await answered(worker, Get("v", b""))
        worker.tell(Window("t", b"k", 3, 60.0, 1))
        with capture_logs() as logged:
            await worker.close()
            await eventually(lambda: (seen := counted.ask(Window("t", b"k"))) and seen.total == 1, "it was counted")
        assert [each for each in logged if each["event"] == "counting_alone"] == []


async def test_a_worker_that_only_tells_notices_that_its_keeper_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "DEADLINE_SECONDS", 0.02)
    async with _machine() as the:
        worker = the.worker()
        with capture_logs() as logged:
            worker.tell(Add("s", 300, 6, ONE, 1))
            await eventually(lambda: [each for each in logged if each["event"] == "counting_alone"], "it counts alone")
        assert await answered(worker, Sum("s", 300, 6, ONE, 32)) == 1


class Swallowing(asyncio.Transport):
    """A worker that hears everything at once."""

    def writelines(self, _pieces: Iterable[Any]) -> None:
        """Take it."""

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


async def test_a_message_of_the_start_policy_costs_the_keeper_at_most_a_hundred_function_calls() -> None:
    link = Counters(MemoryCounting()).link(1, 1, lambda _link: None)
    link.connection_made(Swallowing())
    known = Sum("script unknown_recipients", 900, 4, ONE, 32, 0, 3)
    received = Sum("inbound_audit reception", 900, 4, ONE, 32, 0, 3, here=True)
    taken = Add("inbound_audit reception", 900, 4, ONE, here=True)
    frames = [
        (framed(encode([Count(n, known), Count(n + 1, received)])), framed(encode([Count(n + 2, taken, told=True)])))
        for n in range(0, 300, 3)
    ]
    profile = cProfile.Profile()
    with profile:
        for asked, told in frames:
            link.data_received(asked)
            link._flush()
            link.data_received(told)
    assert pstats.Stats(profile).total_calls / len(frames) <= 100  # type: ignore[attr-defined]  # typeshed lacks it


async def test_a_worker_that_ends_before_its_connection_begins_closes_it() -> None:
    door = Door()
    counting = KeptCounting(door.outside, Hello(1, 1, counts=True), Meanwhile(name="keeper", defers=False))
    await counting.close()
    found = knocked(door.inside)
    assert found is not None
    with found[1] as connection:
        assert connection.recv(1) == b"", "our end is closed"
    door.close()
