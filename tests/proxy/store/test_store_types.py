"""A Redis that answers with another type than was asked for: memory serves, and nothing raises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.options.store import parse_store_url
from proxy.options.throttle import Throttle
from proxy.store.base import StoreUnavailable
from proxy.store.fallback import FallingBack
from proxy.store.memory import MemoryStore
from proxy.store.redis import RedisStore
from tests.support.servers import RedisServer

ANSWERS = {
    "simple_string": b"+OK\r\n",
    "text": b"$5\r\nhello\r\n",
    "short_text": b"$1\r\nx\r\n",
    "number": b":7\r\n",
    "nothing": b"$-1\r\n",
    "no_list": b"*-1\r\n",
    "empty_list": b"*0\r\n",
    "list": b"*2\r\n:1\r\n:2\r\n",
    "nested": b"*2\r\n$1\r\n0\r\n*1\r\n*1\r\n:1\r\n",
    "wrong_type": b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
    "moved": b"-MOVED 3999 127.0.0.1:6381\r\n",
    "no_number": b":abc\r\n",
    "no_length": b"$x\r\n",
    "no_protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "not_utf_8": b"-\xff\xfe\r\n",
    "very_deep": b"*1\r\n" * 5000 + b":1\r\n",
}


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """Serve what takes every command for one that has this answer, but those that begin a connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readline():
                words = []
                for _ in range(int(head[1:])):
                    length = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(length + 2))[:-2])
                writer.write(b"+OK\r\n" if words[0].upper() in {b"CLIENT", b"SELECT"} else answer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
async def test_nothing_raises_whatever_redis_answers(answer: bytes) -> None:
    async with answering(answer) as port:
        real = RedisStore(parse_store_url(f"redis://127.0.0.1:{port}"))
        store = FallingBack(real, MemoryStore(), name="redis")
        try:
            await store.get("a")
            await store.put("a", b"value", 60)
            await store.delete("a")
            await store.take("a", Throttle(5, 60))
            token = await store.acquire("a", 60)
            await store.release("a", token or "")
        finally:
            await store.close()


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
async def test_who_asks_for_all_entries_hears_that_the_store_cannot_be_asked(answer: bytes) -> None:
    async with answering(answer) as port:
        store = RedisStore(parse_store_url(f"redis://127.0.0.1:{port}"))
        try:
            for ask in (store.count, store.purge, store.scan):
                with pytest.raises(StoreUnavailable):
                    await ask("")
        finally:
            await store.close()


async def test_a_list_in_an_answer_of_octets_is_an_outage_and_memory_serves() -> None:
    async with answering(ANSWERS["list"]) as port:
        store = FallingBack(RedisStore(parse_store_url(f"redis://127.0.0.1:{port}")), MemoryStore(), name="redis")
        try:
            await store.put("a", b"value", 60)
            assert not store.available
            found = await store.get("a")
            assert found is not None
            assert found.value == b"value"
        finally:
            await store.close()


@pytest.mark.real("redis-server")
async def test_a_key_of_another_type_is_an_outage_of_that_question_alone() -> None:
    with RedisServer() as server:
        real = RedisStore(parse_store_url(f"redis://127.0.0.1:{server.port}"))
        await real._client.execute_command("LPUSH", b"ringback:entry:a", b"x")
        await real.put("b", b"value", 60)
        try:
            with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
                await real.get("a")
            with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
                await real._commands.ask(("HGET", b"ringback:entry:a", b"x"))
            found = await real.get("b")
            assert found is not None
            assert found.value == b"value"
        finally:
            await real.close()
