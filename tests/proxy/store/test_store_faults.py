"""What happens when a shared store fails: memory, one warning, and the way back. Nothing is raised into a session."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.options.store import parse_store_url
from proxy.options.throttle import Throttle
from proxy.store import batches, fallback, sqlite, sqlite_file
from proxy.store import redis as redis_store
from proxy.store.base import Store, Stored, StoreUnavailable
from proxy.store.batches import Batches
from proxy.store.fallback import RETRY_SECONDS, FallingBack
from proxy.store.memory import MemoryStore
from proxy.store.opening import open_store
from proxy.store.sqlite import SqliteStore
from tests.support.servers import RedisServer
from tests.support.waiting import eventually, eventually_answered

REAL_REDIS = pytest.mark.real("redis-server")
ROOT = Path(__file__).parents[3]

Log = list[MutableMapping[str, Any]]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Faulty(MemoryStore):
    """A store that fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()
        self.asked: list[str] = []

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.broken:
            raise StoreUnavailable("out of order")

    async def get(self, key: str) -> Stored | None:
        self._ask("get")
        return await super().get(key)

    async def put(self, key: str, value: bytes, lives: float) -> None:
        self._ask("put")
        await super().put(key, value, lives)

    async def purge(self, prefix: str = "") -> int:
        self._ask("purge")
        return await super().purge(prefix)


def names(log: Log) -> list[str]:
    return [each["event"] for each in log]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def faulty() -> Faulty:
    return Faulty()


@pytest.fixture
def store(faulty: Faulty, clock: Clock) -> FallingBack:
    return FallingBack(faulty, MemoryStore(), name="redis://one", clock=clock)


# ---------------------------------------------------------------- falling back


async def test_an_outage_is_warned_of_once_and_memory_serves(faulty: Faulty, store: FallingBack) -> None:
    await store.put("before", b"0", 60)
    faulty.broken = {"get", "put"}
    with capture_logs() as log:
        for each in range(3):
            assert await store.get("before") is None
            await store.put(f"k{each}", b"1", 60)
    kept = [await store.get(f"k{each}") for each in range(3)]
    assert [each and each.value for each in kept] == [b"1"] * 3
    assert log == [
        {"event": "store_unavailable", "log_level": "warning", "store": "redis://one", "reason": "out of order"}
    ]
    assert not store.available


async def test_a_store_that_failed_is_tried_again_by_one_operation_after_a_while(
    faulty: Faulty, store: FallingBack, clock: Clock
) -> None:
    faulty.broken = {"get"}
    await store.get("a")
    faulty.asked.clear()
    clock.now += RETRY_SECONDS - 0.1
    await store.get("a")
    assert faulty.asked == []
    clock.now += 0.1
    await asyncio.gather(*(store.get("a") for _ in range(5)))
    assert faulty.asked == ["get"]


async def test_the_way_back_is_logged_and_what_memory_kept_is_forgotten(
    faulty: Faulty, store: FallingBack, clock: Clock
) -> None:
    faulty.broken = {"put"}
    await store.put("a", b"ours", 60)
    await MemoryStore.put(faulty, "a", b"another worker's", 60)
    faulty.broken = set()
    clock.now += RETRY_SECONDS
    with capture_logs() as log:
        await store.put("b", b"1", 60)
    found = await store.get("a")
    assert found is not None
    assert found.value == b"another worker's"
    assert log == [
        {
            "event": "store_recovered",
            "log_level": "info",
            "store": "redis://one",
            "seconds": RETRY_SECONDS,
            "operations_in_memory": 1,
        }
    ]
    assert store.available


async def test_where_writing_alone_fails_what_is_stored_is_still_read_and_what_is_newer_goes_before_it(
    faulty: Faulty, store: FallingBack, clock: Clock
) -> None:
    await store.put("a", b"stored", 60)
    await store.put("b", b"stored", 60)
    faulty.broken = {"put"}
    with capture_logs() as log:
        await store.put("b", b"newer", 60)
        clock.now += RETRY_SECONDS
        found = [await store.get(key) for key in ("a", "b")]
    assert [each and each.value for each in found] == [b"stored", b"newer"]
    assert names(log) == ["store_unavailable"]


async def test_a_store_is_found_again_though_memory_has_all_that_is_asked_for(
    faulty: Faulty, store: FallingBack, clock: Clock
) -> None:
    faulty.broken = {"get", "put"}
    await store.put("a", b"1", 60)
    await store.get("b")
    faulty.broken = set()
    clock.now += RETRY_SECONDS
    await store.put("b", b"1", 60)
    assert not store.available
    await store.get("a")
    assert store.available


async def test_buckets_and_locks_hold_within_the_worker_meanwhile(clock: Clock) -> None:
    class Gone(MemoryStore):
        async def take(self, key: str, throttle: Throttle, tokens: int = 1) -> bool:
            raise StoreUnavailable(f"{key} {throttle} {tokens}")

        async def acquire(self, key: str, seconds: float) -> str | None:
            raise StoreUnavailable(f"{key} {seconds}")

        async def release(self, key: str, token: str) -> bool:
            raise StoreUnavailable(f"{key} {token}")

    store = FallingBack(Gone(), MemoryStore(), name="gone", clock=clock)
    assert [await store.take("a", Throttle(2, 3600)) for _ in range(3)] == [True, True, False]
    token = await store.acquire("a", 60)
    assert token is not None
    assert await store.acquire("a", 60) is None
    assert [await store.release("a", token) for _ in range(2)] == [True, False]


async def test_who_purges_hears_that_the_store_still_has_it(faulty: Faulty, store: FallingBack) -> None:
    await store.put("a", b"1", 60)
    faulty.broken = {"purge"}
    with pytest.raises(StoreUnavailable):
        await store.purge("a")
    faulty.broken = set()
    assert await store.purge("a") == 1


# ---------------------------------------------------------------- batches


async def test_a_batch_that_fails_fails_those_who_wait_for_the_next() -> None:
    asked: list[list[int]] = []

    async def run(questions: list[int]) -> list[int]:
        asked.append(questions)
        raise StoreUnavailable("gone")

    questions = Batches(run, name="test", seconds=5)
    answers = await asyncio.gather(*(questions.ask(each) for each in range(300)), return_exceptions=True)
    assert [str(each) for each in answers] == ["gone"] * 300
    assert asked == [list(range(batches.MOST_TOGETHER))]


async def test_one_answer_that_is_a_failure_fails_nobody_else() -> None:
    async def run(questions: list[int]) -> list[int | StoreUnavailable]:
        return [StoreUnavailable("odd") if each % 2 else each for each in questions]

    questions: Batches[int, int] = Batches(run, name="test", seconds=5)
    answers = await asyncio.gather(*(questions.ask(each) for each in range(4)), return_exceptions=True)
    assert [each if isinstance(each, int) else str(each) for each in answers] == [0, "odd", 2, "odd"]


async def test_a_batch_without_an_answer_ends_at_its_deadline_and_the_next_is_asked() -> None:
    silent = True

    async def run(questions: list[int]) -> list[int]:
        if silent:
            await asyncio.Event().wait()
        return questions

    questions = Batches(run, name="test", seconds=0.01)
    with pytest.raises(StoreUnavailable, match=r"^no answer within 0\.01 s$"):
        await questions.ask(1)
    silent = False
    assert await questions.ask(2) == 2


async def test_who_waits_is_told_of_the_end_and_of_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: list[int]) -> list[int]:
        await asyncio.Event().wait()
        return []

    async def wrong(_: list[int]) -> list[int]:
        raise ZeroDivisionError

    for turns in (0, 3):  # before the batch had its first turn, and in the middle of it
        questions = Batches(never, name="test", seconds=60)
        asking = asyncio.get_running_loop().create_task(questions.ask(1))
        for _ in range(turns + 1):
            await asyncio.sleep(0)
        await questions.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await asking
    with capture_logs() as log:
        with pytest.raises(StoreUnavailable, match="ZeroDivisionError"):
            await Batches(wrong, name="test", seconds=60).ask(1)
        await eventually(lambda: names(log) == ["task_failed"], "the fault is logged")
    monkeypatch.setattr(batches, "MOST_WAITING", 0)
    with pytest.raises(StoreUnavailable, match="too many"):
        await Batches(never, name="test", seconds=60).ask(1)


# ---------------------------------------------------------------- Redis


@asynccontextmanager
async def opened(place: str) -> AsyncIterator[FallingBack]:
    store = open_store(parse_store_url(place))
    assert isinstance(store, FallingBack)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "RETRY_SECONDS", 0.05)


async def works(store: FallingBack) -> bool:
    """Use every operation of the service, none of which may raise; tell whether the store itself answers."""
    await store.put("a", b"1", 60)
    found = await store.get("a")
    assert found is None or found.value == b"1"
    await store.take("a", Throttle(5, 60))
    token = await store.acquire("a", 60)
    if token is not None:
        await store.release("a", token)
    await store.delete("b")
    return store.available


@REAL_REDIS
@pytest.mark.usefixtures("soon")
async def test_redis_killed_and_restarted_under_load_raises_nothing_and_is_found_again() -> None:
    with RedisServer() as server:
        async with opened(f"redis://{server.address}/0") as store:
            stop = asyncio.Event()
            rounds = 0

            async def load(number: int) -> None:
                nonlocal rounds
                while not stop.is_set():
                    await store.put(f"k{number}", b"%d" % number, 60)
                    found = await store.get(f"k{number}")
                    assert found is None or found.value == b"%d" % number
                    rounds += 1
                    await asyncio.sleep(0)

            async def goes_on() -> None:
                aim = rounds + 100
                await eventually(lambda: rounds >= aim, "the load goes on")

            with capture_logs() as log:
                async with asyncio.TaskGroup() as group:
                    for each in range(20):
                        group.create_task(load(each))
                    for _ in range(2):
                        await goes_on()
                        await asyncio.to_thread(server.kill)
                        await eventually(lambda: not store.available, "the outage is noticed")
                        await goes_on()
                        await asyncio.to_thread(server.start)
                        await eventually(lambda: store.available, "Redis is found again")
                    stop.set()
    assert names(log) == ["store_unavailable", "store_recovered"] * 2


@REAL_REDIS
@pytest.mark.usefixtures("soon")
async def test_redis_that_hangs_is_given_up_at_the_deadline_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "SECONDS", 0.5)
    with RedisServer() as server:
        async with opened(f"redis://{server.address}/0") as store:
            assert await eventually_answered(lambda: works(store), "Redis answers")
            os.kill(server.running.process.pid, signal.SIGSTOP)
            try:
                with capture_logs() as log:
                    assert not await works(store)
                assert names(log) == ["store_unavailable"]
            finally:
                os.kill(server.running.process.pid, signal.SIGCONT)
            assert await eventually_answered(lambda: works(store), "Redis is found again")


@REAL_REDIS
async def test_a_connection_that_redis_closed_while_it_was_idle_is_no_outage() -> None:
    with RedisServer() as server:
        async with opened(f"redis://{server.address}/0") as store, opened(f"unix://{server.socket}") as other:
            assert await works(store)
            client = other._store
            assert isinstance(client, redis_store.RedisStore)
            await client._commands.ask(("CLIENT", "KILL", "TYPE", "normal"))
            with capture_logs() as log:
                assert await works(store)
    assert log == []


@REAL_REDIS
async def test_what_redis_refuses_is_no_fault_of_its_neighbours() -> None:
    with RedisServer() as server:
        store = redis_store.RedisStore(parse_store_url(f"redis://{server.address}/0"))
        try:
            await store._commands.ask(("LPUSH", b"ringback:entry:list", b"x"))
            await store.put("a", b"1", 60)
            answers = await asyncio.gather(store.get("a"), store.get("list"), store.get("b"), return_exceptions=True)
            assert [isinstance(each, Stored) for each in answers] == [True, False, False]
            assert [isinstance(each, StoreUnavailable) for each in answers] == [False, True, False]
        finally:
            await store.close()


async def test_no_redis_at_all_is_memory() -> None:
    with capture_logs() as log:
        async with opened("unix:///nonexistent/socket") as store:
            assert not await works(store)
    assert names(log) == ["store_unavailable"]


# ---------------------------------------------------------------- SQLite


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


async def filled(path: Path) -> None:
    async with opened(f"sqlite://{path}") as store:
        await asyncio.gather(*(store.put(f"k{each}", b"x" * 200, 3600) for each in range(500)))
        assert store.available


async def test_what_was_put_survives_a_restart_in_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.touch(0o644)
    await filled(path)
    store = SqliteStore(path)
    try:
        assert await store.count() == 500
        assert {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()} == {
            "state.db": 0o600,
            "state.db-wal": 0o600,
            "state.db-shm": 0o600,
        }
    finally:
        await store.close()


async def test_a_broken_file_of_ours_is_set_aside_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await filled(path)
    broken = path.read_bytes()[:100] + b"\xff" * 8000
    path.write_bytes(broken)
    with capture_logs() as log:
        async with opened(f"sqlite://{path}") as store:
            assert await store.get("k1") is None
            assert await works(store)
    (warning,) = log
    assert (warning["event"], warning["log_level"], warning["path"]) == ("store_set_aside", "warning", str(path))
    assert Path(warning["aside"]).read_bytes() == broken
    assert warning["aside"].startswith(f"{path}.corrupt-")


async def test_a_file_that_breaks_while_it_is_used_is_left_alone_and_memory_serves(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await filled(path)
    async with opened(f"sqlite://{path}") as store:
        assert await works(store)
        with raw(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))
        with capture_logs() as log:
            for each in range(500):
                assert await store.get(f"k{each}") is None or each
            await store.put("k1", b"new", 60)
            found = await store.get("k1")
        assert found is not None
        assert found.value == b"new"
    assert names(log) == ["store_unavailable"]
    assert [each.name for each in tmp_path.glob("*.corrupt-*")] == []


@pytest.mark.parametrize("content", [b"Hostname = mx.example.com\n" * 500, b"\0" * 8192])
async def test_a_file_that_never_was_ours_is_never_touched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ecelerity.conf"
    path.write_bytes(content)
    with capture_logs() as log:
        async with opened(f"sqlite://{path}") as store:
            assert not await works(store)
    assert [(each["event"], each["reason"]) for each in log] == [("store_unavailable", "file is not a database")]
    assert path.read_bytes() == content
    assert [each.name for each in tmp_path.iterdir()] == ["ecelerity.conf"]


async def test_another_programs_database_is_never_touched(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with raw(path) as connection:
        connection.execute("CREATE TABLE entries (precious)")
    content = path.read_bytes()
    with capture_logs() as log:
        async with opened(f"sqlite://{path}") as store:
            assert not await works(store)
    assert [each["reason"] for each in log] == ["the file belongs to another program"]
    assert path.read_bytes() == content


async def test_a_file_of_another_version_is_emptied_at_the_start_and_never_later(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await filled(path)
    with raw(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    store = SqliteStore(path)
    try:
        assert await store.count() == 0
        await store.put("a", b"1", 60)
    finally:
        await store.close()
    with raw(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(sqlite3.DatabaseError, match="has version 99 now; this release needs 1"):
        sqlite_file.open_for_writing(path, first=False)
    with raw(path) as connection:
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (1,)


@pytest.mark.usefixtures("soon")
async def test_a_folder_that_does_not_exist_is_memory_until_it_does(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    async with opened(f"sqlite://{folder}/state.db") as store:
        assert not await works(store)
        folder.mkdir()
        assert await eventually_answered(lambda: works(store), "the file is made")
        assert (folder / "state.db").exists()


@pytest.mark.usefixtures("soon")
async def test_another_process_that_keeps_the_file_locked_is_waited_for_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.05)
    path = tmp_path / "state.db"
    async with opened(f"sqlite://{path}") as store:
        await store.put("k", b"1", 60)
        with raw(path) as connection, capture_logs() as log:
            connection.execute("BEGIN IMMEDIATE")
            await store.put("k", b"2", 60)
            found = await store.get("k")
            assert found is not None
            assert found.value == b"2"
            connection.execute("ROLLBACK")
            assert [each["reason"] for each in log] == ["database is locked"]
        assert await eventually_answered(lambda: works(store), "the file is free")


@pytest.mark.usefixtures("soon")
async def test_a_file_that_may_not_grow_is_read_while_memory_takes_what_is_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "_SETTINGS", (*sqlite_file._SETTINGS, "max_page_count = 20"))
    async with opened(f"sqlite://{tmp_path}/state.db") as store:
        await store.put("early", b"1", 60)
        with capture_logs() as log:
            for each in range(300):
                await store.put(f"k{each}", b"x" * 1000, 60)
            assert await store.get("early") is not None
            assert await store.get("k299") is not None
    assert {each["reason"] for each in log if each["event"] == "store_unavailable"} == {"database or disk is full"}


_FULL_DISK = """
import asyncio, sys
from pathlib import Path
from proxy.store import fallback
from proxy.store.opening import open_store
from proxy.options.store import parse_store_url

fallback.RETRY_SECONDS = 0.05

async def work(folder):
    store = open_store(parse_store_url(f"sqlite://{folder}/state.db"))
    await store.put("early", b"1", 60)
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096) == 4096: pass
        except OSError as error:
            print(error.strerror)
    for each in range(200):
        await store.put(f"k{each}", b"x" * 1000, 60)
    print(store.available, await store.get("early") is not None, await store.get("k199") is not None)
    ballast.unlink()
    for _ in range(1000):
        await store.put("late", b"1", 60)
        if store.available: break
        await asyncio.sleep(0.01)
    print(store.available, await store.get("late") is not None)
    await store.close()

asyncio.run(work(Path(sys.argv[1])))
"""


def may_mount() -> bool:
    """Whether this user may have a file system of his own, in a namespace of his own."""
    try:
        return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not may_mount(), reason="a file system of a test's own needs root, and a namespace")
async def test_a_full_disk_is_memory_until_there_is_room_again(tmp_path: Path) -> None:
    command = f"mount -t tmpfs -o size=1m none '{tmp_path}' && exec '{sys.executable}' -c \"$0\" '{tmp_path}'"
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--mount", "sh", "-c", command, _FULL_DISK),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    printed = (await process.communicate())[0].decode()
    plain = [line for line in printed.splitlines() if "store_" not in line]
    assert plain == ["No space left on device", "False True True", "True True"], printed
    assert [printed.count(each) for each in ("store_unavailable", "store_recovered")] == [1, 1]
    assert "database or disk is full" in printed


async def test_what_has_expired_is_swept_from_the_file_and_the_file_is_bounded(tmp_path: Path) -> None:
    clock = Clock()
    store = SqliteStore(tmp_path / "state.db", clock, most=1000)
    try:
        for life in (10, 20, 30):
            await asyncio.gather(*(store.put(f"{life}:{each}", b"x", life) for each in range(2500)))
        await store.take("a", Throttle(5, 10))
        await store.acquire("a", 10)
        clock.now += 10
        await store.sweep()
        assert await rows(store) == {"entries": 1000, "buckets": 0, "locks": 0}
        assert [await store.count(f"{each}:") for each in (10, 20, 30)] == [0, 0, 1000]
        clock.now += 20
        await store.sweep()
        assert await rows(store) == {"entries": 0, "buckets": 0, "locks": 0}
    finally:
        await store.close()


async def rows(store: SqliteStore) -> dict[str, int]:
    statement = "SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM buckets), (SELECT count(*) FROM locks)"
    (counts,) = await store._ask(statement)
    return dict(zip(("entries", "buckets", "locks"), counts, strict=True))


async def test_the_file_is_swept_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "SWEEP_SECONDS", 0.01)
    clock = Clock()
    store = SqliteStore(tmp_path / "state.db", clock)
    try:
        await store.put("a", b"1", 10)
        clock.now += 10

        async def is_empty() -> bool:
            return (await rows(store))["entries"] == 0

        assert await eventually_answered(is_empty, "the entry is swept")
    finally:
        await store.close()


async def test_the_writing_of_another_process_is_noticed_and_our_own_is_not(tmp_path: Path) -> None:
    clock = Clock()
    here, there = (SqliteStore(tmp_path / "state.db", clock) for _ in range(2))
    try:
        assert here.untouched.until == 0.0
        await here.put("a", b"1", 1000)
        since = clock.now
        assert (here.untouched.since, here.untouched.until) == (since, since + sqlite.SEEN_SECONDS)
        for work in (here.put("b", b"1", 1000), here.take("a", Throttle(5, 10)), here.sweep(), there.get("a")):
            await work
            clock.now += 10
            await here.look()
            assert (here.untouched.since, here.untouched.until) == (since, clock.now + sqlite.SEEN_SECONDS)
        for work in (there.put("a", b"2", 1000), there.delete("a"), there.purge()):
            await work
            clock.now += 10
            await here.look()
            assert here.untouched.since == clock.now
    finally:
        await here.close()
        await there.close()


async def test_a_file_that_is_opened_again_may_have_been_written_to(tmp_path: Path) -> None:
    clock = Clock()
    store = SqliteStore(tmp_path / "state.db", clock)
    try:
        await store.look()
        store._give_up(store._connected)
        clock.now += 10
        await store.look()
        assert store.untouched.since == clock.now
    finally:
        await store.close()


async def test_what_is_purged_is_nowhere_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path)
    try:
        await store.put("v:somebody@a.test", b"1", 3600)
        await store.put("v:else@a.test", b"1", 3600)
        assert await store.purge("v:somebody@a.test") == 1
        content = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    finally:
        await store.close()
    assert (b"somebody" in content, b"else" in content) == (False, True)


async def test_a_store_that_was_never_used_is_closed(tmp_path: Path) -> None:
    store: Store = SqliteStore(tmp_path / "state.db")
    await store.close()
    assert list(tmp_path.iterdir()) == []
