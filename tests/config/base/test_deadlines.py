"""Time limits that share timers end as asyncio's own do, a little late at most."""

from __future__ import annotations

import asyncio
import time

import pytest

from config.base.deadlines import EACH_SECOND, Within, end_after
from proxy.base.tasks import TaskOwner, spawn


async def test_what_takes_too_long_is_a_timeout_and_not_before_its_time() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError), Within(0.05):
        await asyncio.Event().wait()
    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_a_limit_that_has_passed_ends_the_next_wait(seconds: float) -> None:
    with pytest.raises(TimeoutError), Within(seconds):
        await asyncio.Event().wait()


async def test_what_ends_in_time_is_left_alone() -> None:
    with Within(0.01):
        await asyncio.sleep(0)
    await asyncio.sleep(0.01 + 2 / EACH_SECOND)


async def test_the_inner_of_two_limits_ends_alone() -> None:
    with Within(60):
        with pytest.raises(TimeoutError), Within(0.01):
            await asyncio.Event().wait()
        await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_the_outer_of_two_limits_ends_both() -> None:
    with pytest.raises(TimeoutError), Within(0.01), Within(60):
        await asyncio.Event().wait()


async def test_a_cancellation_by_others_is_no_timeout() -> None:
    async def limited() -> None:
        with Within(60):
            await asyncio.Event().wait()

    task = spawn(limited(), name="limited", owner=TaskOwner("test"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_failure_passes() -> None:
    with pytest.raises(ZeroDivisionError), Within(60):
        raise ZeroDivisionError


async def test_only_a_task_has_limits() -> None:
    failed: list[Exception] = []

    def outside() -> None:
        try:
            with Within(1):
                pass
        except RuntimeError as error:
            failed.append(error)

    asyncio.get_running_loop().call_soon(outside)
    await asyncio.sleep(0)
    assert len(failed) == 1


async def test_limits_share_timers_and_each_is_told_once() -> None:
    class Limited:
        ended = 0

        def end(self) -> None:
            self.ended += 1

    many, spared = [Limited() for _ in range(100)], Limited()
    sets = [end_after(0.01, each) for each in many]
    end_after(0.01, spared).discard(spared)
    assert len({id(each) for each in sets}) <= 2  # the clock may go from one 1/16 s to the next meanwhile
    await asyncio.sleep(0.01 + 2 / EACH_SECOND)
    assert {each.ended for each in many} == {1}
    assert spared.ended == 0


async def test_one_that_fails_keeps_no_other_from_its_end() -> None:
    class Failing:
        def end(self) -> None:
            raise ZeroDivisionError

    class Limited:
        ended = 0

        def end(self) -> None:
            self.ended += 1

    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    many = [Limited() for _ in range(20)]
    for each in many:
        end_after(0.01, each)
        end_after(0.01, Failing())
    await asyncio.sleep(0.01 + 2 / EACH_SECOND)
    await asyncio.sleep(0.1)
    assert {each.ended for each in many} == {1}
    assert len(reported) == 20


def test_each_loop_has_its_own() -> None:
    async def timed_out() -> bool:
        try:
            with Within(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return True
        return False

    assert asyncio.run(timed_out())
    assert asyncio.run(timed_out())
