"""Every task has a name and an owner, and ends with it."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from proxy.base.tasks import TaskOwner, at_once, spawn
from tests.support.waiting import until_cancelled


async def test_an_owner_counts_its_tasks_until_they_end() -> None:
    owner, gate = TaskOwner("test"), asyncio.Event()
    task = spawn(gate.wait(), name="waiting", owner=owner)
    assert (len(owner), task.get_name()) == (1, "waiting")
    gate.set()
    assert await owner.wait(10)
    assert len(owner) == 0


async def test_waiting_tells_whether_all_have_ended() -> None:
    owner = TaskOwner("test")
    assert await owner.wait(0)
    spawn(asyncio.Event().wait(), name="never", owner=owner)
    assert not await owner.wait(0)
    await owner.cancel()
    assert await owner.wait(0)


async def test_cancelling_waits_until_each_task_has_unwound() -> None:
    owner, unwound, began = TaskOwner("test"), [], asyncio.Event()

    async def work() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            unwound.append("work")

    spawn(work(), name="work", owner=owner)
    await began.wait()
    await owner.cancel()
    assert unwound == ["work"]


async def test_a_task_that_fails_is_logged_by_name_and_owner() -> None:
    owner, error = TaskOwner("pool"), RuntimeError("why")

    async def work() -> None:
        raise error

    with capture_logs() as log:
        spawn(work(), name="warm", owner=owner)
        assert await owner.wait(10)
        await asyncio.sleep(0)
    assert [(each["event"], each["task"], each["owner"], each["exc_info"]) for each in log] == [
        ("task_failed", "warm", "pool", error)
    ]


async def test_what_is_done_at_once_has_its_results_in_order() -> None:
    gate = asyncio.Event()

    async def first() -> int:
        await gate.wait()
        return 1

    async def second() -> int:
        gate.set()
        return 2

    assert await at_once([first(), second()]) == [1, 2]


async def test_if_one_fails_the_others_are_cancelled() -> None:
    story: list[str] = []

    async def fails() -> None:
        raise ValueError("it failed")

    with pytest.raises(ExceptionGroup) as found:
        await at_once([until_cancelled(story), fails()])
    assert [str(each) for each in found.value.exceptions] == ["it failed"]
    assert story == ["cancelled"]
