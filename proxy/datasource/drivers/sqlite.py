"""SQLite files, each connection in a thread of its own.

Queries of `ds_fetch` cannot change the file: they open it for reading. A query that takes too long is interrupted.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar
from urllib.parse import quote

from proxy.datasource.driver import Connect
from proxy.datasource.errors import QueryFailed, ServerLost
from proxy.datasource.parameters import Dialect, Parameters, bound
from proxy.datasource.rows import Gathering, Rows
from proxy.options.datasources import DatasourceOptions

BUSY_SECONDS = 5.0
"""How long to wait for another process that writes: less than the query's deadline."""

_AT_ONCE = 500

T = TypeVar("T")


def connecting(fields: Mapping[str, str], options: DatasourceOptions) -> Connect:
    """Return what opens the file."""

    async def connect() -> _File:
        return _File(fields["path"], options)

    return connect


class _File:
    """A file, open for reading, for writing, or both, as it was needed. Only its thread uses the handles."""

    def __init__(self, path: str, options: DatasourceOptions) -> None:
        self._path, self._options = path, options
        self._thread = ThreadPoolExecutor(1, "datasource-sqlite")
        self._open: dict[str, sqlite3.Connection] = {}
        self.is_usable = True

    async def fetch(self, query: str, parameters: Parameters, most: int) -> Rows:
        text, values = bound(query, parameters, Dialect.SQLITE)
        return await self._in_thread(lambda: self._fetched(text, values, most))

    async def execute(self, query: str, parameters: Parameters) -> None:
        text, values = bound(query, parameters, Dialect.SQLITE)
        await self._in_thread(lambda: self._executed(text, values))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except _CannotOpen as error:
            raise ServerLost(str(error)) from None
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            raise QueryFailed(str(error)) from None

    def _fetched(self, text: str, values: list[str], most: int) -> Rows:
        with closing(self._handle("ro").execute(text, values)) as cursor:
            gathering = Gathering([each[0] for each in cursor.description or ()], most, self._options.assume_charset)
            while gathering.wanted > 0:
                part = cursor.fetchmany(min(_AT_ONCE, gathering.wanted))
                for row in part:
                    gathering.add(row)
                if not part:
                    break
        return gathering.rows

    def _executed(self, text: str, values: list[str]) -> None:
        handle = self._handle("rw")
        try:
            handle.execute(text, values).close()
            handle.commit()
        except BaseException:
            handle.rollback()
            raise

    def _handle(self, mode: str) -> sqlite3.Connection:
        if mode not in self._open:
            uri = f"file:{quote(self._path)}?mode={mode}"
            try:
                handle = sqlite3.connect(uri, timeout=BUSY_SECONDS, uri=True, check_same_thread=False)
                handle.execute("SELECT 1 FROM sqlite_master LIMIT 1").close()  # opens the file
            except sqlite3.Error as error:
                raise _CannotOpen(f"{self._path}: {error}") from None
            handle.text_factory = bytes  # text that is not UTF-8 is text of `assume_charset`
            self._open[mode] = handle
        return self._open[mode]

    async def abort(self) -> None:
        """Interrupt the query. Its thread ends with it."""
        for handle in self._open.values():
            handle.interrupt()
        await self.close()

    async def close(self) -> None:
        self.is_usable = False
        closing_all = asyncio.get_running_loop().run_in_executor(self._thread, self._close_all)
        self._thread.shutdown(wait=False)
        await closing_all

    def _close_all(self) -> None:
        for handle in self._open.values():
            handle.close()
        self._open.clear()


class _CannotOpen(Exception):
    """The file does not exist, or is not a database."""
