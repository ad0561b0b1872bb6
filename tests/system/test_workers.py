"""Several workers: each a process, watched by a supervisor that holds the sockets, and no client notices any of it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.support import ringback as ringback_program
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger, Step, says
from tests.support.house import House
from tests.support.programs import accepts_connections
from tests.support.ringback import Ringback, run
from tests.support.waiting import eventually
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

MESSAGE = b"Subject: two cores\r\n\r\nsome text\r\n"
MANY = 24
"""Connections of which each of two workers gets some: that one gets none happens once in eight million times."""


@pytest.fixture
async def upstream(stage: Stage) -> Exchanger:
    return await stage.upstream()


async def two_workers(stage: Stage, upstream: Exchanger, count: int = 2) -> Ringback:
    ringback = await stage.ringback(upstream.port, core=[f"Workers = {count}"])
    await ringback.logged("serving")
    return ringback


def workers(ringback: Ringback) -> list[int]:
    """Return the process ids of its workers that run."""
    supervisor = ringback.program.process.pid
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    others = {*ringback.keepers, *ringback.controls}
    return [int(each) for each in children if is_running(int(each)) and int(each) not in others]


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@asynccontextmanager
async def connected(ringback: Ringback, count: int = MANY) -> AsyncIterator[list[Conversation]]:
    """Clients that have connected and not read the banner."""
    async with AsyncExitStack() as stack:
        opened = [Conversation.connect("127.0.0.1", ringback.port) for _ in range(count)]
        yield [await stack.enter_async_context(await each) for each in opened]


async def served(clients: Sequence[Conversation]) -> None:
    """See every client greeted, and deliver a message for each."""
    for client in clients:
        assert await client.reply() == "220 ringback.test ESMTP Ringback"
        assert (await client.deliver("", ["b@example.com"], MESSAGE)).startswith("250 ")


async def all_are_served(ringback: Ringback) -> None:
    async with connected(ringback) as clients:
        await served(clients)


def change(ringback: Ringback, before: str, after: str) -> None:
    """Change the configuration and have it loaded again."""
    text = ringback.configuration.read_text()
    assert before in text
    ringback.configuration.write_text(text.replace(before, after))
    ringback.program.process.send_signal(signal.SIGHUP)


async def test_every_worker_serves_and_says_its_number_in_each_line(stage: Stage, upstream: Exchanger) -> None:
    ringback = await two_workers(stage, upstream)
    assert len(workers(ringback)) == 2
    await all_are_served(ringback)
    assert {each["worker"] for each in await ringback.logged("session", MANY)} == {1, 2}
    assert len(upstream.messages) == MANY
    assert all("worker" in each for each in ringback.log if each["event"] not in {"serving", "unstructured"})


async def test_one_worker_has_a_supervisor_and_no_number_in_its_lines(stage: Stage, upstream: Exchanger) -> None:
    ringback = await stage.ringback(upstream.port)
    assert len(workers(ringback)) == 1
    assert all("worker" not in each for each in await ringback.logged("listening"))


async def test_one_worker_becomes_several_and_one_again_by_sighup(stage: Stage, upstream: Exchanger) -> None:
    ringback = await stage.ringback(upstream.port, core=["Workers = 1"])
    await ringback.logged("serving")
    for times, (before, after) in enumerate(((1, 2), (2, 1)), 1):
        change(ringback, f"Workers = {before}", f"Workers = {after}")
        await ringback.logged("reloaded", times)
        await eventually(lambda after=after: len(workers(ringback)) == after, f"there are {after}")
        await all_are_served(ringback)


async def test_auto_is_a_worker_for_each_core(stage: Stage, upstream: Exchanger) -> None:
    ringback = await stage.ringback(upstream.port, core=["Workers = auto"])
    await ringback.logged("listening")
    cores = len(os.sched_getaffinity(0))
    await eventually(lambda: len(workers(ringback)) == cores, "a worker for each core")


async def test_a_worker_that_is_killed_is_replaced_and_who_waits_at_its_door_is_served(
    stage: Stage, upstream: Exchanger
) -> None:
    ringback = await two_workers(stage, upstream)
    supervisor = ringback.program.process
    killed, other = workers(ringback)
    supervisor.send_signal(signal.SIGSTOP)  # so that it is not replaced before the clients are there
    os.kill(killed, signal.SIGKILL)
    await eventually(lambda: not is_running(killed), "it is dead")
    async with connected(ringback) as clients:
        supervisor.send_signal(signal.SIGCONT)
        await served(clients)
    (died,) = await ringback.logged("worker_died")
    assert (died["pid"], died["status"], died["worker"]) == (killed, "SIGKILL", 1)
    assert len(workers(ringback)) == 2
    assert other in workers(ringback)
    await all_are_served(ringback)


async def test_reloads_lose_no_connection(stage: Stage, upstream: Exchanger) -> None:
    ringback = await two_workers(stage, upstream)
    done = asyncio.Event()
    greetings: list[str] = []

    async def connect() -> None:
        while not done.is_set():
            async with await ringback.conversation() as client:
                greetings.append(client.banner)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(connect())
        for times in range(1, 6):
            ringback.program.process.send_signal(signal.SIGHUP)
            await ringback.logged("reloaded", times)
            seen = len(greetings)
            await eventually(lambda seen=seen: len(greetings) > seen + 20, "clients connect to the new workers")
        done.set()
    # who is let in at the very end of an old worker hears its goodbye
    assert {each[:9] for each in greetings} <= {"220 ringb", "421 4.3.2"}
    assert sum(each.startswith("220") for each in greetings) >= 100
    await eventually(lambda: len(workers(ringback)) == 2, "the old workers have ended")
    assert not [each for each in ringback.log if each["event"] in {"worker_died", "unstructured"}]


async def test_sighup_puts_a_changed_configuration_in_force_in_every_worker(stage: Stage, upstream: Exchanger) -> None:
    ringback = await two_workers(stage, upstream)
    before = set(workers(ringback))
    async with await ringback.conversation() as open_session:
        change(ringback, 'Hostname = "ringback.test"', 'Hostname = "ringback.test"\nStatic_Banner = "after"')
        assert await open_session.reply() == "421 4.3.2 Reconfiguration in progress"
    await eventually(lambda: before.isdisjoint(workers(ringback)), "the old workers have ended")
    async with connected(ringback) as clients:
        assert {await client.reply() for client in clients} == {"220 after"}


async def test_sighup_with_a_mistake_leaves_every_worker_as_it_was(stage: Stage, upstream: Exchanger) -> None:
    ringback = await two_workers(stage, upstream)
    before = workers(ringback)
    async with await ringback.conversation() as open_session:
        change(ringback, "Relay_Domains", "Relay_Domain")
        (rejected,) = await ringback.logged("reload_rejected")
        assert "unknown option" in str(rejected["diagnostics"])
        assert (await open_session.deliver("", ["b@example.com"], MESSAGE)).startswith("250 ")
    assert workers(ringback) == before
    os.kill(before[0], signal.SIGKILL)  # its replacement runs what is in force, not what the file says
    await ringback.logged("worker_started", 3)
    await all_are_served(ringback)


async def test_workers_are_added_and_taken_away_by_sighup(stage: Stage, upstream: Exchanger) -> None:
    ringback = await two_workers(stage, upstream)
    for times, (before, after) in enumerate(((2, 3), (3, 1)), 1):
        change(ringback, f"Workers = {before}", f"Workers = {after}")
        await ringback.logged("reloaded", times)
        await eventually(lambda after=after: len(workers(ringback)) == after, f"there are {after}")
        await all_are_served(ringback)


async def test_an_address_that_is_configured_no_longer_is_closed(stage: Stage, upstream: Exchanger) -> None:
    ringback = await two_workers(stage, upstream)
    port, other = ringback.port, stage.nobody_listens()
    change(ringback, f"127.0.0.1:{port}", f"127.0.0.2:{other}")
    await ringback.logged("reloaded")
    await eventually(lambda: not accepts_connections("127.0.0.1", port), "the old address is closed")
    assert accepts_connections("127.0.0.2", other)


@pytest.mark.parametrize("whole_group", [False, True], ids=["the supervisor", "every process, as systemd does"])
async def test_sigterm_lets_every_worker_finish(stage: Stage, *, whole_group: bool) -> None:
    gate = asyncio.Event()
    upstream = await stage.upstream(script={Step.DOT: says("250 2.0.0 kept", until=gate)})
    ringback = await two_workers(stage, upstream)
    async with connected(ringback) as clients:
        for client in clients:
            await client.reply()
            await client.envelope("", ["b@example.com"])
            await client.send_raw(MESSAGE + b".\r\n")
        await upstream.until(lambda: len(upstream.held) == MANY, "the upstream has every dot")
        process = ringback.program.process.pid
        (os.killpg if whole_group else os.kill)(process, signal.SIGTERM)
        await eventually(lambda: not accepts_connections("127.0.0.1", ringback.port), "no new connection is taken")
        assert len(workers(ringback)) == 2
        gate.set()
        assert {await client.reply() for client in clients} == {"250 2.0.0 kept"}
    assert await ringback.ended() == 0


async def test_a_second_sigterm_cuts_those_that_still_finish(stage: Stage, upstream: Exchanger) -> None:
    ringback = await two_workers(stage, upstream)
    async with connected(ringback) as clients:
        for client in clients:
            await client.reply()
            await client.envelope("", ["b@example.com"])
            await client.send_raw(MESSAGE)
        ringback.terminate()
        await eventually(lambda: not accepts_connections("127.0.0.1", ringback.port), "no new connection is taken")
        ringback.terminate()
        assert {(await client.reply())[:10] for client in clients} == {"421 4.3.2 "}
    assert await ringback.ended() == 0
    assert upstream.messages == []


async def test_workers_end_when_their_supervisor_is_killed(upstream: Exchanger, tmp_path: Path) -> None:
    ringback = await asyncio.to_thread(
        Ringback(House(upstream_port=upstream.port, lines=("Workers = 2",)), tmp_path).start
    )
    try:
        await ringback.logged("serving")
        orphans = workers(ringback)
        async with await ringback.conversation() as client:
            ringback.program.process.kill()
            assert await client.reply() == "421 4.3.2 Service shutting down, try again"
        await eventually(lambda: not any(is_running(each) for each in orphans), "the workers have ended")
        assert not accepts_connections("127.0.0.1", ringback.port)
    finally:
        ringback.program.stop(within=0)


async def test_an_address_that_another_server_shares_is_not_shared_with_it(stage: Stage, upstream: Exchanger) -> None:
    ringback = await two_workers(stage, upstream)
    serve = ("serve", "-c", str(ringback.configuration))
    status, printed = await asyncio.to_thread(run, *serve, folder=ringback.folder, name="again")
    assert status == 69
    assert "Address already in use" in printed


async def test_the_service_manager_hears_ready_once_every_worker_serves(
    stage: Stage, upstream: Exchanger, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"ringback-notify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        ringback = await stage.ringback(upstream.port, core=["Workers = 2"])
        loop = asyncio.get_running_loop()

        async def told() -> str:
            async with asyncio.timeout(15):
                while (state := (await loop.sock_recv(manager, 4096)).decode().split("\n")[0]).startswith("STATUS="):
                    pass
                return state

        assert await told() == "READY=1"
        assert len(await ringback.logged("listening", 2)) == 2
        for text in ("Workers = 2", "mistake = {"):
            ringback.configuration.write_text(ringback.configuration.read_text().replace("Workers = 2", text))
            ringback.program.process.send_signal(signal.SIGHUP)
            assert await told() == "RELOADING=1"
            assert await told() == "READY=1"
        ringback.terminate()
        assert await told() == "STOPPING=1"


BREAKABLE = """
import sys
from pathlib import Path
from proxy.cli import main, serving

be_worker = serving.be_worker
serving.be_worker = lambda *given: 3 if Path(sys.argv[-1]).with_name("broken").exists() else be_worker(*given)
main()
"""
"""Ringback, whose workers end with status 3 at their start while a file `broken` lies beside the configuration."""


STUCK = """
import sys, time
from pathlib import Path
from proxy.cli import main, serving
from proxy.server import supervisor

be_worker = serving.be_worker
supervisor.START_SECONDS = 5.0
stuck = Path(sys.argv[-1]).with_name("stuck")
serving.be_worker = lambda *given: time.sleep(600) if stuck.exists() else be_worker(*given)
main()
"""
"""Ringback, whose workers hang in their start while a file `stuck` lies beside the configuration."""


@pytest.fixture
def breakable(upstream: Exchanger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ringback]:
    monkeypatch.setattr(ringback_program, "command", lambda *arguments: [sys.executable, "-c", BREAKABLE, *arguments])
    ringback = Ringback(House(upstream_port=upstream.port, lines=("Workers = 2",)), tmp_path)
    yield ringback
    ringback.program.stop()


@pytest.fixture
def hanging(upstream: Exchanger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ringback]:
    monkeypatch.setattr(ringback_program, "command", lambda *arguments: [sys.executable, "-c", STUCK, *arguments])
    ringback = Ringback(House(upstream_port=upstream.port, lines=("Workers = 2",)), tmp_path)
    yield ringback
    ringback.program.stop()


async def test_a_server_whose_workers_cannot_start_ends(breakable: Ringback, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    with pytest.raises(RuntimeError, match="ended with status 70"):
        breakable.start()


async def test_a_reload_whose_workers_cannot_start_leaves_the_old_ones(breakable: Ringback, tmp_path: Path) -> None:
    breakable.start()
    await breakable.logged("serving")
    before = workers(breakable)
    (tmp_path / "broken").touch()
    breakable.program.process.send_signal(signal.SIGHUP)
    (rejected,) = await breakable.logged("reload_rejected")
    assert str(rejected["diagnostics"]).endswith(" did not start")
    await all_are_served(breakable)
    assert workers(breakable) == before


async def test_a_worker_that_dies_again_and_again_is_started_after_a_pause(breakable: Ringback, tmp_path: Path) -> None:
    breakable.start()
    await breakable.logged("serving")
    (tmp_path / "broken").touch()
    os.kill(workers(breakable)[0], signal.SIGKILL)
    assert [each["seconds"] for each in await breakable.logged("worker_waits", 2)] == [1.0, 2.0]
    assert [each["status"] for each in await breakable.logged("worker_died")] == ["SIGKILL", 3, 3]
    (tmp_path / "broken").unlink()
    await eventually(lambda: len(workers(breakable)) == 2, "it is replaced")
    await all_are_served(breakable)


async def test_a_worker_that_hangs_in_its_start_does_not_keep_a_server_that_stops(
    hanging: Ringback, tmp_path: Path
) -> None:
    hanging.start()
    await hanging.logged("serving")
    (tmp_path / "stuck").touch()
    os.kill(workers(hanging)[0], signal.SIGKILL)
    await hanging.logged("worker_started", 3)
    process = hanging.program.process
    process.send_signal(signal.SIGTERM)
    await eventually(lambda: process.poll() is not None, "it ends")
    assert process.returncode == 0
    assert [each["worker"] for each in await hanging.logged("worker_stuck")] == [1]
