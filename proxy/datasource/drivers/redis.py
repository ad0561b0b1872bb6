"""Redis and Valkey. A query is a command: words, with quotes around words that have blanks.

    ds_fetch "r" "HMGET $user quota route" $parameters

Words are separated before parameters are put into them, so a parameter never becomes a second word. A hash is one row
whose columns are its fields; MGET and HMGET give one row; any other list gives a row for each element.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis.asyncio import Connection as RedisConnection
from redis.asyncio import SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from proxy.datasource.driver import Connect
from proxy.datasource.errors import QueryFailed, ServerLost, bad_command, bad_words, too_large
from proxy.datasource.parameters import Filling, Parameters
from proxy.datasource.rows import Gathering, Rows, text_of
from proxy.options.datasources import DatasourceOptions

LARGEST_REPLY = 16 << 20
"""Octets of a reply. Redis sends all of a list, however few rows are wanted."""

PARTS_TOGETHER = 200
"""Lines and strings of a reply that are read in one turn of the loop, about a millisecond. Lists may be long."""

_FORBIDDEN = frozenset(
    {
        *("ASKING", "AUTH", "CLIENT", "DISCARD", "EXEC", "HELLO", "MONITOR", "MULTI", "PSUBSCRIBE", "PSYNC"),
        *("PUNSUBSCRIBE", "QUIT", "READONLY", "READWRITE", "RESET", "SELECT", "SHUTDOWN", "SSUBSCRIBE", "SUBSCRIBE"),
        *("SUNSUBSCRIBE", "SYNC", "UNSUBSCRIBE", "UNWATCH", "WATCH"),
    }
)
_HASHES = frozenset({"HGETALL"})
_ONE_ROW = frozenset({"MGET", "HMGET"})


def connecting(fields: Mapping[str, str], options: DatasourceOptions) -> Connect:
    """Return what connects."""
    known: dict[str, Any] = {
        "db": int(fields.get("db", "0")),
        "username": fields.get("user"),
        "password": fields.get("password"),
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "client_name": None,
        "socket_timeout": None,  # the stanza's `timeout` holds; the library's own is shorter
        "socket_connect_timeout": None,
        "driver_info": None,
    }
    kind: Any = RedisConnection
    if "socket" in fields:
        kind = UnixDomainSocketConnection
        known["path"] = fields["socket"]
    else:
        known |= {"host": fields.get("host", "localhost"), "port": int(fields.get("port", "6379"))}
        if "tls" in fields:
            kind = SSLConnection
            known["ssl_ca_certs"] = fields.get("sslrootcert")

    async def connect() -> _Connection:
        connection: Any = kind(**known)
        try:
            await connection.connect()
        except (RedisError, OSError) as error:
            raise ServerLost(str(error)) from None
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return _Connection(connection, options)

    return connect


class _Connection:
    """One connection."""

    def __init__(self, connection: Any, options: DatasourceOptions) -> None:
        self._connection, self._options = connection, options
        self.is_usable = True
        self._bounded = _Bounded(connection)

    async def fetch(self, query: str, parameters: Parameters, most: int) -> Rows:
        words = _words(query, parameters)
        return await _rows(words, await self._answer(words), most, self._options.assume_charset)

    async def execute(self, query: str, parameters: Parameters) -> None:
        await self._answer(_words(query, parameters))

    async def _answer(self, words: Sequence[bytes]) -> Any:
        self.is_usable = False  # until the whole reply is read
        self._bounded.begin()
        try:
            await self._connection.send_command(*words, check_health=False)
            answer = await self._connection.read_response()
        except ResponseError as error:
            self.is_usable = True
            raise QueryFailed(str(error)) from None
        except (RedisError, OSError, ValueError, RecursionError) as error:
            raise ServerLost(str(error) or type(error).__name__) from None
        self.is_usable = True
        return answer

    async def close(self) -> None:
        self.is_usable = False
        await self._connection.disconnect(nowait=True)

    abort = close


class _Bounded:
    """Counts the octets of each reply, between the socket and the parser, and gives other sessions their turn."""

    def __init__(self, connection: Any) -> None:
        parser = connection._parser  # noqa: SLF001 - the library has no limit of its own
        self._stream = parser._stream  # noqa: SLF001 - as above
        self._left = LARGEST_REPLY
        self._parts = 0
        parser._stream = self  # noqa: SLF001 - as above

    def begin(self) -> None:
        self._left = LARGEST_REPLY

    def _counted(self, octets: bytes) -> bytes:
        self._left -= len(octets)
        if self._left < 0:
            raise too_large(LARGEST_REPLY)
        return octets

    async def _turn(self) -> None:
        """Let others have their turn: what is in the buffer already is read without a wait."""
        self._parts += 1
        if not self._parts % PARTS_TOGETHER:
            await asyncio.sleep(0)

    async def readline(self) -> bytes:
        await self._turn()
        return self._counted(await self._stream.readline())

    async def readexactly(self, count: int) -> bytes:
        if count > self._left:
            raise too_large(LARGEST_REPLY)
        await self._turn()
        return self._counted(await self._stream.readexactly(count))

    async def read(self, count: int) -> bytes:
        return self._counted(await self._stream.read(count))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _words(query: str, parameters: Parameters) -> list[bytes]:
    """Return the words of a command, with its parameters in them.

    Raises:
        QueryFailed: it is not a command, or a parameter is missing.
    """
    try:
        words = shlex.split(query)
    except ValueError:
        raise bad_words(query) from None
    if not words:
        raise bad_words(query)
    if words[0].upper() in _FORBIDDEN or "$" in words[0] or "?" in words[0]:
        raise bad_command(words[0].upper())
    filling = Filling(parameters, marks=True)
    filled = [filling.filled(word, str) for word in words]
    filling.check()
    return [word.encode("utf-8", "surrogateescape") for word in filled]


async def _rows(words: Sequence[bytes], answer: Any, most: int, charset: str) -> Rows:
    name = words[0].decode("utf-8", "replace").upper()
    if name in _HASHES and isinstance(answer, list):
        columns = [text_of(each, charset) for each in answer[::2]]
        return await _gathered(columns, [answer[1::2]] if answer else [], most, charset)
    if name in _ONE_ROW and isinstance(answer, list):
        columns = [text_of(each, charset) for each in words[-len(answer) :]]
        return await _gathered(columns, [answer], most, charset)
    if isinstance(answer, list):
        return await _gathered(["value"], ((each,) for each in answer), most, charset)
    return await _gathered(["value"], [] if answer is None else [[answer]], most, charset)


async def _gathered(columns: Sequence[str], rows: Iterable[Sequence[Any]], most: int, charset: str) -> Rows:
    gathering = Gathering(columns, most, charset)
    await gathering.take(rows)
    return gathering.rows
