"""The store for several machines: Redis or Valkey. Atomic operations are one command, or one Lua script.

Entries carry their expiry in front of their value, so one GET returns both; Redis removes them by itself. Buckets use
the server's clock, since the clocks of two machines differ.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from hashlib import sha1
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import NoScriptError, RedisError

from proxy.options.store import StoreUrl
from proxy.options.throttle import Throttle
from proxy.store.base import MOST_SCANNED, Stored, StoreUnavailable, Taking, Untouched, decoded, encoded
from proxy.store.batches import Batches

SECONDS = 0.25
"""Time limit for the reply to a batch of commands."""

CONNECT_SECONDS = 0.5
"""Time limit for a connection, including TLS and login."""

_ENTRY, _BUCKET, _LOCK = b"ringback:entry:", b"ringback:bucket:", b"ringback:lock:"
_EXPIRY = struct.Struct("!d")
_SCANNED_TOGETHER = 1000

TAKE = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local count, seconds, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(kept[1]) or count
local waited = math.max(0, now - (tonumber(kept[2]) or now))
tokens = math.min(count, tokens + waited * count / seconds)
local allowed = tokens >= wanted
if allowed then tokens = tokens - wanted end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.17g', tokens), 'at', string.format('%.17g', now))
redis.call('PEXPIRE', KEYS[1], seconds * 1000)
return {allowed and 1 or 0, string.format('%.17g', tokens)}
"""
"""Takes tokens from a bucket; the reply is whether it had them, and how many it has."""

_RELEASE = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"

T = TypeVar("T")

Command = tuple[bytes | str | int | float, ...]


class RedisStore:
    """Entries, buckets and locks in Redis. It connects when it is first used, in the event loop of that call."""

    def __init__(self, url: StoreUrl, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives the time of day, for the expiry of entries."""
        self._clock = clock
        self.untouched = Untouched()
        self._client = client_of(url)
        self._commands: Batches[Command, Any] = Batches(
            self._send, name="redis commands", seconds=CONNECT_SECONDS + SECONDS
        )

    # ------------------------------------------------------------ entries

    async def get(self, key: str) -> Stored | None:
        """Return an entry that has not expired."""
        return self._unpacked(await self._ask(("GET", _ENTRY + encoded(key)), _octets))

    async def get_all(self, keys: Sequence[str]) -> list[Stored | None]:
        """Return several entries."""
        packed = await self._ask(("MGET", *[_ENTRY + encoded(key) for key in keys]), partial(_several, len(keys)))
        return [self._unpacked(each) for each in packed]

    async def put(self, key: str, value: bytes, lives: float) -> None:
        """Store an entry for `lives` seconds."""
        packed = _EXPIRY.pack(self._clock() + lives) + value
        await self._ask(("SET", _ENTRY + encoded(key), packed, "PX", _milliseconds(lives)), _was_set)

    async def delete(self, key: str) -> None:
        """Remove an entry."""
        await self._ask(("DEL", _ENTRY + encoded(key)), _whole)

    async def purge(self, prefix: str = "") -> int:
        """Remove the entries whose keys begin with `prefix`; entries added meanwhile may stay."""
        removed = 0
        async for keys in self._keys(prefix):
            removed += await self._ask(("UNLINK", *keys), _whole)
        return removed

    async def count(self, prefix: str = "") -> int:
        """Return the number of entries whose keys begin with `prefix`. This scans the whole database."""
        found: set[bytes] = set()  # SCAN may return a key twice
        async for keys in self._keys(prefix):
            found.update(keys)
        return len(found)

    async def scan(self, prefix: str = "", most: int = MOST_SCANNED) -> list[tuple[str, Stored]]:
        """Return entries whose keys begin with `prefix`."""
        entries: dict[str, Stored] = {}
        async for keys in self._keys(prefix):
            for key, packed in zip(keys, await self._ask(("MGET", *keys), partial(_several, len(keys))), strict=True):
                stored = self._unpacked(packed)
                if stored is not None and len(entries) < most:
                    entries[decoded(key.removeprefix(_ENTRY))] = stored
            if len(entries) >= most:
                break
        return list(entries.items())

    async def _keys(self, prefix: str) -> AsyncIterator[list[bytes]]:
        pattern = _ENTRY + literally(encoded(prefix)) + b"*"
        cursor = 0
        while True:
            cursor, keys = await self._ask(("SCAN", cursor, "MATCH", pattern, "COUNT", _SCANNED_TOGETHER), _page)
            if keys:
                yield keys
            if not cursor:
                return

    def _unpacked(self, packed: bytes | None) -> Stored | None:
        if packed is None or len(packed) < _EXPIRY.size:
            return None
        (expires_at,) = _EXPIRY.unpack_from(packed)
        return Stored(packed[_EXPIRY.size :], expires_at) if expires_at > self._clock() else None

    # ------------------------------------------------------------ buckets and locks

    async def take(self, key: str, throttle: Throttle, tokens: int = 1) -> bool:
        """Take tokens from a bucket shared by all machines."""
        if not throttle.count or tokens > throttle.count:
            return not throttle.count
        bucket = _BUCKET + encoded(f"{throttle}:{key}")
        command = ("EVAL", TAKE, 1, bucket, throttle.count, throttle.seconds, tokens)
        return bool(await self._ask(command, _first_of_two))

    async def take_each(self, takings: Sequence[Taking]) -> list[bool]:
        """Take tokens from several buckets, one after the other."""
        return [await self.take(*each) for each in takings]

    async def acquire(self, key: str, seconds: float) -> str | None:
        """Lock a key for all machines."""
        token = secrets.token_hex(8)
        lock = ("SET", _LOCK + encoded(key), token, "NX", "PX", _milliseconds(seconds))
        return token if await self._ask(lock, _was_set) else None

    async def release(self, key: str, token: str) -> bool:
        """Unlock a key."""
        return bool(await self._ask(("EVAL", _RELEASE, 1, _LOCK + encoded(key), token), _whole))

    async def close(self) -> None:
        await self._commands.close()
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(SECONDS):
                await self._client.aclose()

    async def _ask(self, command: Command, read: Callable[[Any], T]) -> T:
        """Return the reply to a command, converted by `read`.

        Raises:
            StoreUnavailable: Redis refuses, as with WRONGTYPE, or the type is wrong: another program wrote there.
        """
        answer = await self._commands.ask(command)
        try:
            return read(answer)
        except (TypeError, ValueError) as error:
            reason = f"unexpected answer to {command[0]!s}: {type(answer).__name__}"
            raise StoreUnavailable(reason) from error

    async def _send(self, commands: list[Command]) -> list[Any]:
        return await sent(self._client, commands)


async def sent(client: Redis, commands: list[Command]) -> list[Any]:
    """Send a batch and return the replies; one refused command does not affect the others.

    Scripts go by their digest. Those that the server does not know, as after its restart, go once more as a whole.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    answers = await _executed(client, [_by_digest(command) for command in commands])
    unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
    if unknown:
        for at, answer in zip(unknown, await _executed(client, [commands[at] for at in unknown]), strict=True):
            answers[at] = answer
    return [StoreUnavailable(str(answer)) if isinstance(answer, RedisError) else answer for answer in answers]


async def _executed(client: Redis, commands: list[Command]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    try:
        found: list[Any] = await pipeline.execute(raise_on_error=False)
    except (RedisError, OSError, ValueError, RecursionError) as error:  # the latter two: it does not speak RESP
        raise StoreUnavailable(str(error) or type(error).__name__) from error
    return found


def _by_digest(command: Command) -> Command:
    return ("EVALSHA", _digest(command[1]), *command[2:]) if command[0] == "EVAL" else command


@lru_cache(maxsize=100)
def _digest(script: object) -> str:
    return sha1(str(script).encode(), usedforsecurity=False).hexdigest()


def client_of(url: StoreUrl) -> Redis:
    """Return a client that retries once, immediately, if an idle connection turns out to be lost."""
    place: dict[str, Any] = {"host": url.host, "port": url.port}
    if url.scheme == "unix":
        place = {"unix_socket_path": url.path}
    elif url.scheme == "rediss":
        place |= {"ssl": True, "ssl_ca_certs": url.authorities or None}
    client = Redis(
        **place,
        db=url.database,
        username=url.user or None,
        password=url.password or None,
        socket_timeout=SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionLost,)),
        protocol=2,  # servers before Redis 6 speak it too
    )
    # We check the replies ourselves: these callbacks would fail a whole batch for one reply of the wrong type.
    client.response_callbacks.clear()
    return client


def _octets(answer: Any) -> bytes | None:
    if answer is not None and not isinstance(answer, bytes):
        raise TypeError
    return answer


def _several(count: int, answer: Any) -> list[bytes | None]:
    if not isinstance(answer, list) or len(answer) != count:
        raise TypeError
    return [_octets(each) for each in answer]


def _first_of_two(answer: Any) -> int:
    first, _ = answer
    return _whole(first)


def _whole(answer: Any) -> int:
    if not isinstance(answer, int):
        raise TypeError
    return answer


def _was_set(answer: Any) -> bool:
    """Parse the reply to SET: OK, or nil if NX found the key."""
    if answer not in {None, b"OK"}:
        raise ValueError
    return answer is not None


def _page(answer: Any) -> tuple[int, list[bytes]]:
    """Parse the reply to SCAN: the next cursor, and keys."""
    cursor, keys = answer
    if not isinstance(keys, list) or not all(isinstance(each, bytes) for each in keys):
        raise TypeError
    return int(cursor), keys


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def literally(prefix: bytes) -> bytes:
    """Return a pattern that matches exactly these bytes."""
    return b"".join(b"\\" + bytes((each,)) if each in b"*?[]\\^-" else bytes((each,)) for each in prefix)
