"""MySQL and MariaDB, by aiomysql. Results are read row by row, and as the text that the server sends.

The protocol of prepared statements is not in aiomysql: it writes parameters into the query, as escaped and quoted text
in the connection's character set. A query that takes too long is killed over a second connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiomysql
import pymysql
from pymysql.converters import encoders

from proxy.datasource.driver import Connect
from proxy.datasource.drivers.tls import context_for
from proxy.datasource.errors import QueryFailed, ServerLost
from proxy.datasource.parameters import Dialect, Parameters, bound
from proxy.datasource.rows import Gathering, Rows
from proxy.options.datasources import DatasourceOptions

_AT_ONCE = 200
_GONE = frozenset({1040, 1044, 1045, 1049, 1053, 1129, 1130, 1152, 1153, 1159, 1161, 1203, 1927, *range(2000, 2062)})
"""Errors about the connection and not about the query."""


def connecting(fields: Mapping[str, str], options: DatasourceOptions) -> Connect:
    """Return what connects."""
    known: dict[str, Any] = {
        "host": fields.get("host", "localhost"),
        "port": int(fields.get("port", "3306")),
        "unix_socket": fields.get("socket"),
        "user": fields.get("user", ""),
        "password": fields.get("password", ""),
        "db": fields.get("dbname"),
        "ssl": context_for(fields),
        "charset": "utf8mb4",
        "autocommit": True,
        "conv": encoders,  # and no decoders: values stay text
        "program_name": "ringback",
        "local_infile": False,
    }

    async def connect() -> _Connection:
        return _Connection(await _opened(known), known, options)

    return connect


async def _opened(known: Mapping[str, Any]) -> Any:
    try:
        return await aiomysql.connect(**known)
    except (pymysql.err.Error, OSError, EOFError) as error:
        raise ServerLost(_text(error)) from None


class _Connection:
    """One connection."""

    def __init__(self, connection: Any, known: Mapping[str, Any], options: DatasourceOptions) -> None:
        self._connection, self._known, self._options = connection, known, options
        self._number = connection.thread_id()
        self._left_open = False

    @property
    def is_usable(self) -> bool:
        transport = getattr(self._connection, "_writer", None)
        return not self._left_open and transport is not None and not transport.transport.is_closing()

    async def fetch(self, query: str, parameters: Parameters, most: int) -> Rows:
        text, values = bound(query, parameters, Dialect.MYSQL)
        cursor = await self._connection.cursor(aiomysql.SSCursor)
        try:
            await cursor.execute(text, tuple(values))
            columns = [each[0] for each in cursor.description or ()]
            gathering = Gathering(columns, most, self._options.assume_charset)
            while gathering.wanted > 0 and columns:
                part = await cursor.fetchmany(min(_AT_ONCE, gathering.wanted))
                await gathering.take(part)
                if not part:
                    break
            else:
                self._left_open = bool(columns)  # closing the cursor would read the rest, however long it is
        except (pymysql.err.Error, OSError, EOFError, RuntimeError) as error:
            raise _meaning(error) from None
        if not self._left_open:
            await cursor.close()
        return gathering.rows

    async def execute(self, query: str, parameters: Parameters) -> None:
        text, values = bound(query, parameters, Dialect.MYSQL)
        cursor = await self._connection.cursor(aiomysql.SSCursor)
        try:
            await cursor.execute(text, tuple(values))
            if cursor.description:
                self._left_open = True
            else:
                await cursor.close()
        except (pymysql.err.Error, OSError, EOFError, RuntimeError) as error:
            raise _meaning(error) from None

    async def abort(self) -> None:
        """Kill the query over a second connection, and close."""
        self._connection.close()
        other = await _opened(self._known)
        try:
            async with other.cursor() as cursor:
                await cursor.execute(f"KILL {int(self._number)}")
        except pymysql.err.Error:
            pass  # it has ended
        finally:
            other.close()

    async def close(self) -> None:
        self._connection.close()


def _meaning(error: Exception) -> QueryFailed | ServerLost:
    number = error.args[0] if error.args else None
    is_query = isinstance(error, pymysql.err.MySQLError) and number not in _GONE
    is_query = is_query and not isinstance(error, pymysql.err.InterfaceError)
    return QueryFailed(_text(error)) if is_query else ServerLost(_text(error))


def _text(error: Exception) -> str:
    return str(error.args[-1]) if error.args else type(error).__name__
