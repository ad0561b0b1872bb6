"""Connections to one upstream: kept while unused, counted, watched, shared only while error-free.

Which connection a transaction gets is decided without awaiting; only connecting and waiting for a place take time. Its
mutable state is owned by the worker's event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from proxy.dns import DnsUnavailable, NoSuchDomain, Resolver
from proxy.log import get_logger, printable
from proxy.settings import CoreOptions
from proxy.tasks import TaskOwner, spawn
from proxy.wire import Dial, Refused, Wire, WireBroken, dial

log = get_logger()

PLACE_SECONDS = 20.0
"""A transaction waits so long for a place in a pool that is full, then hears 451 4.4.5."""

QUIT_SECONDS = 2.0


class Unreachable(Exception):
    """No address of the upstream takes a connection."""


class RefusedUs(Exception):
    """The upstream greeted us, or answered our EHLO, with a refusal."""


class PoolFull(Exception):
    """No place came free in time."""


@dataclass(slots=True)
class _Idle:
    wire: Wire
    since: float


class Pool:
    """The connections of one worker to one upstream."""

    def __init__(self, settings: CoreOptions, helo: str, resolver: Resolver) -> None:
        """Name the upstream; no connection is made yet."""
        self._settings = self.timeouts = settings
        self._resolver = resolver
        self._helo = helo
        self._host = settings.gateway.host
        self._port = settings.gateway.port or settings.remote_smtp_port
        self.name = f"{self._host}:{self._port}"
        self._idle: list[_Idle] = []
        self._places_taken = 0
        self._waiting: deque[asyncio.Future[Wire | None]] = deque()
        self._owner = TaskOwner(f"pool {self.name}")
        self._reaper: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.capabilities: frozenset[str] = frozenset()
        """EHLO keywords of the last connection, in capitals; empty, which is cautious, before the first."""

    # ------------------------------------------------------------ taking

    async def take(self, *, fresh: bool = False) -> tuple[Wire, bool]:
        """Return a connection and whether it was used before; `fresh` asks for a new one.

        Raises:
            Unreachable: no address takes a connection, or the name cannot be resolved.
            RefusedUs: the upstream refuses to talk to us.
            PoolFull: all places were taken for PLACE_SECONDS.
        """
        if not fresh and (wire := self._pop_idle()) is not None:
            return wire, True
        handed_over = await self._take_place()
        if handed_over is not None:
            return handed_over, True
        try:
            return await self._connect(), False
        except BaseException:
            self._free_place()
            raise

    def _pop_idle(self) -> Wire | None:
        """Return the connection used last that is still alive; the dead ones give their places back."""
        while self._idle:
            wire = self._idle.pop().wire
            if wire.broken is None:
                return wire
            self._free_place()
        return None

    async def _take_place(self) -> Wire | None:
        """Count one more connection, or wait for another transaction's: its connection where it still works."""
        most = self._settings.max_outbound_connections
        if self._places_taken >= most and self._idle:
            self._close_oldest_idle()
        if self._places_taken < most:
            self._places_taken += 1
            return None
        place: asyncio.Future[Wire | None] = self._loop.create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                return await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self._hand_back(place.result())  # it was handed over in the very moment of giving up
            if isinstance(error, TimeoutError):
                raise PoolFull from None
            raise

    def _hand_back(self, wire: Wire | None) -> None:
        if wire is None:
            self._free_place()
        else:
            self.give_back(wire)

    def _hand_over(self, wire: Wire | None) -> bool:
        """Give a place, with its connection or without, to whoever waits longest; tell whether anybody does."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(wire)
                return True
        return False

    def _free_place(self) -> None:
        """Hand an empty place over, or count one less."""
        if not self._hand_over(None):
            self._places_taken -= 1

    async def _connect(self) -> Wire:
        problem: Exception = Unreachable(f"{self._host} has no address")
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                for address in await self._resolver.host_addresses(self._host):
                    try:
                        return await self._dial(address)
                    except (WireBroken, TimeoutError) as error:
                        problem = Unreachable(f"{address}: {str(error) or 'timeout'}")
                    except Refused as error:
                        problem = RefusedUs(str(error))
        except (DnsUnavailable, NoSuchDomain) as error:
            problem = Unreachable(f"{self._host} cannot be resolved: {error}")
        except TimeoutError:
            problem = Unreachable(f"{self._host}: timeout")
        log.error("upstream_unreachable", upstream=self.name, reason=printable(str(problem)))
        raise problem

    async def _dial(self, address: str) -> Wire:
        settings = self._settings
        wire = await dial(Dial(address, self._port, self._helo, settings.connect_timeout, settings.ehlo_timeout))
        self.capabilities = frozenset(name.upper() for name in wire.extensions)
        return wire

    # ------------------------------------------------------------ giving back

    def give_back(self, wire: Wire) -> None:
        """Keep an error-free connection that is between transactions."""
        if wire.broken is not None:
            self._free_place()
            return
        if self._hand_over(wire):
            return
        self._idle.append(_Idle(wire, self._loop.time()))
        if self._reaper is None:
            self._reaper = self._loop.call_later(self._settings.idle_timeout, self._reap)

    def drop(self, wire: Wire, why: str) -> None:
        """Cut a connection, in whatever state: nothing half-sent on it will be delivered."""
        wire.abort(why)
        self._free_place()

    def retire(self, wire: Wire) -> None:
        """End a connection that works but shall not be shared further, politely and in the background."""
        spawn(self._quit(wire), name=f"quit {self.name}", owner=self._owner)

    async def _quit(self, wire: Wire) -> None:
        try:
            await wire.quit(QUIT_SECONDS)
        finally:
            self._free_place()

    def reset(self, wire: Wire) -> None:
        """End an open transaction before its DATA with RSET, in the background, and keep the connection."""
        spawn(self._reset(wire), name=f"rset {self.name}", owner=self._owner)

    async def _reset(self, wire: Wire) -> None:
        with suppress(WireBroken, TimeoutError):
            answer = await wire.ask(b"RSET\r\n", self._settings.rset_timeout)
            if answer.accepted:
                self.give_back(wire)
                return
        self.drop(wire, "RSET failed")

    # ------------------------------------------------------------ the pool's own life

    def _reap(self) -> None:
        """Close what was not used for idle_timeout."""
        self._reaper = None
        oldest = self._loop.time() - self._settings.idle_timeout
        while self._idle and (self._idle[0].wire.broken is not None or self._idle[0].since <= oldest):
            self._close_oldest_idle()
        if self._idle:
            self._reaper = self._loop.call_at(self._idle[0].since + self._settings.idle_timeout, self._reap)

    def _close_oldest_idle(self) -> None:
        wire = self._idle.pop(0).wire
        if wire.broken is None:
            self.retire(wire)
        else:
            self._free_place()

    async def warm(self) -> None:
        """Connect once, so that the first client's EHLO already knows what the upstream carries."""
        try:
            wire, _ = await self.take(fresh=True)
        except (Unreachable, RefusedUs, PoolFull):
            return  # logged where it was found; clients hear 451 until it is there
        self.give_back(wire)

    def start(self) -> None:
        """Warm the pool in the background."""
        spawn(self.warm(), name=f"warm {self.name}", owner=self._owner)

    async def close(self) -> None:
        """Say goodbye on every unused connection; those in use are their transactions'."""
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        while self._idle:
            self._close_oldest_idle()
        await self._owner.wait(QUIT_SECONDS + 1)
        await self._owner.cancel()
