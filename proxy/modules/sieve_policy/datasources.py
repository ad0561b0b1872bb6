"""Datasources as scripts see them: a failure is a result with an error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from proxy.datasource.errors import DatasourceError, UnknownDatasource
from proxy.datasource.parameters import Parameters
from proxy.datasource.rows import Rows
from proxy.datasource.sources import Datasources
from sieve.run.patience import Soon, settled
from sieve.run.values import ScriptError
from sieve.shared import Found


class ScriptDatasources:
    """The datasources of a worker."""

    __slots__ = ("_sources",)

    def __init__(self, sources: Datasources) -> None:
        """Ask these."""
        self._sources = sources

    def kept(self, name: str, query: str, parameters: Parameters) -> Found | None:
        """Return what a query found before, without asking. Raises ScriptError if there is no such datasource."""
        try:
            rows = self._sources.kept(name, query, parameters)
        except UnknownDatasource as unknown:
            raise ScriptError(str(unknown)) from None
        return None if rows is None else Found(rows.columns, rows.rows)

    def fetch(self, name: str, query: str, parameters: Parameters) -> Found | Awaitable[Found]:
        """Return what a query finds."""
        try:
            rows = self._sources.soon(name, query, parameters)
        except UnknownDatasource as unknown:
            raise ScriptError(str(unknown)) from None
        except DatasourceError as error:
            return self._failed(name, error)
        return Found(rows.columns, rows.rows) if isinstance(rows, Rows) else self._awaited(name, rows)

    async def _awaited(self, name: str, rows: Soon[Rows]) -> Found:
        try:
            found = await settled(rows)
        except DatasourceError as error:
            return self._failed(name, error)
        return Found(found.columns, found.rows)

    async def execute(self, name: str, query: str, parameters: Parameters) -> Found:
        """Change something."""
        try:
            await self._sources.execute(name, query, parameters)
        except UnknownDatasource as unknown:
            raise ScriptError(str(unknown)) from None
        except DatasourceError as error:
            return self._failed(name, error)
        return Found()

    def _failed(self, name: str, error: DatasourceError) -> Found:
        """Return the error as the datasource's dialect says it."""
        return Found(error="true" if self._sources.flags(name) else str(error))


Note = Callable[..., None]


class RecordedDatasources:
    """The same, and each answer is noted."""

    __slots__ = ("_note", "_sources")

    def __init__(self, sources: ScriptDatasources, note: Note) -> None:
        """Note each answer with `note`."""
        self._sources, self._note = sources, note

    def fetch(self, name: str, query: str, parameters: Parameters) -> Found | Awaitable[Found]:
        """Return what a query finds."""
        found = self._sources.fetch(name, query, parameters)
        return (
            self._noted(name, query, parameters, found)
            if isinstance(found, Found)
            else self._awaited(name, query, parameters, found)
        )

    async def _awaited(self, name: str, query: str, parameters: Parameters, found: Awaitable[Found]) -> Found:
        return self._noted(name, query, parameters, await found)

    async def execute(self, name: str, query: str, parameters: Parameters) -> Found:
        """Change something."""
        return self._noted(name, query, parameters, await self._sources.execute(name, query, parameters))

    def _noted(self, name: str, query: str, parameters: Parameters, found: Found) -> Found:
        given = parameters.values() if isinstance(parameters, Mapping) else parameters or ()
        cells = [" ".join([cell] if isinstance(cell, str) else cell) for row in found.rows for cell in row]
        self._note("datasource", name, query, *given, found.error or "SUCCESS", *found.columns, *cells[:50])
        return found
