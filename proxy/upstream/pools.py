"""The pools of one worker, one for each upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from proxy.counting.base import Counting
from proxy.dns.resolver import Resolver
from proxy.mail.session import Session
from proxy.metrics.book import BOOK
from proxy.metrics.table import POOL_LIMIT, POOL_WAITING, POOLED, POOLED_IDLE
from proxy.upstream.drained import Drained
from proxy.upstream.overheard import Tell
from proxy.upstream.places import Places
from proxy.upstream.pool import ConnectionPool
from proxy.upstream.sharing import Sharing, shared_name
from proxy.upstream.upstream import Upstream

MOST_POOLS = 512
"""Beyond this many pools, those without a connection are dropped: scripts may name any number of gateways."""

MOST_CONNECTIONS = 20_000
"""Connections of all pools together, unless the option says otherwise."""


class Pools:
    """The pools of one worker, one for each upstream that was named or used."""

    def __init__(
        self, resolver: Resolver, most_connections: int = MOST_CONNECTIONS, counting: Counting | None = None
    ) -> None:
        """All pools together make at most `most_connections`. With `counting`, workers share each upstream's limit."""
        self._resolver, self._counting = resolver, counting
        self._pools: dict[Upstream, ConnectionPool] = {}
        self._places = Places(most_connections, self._pools.values)
        self.drained = Drained()
        """Where an operator sends no new transactions."""
        self.tell: Tell | None = None
        """Gets what sessions and next hops say to each other, while an operator watches."""
        self._named: dict[Upstream, ConnectionPool] = {}
        """Those that the configuration names."""

    def of(self, upstream: Upstream) -> ConnectionPool:
        """Return the pool of an upstream, creating it if new; unused ones that scripts named are dropped."""
        pool = self._pools.get(upstream)
        if pool is None:
            if len(self._pools) >= MOST_POOLS:
                self._let_go_of_unused()
            pool = self._pools[upstream] = ConnectionPool(
                upstream, self._resolver, self._places, self.drained, self._sharing(upstream)
            )
        return pool

    def _sharing(self, upstream: Upstream) -> Sharing | None:
        if self._counting is None:
            return None
        return Sharing(self._counting, shared_name(upstream), upstream.policy.max_outbound_connections)

    def _let_go_of_unused(self) -> None:
        for upstream in [each for each, pool in self._pools.items() if not pool.in_use and each not in self._named]:
            del self._pools[upstream]

    async def warm(self, upstreams: Iterable[Upstream], seconds: float) -> None:
        """Connect once to every upstream that the configuration names, concurrently; wait up to `seconds`."""
        self._named = {upstream: self.of(upstream) for upstream in upstreams}
        await asyncio.gather(*(pool.warm(seconds) for pool in self._named.values()))

    async def warm_new(self, upstreams: Iterable[Upstream], seconds: float) -> None:
        """Connect once to those that have no pool yet, so that `name` does not lose what our EHLO offers."""
        new = [self.of(upstream) for upstream in upstreams if upstream not in self._pools]
        await asyncio.gather(*(pool.warm(seconds) for pool in new))

    def name(self, upstreams: Iterable[Upstream]) -> None:
        """These are now the ones that the configuration names."""
        self._named = {upstream: self.of(upstream) for upstream in upstreams}

    def capabilities(self) -> frozenset[str]:
        """Return the EHLO keywords that every upstream of the configuration offers, as far as is known."""
        known = [pool.capabilities for pool in self._named.values()]
        return frozenset.intersection(*known) if known else frozenset()

    def all_down(self) -> bool:
        """Whether every upstream that the configuration names is known to be down."""
        for pool in self._named.values():  # asked for each message: no generator
            if not pool.is_down:
                return False
        return bool(self._named)

    def forget(self, session: Session) -> None:
        """End the connections tied to a session that has ended."""
        for pool in self._pools.values():
            pool.forget(session)

    def look(self) -> None:
        """Write what all pools have now into the gauges."""
        for metric in (POOLED, POOLED_IDLE, POOL_LIMIT, POOL_WAITING):
            BOOK.counts[metric.base : metric.base + metric.size] = memoryview(bytes(8 * metric.size)).cast("q")
        for pool in self._pools.values():
            pool.look()

    @property
    def all(self) -> list[ConnectionPool]:
        """Every pool, those that the configuration names first."""
        return sorted(self._pools.values(), key=lambda pool: (pool.upstream not in self._named, pool.name))

    async def drain(self, name: str, *, on: bool) -> None:
        """Send no new transactions to a server, or to an upstream, or do so again."""
        (self.drained.names.add if on else self.drained.names.discard)(name)
        self.drained.addresses.clear()
        await asyncio.gather(*(pool.drain() for pool in self._pools.values()))

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()
