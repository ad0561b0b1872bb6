"""One URI of a source: its connections, its breaker, and how one query is tried there."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any

from proxy.base.log import get_logger, printable
from proxy.base.tasks import TaskOwner, spawn
from proxy.datasource.breaker import Breaker
from proxy.datasource.driver import Connect, Connection
from proxy.datasource.errors import (
    DatasourceError,
    OutcomeUnknown,
    QueryFailed,
    ServerLost,
    failing,
    no_place,
    too_late,
)
from proxy.datasource.parameters import Parameters
from proxy.datasource.rows import NOTHING, Rows
from proxy.options.datasource_uris import SourceUri

log = get_logger()

IDLE_SECONDS = 60.0
"""How long an unused connection stays open."""

CLOSING_SECONDS = 3.0
"""Longest time to end a query at the server, or to say good-bye."""

_SMALL = {"ldap": "ldap:///??base", "redis": "PING"}
"""Queries that any server of a kind answers; the others know SQL."""

LONGEST_REASON = 300
"""Characters of a server's error text that are passed on."""


class Server:
    """Connections to one server. The event loop's thread owns its state."""

    def __init__(self, source: str, uri: SourceUri, connect: Connect, connections: int) -> None:
        """`connect` opens connections to the server of `uri`, at most `connections` at a time."""
        self._source, self.shown, self._connect = source, str(uri), connect
        self._driver, self._hidden = uri.driver, uri.secrets
        self._places = asyncio.Semaphore(connections)
        self._idle: list[tuple[float, Connection]] = []
        self._ending = TaskOwner(f"datasource {source}")
        self._sweep: asyncio.TimerHandle | None = None
        self.breaker = Breaker()

    async def ask(self, query: str, parameters: Parameters, most: int | None, seconds: float) -> Rows:
        """Return a result; `most` is None for a change.

        Raises:
            QueryFailed: the server refuses the query.
            ServerLost: it cannot be reached.
            DatasourceError: no result within `seconds`.
        """
        if not self.breaker.admits(seconds):
            raise failing(self.breaker.reason)
        waited = True
        try:
            async with asyncio.timeout(seconds), self._places:
                waited = False
                rows = await self._tried(query, parameters, most)
        except TimeoutError:
            if waited:  # which is no evidence about the server
                raise no_place(seconds) from None
            late = too_late(seconds)
            self._failed(str(late))
            raise late from None
        except ServerLost as lost:
            plain = type(lost)(self._plain(str(lost)))
            self._failed(str(plain))
            raise plain from None
        except QueryFailed as refused:
            self._worked()
            raise QueryFailed(self._plain(str(refused))) from None
        self._worked()
        return rows

    def fault(self, fault: Exception) -> DatasourceError:
        """Return an error that the driver did not foresee, without the secrets that its text may have."""
        return DatasourceError(self._plain(f"a fault of the driver: {type(fault).__name__}: {fault}"))

    async def problem(self, seconds: float) -> str:
        """Return why the server does not answer; empty if it does. Logs nothing, and closes the connection."""
        connection = None
        try:
            async with asyncio.timeout(seconds):
                connection = await self._connect()
                await connection.fetch(_SMALL.get(self._driver, "SELECT 1"), None, 1)
        except TimeoutError:
            return f"no answer within {seconds:g} seconds"
        except QueryFailed:
            return ""  # it has answered
        except DatasourceError as error:
            return self._plain(str(error))
        except Exception as fault:  # noqa: BLE001 - it must not end `check`
            return str(self.fault(fault))
        finally:
            if connection is not None:
                await _bounded(connection.abort())
        return ""

    async def _tried(self, query: str, parameters: Parameters, most: int | None) -> Rows:
        """Ask on an idle connection, and again on a new one if the idle one has been closed."""
        kept = self._take()
        if kept is not None:
            try:
                return await self._on(kept, query, parameters, most)
            except OutcomeUnknown:
                raise
            except ServerLost:
                pass
        return await self._on(await self._connect(), query, parameters, most)

    async def _on(self, connection: Connection, query: str, parameters: Parameters, most: int | None) -> Rows:
        try:
            if most is None:
                await connection.execute(query, parameters)
                rows = NOTHING
            else:
                rows = await connection.fetch(query, parameters, most)
        except QueryFailed:
            self._give_back(connection)
            raise
        except BaseException as error:
            self._end(connection.abort())
            if most is None and isinstance(error, ServerLost):
                raise OutcomeUnknown(str(error)) from None
            raise
        self._give_back(connection)
        return rows

    # ------------------------------------------------------------ connections

    def _take(self) -> Connection | None:
        while self._idle:
            since, connection = self._idle.pop()
            if connection.is_usable and time.monotonic() - since < IDLE_SECONDS:
                return connection
            self._end(connection.close())
        return None

    def _give_back(self, connection: Connection) -> None:
        if not connection.is_usable:
            self._end(connection.close())
            return
        self._idle.append((time.monotonic(), connection))
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._close_idle)

    def _close_idle(self) -> None:
        self._sweep = None
        now = time.monotonic()
        old = [connection for since, connection in self._idle if now - since >= IDLE_SECONDS]
        self._idle = [each for each in self._idle if now - each[0] < IDLE_SECONDS]
        for connection in old:
            self._end(connection.close())
        if self._idle:
            self._sweep = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._close_idle)

    def _end(self, ending: Coroutine[Any, Any, None]) -> None:
        spawn(_bounded(ending), name=f"end a connection of {self._source}", owner=self._ending)

    async def close(self) -> None:
        """Close every connection."""
        if self._sweep is not None:
            self._sweep.cancel()
        for _, connection in self._idle:
            self._end(connection.close())
        self._idle.clear()
        await self._ending.wait(CLOSING_SECONDS)
        await self._ending.cancel()

    # ------------------------------------------------------------ reports

    def _plain(self, reason: str) -> str:
        """Return a text in one line, without passwords."""
        for secret in self._hidden:
            reason = reason.replace(secret, "***")
        return printable(" ".join(reason.split()), LONGEST_REASON)

    def _failed(self, reason: str) -> None:
        if self.breaker.failed(reason):
            log.error("datasource_down", datasource=self._source, server=self.shown, reason=reason)

    def _worked(self) -> None:
        if self.breaker.worked():
            log.info("datasource_up", datasource=self._source, server=self.shown)


async def _bounded(ending: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(TimeoutError, DatasourceError, OSError):
        async with asyncio.timeout(CLOSING_SECONDS):
            await ending
