"""The control process asks the others: answers, deadlines, streams, and processes that come and go."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from proxy.base.tasks import TaskOwner, spawn
from proxy.control import asking
from proxy.control.asking import Process, Processes
from proxy.control.questions import MOST_ANSWER, MOST_OPEN
from proxy.keeper.messages import Hello
from proxy.server.answering import Answerer, Question, Unanswerable
from tests.support.waiting import eventually


def met(processes: Processes, slot: int) -> socket.socket:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    processes.meet(Hello(1, slot, answers=True), theirs)
    return ours


@asynccontextmanager
async def asked(**questions: Question) -> AsyncIterator[tuple[Processes, list[Answerer]]]:
    """Two workers that answer."""
    processes = Processes()
    answerers = [Answerer(partial(met, processes, slot), questions) for slot in (1, 2)]
    for each in answerers:
        each.start()
    try:
        yield processes, answerers
    finally:
        for each in answerers:
            await each.close()
        await processes.close()


async def never(_given: Mapping[str, Any]) -> None:
    await asyncio.get_running_loop().create_future()


async def test_every_process_answers_and_one_alone_if_only_it_is_asked() -> None:
    async with asked(double=lambda given: given["number"] * 2) as (processes, _):
        told = await processes.ask("double", {"number": 4})
        assert [(each.process.name, each.answer) for each in told] == [("worker 1", 8), ("worker 2", 8)]
        assert [each.process.name for each in await processes.ask("double", {"number": 1}, to=2)] == ["worker 2"]


async def test_a_process_without_the_room_is_left_out() -> None:
    async with asked() as (processes, _):
        assert await processes.ask("double") == []


async def test_a_question_that_waits_is_awaited_and_one_that_fails_says_so() -> None:
    async def later(_given: Mapping[str, Any]) -> str:
        await asyncio.sleep(0)
        return "later"

    def refused(_given: Mapping[str, Any]) -> str:
        raise Unanswerable("not today")

    async with asked(later=later, refused=refused) as (processes, _):
        assert [each.answer for each in await processes.ask("later")] == ["later", "later"]
        assert [each.error for each in await processes.ask("refused")] == ["not today", "not today"]


async def test_a_process_that_does_not_answer_costs_the_asker_its_time_and_others_nothing() -> None:
    async with asked(never=never, now=lambda _given: 1) as (processes, _):
        told = await processes.ask("never", seconds=0.05)
        assert all("no answer within" in each.error for each in told)
        assert [each.answer for each in await processes.ask("now")] == [1, 1]


async def test_only_so_many_questions_are_open_at_a_time() -> None:
    owner = TaskOwner("test")
    async with asked(never=never, now=lambda _given: 1) as (processes, _):
        waiting = [spawn(processes.ask("never", to=1), name="asking", owner=owner) for _ in range(MOST_OPEN)]
        await asyncio.sleep(0.05)
        (told,) = await processes.ask("now", to=1)
        assert told.error == f"{MOST_OPEN} other questions are open"
        assert [each.answer for each in await processes.ask("now", to=2)] == [1]
        assert len(waiting) == MOST_OPEN
        await owner.cancel()


@pytest.mark.parametrize("answer", ["x" * MOST_ANSWER, "\udc80", object()])
async def test_an_answer_that_cannot_be_sent_is_an_error(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.server.answering.log.error", lambda *_args, **_fields: None, raising=False)
    async with asked(odd=lambda _given: answer, now=lambda _given: 1) as (processes, _):
        assert all(each.error for each in await processes.ask("odd"))
        assert [each.answer for each in await processes.ask("now")] == [1, 1]


async def test_a_process_that_ends_is_told_of_and_one_that_comes_gets_what_is_kept() -> None:
    kept: list[Any] = []

    def keep(given: Mapping[str, Any]) -> bool:
        kept.append(given["on"])
        return True

    async with asked(keep=keep, never=never) as (processes, answerers):
        await processes.ask("keep", {"on": 1})
        await processes.keep("it", "keep", {"on": 1})
        waiting = spawn(processes.ask("never", to=1), name="asking", owner=TaskOwner("test"))
        await asyncio.sleep(0.05)
        await answerers[0].close()
        assert [each.error for each in await waiting] == ["the process has ended"]
        another = Answerer(partial(met, processes, 3), {"keep": keep})
        another.start()
        await eventually(lambda: len(kept) == 3, "the new process is told")
        await processes.keep("it", "keep", None)
        await another.close()


async def test_a_stream_goes_on_until_it_is_ended_and_later_processes_join_it() -> None:
    ended: list[int] = []

    async def numbers(_given: Mapping[str, Any]) -> AsyncIterator[int]:
        try:
            for number in range(1000):
                yield number
                await asyncio.sleep(0.01)
        finally:
            ended.append(1)

    heard: list[tuple[str, int]] = []

    def hear(process: Process, number: Any) -> None:
        heard.append((process.name, number))

    async with asked(numbers=numbers) as (processes, _):
        subscription = processes.subscribe("numbers", {}, hear)
        await eventually(lambda: ("worker 1", 1) in heard and ("worker 2", 1) in heard, "both stream")
        another = Answerer(partial(met, processes, 3), {"numbers": numbers})
        another.start()
        await eventually(lambda: ("worker 3", 1) in heard, "the third one joins")
        others: list[int] = []
        more = [processes.subscribe("numbers", {}, lambda _, number: others.append(number)) for _ in range(20)]
        await eventually(lambda: len(others) >= 60, "those that come later hear the same stream")
        assert 0 not in others, "a process sends it once, however many listen"
        processes.unsubscribe(more.pop())
        processes.unsubscribe(subscription)
        assert ended == []
        for each in more:
            processes.unsubscribe(each)
        await eventually(lambda: len(ended) == 3, "all streams end")
        await another.close()


async def test_what_is_kept_outlives_the_control_process_but_not_the_configuration() -> None:
    kept: list[Any] = []
    questions: dict[str, Question] = {"keep": lambda given: kept.append(given["on"])}
    old, young = Processes(generation=1), Processes(generation=1)
    current = [old]
    answerer = Answerer(lambda: met(current[0], 1), questions)
    answerer.start()
    await old.ask("keep", {"on": 1})
    await old.keep("it", "keep", {"on": 1})
    await old.keep("other", "keep", {"on": 2})
    await old.keep("other", "keep", None)
    await old.ask("keep", {"on": 3})
    current[0] = young
    await old.close()
    await eventually(lambda: young.kept == {("keep", "it"): {"on": 1}}, "the next one knows of it")
    another = Answerer(lambda: met(young, 2), questions)
    another.start()
    await eventually(lambda: kept.count(1) >= 2, "a new process is told")
    reloaded = Processes(generation=2)
    current[0] = reloaded
    await young.close()
    await eventually(lambda: len(reloaded.known) >= 1, "it comes again")
    assert next(each.answer for each in await reloaded.ask("standing"))
    assert reloaded.kept == {}
    for each in (answerer, another):
        await each.close()
    await reloaded.close()


async def test_a_stream_that_fails_begins_again_and_who_joins_it_meanwhile_hears_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asking, "AGAIN_SECONDS", 0.01)
    owner, heard, others = TaskOwner("test"), list[Any](), list[Any]()

    async def numbers(_given: Mapping[str, Any]) -> AsyncIterator[int]:
        while True:
            yield 1
            await asyncio.sleep(0.01)

    async with asked(never=never, numbers=numbers) as (processes, _):
        for _ in range(MOST_OPEN):
            spawn(processes.ask("never"), name="asking", owner=owner)
        await asyncio.sleep(0.05)
        first = processes.subscribe("numbers", {}, lambda process, _: heard.append(process.name))
        second = processes.subscribe("numbers", {}, lambda process, _: others.append(process.name))
        await asyncio.sleep(0.05)
        assert heard == others == []
        await owner.cancel()
        await eventually(lambda: {"worker 1", "worker 2"} <= {*heard} & {*others}, "both stream to both")
        for each in (first, second):
            processes.unsubscribe(each)


async def test_one_answer_of_a_stream_that_cannot_be_sent_does_not_end_it_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asking, "AGAIN_SECONDS", 0.01)
    begun, ended, heard = list[int](), list[int](), list[Any]()

    async def rows(_given: Mapping[str, Any]) -> AsyncIterator[str]:
        begun.append(1)
        try:
            yield "x" * (MOST_ANSWER if len(begun) <= 2 else 1)
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(1)

    async with asked(rows=rows) as (processes, _):
        subscription = processes.subscribe("rows", {}, lambda _, row: heard.append(row))
        await eventually(lambda: heard == ["x", "x"], "both have begun anew")
        assert (len(begun), len(ended)) == (4, 2), "no stream goes on that nobody hears"
        processes.unsubscribe(subscription)
        await eventually(lambda: len(ended) == 4, "all end")
