"""Connections to one upstream: kept while idle, limited, monitored, and shared only if error-free and equivalent.

Choosing a connection for a transaction never awaits; only connecting and waiting for a place take time. The worker's
event loop owns the mutable state.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace

from proxy.base.log import get_logger, printable
from proxy.base.tasks import TaskOwner, spawn
from proxy.dns.resolver import Resolver
from proxy.mail.session import Session
from proxy.metrics.book import BOOK, observe
from proxy.metrics.table import CONNECT_TIME, POOLED_IDLE, UPSTREAM
from proxy.outgoing.wire import Wire, WireBroken
from proxy.upstream import tally
from proxy.upstream.ahead import Demand, ReadySockets
from proxy.upstream.client_words import Standing
from proxy.upstream.connect import Connector, ends_of
from proxy.upstream.drained import Drained
from proxy.upstream.failures import PoolFull, RefusedUs, Unreachable
from proxy.upstream.identity import NOBODY, Identity, identity_of, introduce_client
from proxy.upstream.idle import Idle
from proxy.upstream.places import Places
from proxy.upstream.sharing import SharedSlots, Sharing
from proxy.upstream.slots import Slots
from proxy.upstream.upstream import ReadySocket, Upstream

log = get_logger()

QUIT_SECONDS = 2.0

MOST_ERRORS = 5
"""A connection with this number of errors is ended. Postfix answers slowly after ten (smtpd_soft_error_limit)."""


@dataclass(slots=True, eq=False)
class PooledConnection:
    """A connection to the upstream. It belongs to the pool, or to the one transaction that took it."""

    pool: ConnectionPool
    """The pool that it came from and returns to."""
    wire: Wire
    identity: Identity = NOBODY
    """The client that was announced with XCLIENT or a PROXY header."""
    standing: Standing = Standing()  # noqa: RUF009 - frozen
    """What the upstream knows about us, and whether a client was announced."""
    address: str = ""
    """The upstream's end, `address:port` or a socket's path."""
    deliveries: int = 0
    errors: int = 0
    """What the upstream refused on it. With errors, it is not shared."""
    used: bool = False
    """Whether another transaction had it before, so that the upstream may have closed it in the meantime."""
    idle_since: float = 0.0


class ConnectionPool:
    """The connections of one worker to one upstream."""

    def __init__(
        self,
        upstream: Upstream,
        resolver: Resolver,
        places: Places,
        drained: Drained | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        """All pools of the worker share `places`; `sharing` is with other workers."""
        self._drained = drained or Drained()
        self.upstream = upstream
        self.policy = upstream.policy
        self.name = upstream.name
        self.lmtp = upstream.lmtp
        self.number = BOOK.number(UPSTREAM, upstream.name)
        self._tells_clients = upstream.tells_clients
        self._is_of_sessions = upstream.tells_clients and not upstream.shares_announced
        """Whether a connection on which a client was announced ends with the client's session."""
        self._connector = Connector(upstream, resolver, self._drained)
        self._idle: Idle[PooledConnection] = Idle(tells_clients=upstream.tells_clients)
        self._own: dict[Session, PooledConnection] = {}
        """Idle connections with errors, each for the session that made them."""
        self._owner = TaskOwner(f"pool {self.name}")
        self._reaper: asyncio.TimerHandle | None = None
        most = self.policy.max_outbound_connections
        self._slots: Slots[PooledConnection] = (
            Slots(self, most, places, self.number)
            if sharing is None
            else SharedSlots(self, most, places, self.number, sharing)
        )
        self._loop = asyncio.get_running_loop()
        self._demand = Demand(self.name, self._slots, self._make_one_ahead)
        self._ready = ReadySockets(self._loop, self._ready_unused)
        self.capabilities: frozenset[str] = frozenset()
        """EHLO keywords of the last connection, in capitals; empty before the first, which is the cautious value."""
        self.replies = tally.replies_of(self.number)
        """Where the next hop's replies are counted."""
        self.standing = Standing(name=upstream.helo)
        """What the last connection was known by, before any client was announced."""

    @property
    def in_use(self) -> bool:
        """Whether it has connections, waiters or background tasks."""
        return bool(self._slots.taken or self._slots.waiting or len(self._owner))

    def look(self) -> None:
        """Add what it has now to the gauges of its upstream."""
        self._slots.look()
        BOOK.counts[POOLED_IDLE.base + self.number] += len(self._idle)

    @property
    def is_down(self) -> bool:
        """Whether the upstream is known to accept no connection, and no connection is left."""
        return not self._slots.taken and self._connector.is_down

    # ------------------------------------------------------------ taking

    async def take(self, session: Session | None, *, fresh: bool = False) -> PooledConnection:
        """Return a connection for a session; `fresh` asks for a new one.

        Raises:
            Unreachable: no address accepts a connection, or the name cannot be resolved.
            RefusedUs: the upstream refuses to talk to us.
            PoolFull: all slots were taken for PLACE_SECONDS.
        """
        if not fresh and (found := self.take_idle(session)) is not None:
            return found
        identity = self._identity(session)
        connection, ready = self._take_ahead() if identity and not fresh else (None, None)
        if connection is None and ready is None:
            connection = await self._slots.take(identity)
        if fresh and connection is not None:
            connection.wire.abort("replaced by a new one")  # its slot is ours
            connection = None
        try:
            if connection is None:
                connection = await self._connect(session, ready)
            if identity and session is not None and connection.identity != identity:
                connection = await self._announced(connection, session)
        except BaseException:
            if connection is not None:
                connection.wire.abort("not taken")
            self._slots.free()
            raise
        return connection

    async def _connect(self, session: Session | None, ready: ReadySocket | None = None) -> PooledConnection:
        began = self._loop.time()
        wire = await self._connector.connect(session, ready)
        observe(CONNECT_TIME, CONNECT_TIME.at(self.number), self._loop.time() - began)
        own, end = ends_of(wire)
        self.standing = Standing(own, self.upstream.helo, wire.peer_name)
        self.capabilities = frozenset(name.upper() for name in wire.extensions)
        return PooledConnection(self, wire, standing=self.standing, address=end)

    async def _announced(self, connection: PooledConnection, session: Session) -> PooledConnection:
        """Return the connection, or a new one if it was unused and has broken, with the session's client announced."""
        identity = self._identity(session)  # as announced, whatever is found out about the client later
        try:
            told = await introduce_client(connection.wire, self.upstream, session)
        except (RefusedUs, WireBroken, TimeoutError) as error:
            connection.wire.abort("not taken")
            if connection.used:  # the upstream may have closed it
                return await self._announced(await self._connect(session), session)
            reason = printable(str(error) or "timeout at XCLIENT")
            log.error("upstream_unreachable", upstream=self.name, session=session.id, reason=reason)
            if isinstance(error, RefusedUs):
                raise
            raise Unreachable(f"XCLIENT: {reason}") from error
        connection.identity = identity
        announced = told or self.upstream.sends_headers
        connection.standing = replace(connection.standing, announced=announced)
        return connection

    def _identity(self, session: Session | None) -> Identity:
        return identity_of(session, self.upstream) if session is not None and self._tells_clients else NOBODY

    def take_idle(self, session: Session | None) -> PooledConnection | None:
        """Return the last used live connection for the same client; dead ones give their places back."""
        if self._own and session is not None and (own := self._take_own(session)) is not None:
            return own
        identity = self._identity(session) if self._tells_clients else NOBODY
        while (found := self._idle.take(identity)) is not None:
            if found.wire.broken is None:
                return found
            self._slots.free()
        for connection in [each for each in self._idle if each.wire.broken is not None]:
            self._idle.remove(connection)
            self._slots.free()
        return None

    def _take_own(self, session: Session) -> PooledConnection | None:
        """Return the session's own connection, if it has one that still serves."""
        own = self._own.pop(session, None)
        if own is None:
            return None
        if own.wire.broken is not None:
            self._slots.free()
        elif own.identity != self._identity(session):
            self.retire(own)
        else:
            return own
        return None

    def end_one_unused(self) -> bool:
        """End what is unused for longest, so that others get its place; return whether there was anything."""
        if self._ready:
            self._ready.end_oldest()
        elif self._own:
            self._end_own(next(iter(self._own)))
        elif self._idle:
            self._close_oldest_idle()
        else:
            return False
        return True

    # ------------------------------------------------------------ connections made ahead

    def _take_ahead(self) -> tuple[PooledConnection | None, ReadySocket | None]:
        """Return what was made ahead for a client that has no connection yet, with its place; make more if needed."""
        connection, ready = None, None
        if self.upstream.sends_headers:
            ready = self._ready.pop()
        elif self.upstream.shares_announced:
            connection = self.take_idle(None)
        else:
            return None, None
        if connection is None and ready is None:
            self._demand.missed()
        self._demand.meet(len(self._ready) if self.upstream.sends_headers else len(self._idle.like(NOBODY)))
        return connection, ready

    async def _make_one_ahead(self) -> None:
        if not self.upstream.sends_headers:
            self.give_back(await self._connect(None))
        elif (ready := await self._connector.reach_ahead()) is not None:
            self._ready.add(ready)
        else:
            self._slots.free()

    def _ready_unused(self) -> None:
        """A socket that was made ahead has expired."""
        self._demand.unused()
        self._slots.free()

    # ------------------------------------------------------------ giving back

    def give_back(self, connection: PooledConnection) -> None:
        """Keep an error-free connection that is between transactions."""
        connection.used = True
        most = self.policy.max_deliveries_per_connection
        spent = (most and connection.deliveries >= most) or self._slots.owes
        if connection.wire.broken is not None:
            self._slots.free()
        elif spent or connection.address in self._drained.addresses:
            self.retire(connection)
        elif self._slots.waiting and not self._suits_next(connection):
            self.retire(connection)  # it is tied to one client, or to LOCAL, and a transaction of another is waiting
        elif not self._slots.waiting or not self._slots.hand_over(connection):
            connection.idle_since = self._loop.time()
            self._idle.add(connection)
            if self._reaper is None:
                self._reaper = self._loop.call_later(self.policy.idle_timeout, self._reap)

    def _suits_next(self, connection: PooledConnection) -> bool:
        if not connection.identity:
            return not self.upstream.sends_headers
        return connection.identity == self._slots.waiting[0][1]

    def keep_for(self, session: Session, connection: PooledConnection) -> None:
        """Keep a connection with errors, between transactions, for the session that made them, for a short time."""
        most = self.policy.max_deliveries_per_connection
        spent = connection.errors >= MOST_ERRORS or (most and connection.deliveries >= most)
        spent = spent or connection.address in self._drained.addresses
        if spent or self._slots.waiting or connection.wire.broken is not None or session in self._own:
            self.retire(connection)
            return
        connection.used = True
        self._own[session] = connection
        connection.wire.when_unused(self.policy.upstream_hold, lambda: self._end_own(session))

    def _end_own(self, session: Session) -> None:
        own = self._own.pop(session, None)
        if own is not None:
            self.retire(own)

    def drop(self, connection: PooledConnection, why: str) -> None:
        """Abort a connection in any state: nothing half-sent on it will be delivered."""
        connection.wire.abort(why)
        self._slots.free()

    def retire(self, connection: PooledConnection) -> None:
        """End a working connection that must not be shared further, politely and in the background."""
        spawn(self._quit(connection), name=f"quit {self.name}", owner=self._owner)

    async def _quit(self, connection: PooledConnection) -> None:
        try:
            await connection.wire.quit(QUIT_SECONDS)
        finally:
            self._slots.free()

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
        if self._own:
            self._end_own(session)
        if self._is_of_sessions:
            for connection in self._idle.like((session.id,)):
                self._idle.remove(connection)
                self.retire(connection)

    # ------------------------------------------------------------ what an operator sees and does

    @property
    def connections(self) -> list[tuple[str, float | None]]:
        """The connections that are not in use: the other end, and how long each was idle; None if it is kept."""
        now = self._loop.time()
        idle: list[tuple[str, float | None]] = [(each.address, now - each.idle_since) for each in self._idle]
        return idle + [(each.address, None) for each in self._own.values()]

    @property
    def state(self) -> dict[str, int]:
        """How many connections there are, in which state, and how many transactions wait for one."""
        unused = len(self._idle) + len(self._own) + len(self._ready)
        return {"in_use": self._slots.taken - unused, "idle": unused, "waiting": len(self._slots.waiting)}

    async def drain(self) -> None:
        """End the unused connections to servers that are drained now."""
        await self._connector.look_for_drained()
        for connection in [each for each in self._idle if each.address in self._drained.addresses]:
            self._idle.remove(connection)
            self.retire(connection)
        for session in [each for each, own in self._own.items() if own.address in self._drained.addresses]:
            self._end_own(session)

    # ------------------------------------------------------------ the pool's own life

    def _reap(self) -> None:
        """Close connections that were idle for idle_timeout."""
        self._reaper = None
        oldest = self._loop.time() - self.policy.idle_timeout
        while (first := next(iter(self._idle), None)) is not None:
            if first.wire.broken is None and first.idle_since > oldest:
                self._reaper = self._loop.call_at(first.idle_since + self.policy.idle_timeout, self._reap)
                return
            self._close_oldest_idle()

    def _close_oldest_idle(self) -> None:
        connection = next(iter(self._idle))
        self._idle.remove(connection)
        if not connection.identity:
            self._demand.unused()
        if connection.wire.broken is None:
            self.retire(connection)
        else:
            self._slots.free()

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
        await self._demand.close()
        await self._slots.close()
        while self.end_one_unused():
            pass
        await self._owner.wait(QUIT_SECONDS + 1)
        await self._owner.cancel()
