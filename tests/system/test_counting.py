"""What scripts count is one truth: for the workers of a machine, for machines with one Redis, and after a kill."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.load import Load
from tests.support.ringback import Ringback, ended
from tests.support.servers import RedisServer
from tests.support.waiting import eventually
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

STANZAS = """\
inbound_audit "audit" { monitors = ( "3600,2" ) }
Cluster { Replicate "cache" { replication_name = "c" } }
sieve "policy" { mailfrom_phase1 = "/path/to/myscript.siv" }
"""

TWENTY = """\
ec_throttle_create "all" "20/3600";
ec_throttle_inc "all";
if ec_throttle_check "all" {
  ec_action 450 "4.7.1 too many";
}
"""

TOLD = """\
ec_gauge_cache_init "g" 10 3600;
$gauge = ec_gauge_cache_inc "g" "k";
audit_series_add "s" "3600,2" 2;
$series = audit_series "s" "3600,2" 8;
ec_shared_throttle_create "t" "3/3600";
ec_shared_throttle_inc "t";
$over = ec_shared_throttle_check "t";
$before = ec_cluster_cache_get "c" "k";
ec_cluster_cache_set "c" "k" "seen" "1H";
$connections = ec_ip_connections_cluster "0" "8";
($open) = audit_connections_on_service "/8";
ec_action 550 "gauge=${gauge} series=${series} over=${over} before=${before} connections=${connections} open=${open}.";
"""


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def ringback(stage: Stage, script: str, *core: str, workers: int = 2, name: str = "one") -> Ringback:
    folder = stage.folder / name
    state = folder / "state"
    state.mkdir(parents=True)
    stage.folder = folder
    lines = [f"Workers = {workers}", f'State_Directory = "{state}"', *core]
    return await stage.ringback((await stage.upstream()).port, core=lines, stanzas=STANZAS, script=script)


async def replies(served: Ringback, count: int) -> list[str]:
    """Return the replies to MAIL of sessions that are all open before the first asks, so several workers have some."""
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(await served.conversation()) for _ in range(count)]
        for each in sessions:
            await each.ehlo()
        for number, each in enumerate(sessions):
            await each.send_raw(f"MAIL FROM:<u{number}@sender.test>\r\n".encode())
        return [await each.reply() for each in sessions]


def told(reply: str) -> dict[str, str]:
    return dict(each.split("=") for each in reply.rstrip(".").split()[1:])


async def test_a_throttle_is_one_for_all_workers_and_over_a_reload(stage: Stage) -> None:
    served = await ringback(stage, TWENTY, workers=3)
    assert Counter(each[:3] for each in await replies(served, 30)) == {"250": 20, "450": 10}
    await eventually(lambda: _events(served, "session")[29:], "they have ended")
    for _ in range(50):  # which worker takes a client is chance
        if len({each["worker"] for each in _events(served, "session")}) > 1:
            break
        assert {each[:3] for each in await replies(served, 10)} == {"450"}
    assert len({each["worker"] for each in _events(served, "session")}) > 1
    served.program.process.send_signal(signal.SIGHUP)
    await served.logged("reloaded")
    await served.logged("worker_ended", 3)  # until then an old one may take a client, and tells it to come again
    assert Counter(each[:3] for each in await replies(served, 6)) == {"450": 6}  # the new keeper has taken over


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 2), (2, 1)])
async def test_a_reload_keeps_what_was_counted_whether_one_worker_counts_or_a_keeper(
    stage: Stage, before: int, after: int
) -> None:
    served = await ringback(stage, TOLD, 'Message_Rate_Per_Client = "7/3600"', workers=before)
    first = [told(each) for each in await replies(served, 5)]
    assert sorted(each["gauge"] for each in first) == list("12345")
    connections = max(int(each["connections"]) for each in first)
    for number in range(2):
        text = served.configuration.read_text()
        running, wanted = (before, after) if not number else (after, after)
        served.configuration.write_text(text.replace(f"Workers = {running}", f"Workers = {wanted}"))
        served.program.process.send_signal(signal.SIGHUP)
        await served.logged("reloaded", number + 1)
        await served.logged("worker_ended", before + number * after)  # until then an old one may take a client
        (reply,) = await replies(served, 1)
        seen = told(reply)
        count = 6 + number
        assert seen == {
            "gauge": str(count),
            "series": str(2 * count),
            "over": "true",
            "before": "seen",
            "connections": str(connections + 1 + number),
            "open": "1",
        }
    assert [each[:3] for each in await replies(served, 1)] == ["450"], "the rate of clients is kept, too"
    assert not [each for each in served.log if each["event"] in {"keeper_not_handed_over", "worker_died"}]


NUMBERED = """\
ec_gauge_cache_init "g" 10 3600;
$number = ec_gauge_cache_inc "g" "k";
ec_action 550 "${number}";
"""


async def test_reloads_of_one_worker_under_load_count_each_event_once(stage: Stage) -> None:
    served = await ringback(stage, NUMBERED, workers=1)
    numbers: list[int] = []
    others: list[str] = []
    enough = asyncio.Event()

    async def client() -> None:
        while not enough.is_set():
            try:
                async with await served.conversation() as session:
                    await session.ehlo()
                    while (reply := await session.ask("MAIL FROM:<a@sender.test>")).startswith("550 "):
                        numbers.append(int(reply.split()[1]))
                        if enough.is_set():
                            return
                    others.append(reply)
            except (OSError, EOFError, AssertionError):
                continue  # the old worker has just ended, and the client comes again

    async with asyncio.TaskGroup() as clients:
        for _ in range(4):
            clients.create_task(client())
        for times in (1, 2):
            aim = len(numbers) + 100
            await eventually(lambda aim=aim: len(numbers) > aim, "events are counted")
            served.program.process.send_signal(signal.SIGHUP)
            await served.logged("reloaded", times)
            await served.logged("worker_ended", times)
        aim = len(numbers) + 100
        await eventually(lambda: len(numbers) > aim, "events are counted")
        enough.set()
    assert len(set(numbers)) == len(numbers), "no number twice"
    assert max(numbers) <= len(numbers) + 8, "none lost but those whose answer a client did not read"
    assert {each[:3] for each in others} <= {"421"}
    assert _events(served, "counting_alone") == []


async def test_a_keeper_that_is_killed_under_load_fails_no_session_and_counting_goes_on(stage: Stage) -> None:
    upstream = await stage.upstream()
    state = stage.folder / "state"
    state.mkdir()
    script = TWENTY.replace("20/3600", "100000/3600")
    core = ["Workers = 2", f'State_Directory = "{state}"']
    served = await stage.ringback(upstream.port, core=core, stanzas=STANZAS, script=script)
    load = Load(served, upstream)
    async with load.under_way():
        os.kill(served.keepers[-1], signal.SIGKILL)
        await eventually(lambda: len(served.keepers) == 2, "another keeper serves")
        await load.goes_on()
    os.kill(served.workers[0], signal.SIGKILL)  # its sessions die with it, and others' do not
    assert {each[:3] for each in await replies(served, 4)} == {"250"}
    assert [each for each in served.log if each["event"] in {"script_failed", "task_failed", "unstructured"}] == []


@pytest.mark.real("redis-server")
async def test_two_machines_with_one_redis_count_together_and_go_on_when_it_is_killed(
    stage: Stage, redis: RedisServer
) -> None:
    store = f'Script_Store = "redis://{redis.address}/0"'
    root = stage.folder
    one = await ringback(stage, TOLD, store, name="one")
    stage.folder = root
    two = await ringback(stage, TOLD, store, workers=1, name="two")
    first = [told((await replies(each, 1))[0]) for each in (one, two, one, two)]
    assert [each["gauge"] for each in first] == ["1", "2", "3", "4"]
    assert [each["series"] for each in first] == ["2", "4", "6", "8"]
    assert [each["over"] for each in first] == ["false", "false", "false", "true"]
    assert [each["before"] for each in first] == ["", "seen", "seen", "seen"]
    connections = [int(each["connections"]) for each in first]  # the tests' looks whether it serves are counted, too
    assert connections == sorted(set(connections))
    assert [each["open"] for each in first] == ["1", "1", "1", "1"]  # each machine's own
    redis.kill()
    alone = [told((await replies(each, 1))[0]) for each in (one, one, two)]
    assert [each["gauge"] for each in alone] == ["1", "2", "1"]
    await eventually(lambda: _events(one, "counting_alone"), "one event tells")
    assert len(_events(one, "counting_alone")) == 1
    redis.start()
    await eventually_shared(one)
    assert _events(one, "script_failed") == _events(two, "script_failed") == []


def _events(served: Ringback, name: str) -> list[dict[str, object]]:
    return [each for each in served.log if each["event"] == name]


async def eventually_shared(served: Ringback) -> None:
    """Ask until Redis counts again: it is tried every five seconds."""
    while not _events(served, "counting_together"):
        await replies(served, 1)
        await asyncio.sleep(0.2)


@pytest.mark.real("redis-server")
async def test_a_redis_that_is_killed_under_load_fails_no_session(stage: Stage, redis: RedisServer) -> None:
    upstream = await stage.upstream()
    state = stage.folder / "state"
    state.mkdir()
    core = ["Workers = 2", f'State_Directory = "{state}"', f'Script_Store = "redis://{redis.address}/0"']
    script = TWENTY.replace("20/3600", "100000/3600")
    served = await stage.ringback(upstream.port, core=core, stanzas=STANZAS, script=script)
    load = Load(served, upstream)
    async with load.under_way():
        redis.kill()
        await eventually(lambda: _events(served, "counting_alone"), "the keeper counts alone")
        await load.goes_on()
        redis.start()
        await eventually(lambda: _events(served, "counting_together"), "Redis counts again")
        await load.goes_on()
    assert [each for each in served.log if each["event"] in {"script_failed", "task_failed", "unstructured"}] == []
    assert len(_events(served, "counting_alone")) == 1


async def test_serialized_series_and_nothing_else_outlive_a_restart(stage: Stage) -> None:
    script = """\
$h = hash_create;
hash_set $h "series" "kept";
hash_set $h "monitor" "3600,2";
hash_set $h "serialize" 1;
audit_series_add $h;
audit_series_add "lost" "3600,2";
$kept = audit_series $h;
$lost = audit_series "lost" "3600,2";
ec_action 550 "kept=${kept} lost=${lost}";
"""
    served = await ringback(stage, script, workers=1)
    await replies(served, 3)
    assert served.program.stop() == 0
    await served.started()
    assert told((await replies(served, 1))[0]) == {"kept": "4", "lost": "1"}


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_console_shows_and_changes_what_is_counted(stage: Stage, tmp_path: Path, workers: int) -> None:
    script = TOLD.replace('"s" "3600,2" 2', '"s" "3600,2"')
    served = await ringback(stage, script, workers=workers)
    await replies(served, 3)

    def asked(*words: str) -> str:
        status, said, _ = ended("console", "-c", served.configuration, *words)
        assert status == 0, said
        return said.strip()

    assert asked("gauge_cache", "show", "g", "k") == "3"
    assert asked("gauge_cache", "sub", "g", "k", "2") == "1"
    assert asked("inbound_audit", "count_cidr", "127.0.0.0/8", "s", "3600,2", "0", "1") == "3"
    assert asked("inbound_audit", "count_cidr", "::ffff:127.0.0.1", "s", "3600,2", "0", "1") == "3"
    assert asked("inbound_audit", "add", "s", "3600,2", "192.0.2.1", "5") == "5"
    assert asked("inbound_audit", "subtract", "s", "3600,2", "192.0.2.1", "2") == "3"
    assert asked("inbound_audit", "delete_ip", "192.0.2.1", "s", "3600,2") == "3 were counted"
    assert asked("inbound_audit", "count_cidr", "192.0.2.1", "s", "3600,2", "0", "1") == "0"
    shown = asked("inbound_audit", "show", "ip", "127.0.0.1").splitlines()
    assert [each.rpartition(":")[0] for each in shown] == [
        f"{kind} 3600/{window}" for kind in ("Connections", "Receptions", "Rejections") for window in (0, 1)
    ]
    assert shown[4] == "Rejections 3600/0: 3"
    listed = tmp_path / "listed"
    listed.write_text("# penalties\n::ffff:192.0.2.9, 4\n\n2001:db8::9,1\n")
    assert asked("inbound_audit", "load", "s", "3600,2", str(listed)) == "loaded 2 addresses into series 's'"
    rows = asked("inbound_audit", "show", "all").splitlines()
    assert rows[0] == "series,interval,window,address,count"
    assert {"Rejections,3600,0,127.0.0.1,3", "s,3600,0,192.0.2.9,4", "s,3600,0,2001:db8::9,1"} <= set(rows)
    listed.write_text("192.0.2.9 4\n")
    status, _, said = ended("console", "-c", served.configuration, "inbound_audit", "load", "s", "3600,2", str(listed))
    assert status == 1
    assert "write 192.0.2.1,5 in line 1" in said
    assert asked("gauge_cache", "delete", "g", "k") == "deleted 1"
    stats = asked("counting", "stats")
    assert "windows" in stats
    assert "here" in stats
