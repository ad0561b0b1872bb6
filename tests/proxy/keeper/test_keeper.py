"""The keeper and its clients in one process: single flight, silence, and the handover to a successor."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.callback.verdict import CallbackVerdict, Status
from proxy.callback.verifier import CallbackVerifier
from proxy.callback.withheld import SILENT
from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import Take
from proxy.keeper import client as client_room
from proxy.keeper import reaching
from proxy.keeper.client import ClientOptions, KeeperClient
from proxy.keeper.door import Door, knock, knocked
from proxy.keeper.frames import encode
from proxy.keeper.handover import Predecessor, Successor
from proxy.keeper.messages import Found, Hello, decode_hello
from proxy.keeper.service import SUCCESSOR, KeeperService
from proxy.mail.address import mailbox_of
from proxy.options.throttle import Throttle
from tests.support.callbacks import ALICE, Callbacks, Clock, budgets, names_of
from tests.support.exchanger import Exchanger, Step, says
from tests.support.waiting import eventually, eventually_answered

UNKNOWN = says("550 5.1.1 no such user")


class Machine:
    """A door, with keepers behind it and workers before it."""

    def __init__(self, exchanger: Exchanger, **given: Any) -> None:
        self.clock = Clock()
        self.given = {"port": exchanger.port, "names": names_of(exchanger.address), "clock": self.clock, **given}
        self.doors = [Door()]
        self.services: list[KeeperService] = []
        self.verifiers: list[CallbackVerifier] = []
        self.clients: list[KeeperClient] = []
        self.insides: list[socket.socket] = []

    def keeper(self) -> tuple[KeeperService, CallbackVerifier]:
        verifier = Callbacks(**self.given).verifier()
        insides = [each.inside.dup() for each in self.doors]  # each keeper has its own, as processes have
        service = KeeperService(verifier, insides, len(self.doors))
        self.insides += insides
        self.verifiers.append(verifier)
        self.services.append(service)
        return service, verifier

    def worker(self, **options: Any) -> KeeperClient:
        wanted = replace(ClientOptions(wait=10.0), **options)
        client = KeeperClient(wanted, self.doors[-1].outside, Hello(len(self.doors), 1), clock=self.clock)
        self.clients.append(client)
        return client

    async def reload(self) -> tuple[KeeperService, CallbackVerifier]:
        """Let the keeper of a new configuration take over."""
        before = self.doors[-1].outside
        self.doors.append(Door())
        service, verifier = self.keeper()
        await Successor(verifier).take_over(before, Hello(len(self.doors), SUCCESSOR))
        service.open()
        return service, verifier

    async def close(self) -> None:
        for client in self.clients:
            await client.close()
        for service in self.services:
            await service.leave()
        for verifier in self.verifiers:
            await verifier.close()
        for each in (*self.doors, *self.insides):
            each.close()


@asynccontextmanager
async def machine(exchanger: Exchanger, **given: Any) -> AsyncIterator[Machine]:
    made = Machine(exchanger, **given)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def exchanger() -> AsyncIterator[Exchanger]:
    async with Exchanger(script={Step.RCPT: UNKNOWN}) as server:
        yield server


def known(client: KeeperClient, address: str = ALICE) -> CallbackVerdict | None:
    return client.known(mailbox_of(address))


async def _heard(client: KeeperClient) -> bool:
    return await client.verify("bob@sender.test") is not SILENT


async def test_what_two_workers_ask_is_asked_once_and_both_remember_it(exchanger: Exchanger) -> None:
    async with machine(exchanger) as the:
        service, _ = the.keeper()
        service.open()
        one, other = the.worker(), the.worker()
        verdicts = await asyncio.gather(*(each.verify(ALICE) for each in (one, other, one)))
        assert {each.reason for each in verdicts} == {"no_such_user"}
        assert exchanger.count("RCPT") == 1
        await service.leave()
        for client in (one, other):
            assert (remembered := known(client)) is not None
            assert (remembered.cached, remembered.reason) == (True, "no_such_user")


async def test_a_worker_believes_its_memory_for_a_minute_and_the_keeper_after_that(exchanger: Exchanger) -> None:
    async with machine(exchanger) as the:
        service, verifier = the.keeper()
        service.open()
        worker = the.worker()
        await worker.verify(ALICE)
        the.clock.now += client_room.LOCAL_SECONDS - 1
        assert known(worker) is not None
        the.clock.now += 1
        assert known(worker) is None
        again = await worker.verify(ALICE)
        assert (again.reason, again.cached, again.age) == ("no_such_user", True, client_room.LOCAL_SECONDS)
        await verifier.cache.purge()
        the.clock.now += client_room.LOCAL_SECONDS
        assert not (await worker.verify(ALICE)).cached
        assert exchanger.count("RCPT") == 2


async def test_what_was_not_found_out_is_not_remembered(exchanger: Exchanger) -> None:
    async with machine(exchanger, budgets=budgets(per_domain=Throttle(1, 60))) as the:
        service, _ = the.keeper()
        service.open()
        worker = the.worker()
        await worker.verify(ALICE)
        assert (await worker.verify("bob@sender.test")).reason == "throttled"
        assert known(worker, "bob@sender.test") is None


@pytest.mark.parametrize("address", ["no address", "", "@sender.test"])
async def test_what_is_no_question_is_never_sent(address: str, exchanger: Exchanger) -> None:
    async with machine(exchanger) as the:
        assert (await the.worker().verify(address)).reason == "syntax"


async def test_without_a_keeper_fresh_senders_are_transient_and_what_is_valid_counts(
    exchanger: Exchanger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaching, "HEAL_SECONDS", 0.05)
    async with machine(exchanger) as the:
        service, _ = the.keeper()
        service.open()
        worker = the.worker()
        await worker.verify(ALICE)
        await service.leave()
        the.clock.now += client_room.LOCAL_SECONDS
        with capture_logs() as log:
            assert await worker.verify("bob@sender.test") is SILENT
            assert (await worker.verify(ALICE)).reason == "no_such_user"
            assert await worker.verify("carol@sender.test") is SILENT
        assert [each["event"] for each in log] == ["keeper_silent"]
        assert known(worker, "bob@sender.test") is None
        the.keeper()[0].open()
        await eventually_answered(lambda: _heard(worker), "the new keeper answers")
        assert exchanger.count("RCPT") == 2


async def test_a_keeper_that_does_not_answer_in_time_is_transient(
    exchanger: Exchanger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_room, "GRACE_SECONDS", 0.0)
    async with machine(exchanger) as the:
        worker = the.worker(wait=0.05)
        assert await worker.verify(ALICE) is SILENT


async def test_no_more_questions_wait_than_the_limit(exchanger: Exchanger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_room, "MOST_WAITING", 2)
    async with machine(exchanger) as the:
        service, _ = the.keeper()
        worker = the.worker()
        asked = [worker.verify(f"u{number}@sender.test") for number in range(3)]
        waiting = asyncio.gather(*asked)
        await asyncio.sleep(0)
        service.open()
        assert [each.reason for each in await waiting] == ["no_such_user", "no_such_user", "keeper"]


async def test_questions_wait_for_a_keeper_that_is_being_replaced(exchanger: Exchanger) -> None:
    may = asyncio.Event()
    exchanger.script[Step.RCPT] = says("550 5.1.1 no", until=may)
    async with machine(exchanger) as the:
        service, first = the.keeper()
        service.open()
        worker = the.worker()
        asked = [asyncio.get_running_loop().create_task(worker.verify(ALICE)) for _ in range(3)]
        await exchanger.until(lambda: exchanger.count("RCPT") == 1, "the probe is under way")
        await service.leave()
        await first.close()
        the.keeper()[0].open()
        await exchanger.until(lambda: exchanger.count("RCPT") == 2, "the next one asks")
        may.set()
        assert {(await each).reason for each in asked} == {"no_such_user"}


# ---- the handover


async def test_a_successor_knows_verdicts_budgets_breakers_and_storms(exchanger: Exchanger) -> None:
    limits: dict[str, Any] = {
        "budgets": budgets(per_domain=Throttle(2, 3600)),
        "breaker_time": 3600.0,
        "storm": Throttle(2, 300),
    }
    async with machine(exchanger, **limits) as the:
        service, old = the.keeper()
        service.open()
        worker = the.worker()
        await worker.verify(ALICE, client="192.0.2.1")
        await worker.verify("bob@sender.test", client="198.51.100.1")
        old.around.breakers.bad("192.0.2.9")
        _, new = await the.reload()
        assert new.around.storms.rages("sender.test")
        assert not new.around.breakers.lets("192.0.2.9")
        assert (await new.verify(ALICE)).cached
        assert not await new.around.neighbour.may_ask("", "other.test")
        assert await new.around.neighbour.may_ask("", "sender.test") == "throttled"
        assert (await worker.verify("carol@sender.test")).reason == "storm"


async def test_a_probe_in_flight_is_finished_by_the_old_keeper_for_the_new_one(exchanger: Exchanger) -> None:
    may = asyncio.Event()
    exchanger.script[Step.RCPT] = says("550 5.1.1 no", until=may)
    async with machine(exchanger) as the:
        service, _ = the.keeper()
        service.open()
        before = the.worker()
        asked = [asyncio.get_running_loop().create_task(before.verify(ALICE))]
        await exchanger.until(lambda: exchanger.count("RCPT") == 1, "the probe is under way")
        _, new = await the.reload()
        after = the.worker()
        asked.append(asyncio.get_running_loop().create_task(after.verify(ALICE)))
        leaving = asyncio.get_running_loop().create_task(service.leave())
        await asyncio.sleep(0)
        assert not leaving.done()
        may.set()
        assert {(await each).reason for each in asked} == {"no_such_user"}
        await leaving
        assert exchanger.count("RCPT") == 1
        assert (await new.verify(ALICE)).cached


async def test_an_old_keeper_that_dies_leaves_its_probes_to_the_new_one(exchanger: Exchanger) -> None:
    may = asyncio.Event()
    exchanger.script[Step.RCPT] = says("550 5.1.1 no", until=may)
    async with machine(exchanger) as the:
        service, old = the.keeper()
        service.open()
        asked = asyncio.get_running_loop().create_task(the.worker().verify(ALICE))
        await exchanger.until(lambda: exchanger.count("RCPT") == 1, "the probe is under way")
        await the.reload()
        assert service._predecessor is not None
        service._predecessor._leaving = True
        service._predecessor.link.abort()
        await old.close()
        await exchanger.until(lambda: exchanger.count("RCPT") == 2, "the new one asks")
        may.set()
        assert (await asked).reason == "no_such_user"


async def test_an_old_keeper_goes_on_if_its_successor_ends(exchanger: Exchanger) -> None:
    async with machine(exchanger) as the:
        service, _ = the.keeper()
        service.open()
        worker = the.worker()
        await worker.verify(ALICE)
        door = the.doors[0].outside
        ours = knock(door, encode(Hello(2, SUCCESSOR)))
        await eventually(lambda: service._predecessor is not None, "it hands over")
        with capture_logs() as log:
            ours.close()
            await eventually(lambda: log, "it notices")
        assert [each["event"] for each in log] == ["keeper_resumed"]
        assert (await worker.verify("bob@sender.test")).status is Status.FAIL
        assert exchanger.count("RCPT") == 2


@pytest.mark.parametrize("at", range(5))
async def test_whenever_a_successor_ends_the_doors_are_not_shut_and_nothing_is_told_after_that(
    at: int, exchanger: Exchanger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.keeper.handover.CHUNK", 1)
    happened: list[str] = []
    drained = 0
    async with machine(exchanger) as the:
        _, verifier = the.keeper()
        for number in range(3):
            await verifier.verify(f"u{number}@sender.test")
        counting = MemoryCounting()
        for key in (b"one", b"other"):
            counting.ask(Take("limits", key, 10, 60.0))

        async def waits() -> None:
            nonlocal drained
            if drained == at:
                happened.append("lost")
                before._lost(before.link)
            drained += 1

        before = Predecessor(verifier, counting, lambda: happened.append("shut"), lambda: happened.append("resumed"))
        monkeypatch.setattr(before.link, "drained", waits)
        monkeypatch.setattr(before.link, "send", lambda _message: happened.append("told"))
        assert await before._owner.wait(10)
    assert happened[-2:] == ["lost", "resumed"]
    assert ("shut" in happened) == (at >= 3)


async def test_the_end_of_a_successor_that_was_replaced_hides_no_finding_from_the_next_one(
    exchanger: Exchanger,
) -> None:
    found: list[object] = []
    async with machine(exchanger) as the:
        _, verifier = the.keeper()
        first, second = (Predecessor(verifier, MemoryCounting(), lambda: None, lambda: None) for _ in range(2))
        second.link.send = found.append  # type: ignore[method-assign]
        first.close()
        first._lost(first.link)
        await verifier.verify(ALICE)
        assert [type(each) for each in found if isinstance(each, Found)] == [Found]
        second._lost(second.link)
        assert verifier.finding is None
        for each in (first, second):
            assert await each._owner.wait(10)


async def test_a_new_keeper_begins_without_an_old_one_that_does_not_answer(
    exchanger: Exchanger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.keeper.handover.HANDOVER_SECONDS", 0.05)
    async with machine(exchanger) as the:
        with capture_logs() as log:
            await the.reload()  # its own call at the old door comes to itself, and is not answered
            worker = the.worker()
            assert (await worker.verify(ALICE)).reason == "no_such_user"
        assert "keeper_not_handed_over" in [each["event"] for each in log]


async def test_a_successor_with_another_secret_takes_no_key_that_it_cannot_read(exchanger: Exchanger) -> None:
    async with machine(exchanger, secret=b"one") as the:
        service, _ = the.keeper()
        service.open()
        await the.worker(secret=b"one").verify(ALICE)
        the.given["secret"] = b"another"
        _, new = await the.reload()
        assert list(new.cache.everything()) == []


def test_what_comes_through_a_door_without_a_connection_is_left_out() -> None:
    door = Door()
    door.outside.send(b"nothing with it")
    ours = knock(door.outside, encode(Hello(1, 2)))
    found = knocked(door.inside)
    assert found is not None
    hello, theirs = found
    assert decode_hello(hello) == Hello(1, 2)
    assert knocked(door.inside) is None
    for each in (ours, theirs, *door):
        each.close()
