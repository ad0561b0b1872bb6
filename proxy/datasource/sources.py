"""All datasources of a process, by name. Nothing is connected before the first query."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec

from proxy.base.tasks import TaskOwner, spawn
from proxy.datasource.driver import Connect
from proxy.datasource.errors import PACKAGES, DatasourceError, UnknownDatasource, driver_missing, not_here, unknown
from proxy.datasource.parameters import Parameters
from proxy.datasource.rows import Rows
from proxy.datasource.server import CLOSING_SECONDS, Server
from proxy.datasource.source import Source
from proxy.options.datasource_uris import SourceUri
from proxy.options.datasources import DatasourceOptions
from sieve.run.patience import Soon, settled

_DRIVERS = "proxy.datasource.drivers"

__all__ = ["DatasourceError", "Datasources", "Rows", "UnknownDatasource", "missing_package"]


class Datasources:
    """The sources of one process. Each is made at its first query, on the running event loop."""

    def __init__(self, options: Sequence[DatasourceOptions] = ()) -> None:
        """Take the stanzas."""
        self._options = _by_name(options)
        self._made: dict[str, Source] = {}
        self._closing = TaskOwner("datasources")

    async def rows(
        self, cache: str, query: str, parameters: Parameters = None, *, most: int | None = None, fresh: bool = False
    ) -> Rows:
        """Return what a query finds: at most `most` rows, all if it is -1, as the stanza says if it is None.

        `fresh`: neither use nor keep a result.

        Raises:
            UnknownDatasource: there is no such datasource.
            DatasourceError: it cannot answer, or not in time.
        """
        return await settled(self.soon(cache, query, parameters, most=most, fresh=fresh))

    def soon(
        self, cache: str, query: str, parameters: Parameters = None, *, most: int | None = None, fresh: bool = False
    ) -> Soon[Rows]:
        """Do the same, but return a result that is at hand without a coroutine."""
        source = self._made.get(cache) or self._source(cache)
        return source.rows(query, parameters, most, fresh=fresh)

    def kept(self, cache: str, query: str, parameters: Parameters = None) -> Rows | None:
        """Return a result that is kept, without asking. Raises UnknownDatasource."""
        return (self._made.get(cache) or self._source(cache)).kept(query, parameters)

    async def execute(self, cache: str, query: str, parameters: Parameters = None) -> None:
        """Change something.

        Raises:
            UnknownDatasource, DatasourceError: as in `rows`; the change may have been made if there was no answer.
        """
        await (self._made.get(cache) or self._source(cache)).execute(query, parameters)

    @property
    def most_connections(self) -> int:
        """Open files that the connections may take."""
        return sum(len(each.uri) * each.connections for each in self._options.values())

    async def problems(self, seconds: float) -> list[tuple[str, str, str]]:
        """Ask each server something small; return the source, the server and the reason of those that do not answer."""
        asked = [
            (name, server.shown, spawn(server.problem(seconds), name=f"try {name}", owner=self._closing))
            for name, options in self._options.items()
            for server in (_server(options, uri) for uri in options.uri if uri.is_here)
        ]
        return [(name, shown, reason) for name, shown, task in asked if (reason := await task)]

    def flags(self, cache: str) -> bool:
        """Whether scripts learn only that a query of this source failed, as in Momentum 2.2."""
        return cache in self._options and self._options[cache].datasource_error == "flag"

    def flush(self, cache: str) -> int:
        """Forget the results of a source; return how many.

        Raises:
            UnknownDatasource: there is no such datasource.
        """
        if cache not in self._options:
            raise unknown(cache, sorted(self._options))
        return self._made[cache].cache.flush() if cache in self._made else 0

    def stats(self) -> dict[str, dict[str, int]]:
        """Return the counts of each source."""
        found: dict[str, dict[str, int]] = {}
        for name in self._options:
            source = self._made.get(name)
            if source is None:
                found[name] = {}
            else:
                source.cache.counts.elements = len(source.cache)
                found[name] = asdict(source.cache.counts)
        return found

    def _source(self, name: str) -> Source:
        options = self._options.get(name)
        if options is None:
            raise unknown(name, sorted(self._options))
        servers = [_server(options, uri) for uri in options.uri]
        random.shuffle(servers)  # so that the workers and machines do not all begin with the same server
        return self._made.setdefault(name, Source(options, servers))

    def turn_to(self, options: Sequence[DatasourceOptions]) -> None:
        """Use other stanzas from now on. What a source keeps stays, unless its stanza has changed."""
        before, self._options = self._options, _by_name(options)
        changed = [name for name in self._made if before[name] != self._options.get(name)]
        for name in changed:
            spawn(self._made.pop(name).close(), name=f"close datasource {name}", owner=self._closing)

    async def close(self) -> None:
        """End all queries and connections."""
        for source in self._made.values():
            await source.close()
        await self._closing.wait(CLOSING_SECONDS)


def _by_name(options: Sequence[DatasourceOptions]) -> dict[str, DatasourceOptions]:
    """Return the stanzas by name; import their drivers now, since that takes too long between two clients."""
    for driver in {uri.driver for each in options for uri in each.uri if uri.is_here}:
        if missing_package(driver) is None:
            import_module(f"{_DRIVERS}.{driver}")
    return {each.name: each for each in options}


def _server(options: DatasourceOptions, uri: SourceUri) -> Server:
    return Server(options.name, uri, _connect(uri, options), options.connections)


Make = Callable[[Mapping[str, str], DatasourceOptions], Connect]


def _connect(uri: SourceUri, options: DatasourceOptions) -> Connect:
    """Return what connects to a server."""
    if not uri.is_here:
        return _failing(not_here(uri.driver))
    if missing_package(uri.driver) is not None:
        return _failing(driver_missing(uri.driver))
    make: Make = import_module(f"{_DRIVERS}.{uri.driver}").connecting
    return make(uri.fields, options)


def missing_package(driver: str) -> str | None:
    """Return the package that a driver needs and that is not installed; None if it can be used."""
    package = PACKAGES.get(driver)
    return package if package is not None and find_spec(package) is None else None


def _failing(error: DatasourceError) -> Connect:
    async def fail() -> None:
        raise error

    return fail  # type: ignore[return-value] # it never returns
