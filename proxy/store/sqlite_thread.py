"""One SQLite connection, and the thread that owns it: SQLite blocks, and the event loop must not."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

Parameters = Sequence[object] | Mapping[str, object]
Row = tuple[Any, ...]
Change = tuple[str, Parameters]
"""A statement and its parameters."""


class SqliteThread:
    """A connection with its own thread. Requests run in order, even if their caller is cancelled."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="sqlite")
        self._connection: sqlite3.Connection | None = None  # only the thread uses it

    async def open(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """Connect, in the thread.

        Raises:
            Exception: whatever `connect` raises.
        """
        await asyncio.get_running_loop().run_in_executor(self._executor, self._open, connect)

    async def rows(self, statement: str, parameters: Parameters) -> list[Row]:
        """Execute one statement and return its rows.

        Raises:
            sqlite3.Error: it failed.
            RuntimeError: the connection was closed meanwhile.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._fetch, statement, parameters)

    async def changes(self, changes: Sequence[Change]) -> list[list[Row] | sqlite3.Error]:
        """Execute statements in one transaction; return the rows of each, or its own error.

        Raises:
            sqlite3.Error: the transaction failed, and nothing was changed.
            RuntimeError: the connection was closed meanwhile.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._change, changes)

    def let_go(self) -> Future[None]:
        """Close after all earlier requests, without waiting; later requests are refused."""
        closed = self._executor.submit(self._close)
        self._executor.shutdown(wait=False)
        return closed

    async def close(self, seconds: float) -> None:
        """Close, and wait up to `seconds`: a disk may hang."""
        with suppress(TimeoutError, RuntimeError, sqlite3.Error):  # RuntimeError: it is closed already
            async with asyncio.timeout(seconds):
                await asyncio.wrap_future(self.let_go())

    def _open(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connection = connect()

    def _fetch(self, statement: str, parameters: Parameters) -> list[Row]:
        if self._connection is None:
            raise sqlite3.ProgrammingError("not open")
        return self._connection.execute(statement, parameters).fetchall()

    def _change(self, changes: Sequence[Change]) -> list[list[Row] | sqlite3.Error]:
        self._fetch("BEGIN IMMEDIATE", ())
        try:
            done = [self._attempted(change) for change in changes]
            self._fetch("COMMIT", ())
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite has already ended a transaction that failed badly
                self._fetch("ROLLBACK", ())
            raise
        return done

    def _attempted(self, change: Change) -> list[Row] | sqlite3.Error:
        try:
            return self._fetch(*change)
        except sqlite3.Error as error:
            return error

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
