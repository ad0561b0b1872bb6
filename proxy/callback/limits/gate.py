"""The gate before each probe: checks breakers and budgets, waits for a place, and records the result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from proxy.callback.limits.budgets import Breakers, Neighbour, network_of, operator_of
from proxy.callback.manner import ProbeSettings
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.dns.resolver import MOST_AT_ONCE

_TURNED_AWAY = frozenset({"busy", "refused_us"})
"""Reasons to leave an exchanger alone, whatever its reply text."""


_LEAST_PLACES = 2
"""Least places of a client's network at one exchanger: one slow answer must not delay its next mail."""


def turned_us_away(verdict: CallbackVerdict) -> bool:
    """Whether an exchanger rejects us now: it is busy, it rejects our connection, or it says that we are on a list."""
    return verdict.status is not Status.PASS and (verdict.reason in _TURNED_AWAY or verdict.listed)


class ProbeLimiter:
    """Shared by all probes of a worker. Its state is the queue, owned by the event loop's thread."""

    def __init__(
        self, manner: ProbeSettings, neighbour: Neighbour, breakers: Breakers, *, most: int, most_per_exchanger: int
    ) -> None:
        """Start with an empty queue. `most` limits the conversations at once."""
        self._manner, self._neighbour, self._breakers = manner, neighbour, breakers
        self._most, self._probes = most, asyncio.Semaphore(most)
        self._most_per_exchanger = most_per_exchanger
        self._lines: dict[str, _Line] = {}

    async def admits(self, address: str, *, paid: bool, client: str) -> str | None:
        """Return why an exchanger may not be asked now for a client, or None if it may."""
        if self._breakers.rests(address):
            return "breaker"
        refusal = None if paid else await self._neighbour.may_connect(address, self._may_be_unknown, client)
        return refusal or (None if self._breakers.lets(address) else "breaker")

    async def heard(
        self, verdict: CallbackVerdict | None, asked: str, admitted: Sequence[str], unknown: int, client: str
    ) -> None:
        """Record whether an exchanger rejects us, and return the unused reservation of unknown users."""
        for address in admitted:
            used = min(unknown, self._may_be_unknown) if asked and network_of(address) == network_of(asked) else 0
            unknown -= used
            await self._neighbour.give_back(address, self._may_be_unknown - used, client, of=self._may_be_unknown)
        if verdict is not None and verdict.address:
            self.judge(verdict)

    @property
    def _may_be_unknown(self) -> int:
        """Unknown users that one conversation may ask about."""
        return 2 if self._manner.catchall else 1

    def judge(self, verdict: CallbackVerdict) -> None:
        """Record whether an exchanger rejects us."""
        if turned_us_away(verdict):
            self._breakers.bad(verdict.address)
        elif verdict.stage in {"mail", "rcpt"} and verdict.code:
            self._breakers.good(verdict.address)

    @asynccontextmanager
    async def look_up(self, client: str) -> AsyncIterator[None]:
        """Wait until the client's network is below its share of the concurrent DNS queries."""
        percent = self._neighbour.share
        if not client or percent >= 100:
            yield
            return
        async with self._line(f"{operator_of(client)} dns", max(_LEAST_PLACES, MOST_AT_ONCE * percent // 100)):
            yield

    @asynccontextmanager
    async def share(self, address: str, client: str) -> AsyncIterator[None]:
        """Wait until the client's network is below its share of the places at one address, and of all places."""
        percent = self._neighbour.share
        if not client or percent >= 100:
            yield
            return
        network = operator_of(client)
        limits = self._most_per_exchanger, self._most
        at_address, at_all = (max(_LEAST_PLACES, most * percent // 100) for most in limits)
        async with self._line(f"{network} {address}", at_address), self._line(network, at_all):
            yield

    @asynccontextmanager
    async def place(self, address: str) -> AsyncIterator[None]:
        """Wait for a place at one address, then for one of all places, so that a slow exchanger blocks no other."""
        async with self._line(address, self._most_per_exchanger), self._probes:
            yield

    @asynccontextmanager
    async def _line(self, name: str, most: int) -> AsyncIterator[None]:
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = _Line(asyncio.Semaphore(most))
        line.users += 1
        try:
            async with line.places:
                yield
        finally:
            line.users -= 1
            if not line.users:
                del self._lines[name]


class Visitor:
    """Implements `probe.Gate` for one question, and remembers whether it got a place."""

    def __init__(self, doorkeeper: ProbeLimiter, client: str = "") -> None:
        """Prepare a question for a client's network."""
        self._doorkeeper, self._client = doorkeeper, client
        self._waits_for = ""
        self._served = False

    @property
    def waited_for(self) -> str:
        """Return the reason if it waited and no exchanger was asked. That says nothing about the exchanger."""
        return "" if self._served else self._waits_for

    async def admits(self, address: str, *, paid: bool) -> str | None:
        """As `ProbeLimiter.admits`."""
        refusal = await self._doorkeeper.admits(address, paid=paid, client=self._client)
        self._served = self._served or refusal is None  # if the place comes at the deadline, nothing is asked
        return refusal

    async def heard(self, verdict: CallbackVerdict | None, address: str, admitted: Sequence[str], unknown: int) -> None:
        """As `ProbeLimiter.heard`."""
        await self._doorkeeper.heard(verdict, address, admitted, unknown, self._client)

    @asynccontextmanager
    async def look_up(self) -> AsyncIterator[None]:
        """As `ProbeLimiter.look_up`: a domain whose name servers do not answer holds a place for seconds."""
        self._waits_for = "client_throttled"
        async with self._doorkeeper.look_up(self._client):
            self._waits_for = ""
            yield

    def place(self, address: str) -> AbstractAsyncContextManager[None]:
        """As `ProbeLimiter.place`."""
        return self._place(address)

    @asynccontextmanager
    async def _place(self, address: str) -> AsyncIterator[None]:
        self._waits_for = "client_throttled"
        async with self._doorkeeper.share(address, self._client):
            self._waits_for = "busy_here"
            async with self._doorkeeper.place(address):
                yield


@dataclass(slots=True)
class _Line:
    """The probes at one address, and those that wait for it."""

    places: asyncio.Semaphore
    users: int = 0
