"""One datasource: a cache, at most one query in flight for equal questions, servers in turn, and a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import count
from typing import TypeAlias

from proxy.base.log import get_logger
from proxy.base.tasks import TaskOwner, spawn
from proxy.datasource.cache import ResultCache, key_of
from proxy.datasource.errors import DatasourceError, OutcomeUnknown, QueryFailed, ServerLost, line_is_full
from proxy.datasource.parameters import Parameters
from proxy.datasource.rows import Rows
from proxy.datasource.server import Server
from proxy.metrics.book import BOOK
from proxy.metrics.table import DATASOURCE, DATASOURCE_QUERIES
from proxy.options.datasources import DatasourceOptions
from sieve.run.patience import Soon

log = get_logger()

Answer: TypeAlias = Rows | DatasourceError
"""What a task returns: its failure is an answer, too."""

MOST_RUNNING = 1000
"""Queries of a source that run or wait for a connection, per worker."""

QUIET_SECONDS = 60.0
"""The same error of a source is logged once in this time."""


class Source:
    """One `Datasource` stanza in one process. The event loop's thread owns its state."""

    def __init__(self, options: DatasourceOptions, servers: Sequence[Server]) -> None:
        """Take the servers, in the order in which they take turns."""
        self.options = options
        self._servers = servers
        self._turns = count()
        self.cache = ResultCache(options.cache_size, options.cache_life)
        self._pending: dict[bytes, asyncio.Task[Answer]] = {}
        self._running = TaskOwner(f"datasource {options.name}")
        self._told: tuple[str, float] = ("", 0.0)
        number = BOOK.number(DATASOURCE, options.name)
        places = [DATASOURCE_QUERIES.at(number, result) for result in ("hit", "pending", "ok", "failed")]
        self._hit, self._joined, self._ok, self._bad = places

    def rows(self, query: str, parameters: Parameters, most: int | None, *, fresh: bool) -> Soon[Rows]:
        """Return a result: one that is kept at once, else a coroutine that waits for it.

        Raises:
            DatasourceError: the query failed; the coroutine raises it, too.
        """
        wanted = self.options.max_rows if most is None else most
        if fresh or not self.options.keeps:
            self.cache.counts.misses += 1
            return self._awaited(self._started(query, parameters, wanted))
        key = key_of(query, parameters, wanted)
        kept = self.cache.get(key)
        if kept is not None:
            self.cache.counts.hits += 1
            BOOK.counts[self._hit] += 1
            return kept
        task = self._pending.get(key)
        if task is None:
            self.cache.counts.misses += 1
            task = self._pending[key] = self._started(query, parameters, wanted)
            task.add_done_callback(lambda ended: self._ended(key, ended))
        else:
            self.cache.counts.pending += 1
            BOOK.counts[self._joined] += 1
        return self._awaited(task)

    def kept(self, query: str, parameters: Parameters) -> Rows | None:
        """Return a result that is kept; ask nothing, and count nothing."""
        return self.cache.get(key_of(query, parameters, self.options.max_rows)) if self.options.keeps else None

    async def execute(self, query: str, parameters: Parameters) -> None:
        """Change something.

        Raises:
            DatasourceError: it was not done, or that is not known.
        """
        await self._awaited(self._started(query, parameters, None))

    def _ended(self, key: bytes, task: asyncio.Task[Answer]) -> None:
        self._pending.pop(key, None)
        if not task.cancelled() and task.exception() is None and isinstance(rows := task.result(), Rows):
            self.cache.put(key, rows)

    def _started(self, query: str, parameters: Parameters, most: int | None) -> asyncio.Task[Answer]:
        """Ask in a task of its own: others may wait for the same result when the first one leaves."""
        if len(self._running) >= MOST_RUNNING:
            raise line_is_full(MOST_RUNNING)
        asking = self._asked(query, parameters, most)
        return spawn(asking, name=f"query {self.options.name}", owner=self._running)

    async def _awaited(self, task: asyncio.Task[Answer]) -> Rows:
        answer = await asyncio.shield(task)
        if isinstance(answer, DatasourceError):
            raise answer
        return answer

    async def _asked(self, query: str, parameters: Parameters, most: int | None) -> Answer:
        """Try the servers in turn until one answers, within the deadline."""
        deadline = time.monotonic() + self.options.timeout
        order = self._in_turn()
        found: Answer = ServerLost("no server")
        for number, server in enumerate(order):
            working = [each for each in order[number:] if not each.breaker.is_open]
            seconds = (deadline - time.monotonic()) / max(1, len(working))
            found, is_last = await self._try(server, query, parameters, most, seconds)
            if is_last:
                break
        if isinstance(found, DatasourceError):
            return self._failed(found)
        BOOK.counts[self._ok] += 1
        return found

    async def _try(
        self, server: Server, query: str, parameters: Parameters, most: int | None, seconds: float
    ) -> tuple[Answer, bool]:
        """Return a server's answer, and whether the other servers are not asked any more."""
        try:
            return await server.ask(query, parameters, most, max(0.0, seconds)), True
        except (QueryFailed, OutcomeUnknown) as refused:
            return refused, True
        except ServerLost as lost:
            return lost, False
        except DatasourceError as late:
            return late, most is None  # a change may have been made
        except Exception as fault:  # noqa: BLE001 - a fault of a driver must not become one of the session
            return server.fault(fault), True

    def _in_turn(self) -> list[Server]:
        """Return the servers from the one whose turn it is; those that failed last come at the end."""
        first = next(self._turns) % len(self._servers)
        order = [*self._servers[first:], *self._servers[:first]]
        return [each for failed in (False, True) for each in order if each.breaker.is_open is failed]

    def _failed(self, error: DatasourceError) -> DatasourceError:
        """Log an error, unless the same one was logged a moment ago."""
        self.cache.counts.errors += 1
        BOOK.counts[self._bad] += 1
        reason, now = str(error), time.monotonic()
        if reason != self._told[0] or now - self._told[1] > QUIET_SECONDS:
            self._told = (reason, now)
            log.warning("datasource_failed", datasource=self.options.name, reason=reason)
        return error

    async def close(self) -> None:
        """End all queries and connections."""
        await self._running.cancel()
        for server in self._servers:
            await server.close()
