"""Limits that all workers of a machine share, and all machines with one Redis, also while processes are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import consoles
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger, Step
from tests.support.load import MESSAGE, Load
from tests.support.ringback import Ringback
from tests.support.servers import Dnsmasq, RedisServer
from tests.support.waiting import eventually
from tests.support.world import NO_SUCH_USER, Stage

pytestmark = pytest.mark.real("dnsmasq")

MANY = 40
"""Connections of which each of four workers gets some."""

TEN = "Max_Connections_Per_Client = 10"
SESSIONS = "421 4.7.0 Too many sessions, try again later"


async def sharing(stage: Stage, upstream: Exchanger, *core: str, count: int = 4, **parts: Any) -> Ringback:
    """Start Ringback with several workers, and wait until all serve and the stage's own connection has ended."""
    folder = f'State_Directory = "{stage.folder}"'
    ringback = await stage.ringback(upstream.port, core=[f"Workers = {count}", folder, *core], **parts)
    await ringback.logged("serving")
    await until_nothing_is_open(ringback)
    return ringback


@asynccontextmanager
async def knocking(*ringbacks: Ringback, count: int = MANY) -> AsyncIterator[list[Conversation]]:
    """Clients that have connected at the same time and read what they were told; those let in stay."""
    async with AsyncExitStack() as stack:
        opening = [Conversation.connect("127.0.0.1", ringbacks[each % len(ringbacks)].port) for each in range(count)]
        clients = [await stack.enter_async_context(each) for each in await asyncio.gather(*opening)]
        for client, banner in zip(clients, await asyncio.gather(*[each.reply() for each in clients]), strict=True):
            client.banner = banner
        yield clients


def let_in(clients: Sequence[Conversation]) -> list[Conversation]:
    return [each for each in clients if each.banner.startswith("220 ")]


async def open_now(ringback: Ringback) -> int:
    """How many connections of ours the machine counts."""
    found = await consoles.value(ringback.folder, "limits show 127.0.0.1")
    return int(found["connections"])


async def admitted(*ringbacks: Ringback, count: int = MANY) -> int:
    """How many clients are let in now, that all leave again."""
    async with knocking(*ringbacks, count=count) as clients:
        return len(let_in(clients))


# ---- one machine


async def test_four_workers_let_in_exactly_ten_connections_of_a_client_and_ten_again_when_they_have_left(
    stage: Stage,
) -> None:
    ringback = await sharing(stage, await stage.upstream(), TEN)
    async with knocking(ringback) as clients:
        assert len(let_in(clients)) == 10
        assert {each.banner for each in clients if each not in let_in(clients)} == {SESSIONS}
        refused = await ringback.logged("refused", MANY - 10)
        assert {each["decided_by"] for each in refused} == {"max_connections_per_client"}
        assert len({each["worker"] for each in refused}) > 1
    await asyncio.sleep(1.1)  # each worker refuses for a second without asking
    assert await admitted(ringback) == 10


async def test_a_killed_worker_gives_its_places_back_and_a_killed_keeper_none(stage: Stage) -> None:
    ringback = await sharing(stage, await stage.upstream(), TEN)
    async with knocking(ringback) as clients:
        inside = let_in(clients)
        os.kill(ringback.keepers[-1], signal.SIGKILL)
        await ringback.logged("keeper_started", 2)

        async def none() -> bool:
            return await admitted(ringback) == 0

        await until(none, "the new keeper knows of all connections")
        gone: list[Conversation] = []
        for worker in ringback.workers:  # one may have none of them
            if not gone:
                os.kill(worker, signal.SIGKILL)
                gone = [each for each in inside if not await alive(each)]
        assert gone
        await asyncio.sleep(1.1)

        async def as_many_again() -> bool:
            return await admitted(ringback) == len(gone)

        await until(as_many_again, "as many places are free as the worker had")


async def alive(client: Conversation) -> bool:
    """Whether a session still answers; none of a worker that was just killed does."""
    try:
        async with asyncio.timeout(10):
            return (await client.ask("NOOP")).startswith("250 ")
    except (OSError, EOFError, AssertionError):
        return False


async def until(holds: Any, what: str) -> None:
    for _ in range(40):
        if await holds():
            return
        await asyncio.sleep(0.5)
    raise AssertionError(f"not so: {what}")


async def test_a_keeper_that_hangs_holds_up_nobody_for_long_and_counts_again_when_it_goes_on(stage: Stage) -> None:
    ringback = await sharing(stage, await stage.upstream(), TEN)
    async with knocking(ringback) as clients:
        assert len(let_in(clients)) == 10
        os.kill(ringback.keepers[-1], signal.SIGSTOP)
        async with knocking(ringback, count=8) as others:  # some workers have room for ten of their own
            assert {each.banner[:3] for each in others} <= {"220", "421"}
        await ringback.logged("counting_alone")
        os.kill(ringback.keepers[-1], signal.SIGCONT)
        await asyncio.sleep(1.1)

        async def none() -> bool:
            return await admitted(ringback) == 0

        await until(none, "the keeper counts all connections again")


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ('Connection_Rate_Per_Client = "8/3600"', "421 4.7.0 Too many connections, try again later"),
        ("Service_Sessions = 7", SESSIONS),
        ("Listener_Sessions = 7", SESSIONS),
    ],
)
async def test_the_other_limits_of_connections_hold_for_four_workers_too(stage: Stage, option: str, told: str) -> None:
    """The stage has connected once before, to see whether it is up: it leaves no connection, but it counts as new."""
    ringback = await sharing(stage, await stage.upstream(), option)
    async with knocking(ringback) as clients:
        assert len(let_in(clients)) == 7
        assert {each.banner for each in clients if each not in let_in(clients)} == {told}


async def test_rates_turns_and_guesses_hold_for_four_workers_and_the_console_shows_and_clears_them(
    stage: Stage, tmp_path: Path
) -> None:
    users = tmp_path / "users"
    users.write_text("")
    users.chmod(0o600)
    ringback = await sharing(
        stage,
        await stage.upstream(),
        'Message_Rate_Per_Client = "9/3600"',
        'Recipient_Rate_Per_Client = "8/3600"',
        f'Authentication = file  Authentication_File = "{users}"  Authentication_Without_TLS = true',
        'Authentication_Failure_Rate = "6/3600"',
    )
    async with knocking(ringback, count=24) as clients:
        for each in clients:
            await each.ehlo()
        mails = await asyncio.gather(*[each.ask("MAIL FROM:<>") for each in clients])
        assert sorted(each[:3] for each in mails) == ["250"] * 9 + ["450"] * 15
        mailing = [client for client, mail in zip(clients, mails, strict=True) if mail.startswith("250")]
        recipients = await asyncio.gather(*[each.ask("RCPT TO:<b@example.com>") for each in mailing])
        assert sorted(each[:3] for each in recipients) == ["250"] * 8 + ["450"]
        guessing = [each for each in clients if each not in mailing]
        guesses = await asyncio.gather(*[each.ask("AUTH PLAIN AGFsaWNlAHdyb25n") for each in guessing])
        assert sorted(each[:3] for each in guesses) == ["454"] * 9 + ["535"] * 6
        shown = await consoles.value(ringback.folder, "limits show 127.0.0.1")
        assert shown["connections"] == 24
        left = {each["limit"]: (each["process"], each["rate"], int(each["left"])) for each in shown["rates"]}
        assert left == {
            "message": ("all", "9/3600", 0),
            "recipient": ("all", "8/3600", 0),
            "login": ("all", "6/3600", 0),
        }
        told = await consoles.said(ringback.folder, "explain client=127.0.0.1 from=a@ok.test rcpt=b@example.com")
        assert any("450 4.7.1 Too much mail" in line for line in told)
        assert any("message_rate_per_client" in line and "0.0 left" in line for line in told)
        assert (await consoles.value(ringback.folder, "limits clear 127.0.0.1"))["cleared"] >= 4
        assert (await guessing[0].ask("MAIL FROM:<>")).startswith("250 ")
        assert (await guessing[1].ask("AUTH PLAIN AGFsaWNlAHdyb25n")).startswith("535 ")


async def test_messages_of_all_workers_take_turns(stage: Stage) -> None:
    ringback = await sharing(stage, await stage.upstream(), 'Inbound_Throttle_Messages = "5/3600"')
    async with knocking(ringback, count=20) as clients:
        for each in clients:
            await each.ehlo()
        mails = await asyncio.gather(*[each.ask("MAIL FROM:<>") for each in clients])
    assert sorted(each[:3] for each in mails) == ["250"] * 5 + ["450"] * 15


async def test_messages_beyond_the_rate_of_all_workers_wait_for_their_turn(stage: Stage) -> None:
    ringback = await sharing(stage, await stage.upstream(), 'Inbound_Throttle_Messages = "2"')
    async with knocking(ringback, count=6) as clients:
        for each in clients:
            await each.ehlo()
        began = time.monotonic()
        mails = await asyncio.gather(*[each.ask("MAIL FROM:<>") for each in clients])
    assert {each[:3] for each in mails} == {"250"}
    assert time.monotonic() - began >= 2.0  # two at once, two a second later, two after another second


async def test_the_budget_of_unknown_users_is_one_for_all_workers(stage: Stage) -> None:
    exchanger = await stage.exchanger("refusing.test", script={Step.RCPT: NO_SUCH_USER})
    options = {"unknown_users_per_mx": '"5/3600"', "client_share": "100"}
    ringback = await sharing(stage, await stage.upstream(), callback=options)
    told = []
    for number in range(16):
        async with await ringback.conversation() as client:
            await client.ehlo()
            told.append((await client.ask(f"MAIL FROM:<u{number}@refusing.test>"))[:3])
    assert told == ["550"] * 5 + ["250"] * 11  # the customer's script takes mail that it cannot judge
    assert exchanger.count("RCPT") == 5


async def test_four_workers_make_at_most_three_connections_to_the_next_hop_and_all_mail_gets_through(
    stage: Stage,
) -> None:
    upstream = await stage.upstream()
    ringback = await sharing(stage, upstream, "Max_Outbound_Connections = 3")
    most = 0

    async def look() -> None:
        nonlocal most
        while True:
            most = max(most, len(upstream.open_dialogues))
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        looking = group.create_task(look())
        async with knocking(ringback, count=24) as clients:
            for _ in range(3):
                delivering = [each.deliver("", ["b@example.com"], MESSAGE) for each in clients]
                assert {each[:3] for each in await asyncio.gather(*delivering)} == {"250"}
        looking.cancel()
    assert len(upstream.messages) == 72
    assert most <= 3


async def test_no_session_fails_while_workers_and_keepers_are_killed_and_counts_resume(stage: Stage) -> None:
    upstream = await stage.upstream()
    await stage.exchanger("ok.test")
    options = ("Max_Connections_Per_Client = 60", 'Message_Rate_Per_Client = "9999/60"', "Max_Outbound_Connections = 9")
    ringback = await sharing(stage, upstream, *options)
    load = Load(ringback, upstream)
    async with load.under_way():
        for times in (2, 3):
            os.kill(ringback.keepers[-1], signal.SIGKILL)
            await ringback.logged("keeper_started", times)
            await load.goes_on()
    await until_nothing_is_open(ringback)
    await asyncio.sleep(1.1)
    async with knocking(ringback, count=70) as clients:
        assert len(let_in(clients)) == 60
        assert await open_now(ringback) >= 60
    assert [each for each in ringback.log if each["event"] in {"unstructured", "task_failed", "command_failed"}] == []


async def test_while_a_worker_is_killed_only_its_own_sessions_end_and_counts_resume(stage: Stage) -> None:
    upstream = await stage.upstream()
    options = ("Max_Connections_Per_Client = 20", 'Message_Rate_Per_Client = "9999/60"', "Max_Outbound_Connections = 9")
    ringback = await sharing(stage, upstream, *options)
    ended, delivered = 0, 0
    enough = asyncio.Event()

    async def deliver() -> None:
        nonlocal ended, delivered
        while not enough.is_set():
            try:
                async with await ringback.conversation() as client:
                    assert (await client.deliver("", ["b@example.com"], MESSAGE)).startswith("250 ")
                    delivered += 1
            except ConnectionError:
                ended += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(deliver())
        await eventually(lambda: delivered >= 24, "mail flows")
        for times, worker in enumerate(ringback.workers[:2], 1):
            os.kill(worker, signal.SIGKILL)
            await ringback.logged("worker_died", times)
            aim = delivered + 24
            await eventually(lambda aim=aim: delivered >= aim, "mail flows again")
        enough.set()
    assert ended <= 24  # each client had one session, so each kill ends twelve at most
    await until_nothing_is_open(ringback)
    await asyncio.sleep(1.1)
    assert await admitted(ringback) == 20
    assert await open_now(ringback) >= 0


async def until_nothing_is_open(ringback: Ringback) -> None:
    async def nothing() -> bool:
        try:
            return await open_now(ringback) == 0
        except OSError:  # the control process, whose socket it is, may be the last to be there
            return False

    await until(nothing, "every connection has ended")


@pytest.mark.parametrize(("before", "after"), [(2, 2), (1, 1), (1, 2), (2, 1)])
async def test_a_reload_keeps_the_places_that_are_taken(stage: Stage, before: int, after: int) -> None:
    ringback = await sharing(stage, await stage.upstream(), TEN, count=before)
    async with knocking(ringback) as clients:
        assert len(let_in(clients)) == 10
        for each in let_in(clients):
            await each.ehlo()
            await each.ask("MAIL FROM:<>")
            assert (await each.ask("RCPT TO:<b@example.com>")).startswith("250 ")
            await each.send_raw(b"DATA\r\n")
        for each in let_in(clients):
            assert (await each.reply()).startswith("354 ")
        text = ringback.configuration.read_text()
        ringback.configuration.write_text(text.replace(f"Workers = {before}", f"Workers = {after}"))
        ringback.program.process.send_signal(signal.SIGHUP)
        await ringback.logged("reloaded")
        await asyncio.sleep(1.1)
        assert await admitted(ringback) == 0
        for each in let_in(clients):
            await each.send_raw(b"Subject: x\r\n\r\nx\r\n.\r\n")
            assert (await each.reply()).startswith("250 ")
    await asyncio.sleep(1.1)
    assert await admitted(ringback) == 10


# ---- two machines, one Redis


@asynccontextmanager
async def machines(
    folder: Path, nameserver: Dnsmasq, redis: RedisServer, *core: str, count: int = 1
) -> AsyncIterator[tuple[Stage, Exchanger, list[Ringback]]]:
    """Two Ringbacks with one Redis and one next hop; each has `count` workers."""
    async with AsyncExitStack() as stack:
        stages = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            stages.append(Stage(stack, folder / name, nameserver))
        upstream = await stages[0].upstream()
        store = f'Script_Store = "redis://{redis.address}/0"'
        yield stages[0], upstream, [await sharing(each, upstream, store, *core, count=count) for each in stages]


@pytest.mark.real("redis-server")
async def test_two_machines_with_one_redis_let_in_ten_together_and_at_most_twelve(
    tmp_path: Path, nameserver: Dnsmasq
) -> None:
    with RedisServer() as redis:
        async with machines(tmp_path, nameserver, redis, TEN, count=2) as (_, _, both):
            async with knocking(*both, count=60) as clients:
                assert 10 <= len(let_in(clients)) <= 12
            await asyncio.sleep(1.1)
            assert 10 <= await admitted(*both, count=60) <= 12


@pytest.mark.real("redis-server")
async def test_the_console_of_each_machine_shows_and_clears_what_all_have_counted(
    tmp_path: Path, nameserver: Dnsmasq
) -> None:
    with RedisServer() as redis:
        rate = 'Message_Rate_Per_Client = "20/3600"'
        async with machines(tmp_path, nameserver, redis, rate) as (_, _, both):
            async with knocking(*both, count=6) as clients:
                for each in clients:
                    await each.ehlo()
                    assert (await each.ask("MAIL FROM:<>")).startswith("250 ")
            for each in both:
                shown = await consoles.value(each.folder, "limits show 127.0.0.1")
                assert [(row["limit"], row["rate"], int(row["left"])) for row in shown["rates"]] == [
                    ("message", "20/3600", 14)
                ]
            assert (await consoles.value(both[0].folder, "limits clear 127.0.0.1"))["cleared"] == 1
            assert (await consoles.value(both[1].folder, "limits show 127.0.0.1"))["rates"] == []


@pytest.mark.real("redis-server")
async def test_a_machine_that_dies_gives_its_places_back(tmp_path: Path, nameserver: Dnsmasq) -> None:
    with RedisServer() as redis:
        async with machines(tmp_path, nameserver, redis, TEN) as (_, _, (one, two)):
            async with knocking(one, count=20) as clients:
                assert len(let_in(clients)) == 10
                assert await admitted(two, count=20) == 0
                one.kill()
                await asyncio.sleep(1.1)

                async def ten() -> bool:
                    return await admitted(two, count=20) == 10

                await until(ten, "the places of the dead machine are free")
            one.start()


@pytest.mark.real("redis-server")
async def test_no_session_fails_while_redis_is_killed_and_counts_resume(tmp_path: Path, nameserver: Dnsmasq) -> None:
    with RedisServer() as redis:
        options = ("Max_Connections_Per_Client = 60", 'Message_Rate_Per_Client = "9999/60"')
        async with machines(tmp_path, nameserver, redis, *options, count=2) as (stage, upstream, (one, two)):
            await stage.exchanger("ok.test")
            load = Load(one, upstream)
            async with knocking(two, count=50) as clients, load.under_way():
                assert len(let_in(clients)) == 50
                redis.kill()
                await load.goes_on()
                await one.logged("counting_alone")
                await asyncio.to_thread(redis.start)
                await one.logged("counting_together")
                await load.goes_on()
            await until_nothing_is_open(one)
            await until_nothing_is_open(two)
            await asyncio.sleep(1.1)
            async with knocking(one, two, count=90) as clients:
                assert 60 <= len(let_in(clients)) <= 62
            for each in (one, two):
                assert len([event for event in each.log if event["event"] == "counting_alone"]) <= 2
                bad = {"unstructured", "task_failed", "command_failed"}
                assert [event for event in each.log if event["event"] in bad] == []


@pytest.mark.real("redis-server")
async def test_with_defer_a_client_that_cannot_be_counted_comes_again(tmp_path: Path, nameserver: Dnsmasq) -> None:
    with RedisServer() as redis:
        async with machines(tmp_path, nameserver, redis, TEN, "On_Store_Error = defer") as (_, _, (one, two)):
            async with knocking(one, count=3) as clients:
                assert len(let_in(clients)) == 3
                redis.kill()
                async with knocking(one, two, count=6) as others:
                    assert {each.banner for each in others} == {"421 4.3.0 Temporary failure, try again later"}
                for each in clients:  # what was counted before goes on
                    assert (await each.ask("NOOP")).startswith("250 ")
            await asyncio.to_thread(redis.start)

            async def lets_in() -> bool:
                return await admitted(one, count=3) == 3

            await until(lets_in, "clients are let in again")
