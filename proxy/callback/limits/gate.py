"""The gate before strangers: breakers and budgets before a packet is sent, a place in line, and what comes of it."""

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
"""Reasons for leaving an exchanger alone, whatever its words. They come of codes, which no stranger chooses."""


_LEAST_PLACES = 2
"""Of a client's network at one exchanger: one slow answer must not hold up its next mail."""


def turned_us_away(verdict: CallbackVerdict) -> bool:
    """Whether an exchanger does not want us now: it is busy, it refuses us, or it says that we stand on a list."""
    return verdict.status is not Status.PASS and (verdict.reason in _TURNED_AWAY or verdict.listed)


class ProbeLimiter:
    """What all probes of a worker share. Its state, who stands in line, the event loop's thread owns."""

    def __init__(
        self, manner: ProbeSettings, neighbour: Neighbour, breakers: Breakers, *, most: int, most_per_exchanger: int
    ) -> None:
        """Begin with nobody in line; `most` conversations at once, so many of them with one exchanger."""
        self._manner, self._neighbour, self._breakers = manner, neighbour, breakers
        self._most, self._probes = most, asyncio.Semaphore(most)
        self._most_per_exchanger = most_per_exchanger
        self._lines: dict[str, _Line] = {}

    async def admits(self, address: str, *, paid: bool, client: str) -> str | None:
        """Return why an exchanger is not asked now on behalf of a client, None where it may be."""
        if self._breakers.rests(address):
            return "breaker"
        refusal = None if paid else await self._neighbour.may_connect(address, self._may_be_unknown, client)
        return refusal or (None if self._breakers.lets(address) else "breaker")

    async def heard(self, verdict: CallbackVerdict | None, admitted: Sequence[str], unknown: int, client: str) -> None:
        """Take note of what an exchanger thinks of us, and give back what was set aside for users it does not know."""
        here = verdict.address if verdict is not None else ""
        for address in admitted:
            used = min(unknown, self._may_be_unknown) if here and network_of(address) == network_of(here) else 0
            unknown -= used
            await self._neighbour.give_back(address, self._may_be_unknown - used, client, of=self._may_be_unknown)
        if verdict is not None and here:
            self._judge(verdict)

    @property
    def _may_be_unknown(self) -> int:
        """Users that one conversation may ask for in vain."""
        return 2 if self._manner.catchall else 1

    def _judge(self, verdict: CallbackVerdict) -> None:
        if turned_us_away(verdict):
            self._breakers.bad(verdict.address)
        elif verdict.stage in {"mail", "rcpt"} and verdict.code:
            self._breakers.good(verdict.address)

    @asynccontextmanager
    async def look_up(self, client: str) -> AsyncIterator[None]:
        """Wait until the client's network has less than its share of the questions that DNS is asked at once."""
        percent = self._neighbour.share
        if not client or percent >= 100:
            yield
            return
        async with self._line(f"{operator_of(client)} dns", max(_LEAST_PLACES, MOST_AT_ONCE * percent // 100)):
            yield

    @asynccontextmanager
    async def share(self, address: str, client: str) -> AsyncIterator[None]:
        """Wait until the client's network has less than its share of the places at one address, and of all places."""
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
        """Wait in line at one address, and only then for a place among all: a slow exchanger blocks no other."""
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
    """Implements `probe.Gate` for one question, and remembers whether its turn ever came."""

    def __init__(self, doorkeeper: ProbeLimiter, client: str = "") -> None:
        """Stand before the gate, on behalf of a client's network."""
        self._doorkeeper, self._client = doorkeeper, client
        self._waits_for = ""
        self._served = False

    @property
    def waited_for(self) -> str:
        """Return the reason if it stood in line and nobody was asked: that says nothing of the exchanger."""
        return "" if self._served else self._waits_for

    async def admits(self, address: str, *, paid: bool) -> str | None:
        """As `ProbeLimiter.admits`."""
        refusal = await self._doorkeeper.admits(address, paid=paid, client=self._client)
        self._served = self._served or refusal is None  # a place that comes with the deadline asks nobody
        return refusal

    async def heard(self, verdict: CallbackVerdict | None, admitted: Sequence[str], unknown: int) -> None:
        """As `ProbeLimiter.heard`."""
        await self._doorkeeper.heard(verdict, admitted, unknown, self._client)

    @asynccontextmanager
    async def look_up(self) -> AsyncIterator[None]:
        """As `ProbeLimiter.look_up`: a domain whose name servers are silent takes a question's place for seconds."""
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
    """Who is at one address, or waits for it."""

    places: asyncio.Semaphore
    users: int = 0
