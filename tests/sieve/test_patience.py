"""A time limit that is set only where something waits behaves like one that was set at the start."""

from __future__ import annotations

import asyncio

import pytest

from sieve.run.patience import within
from tests.support.waiting import until_cancelled


async def test_what_ends_at_once_needs_no_timer() -> None:
    done: list[int] = []

    async def work() -> None:
        done.append(1)

    await within(-1, work())
    assert done == [1]


async def test_what_waits_goes_on_where_it_waited() -> None:
    done: list[object] = []
    ready = asyncio.get_running_loop().create_future()

    async def work() -> None:
        await asyncio.sleep(0)
        done.append("slept")
        done.append(await ready)
        await asyncio.sleep(0)
        done.append("end")

    asyncio.get_running_loop().call_soon(ready.set_result, "value")
    await within(60, work())
    assert done == ["slept", "value", "end"]


async def test_what_is_returned_comes_through_whether_it_waited_or_not() -> None:
    async def work(waits: int) -> str:
        for _ in range(waits):
            await asyncio.sleep(0)
        return f"after {waits}"

    assert [await within(60, work(waits)) for waits in range(3)] == ["after 0", "after 1", "after 2"]


async def test_what_waits_too_long_is_cancelled_and_can_clean_up() -> None:
    done: list[str] = []

    with pytest.raises(TimeoutError):
        await within(0.01, until_cancelled(done))
    assert done == ["cancelled"]


async def test_an_error_passes_whether_it_waited_or_not() -> None:
    async def work(*, wait: bool) -> None:
        if wait:
            await asyncio.sleep(0)
        raise LookupError

    for wait in (False, True):
        with pytest.raises(LookupError):
            await within(60, work(wait=wait))


async def test_a_limit_inside_is_its_own() -> None:
    done: list[str] = []

    async def work() -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            done.append("inner")
        await asyncio.sleep(0)

    await within(60, work())
    assert done == ["inner"]


async def test_cancelling_passes() -> None:
    waits = asyncio.Event()

    async def work() -> None:
        waits.set()
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(within(60, work()))
        await waits.wait()
        task.cancel()
    assert task.cancelled()


def test_closing_closes_what_was_begun() -> None:
    done: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            done.append("closed")

    async def main() -> None:
        running = within(60, work())
        running.send(None)
        running.close()

    asyncio.run(main())
    assert done == ["closed"]
