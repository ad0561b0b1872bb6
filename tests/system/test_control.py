"""The control process: it is always there, and whatever happens to it, no mail waits for it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.load import Load
from tests.support.ringback import Ringback
from tests.support.waiting import eventually
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")


async def started(stage: Stage, *core: str, count: int = 1) -> tuple[Ringback, Load]:
    upstream = await stage.upstream()
    await stage.exchanger("ok.test")
    ringback = await stage.ringback(upstream.port, core=[f"Workers = {count}", *core])
    return ringback, Load(ringback, upstream)


def control(ringback: Ringback) -> int:
    return ringback.controls[-1]


def sockets(process: int) -> set[str]:
    found = [str(each.readlink()) for each in Path(f"/proc/{process}/fd").iterdir() if each.is_symlink()]
    return {each for each in found if each.startswith("socket:")}


@pytest.mark.parametrize("count", [1, 2])
async def test_a_control_process_that_is_killed_again_and_again_costs_no_mail(stage: Stage, count: int) -> None:
    ringback, load = await started(stage, count=count)
    async with load.under_way():
        for times in (1, 2, 3):
            (*_, last) = await ringback.logged("control_started", times)
            os.kill(last["pid"], signal.SIGKILL)
            await ringback.logged("control_died", times)
            await load.goes_on()
    assert await ringback.logged("control_waits")
    assert {each["event"] for each in ringback.log} & {"worker_died", "keeper_died", "task_failed"} == set()


async def test_a_control_process_that_hangs_is_killed_and_replaced(stage: Stage) -> None:
    ringback, load = await started(stage, "Worker_Timeout = 1s")
    await ringback.logged("control_started")
    hung = control(ringback)
    async with load.under_way():
        os.kill(hung, signal.SIGSTOP)
        (hangs,) = await ringback.logged("control_hangs")
        assert hangs["pid"] == hung
        await ringback.logged("control_started", 2)
        await load.goes_on()


async def test_a_reload_replaces_it_after_the_old_one_has_ended(stage: Stage) -> None:
    ringback, load = await started(stage)
    await ringback.logged("serving")
    async with load.under_way():
        for times in (1, 2, 3):
            ringback.program.process.send_signal(signal.SIGHUP)
            await ringback.logged("reloaded", times)
            await ringback.logged("control_started", times + 1)
            await load.goes_on()
    names = [each["event"] for each in ringback.log if each["event"].startswith("control_")]
    assert names == ["control_started", *["control_ended", "control_started"] * 3]


async def test_a_control_process_that_dies_during_a_reload_does_not_reject_it(stage: Stage) -> None:
    ringback, _ = await started(stage)
    await ringback.logged("serving")
    ringback.program.process.send_signal(signal.SIGHUP)
    os.kill(control(ringback), signal.SIGKILL)
    await ringback.logged("reloaded")
    await ringback.logged("control_started", 2)


@pytest.mark.parametrize("count", [1, 2])
async def test_at_a_stop_it_ends_last(stage: Stage, count: int) -> None:
    ringback, _ = await started(stage, count=count)
    await ringback.logged("serving")
    ringback.terminate()
    assert await ringback.ended() == 0
    ended = [each["event"] for each in ringback.log if each["event"].endswith("_ended")]
    assert ended[-1] == "control_ended"
    assert ended.count("worker_ended") == count
    assert ringback.program.group() == {}


async def test_a_supervisor_that_is_killed_takes_it_with_it(stage: Stage) -> None:
    ringback, _ = await started(stage)
    await ringback.logged("serving")
    os.kill(ringback.program.process.pid, signal.SIGKILL)
    ringback.program.process.wait()
    try:
        await eventually(lambda: not ringback.program.group(), "every process has ended")
    finally:
        ringback.start()  # the stage ends it cleanly


async def test_it_holds_no_socket_of_the_clients_so_a_dead_worker_is_seen(stage: Stage) -> None:
    ringback, _ = await started(stage)
    await ringback.logged("serving")
    assert sockets(control(ringback)) & sockets(ringback.workers[0]) == set()
