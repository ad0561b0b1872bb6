"""Counting of several machines in Redis or Valkey, by the server's clock. Each operation is one Lua script (`lua`).

Keys begin with the site's name. `sharing` counts while Redis is down.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

from redis.exceptions import RedisError

from proxy.counting import lua
from proxy.counting import operations as ops
from proxy.counting.operations import Operation, Shown
from proxy.options.store import StoreUrl
from proxy.options.throttle import Throttle
from proxy.store.base import StoreUnavailable
from proxy.store.batches import Batches
from proxy.store.redis import CONNECT_SECONDS, SECONDS, TAKE, Command, client_of, literally, sent

A = TypeVar("A")

Arguments = tuple[str | bytes | int | float, ...]

_SCANNED_TOGETHER = 1000

_OF_PLACES = (ops.Lease, ops.Return, ops.Hold)

_SCRIPTS: dict[type[Operation[Any]], tuple[str, Callable[[Any], Arguments]]] = {
    ops.Window: (
        lua.WINDOW,
        lambda each: (_room(each.room), each.key, each.count, each.seconds, each.most, each.change, int(each.within)),
    ),
    ops.Reserve: (
        lua.RESERVE,
        lambda each: (_room(each.room), each.key, each.count, each.seconds, each.most, each.patience),
    ),
    ops.Gauge: (lua.GAUGE, lambda each: (_room(each.room), each.key, each.change, each.most, each.lives)),
    ops.Add: (lua.ADD, lambda each: (each.series, each.interval, each.number, each.address, each.amount)),
    ops.Sum: (
        lua.SUM,
        lambda each: (
            *(each.series, each.interval, each.number, each.address),
            *(each.mask, each.first, each.last, int(each.smooth)),
        ),
    ),
    ops.Lease: (lua.LEASE, lambda each: (each.owner, *(part for place in each.places for part in place))),
    ops.Return: (lua.RETURN, lambda each: (each.owner, *each.keys)),
    ops.Hold: (
        lua.HOLD,
        lambda each: (each.owner, int(each.held is not None), *(part for place in each.held or () for part in place)),
    ),
    ops.Places: (lua.PLACES, lambda each: ("", each.key)),
    ops.Greylist: (
        lua.GREYLIST,
        lambda each: (
            *(_room(each.room), each.key, each.delay, each.window),
            *(each.life, each.client, each.enough, int(each.look)),
        ),
    ),
    ops.Delivered: (lua.DELIVERED, lambda each: (_room(each.room), each.client, each.change, each.life)),
}
"""Each operation's script, and its arguments after the prefix."""


class RedisCounting:
    """Sends operations to Redis. It connects when it is first used, in the event loop of that call."""

    def __init__(self, url: StoreUrl, site: str, machine: str = "") -> None:
        """`site` begins all keys; `machine` begins the names of this machine's owners of places."""
        self._prefix = f"{site}:count:".encode()
        self._machine = machine
        self._client = client_of(url)
        self._commands: Batches[Command, Any] = Batches(
            lambda commands: sent(self._client, commands), name="redis counting", seconds=CONNECT_SECONDS + SECONDS
        )

    def submit(self, operation: Operation[Any]) -> asyncio.Future[Any]:
        """Queue an operation now.

        Raises:
            StoreUnavailable: too many wait. The future raises it, too.
        """
        return self._commands.submit(self._command(operation))

    def read(self, operation: Operation[A], reply: Any) -> A:
        """Return the answer that a reply means.

        Raises:
            StoreUnavailable: another program has written there.
        """
        try:
            return cast(A, _READERS[type(operation)](reply))
        except (TypeError, ValueError, IndexError) as error:
            reason = f"unexpected answer to {type(operation).__name__}: {type(reply).__name__}"
            raise StoreUnavailable(reason) from error

    async def perform(self, operation: Operation[A]) -> A:
        """Perform an operation.

        Raises:
            StoreUnavailable: Redis does not answer, or not as expected.
        """
        if isinstance(operation, ops.Show | ops.Forget):
            return await self.search(cast(Operation[A], operation))
        return self.read(operation, await self.submit(operation))

    async def inspect(self) -> str:
        """Return the policy by which Redis forgets keys when its memory is full; empty if it does not.

        Raises:
            StoreUnavailable: it does not answer, or does not say.
        """
        found = await self._commands.ask(("INFO", "memory"))
        for line in found.decode("ascii", "replace").splitlines() if isinstance(found, bytes) else ():
            name, _, value = line.partition(":")
            if name == "maxmemory_policy" and value != "noeviction":
                return value
        return ""

    async def close(self) -> None:
        """Close the connections."""
        await self._commands.close()
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(SECONDS):
                await self._client.aclose()

    # ------------------------------------------------------------ commands

    def _command(self, operation: Operation[Any]) -> Command:
        prefix = self._prefix
        known = _SCRIPTS.get(operation.__class__)
        if known is not None:
            script, arguments = known
            given = arguments(operation)
            if isinstance(operation, _OF_PLACES):
                given = (f"{self._machine}/{operation.owner}", *given[1:])
            return ("EVAL", script, 0, prefix, *given)
        if isinstance(operation, ops.Get):
            return ("GET", prefix + b"v:" + _room(operation.room) + b":" + operation.key)
        if isinstance(operation, ops.Put):
            key = prefix + b"v:" + _room(operation.room) + b":" + operation.key
            lives = ("PX", max(1, round(operation.lives * 1000))) if operation.lives else ()
            return ("SET", key, operation.value, *lives)
        taken = cast(ops.Take, operation)
        throttle = Throttle(taken.count, taken.seconds)
        key = prefix + b"b:" + _room(taken.room) + f":{throttle}:".encode() + taken.key
        return ("EVAL", TAKE, 1, key, taken.count, taken.seconds, taken.tokens)

    # ------------------------------------------------------------ for operators

    async def search(self, operation: Operation[A]) -> A:
        """Show or forget entries. This reads all keys.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        wanted = cast(ops.Show | ops.Forget, operation)
        if wanted.kind == "series":
            return cast(A, await self._forget_of_series(wanted))
        found = await (self._gauges(wanted) if wanted.kind == "gauge" else self._found(wanted))
        if isinstance(wanted, ops.Show):
            return cast(A, [shown for _, shown in found][: wanted.most])
        gone = [remove for remove, shown in found if not wanted.exact or shown.key == wanted.prefix]
        for remove in gone:
            await self._commands.ask(remove)
        return cast(A, len(gone))

    async def _forget_of_series(self, wanted: ops.Show | ops.Forget) -> int:
        """Take away what an address has in each window."""
        series, _, monitor = wanted.room.rpartition("\0")
        interval, _, number = monitor.partition(",")
        command = ("EVAL", lua.FORGET, 0, self._prefix, series, int(interval), int(number), wanted.prefix)
        return int(await self._commands.ask(command))

    async def _gauges(self, wanted: ops.Show | ops.Forget) -> list[tuple[Command, Shown]]:
        """Return the entries of one cache, each with the command that removes it."""
        key = self._prefix + b"g:" + _room(wanted.room)
        raw = await self._commands.ask(("HGETALL", key))
        pairs = list(zip(raw[::2], raw[1::2], strict=True)) if isinstance(raw, list) else []
        return [
            (("HDEL", key, name), Shown(name, (float(value),)))
            for name, value in pairs
            if name.startswith(wanted.prefix)
        ]

    async def _found(self, wanted: ops.Show | ops.Forget) -> list[tuple[Command, Shown]]:
        start = self._prefix + _KINDS.get(wanted.kind, b"v:")
        start += b"" if wanted.kind == "lease" else _room(wanted.room) + b":"
        found: list[tuple[Command, Shown]] = []
        async for key in self._keys(start):
            shown = await self._shown(wanted, key, key.removeprefix(start))
            if shown is not None and shown.key.startswith(wanted.prefix):
                found.append((("DEL", key), shown))
                if isinstance(wanted, ops.Show) and len(found) >= wanted.most:
                    break
        return found

    async def _keys(self, start: bytes) -> AsyncIterator[bytes]:
        cursor, seen = 0, set[bytes]()
        while True:
            page = await self._commands.ask(
                ("SCAN", cursor, "MATCH", literally(start) + b"*", "COUNT", _SCANNED_TOGETHER)
            )
            cursor = int(page[0])
            for key in page[1]:
                if key not in seen:
                    seen.add(key)
                    yield key
            if not cursor:
                return

    async def _shown(self, wanted: ops.Show | ops.Forget, key: bytes, name: bytes) -> Shown | None:
        match wanted.kind:
            case "window":
                counted = await self.perform(ops.Window(wanted.room, name))
                return None if counted is None else Shown(name, (counted.total, counted.count))
            case "lease":
                leased: int = await self.perform(ops.Places(name))
                return Shown(name, (leased,))
            case "bucket":
                throttle, _, rest = name.partition(b":")
                count, _, seconds = throttle.partition(b"/")
                taken = await self.perform(ops.Take(wanted.room, rest, int(count), int(seconds), 0))
                return Shown(rest, (taken.left, float(count), float(seconds)))
            case "greylist":
                numbers = await self._commands.ask(("HMGET", key, "first", "last", "passed"))
                return Shown(name, [*map(float, numbers), await self._expires(key)]) if all(numbers) else None
            case "client":
                messages = await self._commands.ask(("GET", key))
                return Shown(name, (float(messages), await self._expires(key))) if messages else None
            case _:
                return Shown(name, (await self._expires(key),))

    async def _expires(self, key: bytes) -> float:
        """Return when a key ends, by the server's clock; 0: never."""
        left, clock = await self._commands.ask(("PTTL", key)), await self._commands.ask(("TIME",))
        return float(clock[0]) + left / 1000 if left >= 0 else 0.0


_KINDS = {"window": b"w:", "lease": b"l:", "bucket": b"b:", "greylist": b"y:", "client": b"yc:", "value": b"v:"}
"""What begins the keys of each kind."""


def _room(name: str) -> bytes:
    """Return a room's part of a key. Its length comes first, so that no name and key together look like others."""
    octets = name.encode()
    return b"%d:" % len(octets) + octets


def _counted(reply: Any) -> ops.Counted | None:
    if reply is None:
        return None
    allowed, total, wait, count, at = _several(reply)
    return ops.Counted(bool(allowed), int(total), float(wait), int(count), float(at))


def _taken(reply: Any) -> ops.Taken:
    allowed, left = _several(reply)
    return ops.Taken(bool(allowed), float(left))


def _leased(reply: Any) -> ops.Leased:
    full, totals = _several(reply)
    return ops.Leased(int(full), [int(each) for each in _several(totals)])


def _seen(reply: Any) -> ops.Seen:
    passes, wait, first, last, passed, client = _several(reply)
    return ops.Seen(bool(passes), float(wait), float(first), float(last), int(passed), int(client))


def _several(reply: Any) -> list[Any]:
    """Return a reply that is a list. Raises TypeError for others: octets, too, could be unpacked, into numbers."""
    if not isinstance(reply, list):
        raise TypeError
    return reply


def _nothing(_reply: Any) -> None:
    return None


_READERS: dict[type[Operation[Any]], Callable[[Any], Any]] = {
    ops.Window: _counted,
    ops.Reserve: _counted,
    ops.Gauge: lambda reply: None if reply is None else int(reply),
    ops.Add: _nothing,
    ops.Sum: int,
    ops.Put: _nothing,
    ops.Get: lambda reply: reply,
    ops.Take: _taken,
    ops.Lease: _leased,
    ops.Return: _nothing,
    ops.Hold: lambda reply: bool(int(reply)),
    ops.Places: int,
    ops.Greylist: _seen,
    ops.Delivered: int,
}
"""What makes the answer of Redis's reply."""
