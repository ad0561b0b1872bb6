"""PostgreSQL, by asyncpg. Parameters and results travel as text, so that the server converts them as psql would.

A result comes through a cursor, so that only the wanted rows are sent. A query that takes too long is cancelled by
PostgreSQL's cancel request, which asyncpg sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg

from proxy.datasource.driver import Connect
from proxy.datasource.drivers.tls import context_for
from proxy.datasource.errors import QueryFailed, ServerLost
from proxy.datasource.parameters import Dialect, Parameters, bound
from proxy.datasource.rows import Gathering, Rows
from proxy.options.datasources import DatasourceOptions

_AT_ONCE = 500
_TEXT = frozenset({"text", "varchar", "bpchar", "name", "unknown"})
"""Types that asyncpg hands over as text by itself."""

_BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    OSError,
    EOFError,
)


def connecting(fields: Mapping[str, str], options: DatasourceOptions) -> Connect:
    """Return what connects."""
    known: dict[str, Any] = {
        "host": fields.get("hostaddr") or fields.get("host") or None,
        "port": int(fields["port"]) if "port" in fields else None,
        "database": fields.get("dbname"),
        "user": fields.get("user"),
        "password": fields.get("password"),
        "server_settings": {"application_name": fields.get("application_name", "ringback")},
        "ssl": context_for(fields) or ("prefer" if fields.get("sslmode", "prefer") == "prefer" else False),
    }

    async def connect() -> _Connection:
        try:
            return _Connection(await asyncpg.connect(**known, timeout=None), options)
        except (asyncpg.PostgresError, *_BROKEN, ValueError) as error:
            raise ServerLost(str(error) or type(error).__name__) from None

    return connect


class _Connection:
    """One connection."""

    def __init__(self, connection: Any, options: DatasourceOptions) -> None:
        self._connection, self._options = connection, options
        self._as_text: set[int] = set()

    @property
    def is_usable(self) -> bool:
        return not self._connection.is_closed()

    async def fetch(self, query: str, parameters: Parameters, most: int) -> Rows:
        text, values = bound(query, parameters, Dialect.PGSQL)
        try:
            return await self._fetched(text, values, most)
        except _BROKEN as error:
            raise self._lost(error) from None
        except (asyncpg.PostgresError, ValueError) as error:
            raise QueryFailed(str(error)) from None

    async def _fetched(self, text: str, values: list[str], most: int) -> Rows:
        statement = await self._prepared(text)
        gathering = Gathering([each.name for each in statement.get_attributes()], most, self._options.assume_charset)
        async with self._connection.transaction():
            cursor = await statement.cursor(*values)
            while gathering.wanted > 0:
                part = await cursor.fetch(min(_AT_ONCE, gathering.wanted))
                await gathering.take([row.values() for row in part])
                if not part:
                    break
        return gathering.rows

    async def execute(self, query: str, parameters: Parameters) -> None:
        text, values = bound(query, parameters, Dialect.PGSQL)
        try:
            statement = await self._prepared(text)
            await statement.fetchrow(*values)
        except _BROKEN as error:
            raise self._lost(error) from None
        except (asyncpg.PostgresError, ValueError) as error:
            raise QueryFailed(str(error)) from None

    async def _prepared(self, text: str) -> Any:
        """Prepare a statement whose parameters and columns are text; types that are new here need one more turn."""
        statement = await self._connection.prepare(text)
        kinds = [*statement.get_parameters(), *(each.type for each in statement.get_attributes())]
        new = {
            each.oid: each
            for each in kinds
            if each.kind == "scalar" and each.name not in _TEXT and each.oid not in self._as_text
        }
        for kind in new.values():
            self._as_text.add(kind.oid)
            await self._connection.set_type_codec(
                kind.name, schema=kind.schema, encoder=str, decoder=str, format="text"
            )
        return await self._connection.prepare(text) if new else statement

    def _lost(self, error: Exception) -> ServerLost | QueryFailed:
        """An interface error may be about the query alone, such as a wrong number of parameters."""
        if isinstance(error, asyncpg.InterfaceError) and not self._connection.is_closed():
            return QueryFailed(str(error))
        return ServerLost(str(error) or type(error).__name__)

    async def abort(self) -> None:
        """End. asyncpg has sent a cancel request if a query was running; `close` waits for it."""
        try:
            await self._connection.close()
        except (asyncpg.PostgresError, *_BROKEN):
            pass
        finally:
            self._connection.terminate()

    close = abort
