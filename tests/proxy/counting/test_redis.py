"""Redis: rights, eviction, strangers' keys, and machines that die."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from proxy.counting.base import answered
from proxy.counting.local import Meanwhile
from proxy.counting.operations import Add, Gauge, Greylist, Hold, Lease, Places, Put, Return, Show, Sum, Take, Window
from proxy.counting.redis import RedisCounting
from proxy.counting.sharing import SharedCounting
from proxy.options.store import parse_store_url
from proxy.store.base import StoreUnavailable
from tests.support.servers import RedisServer
from tests.support.waiting import eventually, eventually_answered

pytestmark = pytest.mark.real("redis-server")

ONE = bytes((192, 0, 2, 1))


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


async def test_a_user_of_the_acl_needs_only_the_rights_that_the_page_names(server: RedisServer) -> None:
    admin = Redis(unix_socket_path=server.socket)
    rights = ["+@read", "+@write", "+@scripting", "+@connection", "+info", "+time"]
    await admin.execute_command("ACL", "SETUSER", "ringback", "on", ">secret", "~mx-example:*", *rights)
    await admin.aclose()
    machine = RedisCounting(parse_store_url(f"redis://ringback:secret@{server.address}/1"), "mx-example", "m")
    try:
        counted = await machine.perform(Window("t", b"k", 2, 60.0, 1))
        assert counted is not None
        assert counted.total == 1
        await machine.perform(Gauge("c", b"k", 1, 10))
        await machine.perform(Add("s", 300, 6, ONE))
        assert await machine.perform(Sum("s", 300, 6, ONE, 24)) == 1
        await machine.perform(Put("v", b"k", b"v", 60.0))
        assert (await machine.perform(Take("r", b"k", 2, 60))).allowed
        assert (await machine.perform(Lease([(b"p", 1)], "w"))).full == -1
        assert not (await machine.perform(Greylist("g", b"k", 60.0, 100.0, 1000.0))).passes
        assert [each.key for each in await machine.perform(Show("window", "t"))] == [b"k"]
        assert await machine.inspect() == ""
    finally:
        await machine.close()
    stranger = RedisCounting(parse_store_url(f"redis://ringback:secret@{server.address}/1"), "other-site", "m")
    with pytest.raises(StoreUnavailable):
        await stranger.perform(Window("t", b"k", 2, 60.0, 1))
    await stranger.close()


async def test_a_server_that_may_forget_keys_is_a_warning() -> None:
    with RedisServer("--maxmemory-policy", "allkeys-lru") as server:
        with capture_logs() as logged:
            counting = SharedCounting(
                RedisCounting(parse_store_url(f"redis://{server.address}/0"), "s"), Meanwhile(name="r", defers=False)
            )
            await counting.start()
            await eventually(lambda: logged, "the policy was looked at")
            await counting.close()
        assert [(each["event"], each["policy"]) for each in logged] == [("counting_store_evicts", "allkeys-lru")]


async def test_a_key_of_another_program_is_a_failure_of_the_store_and_not_of_a_session(server: RedisServer) -> None:
    url = parse_store_url(f"unix://{server.socket}")
    shared = RedisCounting(url, "s", "m")
    admin = Redis(unix_socket_path=server.socket)
    await admin.set(b"s:count:w:1:t:k", b"a string")
    await admin.aclose()
    with pytest.raises(StoreUnavailable):
        await shared.perform(Window("t", b"k", 2, 60.0, 1))
    counting = SharedCounting(shared, Meanwhile(name="r", defers=False))
    counted = await answered(counting, Window("t", b"k", 2, 60.0, 1))
    assert counted is not None
    assert counted.total == 1
    await counting.close()


@pytest.mark.parametrize(
    "refusal",
    [
        "-WRONGTYPE Operation against a key holding the wrong kind of value",
        "-MOVED 3999 192.0.2.1:6381",
        "-LOADING Redis is loading the dataset in memory",
        "-READONLY You can't write against a read only replica.",
        "-OOM command not allowed when used memory > 'maxmemory'.",
        "-NOSCRIPT No matching script.",
        "-NOAUTH Authentication required.",
        "-BUSY Redis is busy running a script.",
        "+OK",
        "$-1",
        "*1\r\n*1\r\n:1",
    ],
)
async def test_whatever_the_server_says_no_session_fails_and_this_machine_counts(refusal: str) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line[:1] == b"*":
                writer.write(refusal.encode() + b"\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as refusing:
        port = refusing.sockets[0].getsockname()[1]
        shared = RedisCounting(parse_store_url(f"redis://127.0.0.1:{port}/0"), "s", "m")
        counting = SharedCounting(shared, Meanwhile(name="r", defers=False))
        with capture_logs() as logged:
            allowed = [await answered(counting, Take("r", b"k", 2, 60)) for _ in range(3)]
            assert [each.allowed for each in allowed] == [True, True, False]
            assert [(await answered(counting, Lease([(b"c", 1)]))).full for _ in range(2)] == [-1, 0]
            counting.tell(Return([b"c"]))
            assert await answered(counting, Places(b"c")) == 0
        assert [each["event"] for each in logged] == ["counting_alone"]
        await counting.close()


async def test_a_server_that_has_forgotten_its_scripts_gets_them_again(server: RedisServer) -> None:
    counting = RedisCounting(parse_store_url(f"unix://{server.socket}"), "scripts", "m")
    admin = Redis(unix_socket_path=server.socket)
    totals = []
    for _ in range(3):
        await admin.script_flush()
        counted = await asyncio.gather(*[counting.perform(Window("t", b"k", 9, 60.0, 1)) for _ in range(2)])
        totals += [each.total for each in counted if each is not None]
    assert totals == [1, 2, 3, 4, 5, 6]
    await admin.aclose()
    await counting.close()


async def test_a_dead_machines_places_are_free_when_it_has_not_said_that_it_lives(server: RedisServer) -> None:
    url = parse_store_url(f"unix://{server.socket}")
    here, there = RedisCounting(url, "leases", "one"), RedisCounting(url, "leases", "two")
    await here.perform(Lease([(b"p", 2)], "w"))
    await there.perform(Lease([(b"p", 2)], "w"))
    assert (await there.perform(Lease([(b"p", 2)], "w"))).full == 0
    admin = Redis(unix_socket_path=server.socket)
    await admin.delete(b"leases:count:lo:one/w")  # as after five seconds
    await admin.aclose()
    assert await there.perform(Places(b"p")) == 1
    assert (await there.perform(Lease([(b"p", 2)], "w"))).full == -1
    assert await here.perform(Hold("w")) is False  # so it tells its places again
    assert await here.perform(Hold("w", [(b"p", 1)])) is True
    assert await there.perform(Places(b"p")) == 3
    await here.close()
    await there.close()


async def test_places_that_were_leased_or_returned_while_redis_was_down_are_told_when_it_is_back() -> None:
    with RedisServer() as server:
        counting = SharedCounting(
            RedisCounting(parse_store_url(f"redis://{server.address}/0"), "s", "m"),
            Meanwhile(name="r", defers=False),
            clock=lambda: now,
        )
        now = 0.0
        await answered(counting, Lease([(b"a", 0)], "w"))
        server.kill()
        await answered(counting, Lease([(b"b", 0)], "w"))
        assert await answered(counting, Places(b"b")) == 1
        server.start()
        now = 6.0
        await answered(counting, Window("t", b"k", 2, 60.0, 1))
        other = RedisCounting(parse_store_url(f"redis://{server.address}/0"), "s", "other")

        async def told() -> bool:
            return [await other.perform(Places(each)) for each in (b"a", b"b")] == [1, 1]

        await eventually_answered(told, "Redis knows the places")
        await other.close()
        await counting.close()
