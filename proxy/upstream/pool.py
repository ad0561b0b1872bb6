"""Connections to one upstream: kept while idle, limited, monitored, and shared only if error-free and equivalent.

Choosing a connection for a transaction never awaits; only connecting and waiting for a place take time. The worker's
event loop owns the mutable state.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from proxy.base.tasks import TaskOwner, spawn
from proxy.dns.resolver import Resolver
from proxy.mail.session import Session
from proxy.outgoing.wire import Wire, WireBroken
from proxy.upstream.client_words import Standing
from proxy.upstream.connect import Connector
from proxy.upstream.failures import PoolFull, RefusedUs, Unreachable
from proxy.upstream.identity import introduce_client
from proxy.upstream.upstream import Upstream

PLACE_SECONDS = 20.0
"""How long a transaction waits for a place in a full pool before it gets 451 4.4.5."""

MOST_POOLS = 512
"""Beyond this many pools, those without a connection are dropped: scripts may name any number of gateways."""

MOST_CONNECTIONS = 20_000
"""Connections of all pools together, unless the option says otherwise."""

QUIT_SECONDS = 2.0


@dataclass(slots=True, eq=False)
class PooledConnection:
    """A connection to the upstream. It belongs to the pool, or to the one transaction that took it."""

    pool: ConnectionPool
    """The pool that it came from and returns to."""
    wire: Wire
    identity: str = ""
    """The session whose client was announced with XCLIENT; empty before that."""
    standing: Standing = Standing()  # noqa: RUF009 - frozen
    """What the upstream knows about us, and whether a client was announced."""
    deliveries: int = 0
    used: bool = False
    """Whether another transaction had it before, so that the upstream may have closed it in the meantime."""
    idle_since: float = 0.0


class Places:
    """How many connections all pools of the worker may still make, and the pools waiting for one."""

    def __init__(self, most: int, pools: Mapping[Upstream, ConnectionPool]) -> None:
        """`pools` share the places."""
        self._free, self._pools = most, pools
        self._hungry: deque[ConnectionPool] = deque()

    def take(self, pool: ConnectionPool) -> bool:
        """Take a place. If all are taken, end an idle connection of any pool; its place goes to `pool`."""
        if self._take_free():
            return True
        any(each.end_one_unused() for each in self._pools.values())
        if self._take_free():  # one had died unnoticed, and its place was free at once
            return True
        self._hungry.append(pool)
        return False

    def _take_free(self) -> bool:
        taken = self._free > 0
        self._free -= taken
        return taken

    def free(self) -> None:
        """Give a place back, to the pool that has waited longest."""
        self._free += 1
        while self._hungry:
            if self._hungry.popleft().take_offered_place():
                self._free -= 1
                return


class ConnectionPool:
    """The connections of one worker to one upstream."""

    def __init__(self, upstream: Upstream, resolver: Resolver, places: Places) -> None:
        self._places = places
        self.upstream = upstream
        self.policy = upstream.policy
        self.name = upstream.name
        self.lmtp = upstream.lmtp
        self._tells_clients = upstream.tells_clients
        self._connector = Connector(upstream, resolver)
        self._idle: list[PooledConnection] = []
        self._places_taken = 0
        self._waiting: deque[asyncio.Future[PooledConnection | None]] = deque()
        self._owner = TaskOwner(f"pool {self.name}")
        self._reaper: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.capabilities: frozenset[str] = frozenset()
        """EHLO keywords of the last connection, in capitals; empty before the first, which is the cautious value."""
        self.standing = Standing(name=upstream.helo)
        """What the last connection was known by, before any client was announced."""

    @property
    def in_use(self) -> bool:
        """Whether it has connections, waiters or background tasks."""
        return bool(self._places_taken or self._waiting or len(self._owner))

    @property
    def is_down(self) -> bool:
        """Whether the upstream is known to accept no connection, and no connection is left."""
        return not self._places_taken and self._connector.is_down

    # ------------------------------------------------------------ taking

    async def take(self, session: Session | None, *, fresh: bool = False) -> PooledConnection:
        """Return a connection for a session; `fresh` asks for a new one.

        Raises:
            Unreachable: no address accepts a connection, or the name cannot be resolved.
            RefusedUs: the upstream refuses to talk to us.
            PoolFull: all places were taken for PLACE_SECONDS.
        """
        if not fresh and (found := self.take_idle(session)) is not None:
            return found
        identity = self._identity(session)
        connection = await self._take_place()
        if fresh and connection is not None:
            connection.wire.abort("replaced by a new one")  # its place is ours
            connection = None
        try:
            if connection is None:
                wire = await self._connector.connect(session)
                own = wire.transport.get_extra_info("sockname")  # a Unix socket has no address
                address = own[0] if isinstance(own, tuple) else ""
                self.standing = Standing(address, self.upstream.helo, wire.peer_name)
                connection = PooledConnection(self, wire, standing=self.standing)
                self.capabilities = frozenset(name.upper() for name in connection.wire.extensions)
            if identity and session is not None:
                await self._speak_for(connection, session)
        except BaseException:
            if connection is not None:
                connection.wire.abort("not taken")
            self._free_place()
            raise
        return connection

    async def _speak_for(self, connection: PooledConnection, session: Session) -> None:
        try:
            told = await introduce_client(connection.wire, self.upstream, session)
        except (WireBroken, TimeoutError) as error:
            raise Unreachable(f"XCLIENT: {str(error) or 'timeout'}") from error
        connection.identity = session.identity
        announced = told or self.policy.upstream_proxy_protocol != "no"
        connection.standing = replace(connection.standing, announced=announced)

    def _identity(self, session: Session | None) -> str:
        return session.identity if session is not None and self._tells_clients else ""

    def take_idle(self, session: Session | None) -> PooledConnection | None:
        """Return the last used live connection for the same client; dead ones give their places back."""
        if not self._idle:
            return None
        identity = self._identity(session) if self._tells_clients else ""
        last = self._idle[-1]
        if last.wire.broken is None and last.identity == identity:
            return self._idle.pop()
        for connection in reversed(self._idle):
            if connection.wire.broken is None and connection.identity == identity:
                self._idle.remove(connection)
                return connection
        for connection in [each for each in self._idle if each.wire.broken is not None]:
            self._idle.remove(connection)
            self._free_place()
        return None

    async def _take_place(self) -> PooledConnection | None:
        """Count one more connection, or wait for a place; it comes with a connection if that one can be shared."""
        most = self.policy.max_outbound_connections
        if self._places_taken >= most and self._idle:
            self._close_oldest_idle()
        if self._places_taken < most and self._places.take(self):
            self._places_taken += 1
            return None
        place: asyncio.Future[PooledConnection | None] = self._loop.create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                return await place
        except BaseException as error:
            with suppress(ValueError):
                self._waiting.remove(place)
            if place.done() and not place.cancelled():
                self._hand_back(place.result())  # it was handed over just as we gave up
            if isinstance(error, TimeoutError):
                raise PoolFull from None
            raise

    def _hand_back(self, connection: PooledConnection | None) -> None:
        if connection is None:
            self._free_place()
        else:
            self.give_back(connection)

    def _hand_over(self, connection: PooledConnection | None) -> bool:
        """Give a place, with or without its connection, to the longest waiter; return whether there was a waiter."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(connection)
                return True
        return False

    def _free_place(self) -> None:
        """Hand over a place without a connection, or count one less."""
        if not self._hand_over(None):
            self._places_taken -= 1
            self._places.free()

    def take_offered_place(self) -> bool:
        """Give a place of the worker's to the longest waiter here; return whether a waiter may have it."""
        if self._places_taken >= self.policy.max_outbound_connections or not self._hand_over(None):
            return False
        self._places_taken += 1
        return True

    def end_one_unused(self) -> bool:
        """End the connection idle for longest, so that another pool gets its place; return whether there was one."""
        if not self._idle:
            return False
        self._close_oldest_idle()
        return True

    # ------------------------------------------------------------ giving back

    def give_back(self, connection: PooledConnection) -> None:
        """Keep an error-free connection that is between transactions."""
        connection.used = True
        most = self.policy.max_deliveries_per_connection
        if connection.wire.broken is not None:
            self._free_place()
        elif most and connection.deliveries >= most:
            self.retire(connection)
        elif self._waiting and (connection.identity or self.policy.upstream_proxy_protocol != "no"):
            self.retire(connection)  # it is tied to one client, or to LOCAL, and a transaction of another is waiting
        elif not self._waiting or not self._hand_over(connection):
            connection.idle_since = self._loop.time()
            self._idle.append(connection)
            if self._reaper is None:
                self._reaper = self._loop.call_later(self.policy.idle_timeout, self._reap)

    def drop(self, connection: PooledConnection, why: str) -> None:
        """Abort a connection in any state: nothing half-sent on it will be delivered."""
        connection.wire.abort(why)
        self._free_place()

    def retire(self, connection: PooledConnection) -> None:
        """End a working connection that must not be shared further, politely and in the background."""
        spawn(self._quit(connection), name=f"quit {self.name}", owner=self._owner)

    async def _quit(self, connection: PooledConnection) -> None:
        try:
            await connection.wire.quit(QUIT_SECONDS)
        finally:
            self._free_place()

    def reset(self, connection: PooledConnection) -> None:
        """End an open transaction before its DATA with RSET, in the background, and keep the connection."""
        spawn(self._reset(connection), name=f"rset {self.name}", owner=self._owner)

    async def _reset(self, connection: PooledConnection) -> None:
        with suppress(WireBroken, TimeoutError):
            answer = await connection.wire.ask(b"RSET\r\n", self.policy.rset_timeout)
            if answer.accepted:
                self.give_back(connection)
                return
        self.drop(connection, "RSET failed")

    def forget(self, session: Session) -> None:
        """End the connections tied to a session that has ended."""
        if not self.upstream.tells_clients:
            return
        for connection in [each for each in self._idle if each.identity.startswith(session.id)]:
            self._idle.remove(connection)
            self.retire(connection)

    # ------------------------------------------------------------ the pool's own life

    def _reap(self) -> None:
        """Close connections that were idle for idle_timeout."""
        self._reaper = None
        oldest = self._loop.time() - self.policy.idle_timeout
        while self._idle and (self._idle[0].wire.broken is not None or self._idle[0].idle_since <= oldest):
            self._close_oldest_idle()
        if self._idle:
            self._reaper = self._loop.call_at(self._idle[0].idle_since + self.policy.idle_timeout, self._reap)

    def _close_oldest_idle(self) -> None:
        connection = self._idle.pop(0)
        if connection.wire.broken is None:
            self.retire(connection)
        else:
            self._free_place()

    async def warm(self, seconds: float) -> None:
        """Connect once, so that the first client's EHLO reply knows the upstream's extensions; wait up to `seconds`."""
        await asyncio.wait((spawn(self._warm(), name=f"warm {self.name}", owner=self._owner),), timeout=seconds)

    async def _warm(self) -> None:
        with suppress(Unreachable, RefusedUs, PoolFull):  # already logged; clients get 451 until it is up
            self.give_back(await self.take(None, fresh=True))

    async def close(self) -> None:
        """Send QUIT on every idle connection; transactions end those in use."""
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        while self._idle:
            self._close_oldest_idle()
        await self._owner.wait(QUIT_SECONDS + 1)
        await self._owner.cancel()


class Pools:
    """The pools of one worker, one for each upstream that was named or used."""

    def __init__(self, resolver: Resolver, most_connections: int = MOST_CONNECTIONS) -> None:
        """All pools together make at most `most_connections`."""
        self._resolver = resolver
        self._pools: dict[Upstream, ConnectionPool] = {}
        self._places = Places(most_connections, self._pools)
        self._named: tuple[Upstream, ...] = ()

    def of(self, upstream: Upstream) -> ConnectionPool:
        """Return the pool of an upstream, creating it if new; unused ones that scripts named are dropped."""
        pool = self._pools.get(upstream)
        if pool is None:
            if len(self._pools) >= MOST_POOLS:
                self._let_go_of_unused()
            pool = self._pools[upstream] = ConnectionPool(upstream, self._resolver, self._places)
        return pool

    def _let_go_of_unused(self) -> None:
        for upstream in [each for each, pool in self._pools.items() if not pool.in_use and each not in self._named]:
            del self._pools[upstream]

    async def warm(self, upstreams: Iterable[Upstream], seconds: float) -> None:
        """Connect once to every upstream that the configuration names, concurrently; wait up to `seconds`."""
        self._named = tuple(upstreams)
        await asyncio.gather(*(self.of(upstream).warm(seconds) for upstream in self._named))

    def capabilities(self) -> frozenset[str]:
        """Return the EHLO keywords that every upstream of the configuration offers, as far as is known."""
        known = [self.of(upstream).capabilities for upstream in self._named]
        return frozenset.intersection(*known) if known else frozenset()

    def all_down(self) -> bool:
        """Whether every upstream that the configuration names is known to be down."""
        for upstream in self._named:  # asked for each message: no generator
            if not self.of(upstream).is_down:
                return False
        return bool(self._named)

    def forget(self, session: Session) -> None:
        """End the connections tied to a session that has ended."""
        for pool in self._pools.values():
            pool.forget(session)

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()
