"""The backings of counting, for tests: memory, a file, workers and their keeper, and machines that share a Redis.

Time is the test's: memory gets a clock, and Redis's scripts read it from a key instead of asking the server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from redis.asyncio import Redis

from proxy.counting import lua
from proxy.counting import redis as redis_room
from proxy.counting.base import Counting
from proxy.counting.file import FiledCounting
from proxy.counting.local import Meanwhile
from proxy.counting.memory import MemoryCounting
from proxy.counting.redis import RedisCounting
from proxy.counting.sharing import SharedCounting
from proxy.keeper import counting as keeper_room
from proxy.keeper.counting import KeptCounting
from proxy.keeper.door import Door
from proxy.keeper.messages import Hello
from proxy.keeper.service import KeeperService
from proxy.options.schemes import SCHEMES
from proxy.options.store import parse_store_url
from proxy.store import redis as store_room
from tests.support.servers import RedisServer

KINDS = ["memory", "sqlite", "keeper", pytest.param("redis", marks=pytest.mark.real("redis-server"))]

NOW = b"test:now"


class Clock:
    """A clock that stands still."""

    def __init__(self, now: float = 0.0) -> None:
        """Begin at a time."""
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Backing:
    """One truth, and processes that count in it."""

    def __init__(self, kind: str, clock: Clock, server: RedisServer | None, folder: Path) -> None:
        """Use `process` to get the countings."""
        self.kind, self.clock, self._server = kind, clock, server
        self.for_machines = kind in {each.kind for each in SCHEMES.values() if each.for_machines}
        self._memory = FiledCounting(folder / "counting.db", clock) if kind == "sqlite" else MemoryCounting(clock)
        self._door = Door()
        self._keeper: KeeperService | None = None
        self._made: list[Counting] = []
        self._redis = Redis(unix_socket_path=server.socket) if server is not None else None

    async def at(self, now: float) -> None:
        """Set the time."""
        self.clock.now = now
        if self._redis is not None:
            await self._redis.set(NOW, f"{now:.17g}")

    async def process(self) -> Counting:
        """Return the counting of one more process; with memory, and its file, there is only one."""
        made: Counting = self._memory
        if isinstance(self._memory, FiledCounting) and not self._made:
            await self._memory.start()
        if self.kind == "keeper":
            if self._keeper is None:
                self._keeper = KeeperService(None, [self._door.inside], 1, self._memory)
                self._keeper.open()
            hello = Hello(1, len(self._made) + 1, counts=True)
            made = KeptCounting(self._door.outside, hello, Meanwhile(name="keeper", defers=False))
        elif self._server is not None:
            url = parse_store_url(f"unix://{self._server.socket}")
            shared = RedisCounting(url, "test", f"machine {len(self._made)}")
            made = SharedCounting(shared, Meanwhile(name="redis", defers=False, counting=MemoryCounting(self.clock)))
        self._made.append(made)
        return made

    async def close(self) -> None:
        """Close everything."""
        for each in self._made:
            await each.close()
        if self._keeper is not None:
            await self._keeper.leave()
        self._door.close()
        if self._redis is not None:
            await self._redis.aclose()


@asynccontextmanager
async def counting_on(kind: str, monkeypatch: pytest.MonkeyPatch, server: RedisServer | None) -> AsyncIterator[Backing]:
    """Yield a backing; `server` is needed for redis. It has time: the machine may be busy."""
    monkeypatch.setattr(keeper_room, "DEADLINE_SECONDS", 60.0)
    for room in (redis_room, store_room):
        monkeypatch.setattr(room, "CONNECT_SECONDS", 60.0)
        monkeypatch.setattr(room, "SECONDS", 60.0)
    if server is not None:
        clock = f"{{redis.call('GET', '{NOW.decode()}'), 0}}"
        scripts: dict[type[Any], tuple[str, Callable[[Any], Any]]] = {
            operation: (script.replace("redis.call('TIME')", clock), arguments)
            for operation, (script, arguments) in redis_room._SCRIPTS.items()
        }
        monkeypatch.setattr(redis_room, "_SCRIPTS", scripts)
        monkeypatch.setattr(redis_room, "TAKE", redis_room.TAKE.replace("redis.call('TIME')", clock))
        monkeypatch.setattr(lua, "FORGET", lua.FORGET.replace("redis.call('TIME')", clock))
        client = Redis(unix_socket_path=server.socket)
        await client.flushall()
        await client.aclose()
    with TemporaryDirectory() as folder:
        backing = Backing(kind, Clock(), server, Path(folder))
        await backing.at(0.0)
        try:
            yield backing
        finally:
            await backing.close()
