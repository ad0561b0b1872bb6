"""What callbacks remember, and where: it outlives a restart, and when the store fails, sessions notice nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.exchanger import Exchanger, Step, is_silent
from tests.support.ringback import Ringback
from tests.support.servers import RedisServer
from tests.support.waiting import eventually
from tests.support.world import NO_SUCH_USER, Stage

pytestmark = pytest.mark.real("dnsmasq")

REFUSED = "550 from address not reachable"
UNBOUNDED = {"probes_per_domain": "0", "probes_per_mx": "0", "unknown_users_per_mx": "0", "probes_per_client": "0"}
"""One client asks about two domains, more often than strangers would put up with."""

STORE_EVENTS = {"store_unavailable", "store_recovered", "store_set_aside", "callbacks_in_memory"}


def _events(ringback: Ringback) -> list[str]:
    return [event["event"] for event in ringback.log if event["event"] in STORE_EVENTS]


def _troubles(ringback: Ringback) -> list[dict[str, Any]]:
    """Return what it logged that it should not, whatever happens to the store."""
    return [event for event in ringback.log if event["event"] == "unstructured" or event.get("level") == "error"]


class _World:
    """Two domains and a Ringback: each user of `ok.test` exists, none of `refusing.test` does."""

    def __init__(self, ringback: Ringback, knowing: Exchanger, refusing: Exchanger) -> None:
        self.ringback, self._knowing, self._refusing = ringback, knowing, refusing

    @property
    def probes(self) -> int:
        """How often exchangers were asked."""
        return self._knowing.count("RCPT") + self._refusing.count("RCPT")

    async def judges(self, name: str) -> None:
        """See both verdicts on one local part in a session of its own."""
        async with await self.ringback.conversation() as client:
            await client.ehlo()
            assert await client.ask(f"MAIL FROM:<{name}@refusing.test>") == REFUSED
            assert (await client.ask(f"MAIL FROM:<{name}@ok.test>")).startswith("250 ")
            assert (await client.quit()).startswith("221 ")


async def _world(stage: Stage, store: str) -> _World:
    knowing = await stage.exchanger("ok.test")
    refusing = await stage.exchanger("refusing.test", script={Step.RCPT: NO_SUCH_USER})
    upstream = await stage.upstream()
    ringback = await stage.ringback(upstream.port, callback={"store": f'"{store}"', **UNBOUNDED})
    return _World(ringback, knowing, refusing)


# ---------------------------------------------------------------- Redis


@asynccontextmanager
async def _load(world: _World) -> AsyncIterator[list[int]]:
    """Hold session after session, on new senders and on known ones; yield the count of those that ended well."""
    done = [0]
    stop = asyncio.Event()

    async def sessions(number: int) -> None:
        mine = 0
        while not stop.is_set():
            await world.judges(f"u{number}-{mine - mine % 3}")
            mine += 1
            done[0] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(sessions(number))
        try:
            yield done
        finally:
            stop.set()


async def _goes_on(done: list[int]) -> None:
    aim = done[0] + 30
    await eventually(lambda: done[0] >= aim, "thirty more sessions end well", within=60)


@pytest.mark.real("redis-server")
async def test_redis_is_killed_and_started_again_under_load_and_no_session_notices(stage: Stage) -> None:
    with RedisServer() as redis:
        world = await _world(stage, f"redis://{redis.address}/0")
        async with _load(world) as done:
            await _goes_on(done)
            assert _events(world.ringback) == []
            await asyncio.to_thread(redis.kill)
            await eventually(lambda: "store_unavailable" in _events(world.ringback), "the outage is logged")
            await _goes_on(done)
            await asyncio.to_thread(redis.start)
            await eventually(lambda: "store_recovered" in _events(world.ringback), "Redis is found again")
            await _goes_on(done)
        assert _events(world.ringback) == ["store_unavailable", "store_recovered"]
        assert _troubles(world.ringback) == []


@pytest.mark.real("redis-server")
async def test_what_one_process_found_out_another_one_knows_by_redis(stage: Stage) -> None:
    with RedisServer() as redis:
        world = await _world(stage, f"redis://{redis.address}/0")
        await world.judges("alice")
        world.ringback.stop()
        world.ringback.start()
        await world.judges("alice")
        assert world.probes == 2
        assert _events(world.ringback) == []


async def test_without_redis_at_the_start_there_is_a_warning_and_memory_serves(stage: Stage) -> None:
    world = await _world(stage, f"redis://127.0.0.1:{stage.nobody_listens()}/0")
    for _ in range(2):
        await world.judges("alice")
    assert world.probes == 2
    await eventually(lambda: _events(world.ringback) == ["store_unavailable"], "the outage is logged, once")
    assert _troubles(world.ringback) == []


# ---------------------------------------------------------------- SQLite


async def test_verdicts_outlive_a_restart_and_nobody_is_asked_again(stage: Stage, tmp_path: Path) -> None:
    world = await _world(stage, f"sqlite://{tmp_path}/callback.db")
    await world.judges("alice")
    assert world.probes == 2
    world.ringback.stop()
    world.ringback.start()
    await world.judges("alice")
    assert world.probes == 2
    await world.judges("bob")
    assert world.probes == 4
    assert _events(world.ringback) == []


async def test_verdicts_outlive_a_kill(stage: Stage, tmp_path: Path) -> None:
    world = await _world(stage, f"sqlite://{tmp_path}/callback.db")
    await world.judges("alice")
    await world.judges("bob")  # what was found out of alice has been written before bob is judged
    world.ringback.program.stop(within=0)
    world.ringback.start()
    await world.judges("alice")
    assert world.probes == 4
    assert _events(world.ringback) == []


async def test_a_probe_that_died_with_its_process_is_held_anew(stage: Stage, tmp_path: Path) -> None:
    refusing = await stage.exchanger("refusing.test", script={Step.RCPT: is_silent()})
    store = {"store": f'"sqlite://{tmp_path}/callback.db"', "timeout": "4"}
    ringback = await stage.ringback((await stage.upstream()).port, callback=store)
    async with await ringback.conversation() as client:
        await client.ehlo()
        await client.send_raw(b"MAIL FROM:<nobody@refusing.test>\r\n")
        await refusing.until(lambda: refusing.count("RCPT") == 1, "the probe is under way")
        ringback.program.stop(within=0)
    refusing.script[Step.RCPT] = NO_SUCH_USER
    ringback.start()
    async with await ringback.conversation() as client:
        await client.ehlo()
        assert await client.ask("MAIL FROM:<nobody@refusing.test>") == REFUSED


async def test_a_broken_file_is_set_aside_at_the_start(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "callback.db"
    world = await _world(stage, f"sqlite://{path}")
    await world.judges("alice")
    world.ringback.stop()
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 8000)
    world.ringback.start()
    for _ in range(2):
        await world.judges("alice")
    assert world.probes == 4
    await eventually(lambda: _events(world.ringback) == ["store_set_aside"], "it is logged")
    assert _troubles(world.ringback) == []


async def test_a_file_that_is_no_database_is_left_alone_and_memory_serves(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(b"Dear postmaster,\n" * 500)
    world = await _world(stage, f"sqlite://{path}")
    for _ in range(2):
        await world.judges("alice")
    assert world.probes == 2
    await eventually(lambda: _events(world.ringback) == ["store_unavailable"], "it is logged")
    assert path.read_bytes() == b"Dear postmaster,\n" * 500
    assert _troubles(world.ringback) == []


async def test_a_file_that_breaks_while_it_is_used_is_logged_and_memory_serves(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "callback.db"
    world = await _world(stage, f"sqlite://{path}")
    await world.judges("alice")
    for each in (path, path.with_name("callback.db-wal")):
        with each.open("r+b") as file:
            file.write(b"\xff" * each.stat().st_size)
    for name in ("bob", "bob", "alice"):
        await world.judges(name)
    assert world.probes in {4, 6}
    await eventually(lambda: _events(world.ringback) == ["store_unavailable"], "it is logged")
    assert _troubles(world.ringback) == []


@pytest.mark.parametrize("place", ["missing/callback.db", "file/callback.db", "folder"])
async def test_where_no_file_can_be_made_there_is_a_warning_and_memory_serves(
    place: str, stage: Stage, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    world = await _world(stage, f"sqlite://{tmp_path}/{place}")
    for _ in range(2):
        await world.judges("alice")
    assert world.probes == 2
    await eventually(lambda: _events(world.ringback) == ["store_unavailable"], "it is logged")
    assert _troubles(world.ringback) == []


async def test_the_folder_goes_while_it_is_used_and_verdicts_stay_right(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    world = await _world(stage, f"sqlite://{folder}/callback.db")
    await world.judges("alice")
    folder.rename(tmp_path / "moved")
    for name in ("bob", "alice"):
        await world.judges(name)
    assert world.probes == 4
    assert _troubles(world.ringback) == []
