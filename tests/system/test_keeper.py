"""The keeper: several workers ask as one, whatever happens to the process that asks for them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger, Step, is_silent, says
from tests.support.load import MESSAGE, Load
from tests.support.ringback import Ringback
from tests.support.waiting import eventually
from tests.support.world import NO_SUCH_USER, Stage

pytestmark = pytest.mark.real("dnsmasq")

REFUSED = "550 from address not reachable"
MANY = 24
"""Connections of which each of three workers gets some."""

SCRIPT_WITH_REASON = """\
$from = envelope "from";
($rv) = smtp_callback_verify "${from}";
if ec_test :is "${rv}" "fail" {
  ec_action 550 "from address not reachable";
}
if ec_test :is "${rv}" "transient" {
  ec_action 451 "not now";
}
"""


async def kept(
    stage: Stage, upstream: Exchanger, *core: str, count: int = 2, script: str = "", **callback: str
) -> Ringback:
    """Start Ringback with several workers."""
    parts: dict[str, Any] = {"script": script} if script else {}
    return await stage.ringback(upstream.port, core=[f"Workers = {count}", *core], callback=callback, **parts)


def keeper(ringback: Ringback) -> int:
    """Return the process that keeps now."""
    return ringback.keepers[-1]


def troubles(ringback: Ringback) -> list[dict[str, Any]]:
    return [each for each in ringback.log if each["event"] in {"unstructured", "task_failed", "worker_died"}]


async def refused(ringback: Ringback, sender: str) -> bool:
    async with await ringback.conversation() as client:
        await client.ehlo()
        return (await client.ask(f"MAIL FROM:<{sender}>")) == REFUSED


@asynccontextmanager
async def clients(ringback: Ringback, count: int = MANY) -> AsyncIterator[list[Conversation]]:
    """Sessions that have said EHLO."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(await ringback.conversation()) for _ in range(count)]
        for each in opened:
            await each.ehlo()
        yield opened


async def ask_all(sessions: Sequence[Conversation], sender: str) -> None:
    for each in sessions:
        await each.send_raw(f"MAIL FROM:<{sender}>\r\n".encode())


# ---- one truth


@pytest.mark.parametrize("count", [2, 3])
async def test_workers_that_ask_about_one_sender_at_the_same_moment_cost_one_probe(stage: Stage, count: int) -> None:
    may = asyncio.Event()
    exchanger = await stage.exchanger("refusing.test", script={Step.RCPT: says("550 5.1.1 no", until=may)})
    ringback = await kept(stage, await stage.upstream(), count=count)
    async with clients(ringback) as sessions:
        await ask_all(sessions, "nobody@refusing.test")
        await exchanger.until(lambda: exchanger.count("RCPT") == 1, "the probe is under way")
        may.set()
        assert [await each.reply() for each in sessions] == [REFUSED] * MANY
        await ask_all(sessions, "nobody@refusing.test")
        assert [await each.reply() for each in sessions] == [REFUSED] * MANY
    assert exchanger.count("RCPT") == 1
    (probe,) = await ringback.logged("probe")
    assert probe["worker"] == 0
    asked = await ringback.logged("session", MANY)
    assert {each["worker"] for each in asked} <= set(range(1, count + 1))
    assert probe["session"] in {each["session"] for each in asked}


async def test_a_budget_is_one_for_all_workers(stage: Stage) -> None:
    exchanger = await stage.exchanger("ok.test")
    options = {"probes_per_domain": '"5/3600"', "client_share": "100", "store": '"memory"'}
    ringback = await kept(stage, await stage.upstream(), count=3, script=SCRIPT_WITH_REASON, **options)
    async with clients(ringback) as sessions:
        for number, each in enumerate(sessions):
            await each.send_raw(f"MAIL FROM:<u{number}@ok.test>\r\n".encode())
        replies = [await each.reply() for each in sessions]
    assert sorted(reply[:3] for reply in replies) == ["250"] * 5 + ["451"] * (MANY - 5)
    assert exchanger.count("RCPT") == 5


async def test_a_breaker_is_one_for_all_workers(stage: Stage) -> None:
    exchanger = await stage.exchanger("busy.test", script={Step.BANNER: says("421 4.7.0 busy")})
    options = {"breaker_time": "3600", "max_probes_per_mx": "1"}
    ringback = await kept(stage, await stage.upstream(), count=3, **options)
    async with clients(ringback) as sessions:
        for number, each in enumerate(sessions):
            await each.send_raw(f"MAIL FROM:<u{number}@busy.test>\r\n".encode())
            assert (await each.reply()).startswith("250 ")
    assert len(exchanger.dialogues) == 1
    assert len(await ringback.logged("breaker_opened")) == 1


async def test_with_one_worker_there_is_no_keeper(stage: Stage) -> None:
    await stage.exchanger("refusing.test", script={Step.RCPT: NO_SUCH_USER})
    ringback = await kept(stage, await stage.upstream(), count=1)
    assert await refused(ringback, "nobody@refusing.test")
    assert ringback.keepers == []


# ---- its death


async def test_a_keeper_that_is_killed_under_load_costs_no_mail_and_its_successor_knows_what_the_store_knows(
    stage: Stage, tmp_path: Path
) -> None:
    exchanger = await stage.exchanger("ok.test")
    refusing = await stage.exchanger("refusing.test", script={Step.RCPT: NO_SUCH_USER})
    upstream = await stage.upstream()
    ringback = await kept(stage, upstream, store=f'"sqlite://{tmp_path}/callback.db"', script=SCRIPT_WITH_REASON)
    assert await refused(ringback, "nobody@refusing.test")
    load = Load(ringback, upstream)
    async with load.under_way():
        for times in (1, 2):
            os.kill(keeper(ringback), signal.SIGKILL)
            await ringback.logged("keeper_died", times)
            await ringback.logged("keeper_started", times + 1)
            await load.goes_on()
    assert await refused(ringback, "nobody@refusing.test")
    assert refusing.count("RCPT") == 1
    assert exchanger.commands.count("RCPT TO:<known@ok.test>") == 1
    assert troubles(ringback) == []


async def test_a_question_that_a_dead_keeper_leaves_is_asked_again(stage: Stage) -> None:
    may = asyncio.Event()
    exchanger = await stage.exchanger("refusing.test", script={Step.RCPT: says("550 5.1.1 no", until=may)})
    ringback = await kept(stage, await stage.upstream(), store='"memory"')
    async with clients(ringback, 6) as sessions:
        await ask_all(sessions, "nobody@refusing.test")
        await exchanger.until(lambda: exchanger.count("RCPT") == 1, "the probe is under way")
        os.kill(keeper(ringback), signal.SIGKILL)
        await exchanger.until(lambda: exchanger.count("RCPT") == 2, "it is held anew")
        may.set()
        assert [await each.reply() for each in sessions] == [REFUSED] * 6
    assert exchanger.count("RCPT") == 2


async def test_a_keeper_that_hangs_defers_fresh_senders_and_is_replaced(stage: Stage) -> None:
    await stage.exchanger("ok.test")
    await stage.exchanger("refusing.test", script={Step.RCPT: NO_SUCH_USER})
    upstream = await stage.upstream()
    script = SCRIPT_WITH_REASON.replace("not now", "%{vctx_mess:smtp_cbv_reason}")
    ringback = await kept(stage, upstream, "Worker_Timeout = 6", script=script, wait="1")
    async with clients(ringback) as sessions:
        await ask_all(sessions, "known@ok.test")
        assert {(await each.reply())[:3] for each in sessions} == {"250"}
        hung = keeper(ringback)
        os.kill(hung, signal.SIGSTOP)
        async with clients(ringback, 2) as (fresh, known):
            assert await fresh.ask("MAIL FROM:<fresh@ok.test>") == "451 keeper"
            assert (await known.ask("MAIL FROM:<known@ok.test>")).startswith("250 ")
        assert (await ringback.logged("keeper_silent"))[0]["level"] == "warning"
        (hangs,) = await ringback.logged("keeper_hangs")
        assert (hangs["pid"], hangs["state"]) == (hung, "stopped")
        await ringback.logged("keeper_started", 2)
        assert await refused(ringback, "nobody@refusing.test")
    assert troubles(ringback) == []


async def test_a_keeper_that_dies_again_and_again_leaves_the_workers_alone(stage: Stage) -> None:
    await stage.exchanger("ok.test")
    upstream = await stage.upstream()
    ringback = await kept(stage, upstream)
    await ringback.logged("serving")
    before = ringback.workers
    for times in (1, 2):
        os.kill(keeper(ringback), signal.SIGKILL)
        await ringback.logged("keeper_started", times + 1)
    await ringback.logged("keeper_waits")
    async with await ringback.conversation() as client:
        assert (await client.deliver("a@ok.test", ["b@example.com"], MESSAGE)).startswith("250 ")
    assert ringback.workers == before


# ---- its successor


def reload(ringback: Ringback) -> None:
    ringback.program.process.send_signal(signal.SIGHUP)


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_a_reload_under_load_keeps_what_was_found_out_and_the_probes_in_flight(
    stage: Stage, tmp_path: Path, store: str
) -> None:
    may = asyncio.Event()
    exchanger = await stage.exchanger("ok.test")
    refusing = await stage.exchanger("refusing.test", script={Step.RCPT: says("550 5.1.1 no", until=may)})
    upstream = await stage.upstream()
    where = '"memory"' if store == "memory" else f'"sqlite://{tmp_path}/callback.db"'
    ringback = await kept(stage, upstream, store=where, script=SCRIPT_WITH_REASON)
    load = Load(ringback, upstream, reloads=True)
    async with load.under_way(), clients(ringback, 6) as before:
        first = keeper(ringback)
        await ask_all(before, "nobody@refusing.test")
        await refusing.until(lambda: refusing.count("RCPT") == 1, "the probe is under way")
        reload(ringback)
        await ringback.logged("reloaded")
        await ringback.logged("stopping", 2)  # the old ones accept no clients any more
        (took,) = await ringback.logged("keeper_took_over")
        assert took["verdicts"] > 10
        async with clients(ringback, 6) as after:
            await ask_all(after, "nobody@refusing.test")
            await load.goes_on()
            may.set()
            assert [await each.reply() for each in (*before, *after)] == [REFUSED] * 12
        await eventually(lambda: first not in ringback.program.group(), "the old keeper has ended")
    assert refusing.count("RCPT") == 1
    assert exchanger.commands.count("RCPT TO:<known@ok.test>") == 1
    assert keeper(ringback) != first
    assert troubles(ringback) == []
    assert not [each for each in ringback.log if each["event"] in {"keeper_died", "keeper_not_handed_over"}]


async def test_a_reload_that_removes_the_callbacks_answers_those_who_wait(stage: Stage) -> None:
    may = asyncio.Event()
    refusing = await stage.exchanger("refusing.test", script={Step.RCPT: says("550 5.1.1 no", until=may)})
    ringback = await kept(stage, await stage.upstream(), script=SCRIPT_WITH_REASON)
    async with clients(ringback, 4) as sessions:
        await ask_all(sessions, "nobody@refusing.test")
        await refusing.until(lambda: refusing.count("RCPT") == 1, "the probe is under way")
        (ringback.configuration.parent / "validate.conf").write_text("")
        reload(ringback)
        await ringback.logged("reloaded")
        await ringback.logged("keeper_took_over")
        may.set()
        assert [await each.reply() for each in sessions] == [REFUSED] * 4
    await ringback.logged("worker_ended", 2)
    assert not await refused(ringback, "nobody@refusing.test")
    assert refusing.count("RCPT") == 1
    assert troubles(ringback) == []


async def test_a_budget_outlives_a_reload(stage: Stage) -> None:
    exchanger = await stage.exchanger("ok.test")
    options = {"probes_per_domain": '"3/3600"', "client_share": "100", "store": '"memory"'}
    ringback = await kept(stage, await stage.upstream(), script=SCRIPT_WITH_REASON, **options)

    async def ask(number: int) -> str:
        async with await ringback.conversation() as client:
            await client.ehlo()
            return (await client.ask(f"MAIL FROM:<u{number}@ok.test>"))[:3]

    assert [await ask(number) for number in range(3)] == ["250"] * 3
    for times in (1, 2):
        reload(ringback)
        await ringback.logged("reloaded", times)
        await ringback.logged("worker_ended", 2 * times)  # until then an old one may take the client, and says 421
        assert await ask(3 + times) == "451"
    assert exchanger.count("RCPT") == 3


async def test_a_successor_that_cannot_serve_gives_back_and_the_old_keeper_goes_on(stage: Stage) -> None:
    refusing = await stage.exchanger("refusing.test", script={Step.RCPT: NO_SUCH_USER})
    ringback = await kept(stage, await stage.upstream(), store='"memory"')
    assert await refused(ringback, "nobody@refusing.test")
    first = keeper(ringback)
    os.kill(first, signal.SIGSTOP)  # the successor waits for it, and is killed meanwhile
    reload(ringback)
    await ringback.logged("keeper_started", 2)
    os.kill(keeper(ringback), signal.SIGKILL)
    await ringback.logged("reload_rejected")
    os.kill(first, signal.SIGCONT)
    assert await refused(ringback, "nobody@refusing.test")
    assert await refused(ringback, "other@refusing.test")
    assert refusing.count("RCPT") == 2


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 2), (2, 1), (2, 3)])
async def test_a_reload_may_change_the_number_of_workers_and_keeps_what_was_found_out(
    stage: Stage, before: int, after: int
) -> None:
    refusing = await stage.exchanger("refusing.test", script={Step.RCPT: NO_SUCH_USER})
    ringback = await kept(stage, await stage.upstream(), count=before, store='"memory"')
    assert await refused(ringback, "nobody@refusing.test")
    text = ringback.configuration.read_text()
    ringback.configuration.write_text(text.replace(f"Workers = {before}", f"Workers = {after}"))
    reload(ringback)
    await ringback.logged("reloaded")
    await ringback.logged("worker_ended", before)
    assert await refused(ringback, "nobody@refusing.test")
    assert refusing.count("RCPT") == 1
    assert await refused(ringback, "other@refusing.test")
    running = after + (after > 1)
    await eventually(lambda: len(ringback.program.group()) == running + 2, "the old ones have ended")


# ---- its end


async def test_sessions_that_finish_at_the_end_still_get_their_verdicts(stage: Stage) -> None:
    may = asyncio.Event()
    exchanger = await stage.exchanger("refusing.test", script={Step.RCPT: says("550 5.1.1 no", until=may)})
    ringback = await kept(stage, await stage.upstream())
    async with clients(ringback, 4) as sessions:
        await ask_all(sessions, "nobody@refusing.test")
        await exchanger.until(lambda: exchanger.count("RCPT") == 1, "the probe is under way")
        ringback.terminate()
        await ringback.logged("stopping", 2)
        may.set()
        assert [await each.reply() for each in sessions] == [REFUSED] * 4
    assert await ringback.ended() == 0
    names = [each["event"] for each in ringback.log if each["event"] in {"worker_ended", "keeper_ended"}]
    assert names == ["worker_ended", "worker_ended", "keeper_ended"]
    assert ringback.program.group() == {}


async def test_a_supervisor_that_is_killed_takes_the_keeper_with_it(stage: Stage) -> None:
    await stage.exchanger("refusing.test", script={Step.RCPT: is_silent()})
    ringback = await kept(stage, await stage.upstream())
    await ringback.logged("serving")
    os.kill(ringback.program.process.pid, signal.SIGKILL)
    ringback.program.process.wait()
    try:
        await eventually(lambda: not ringback.program.group(), "every process has ended")
    finally:
        ringback.start()  # the stage ends it cleanly
