"""Shared state, one suite for all stores: entries that expire, buckets, locks. `test_store_faults.py` has faults."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme
from redis.asyncio import Redis

from config.loader import load
from config.schema.options import Options, option
from config.schema.specs import Schema
from proxy.callback.limits.budgets import Budgets, Neighbour
from proxy.counting.opening import open_counting
from proxy.counting.sharing import SharedCounting
from proxy.options.core import CoreOptions
from proxy.options.route import Route
from proxy.options.schemes import SCHEMES
from proxy.options.store import MEMORY, StoreUrl, StoreValue, parse_store_url
from proxy.options.throttle import NO_THROTTLE, Throttle
from proxy.store.base import Store, Stored, StoreUnavailable
from proxy.store.memory import MemoryStore
from proxy.store.opening import open_store
from proxy.store.redis import RedisStore
from proxy.store.sqlite import SqliteStore
from tests.support.counting import KINDS
from tests.support.servers import RedisServer
from tests.support.waiting import eventually_answered

REAL_REDIS = pytest.mark.real("redis-server")
ROOT = Path(__file__).parents[3]


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


class Backing:
    """Where a test's stores keep what they keep; each store is a client of its own."""

    def __init__(self, kind: str, place: str) -> None:
        self.kind, self.place = kind, place
        self.clock = Clock()
        self._opened: list[Store] = []

    def store(self) -> Store:
        url = parse_store_url(self.place)
        made: Store
        match url.kind:
            case "memory":
                made = MemoryStore(self.clock)
            case "sqlite":
                made = SqliteStore(Path(url.path), self.clock)
            case "redis":
                made = RedisStore(url, self.clock)
        self._opened.append(made)
        return made

    async def close(self) -> None:
        for each in self._opened:
            await each.close()


async def _backing(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Backing]:
    kind: str = request.param
    place = "memory"
    if kind == "sqlite":
        place = f"sqlite://{folder}/state.db"
    elif kind != "memory":
        server: RedisServer = request.getfixturevalue("redis")
        await _empty(server)
        place = f"redis://{server.address}/3" if kind == "redis" else f"unix://{server.socket}"
    made = Backing(kind, place)
    yield made
    await made.close()


async def _empty(server: RedisServer) -> None:
    client = Redis(unix_socket_path=server.socket)
    await client.flushall()
    await client.aclose()


SHARED = ["sqlite", pytest.param("redis", marks=REAL_REDIS), pytest.param("unix", marks=REAL_REDIS)]


@pytest.fixture(params=["memory", *SHARED])
async def backing(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backing]:
    async for each in _backing(request, tmp_path):
        yield each


@pytest.fixture(params=SHARED)
async def shared(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backing]:
    async for each in _backing(request, tmp_path):
        yield each


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_is_read_opened_counted_with_and_measured(scheme: str, tmp_path: Path) -> None:
    places = {"memory": "memory", "sqlite": f"sqlite://{tmp_path}/x.db", "unix": f"unix://{tmp_path}/x.sock"}
    place = places.get(scheme, f"{scheme}://127.0.0.1:1/0")
    url = parse_store_url(place)
    assert url.scheme == scheme
    opened = open_store(url)
    assert (type(opened) is MemoryStore) == (url.place == "process")
    assert isinstance(opened, MemoryStore) or opened._at is not None
    core = CoreOptions(esmtp_listener=(), gateway=Route("192.0.2.25"), hostname="mx.test", script_store=url)
    assert (type(open_counting(core)) is SharedCounting) == url.is_for_machines == core.shares_counts


def test_every_store_runs_all_tests_of_stores_and_of_counting() -> None:
    kinds = {each.kind for each in SCHEMES.values()}
    assert kinds <= _names(KINDS), "add it to KINDS and Backing in tests/support/counting.py"
    assert kinds <= {"memory"} | _names(SHARED), "add it to SHARED, Backing and _backing in this file"


def _names(given: Sequence[Any]) -> set[str]:
    return {each if isinstance(each, str) else each.values[0] for each in given}


# ---------------------------------------------------------------- entries


async def test_what_was_put_is_there_with_the_time_of_its_end(backing: Backing) -> None:
    store = backing.store()
    assert await store.get("a") is None
    await store.put("a", b"\0one\xff", 60)
    assert await store.get("a") == Stored(b"\0one\xff", backing.clock.now + 60)
    await store.put("a", b"", 30.5)
    assert await store.get("a") == Stored(b"", backing.clock.now + 30.5)


async def test_several_entries_come_in_the_order_in_which_they_were_asked_for(backing: Backing) -> None:
    store = backing.store()
    await store.put("a", b"1", 60)
    await store.put("b", b"2", 10)
    found = await store.get_all(["b", "nothing", "a", "b"])
    assert [each and each.value for each in found] == [b"2", None, b"1", b"2"]
    backing.clock.now += 20
    if backing.kind in {"memory", "sqlite"}:
        assert [each and each.value for each in await store.get_all(["b", "a"])] == [None, b"1"]


async def test_an_entry_is_gone_when_its_time_is_over(backing: Backing) -> None:
    store = backing.store()
    await store.put("short", b"1", 60)
    await store.put("long", b"2", 61)
    backing.clock.now += 60
    assert [await store.get(key) for key in ("short", "long")] == [None, Stored(b"2", backing.clock.now + 1)]
    assert await store.scan() == [("long", Stored(b"2", backing.clock.now + 1))]


async def test_an_entry_that_is_deleted_is_gone_and_another_is_not(backing: Backing) -> None:
    store = backing.store()
    await store.put("a", b"1", 60)
    await store.put("b", b"2", 60)
    await store.delete("a")
    await store.delete("never")
    assert [await store.get(key) is not None for key in ("a", "b")] == [False, True]


AWKWARD = [
    "v:*@a.test",
    "v:?[a-z]^\\@a.test",
    "v:\udcff\udc80@a.test",
    "v:ü\U0010ffff@a.test",
    "v:%_'\"\n\0@a.test",
    "v:",
]


async def test_keys_are_taken_literally_whatever_a_stranger_wrote(backing: Backing) -> None:
    store = backing.store()
    for position, key in enumerate((*AWKWARD, "w:x", "vx")):
        await store.put(key, b"%d" % position, 60)
    assert [stored and stored.value for stored in [await store.get(key) for key in AWKWARD]] == [
        b"%d" % position for position in range(len(AWKWARD))
    ]
    assert sorted(key for key, _ in await store.scan("v:")) == sorted(AWKWARD)
    assert [await store.count(each) for each in ("", "v", "v:", *AWKWARD[:5])] == [8, 7, 6, 1, 1, 1, 1, 1]
    assert await store.purge("v:*") == 1
    assert await store.purge("v:") == 5
    assert sorted(key for key, _ in await store.scan()) == ["vx", "w:x"]
    assert await store.purge() == 2
    assert await store.count() == 0


async def test_a_scan_is_bounded_and_a_purge_is_not(backing: Backing) -> None:
    store = backing.store()
    await asyncio.gather(*(store.put(f"k{each}", b"", 60) for each in range(3000)))
    found = await store.scan("k", most=10)
    assert len({key for key, _ in found}) == 10
    assert await store.count("k") == 3000
    assert await store.purge("k") == 3000
    assert await store.count() == 0


async def test_of_many_at_once_everybody_gets_his_own_answer(backing: Backing) -> None:
    store = backing.store()
    await asyncio.gather(*(store.put(f"k{each}", b"%d" % each, 60) for each in range(1000)))
    found = await asyncio.gather(*(store.get(f"k{each}") for each in range(1001)))
    assert [each and each.value for each in found] == [*(b"%d" % each for each in range(1000)), None]


async def test_who_leaves_does_not_mix_up_the_answers_of_the_others(backing: Backing) -> None:
    store = backing.store()
    await asyncio.gather(*(store.put(f"k{each}", b"%d" % each, 60) for each in range(50)))
    loop = asyncio.get_running_loop()
    for _ in range(20):
        asking = [loop.create_task(store.get(f"k{each}")) for each in range(50)]
        await asyncio.sleep(0)
        for each in asking[::2]:
            each.cancel()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert [each.value for each in answers[1::2] if isinstance(each, Stored)] == [
            b"%d" % each for each in range(1, 50, 2)
        ]


@REAL_REDIS
async def test_redis_removes_what_has_expired_by_itself(redis: RedisServer) -> None:
    store = RedisStore(parse_store_url(f"redis://{redis.address}/7"))
    try:
        await store.put("a", b"1", 0.05)
        assert await store.acquire("lock", 0.05) is not None
        await store.take("bucket", Throttle(5, 1))

        async def is_empty() -> bool:
            return await store._commands.ask(("DBSIZE",)) == 0

        assert await eventually_answered(is_empty, "the database is empty")
    finally:
        await store.close()


# ---------------------------------------------------------------- buckets


async def test_several_buckets_are_each_taken_from_in_order(backing: Backing) -> None:
    store, throttle = backing.store(), Throttle(2, 3600)
    takings = [("a", throttle, 2), ("a", throttle, 1), ("b", throttle, 3), ("c", NO_THROTTLE, 9), ("d", throttle, 1)]
    assert await store.take_each(takings) == [True, False, False, True, True]
    assert await store.take_each([("a", throttle, -1), ("a", throttle, 1), ("c", NO_THROTTLE, 1)]) == [True] * 3
    assert await store.take_each([("c", NO_THROTTLE, 1)]) == [True]
    assert await store.take_each([]) == []


async def test_a_burst_passes_and_no_limit_is_none(backing: Backing) -> None:
    store = backing.store()
    throttle = Throttle(3, 3600)
    assert [await store.take("a", throttle) for _ in range(4)] == [True, True, True, False]
    assert await store.take("b", throttle)
    assert await store.take("a", Throttle(1, 3600))
    assert all([await store.take("a", NO_THROTTLE, 1000) for _ in range(3)])


async def test_several_tokens_are_taken_all_or_none(backing: Backing) -> None:
    store = backing.store()
    throttle = Throttle(5, 3600)
    assert [await store.take("a", throttle, wanted) for wanted in (6, 3, 3, 2, 1)] == [False, True, False, True, False]


async def test_what_is_given_back_can_be_taken_again_and_fills_no_bucket_over(backing: Backing) -> None:
    store, throttle = backing.store(), Throttle(2, 3600)
    assert await store.take("a", throttle, -1)
    assert [await store.take("a", throttle) for _ in range(3)] == [True, True, False]
    assert await store.take("a", throttle, -1)
    assert [await store.take("a", throttle) for _ in range(2)] == [True, False]


@pytest.mark.parametrize("backing", ["memory", "sqlite"], indirect=True)
async def test_a_bucket_fills_at_its_rate_and_no_further_than_its_size(backing: Backing) -> None:
    store, throttle = backing.store(), Throttle(3, 60)
    assert [await store.take("a", throttle) for _ in range(4)] == [True, True, True, False]
    backing.clock.now += 19.9
    assert not await store.take("a", throttle)
    backing.clock.now += 0.2
    assert [await store.take("a", throttle) for _ in range(2)] == [True, False]
    backing.clock.now += 3600
    assert [await store.take("a", throttle) for _ in range(4)] == [True, True, True, False]


async def test_a_clock_that_is_set_back_takes_no_tokens_away(backing: Backing) -> None:
    store, throttle = backing.store(), Throttle(3, 60)
    assert await store.take("a", throttle)
    backing.clock.now -= 3600
    assert [await store.take("a", throttle) for _ in range(3)] == [True, True, False]


@REAL_REDIS
async def test_a_bucket_in_redis_fills_by_redis_clock(redis: RedisServer) -> None:
    store = RedisStore(parse_store_url(f"redis://{redis.address}/8"))
    try:
        throttle = Throttle(2, 1)
        assert [await store.take("a", throttle, 2), await store.take("a", throttle, 2)] == [True, False]
        assert await eventually_answered(lambda: store.take("a", throttle), "a token")
        assert not await store.take("a", throttle, 2)
    finally:
        await store.close()


async def test_two_who_share_a_bucket_take_no_more_than_it_holds(shared: Backing) -> None:
    stores = [shared.store(), shared.store()]
    throttle = Throttle(40, 1_000_000)
    taken = await asyncio.gather(*(stores[each % 2].take("a", throttle) for each in range(200)))
    assert sum(taken) == 40


# ---------------------------------------------------------------- locks


async def test_a_lock_has_one_holder_until_it_is_released(backing: Backing) -> None:
    store = backing.store()
    token = await store.acquire("a", 60)
    assert token is not None
    assert await store.acquire("a", 60) is None
    assert await store.acquire("b", 60) is not None
    assert not await store.release("a", "not the token")
    assert await store.acquire("a", 60) is None
    assert await store.release("a", token)
    assert not await store.release("a", token)
    assert await store.acquire("a", 60) is not None


async def test_a_lock_expires_and_its_old_token_releases_nothing(backing: Backing) -> None:
    store = backing.store()
    token = await store.acquire("a", 0.05)
    backing.clock.now += 0.05
    assert token is not None
    second = await eventually_answered(lambda: store.acquire("a", 60), "the lock has expired")
    assert not await store.release("a", token)
    assert await store.release("a", str(second))


async def test_of_many_who_want_a_lock_at_once_one_has_it(shared: Backing) -> None:
    stores = [shared.store(), shared.store()]
    tokens = await asyncio.gather(*(stores[each % 2].acquire("a", 60) for each in range(50)))
    (token,) = [each for each in tokens if each is not None]
    assert [await each.release("a", token) for each in stores] == [True, False]


# ---------------------------------------------------------------- several processes


_OTHER = """
import asyncio, sys
from proxy.store.opening import open_store
from proxy.options.store import parse_store_url
from proxy.options.throttle import Throttle

async def work():
    store = open_store(parse_store_url(sys.argv[1]))
    taken = await asyncio.gather(*(store.take("a", Throttle(50, 1_000_000)) for _ in range(100)))
    await asyncio.gather(*(store.put(f"{sys.argv[2]}:{each}", b"x", 60) for each in range(300)))
    await store.close()
    print(sum(taken), store.available)

asyncio.run(work())
"""


@pytest.mark.parametrize("shared", SHARED[:2], indirect=True)
async def test_processes_share_entries_and_buckets(shared: Backing) -> None:
    shared.clock.now = 0.0  # entries of the others expire by the time of day
    others = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _OTHER,
            shared.place,
            name,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for name in ("one", "two")
    ]
    printed = [(await each.communicate())[0].decode().split() for each in others]
    assert (sum(int(taken) for taken, _ in printed), {available for _, available in printed}) == (50, {"True"})
    store = shared.store()
    assert [await store.count(name) for name in ("one:", "two:", "")] == [300, 300, 600]


# ---------------------------------------------------------------- where a store is


@pytest.mark.parametrize(
    ("text", "url", "shown"),
    [
        ("memory", StoreUrl(), "memory"),
        ("sqlite:///var/cache/r.db", StoreUrl("sqlite", "/var/cache/r.db"), "sqlite:///var/cache/r.db"),
        ("sqlite:////var/cache/r.db", StoreUrl("sqlite", "/var/cache/r.db"), "sqlite:///var/cache/r.db"),
        ("redis://one", StoreUrl("redis", host="one"), "redis://one:6379/0"),
        ("redis://[::1]:7000/12", StoreUrl("redis", host="::1", port=7000, database=12), "redis://[::1]:7000/12"),
        (
            "redis://ann:p%40ss@one/",
            StoreUrl("redis", host="one", user="ann", password="p@ss"),
            "redis://ann:***@one:6379/0",
        ),
        ("redis://:secret@one", StoreUrl("redis", host="one", password="secret"), "redis://:***@one:6379/0"),
        (
            "rediss://one/0?authorities=/etc/ca.pem",
            StoreUrl("rediss", host="one", authorities="/etc/ca.pem"),
            "rediss://one:6379/0?authorities=/etc/ca.pem",
        ),
        (
            "unix://:secret@/run/redis.sock?db=2",
            StoreUrl("unix", "/run/redis.sock", password="secret", database=2),
            "unix://:***@/run/redis.sock?db=2",
        ),
    ],
)
def test_a_store_is_named_by_its_url_and_its_password_is_never_shown(text: str, url: StoreUrl, shown: str) -> None:
    assert (parse_store_url(text), str(url)) == (url, shown)
    assert url.password not in repr(url) or not url.password


@pytest.mark.parametrize(
    "text",
    [
        "",
        "disk",
        "sqlite://relative.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///a.db?mode=ro",
        "sqlite://:secret@/a.db",
        "redis://",
        "redis://one:0",
        "redis://one:70000",
        "redis://one:port",
        "redis://one/first",
        "redis://one/0?socket_timeout=1",
        "redis://one/0?authorities=/ca.pem",
        "redis://one/0#x",
        "redis://[one/0",
        "unix://host/run/redis.sock",
        "http://one/",
    ],
)
def test_what_names_no_store_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - its text goes nowhere: the diagnostic is the reader's
        parse_store_url(text)


class Kept(Options):
    cache_store: StoreValue = option(MEMORY, doc="Where state is kept.")


@pytest.mark.parametrize("written", ["memory", "sqlite:///var/r.db", '"redis://one:6379/0"'])
def test_an_option_takes_a_store(tmp_path: Path, written: str) -> None:
    path = tmp_path / "ecelerity.conf"
    path.write_text(f"Cache_Store = {written}\n")
    loaded = load(path, Schema(core=Kept))
    assert (loaded.diagnostics, loaded.settings and loaded.settings.core) == (
        (),
        Kept(cache_store=parse_store_url(written.strip('"'))),
    )


def test_what_is_no_store_is_a_diagnostic_that_shows_no_password(tmp_path: Path) -> None:
    path = tmp_path / "ecelerity.conf"
    path.write_text('Cache_Store = "postgres://ann:s3cret@one/db"\n')
    (found,) = load(path, Schema(core=Kept)).diagnostics
    assert (found.message, found.hint) == (
        "`postgres://ann:***@one/db` is not a store",
        "write memory, sqlite:///absolute/path.db, redis://host:6379/0, rediss://host:6379/0 or unix:///path/socket",
    )


@REAL_REDIS
async def test_redis_is_reached_by_tls_and_password_and_only_with_the_right_authority(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    files = (f"--tls-{each}-file" for each in ("cert", "key"))
    options = [part for each in files for part in (each, str(tmp_path / "server.pem"))]
    with RedisServer(*options, "--tls-auth-clients", "no", "--requirepass", "s3cret", tls=True) as server:
        right = RedisStore(parse_store_url(f"rediss://:s3cret@{server.address}/0?authorities={tmp_path}/ca.pem"))
        no_login = RedisStore(parse_store_url(f"rediss://{server.address}/0?authorities={tmp_path}/ca.pem"))
        wrong = RedisStore(parse_store_url(f"rediss://:s3cret@{server.address}/0?authorities={tmp_path}/other.pem"))
        try:
            await right.put("a", b"1", 60)
            with pytest.raises(StoreUnavailable, match="Authentication required"):
                await no_login.get("a")
            with pytest.raises(StoreUnavailable, match="certificate verify failed"):
                await wrong.get("a")
        finally:
            for each in (right, no_login, wrong):
                await each.close()


async def test_memory_needs_nothing_to_fall_back_on() -> None:
    assert isinstance(open_store(parse_store_url("memory")), MemoryStore)


# ---------------------------------------------------------------- a clock that is set


@pytest.mark.parametrize("jump", [-86400.0, 86400.0], ids=["back", "forward"])
async def test_memory_goes_by_no_time_of_day(jump: float) -> None:
    wall, ticking = Clock(), Clock()
    store = MemoryStore(wall, ticking=ticking)
    token = await store.acquire("lock", 60)
    await store.put("entry", b"x", 60)
    assert await store.take("bucket", Throttle(1, 60))
    wall.now += jump
    ticking.now += 59
    assert await store.get("entry") == Stored(b"x", wall.now + 1)
    assert await store.acquire("lock", 60) is None
    assert not await store.take("bucket", Throttle(1, 60))
    ticking.now += 1
    assert await store.get("entry") is None
    assert await store.acquire("lock", 60) not in {None, token}
    assert await store.take("bucket", Throttle(1, 60))


async def test_a_lock_from_before_the_clock_was_set_back_is_none(tmp_path: Path) -> None:
    clock = Clock()
    store = SqliteStore(tmp_path / "state.db", clock)
    try:
        await store.acquire("a", 30)
        clock.now -= 300
        assert await store.acquire("a", 30) is None
        clock.now -= 86400
        assert await store.acquire("a", 30) is not None
        assert await store.acquire("a", 30) is None
    finally:
        await store.close()


async def test_a_bucket_from_before_the_clock_was_set_back_fills_by_the_new_time(tmp_path: Path) -> None:
    clock = Clock()
    store = SqliteStore(tmp_path / "state.db", clock)
    try:
        assert await store.take("a", Throttle(1, 60))
        clock.now -= 86400
        assert not await store.take("a", Throttle(1, 60))
        clock.now += 60
        assert await store.take("a", Throttle(1, 60))
    finally:
        await store.close()


# ---------------------------------------------------------------- shares of a budget


async def test_a_networks_share_of_a_budget_holds_for_all_who_share_the_store(backing: Backing) -> None:
    limits = Budgets(Throttle(8, 86400), Throttle(8, 86400), Throttle(8, 86400), NO_THROTTLE, share=25)
    stores = [backing.store()] * 2 if backing.kind == "memory" else [backing.store(), backing.store()]
    workers = [Neighbour(limits, each) for each in stores]
    asked = [await workers[n % 2].may_ask(f"192.0.2.{n}", "a.test") for n in range(6)]
    assert asked == [None, None, *["client_throttled"] * 4]
    connected = [await workers[n % 2].may_connect("198.51.100.7", 1, f"2001:db8:1:{n:x}::/64") for n in range(4)]
    assert connected == [None, None, *["client_throttled"] * 2]
    await workers[0].give_back("198.51.100.7", 1, "2001:db8:1::/64")
    others = [await workers[n % 2].may_ask(f"203.0.{n}.7", "a.test") for n in range(7)]
    assert others == [*[None] * 6, "throttled"]


async def test_those_who_ask_at_once_keep_the_share_together(backing: Backing) -> None:
    limits = Budgets(Throttle(40, 86400), NO_THROTTLE, NO_THROTTLE, NO_THROTTLE, share=25)
    stores = [backing.store()] * 2 if backing.kind == "memory" else [backing.store(), backing.store()]
    workers = [Neighbour(limits, each) for each in stores]
    found = await asyncio.gather(*(workers[n % 2].may_ask(f"192.0.2.{n}", "a.test") for n in range(60)))
    assert found.count(None) == 10
    assert set(found) == {None, "client_throttled"}
