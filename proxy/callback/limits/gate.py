"""The gate before each probe: checks breakers and budgets, waits for a place, and records the result."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from proxy.callback.limits.budgets import Breakers, Neighbour, network_of, operator_of
from proxy.callback.manner import ProbeSettings
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.dns.resolver import MOST_AT_ONCE

_TURNED_AWAY = frozenset({"busy", "refused_us"})
"""Reasons to leave an exchanger alone, whatever its reply text."""


LineOf = tuple[str, int, str]
"""A line's name, how many places there are, and the reason to give to who waited in vain."""

_EVERYBODY = ""
"""The line for all places."""

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
        """Start with an empty queue. `most` limits concurrent conversations."""
        self._manner, self._neighbour, self._breakers = manner, neighbour, breakers
        self._most, self._most_per_exchanger = most, most_per_exchanger
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

    def lines_for_names(self, client: str) -> tuple[LineOf, ...]:
        """Return the line in which DNS queries for a client's network wait."""
        percent = self._neighbour.share
        if not client or percent >= 100:
            return ()
        return ((f"{operator_of(client)} dns", max(_LEAST_PLACES, MOST_AT_ONCE * percent // 100), "client_throttled"),)

    def lines_at(self, address: str, client: str) -> tuple[LineOf, ...]:
        """Return the lines for a conversation, in order.

        First come the shares that the client's network has of the places at the address, and of all places; then the
        address; last all places, so that a slow exchanger blocks no other.
        """
        percent, most = self._neighbour.share, self._most_per_exchanger
        everywhere = (_EVERYBODY, self._most, "busy_here")
        if not client or percent >= 100:
            return (address, most, "busy_here"), everywhere
        network, why = operator_of(client), "client_throttled"
        return (
            (f"{network} {address}", max(_LEAST_PLACES, most * percent // 100), why),
            (network, max(_LEAST_PLACES, self._most * percent // 100), why),
            (address, most, "busy_here"),
            everywhere,
        )

    async def enter(self, name: str, most: int) -> None:
        """Wait in a line until it has a place."""
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = _Line(most)
        if line.free and not line.waiting:
            line.free -= 1
            return
        place = asyncio.get_running_loop().create_future()
        line.waiting.append(place)
        try:
            await place
        except BaseException:
            if place.cancelled():
                line.waiting.remove(place)
                self._forget_if_unused(name, line)
            else:
                self.leave(name)  # it got the place when it was being cancelled
            raise

    def leave(self, name: str) -> None:
        """Give the place to the next one who waits."""
        line = self._lines[name]
        for place in line.waiting:
            if not place.done():
                line.waiting.remove(place)
                place.set_result(None)
                return
        line.free += 1
        self._forget_if_unused(name, line)

    def _forget_if_unused(self, name: str, line: _Line) -> None:
        if line.free == line.most and not line.waiting:
            del self._lines[name]


class Visitor:
    """Implements `probe.Gate` for one question, and remembers whether it got a place."""

    def __init__(self, doorkeeper: ProbeLimiter, client: str = "") -> None:
        """Prepare a question for a client's network."""
        self._doorkeeper, self._client = doorkeeper, client
        self.waits_for = ""
        """The reason to give if the time is up now."""
        self._served = False

    @property
    def waited_for(self) -> str:
        """Return the reason if it waited and no exchanger was asked. That is no evidence about the exchanger."""
        return "" if self._served else self.waits_for

    async def admits(self, address: str, *, paid: bool) -> str | None:
        """As `ProbeLimiter.admits`."""
        refusal = await self._doorkeeper.admits(address, paid=paid, client=self._client)
        self._served = self._served or refusal is None  # if the place comes at the deadline, nothing is asked
        return refusal

    async def heard(self, verdict: CallbackVerdict | None, address: str, admitted: Sequence[str], unknown: int) -> None:
        """As `ProbeLimiter.heard`."""
        await self._doorkeeper.heard(verdict, address, admitted, unknown, self._client)

    def look_up(self) -> Places:
        """Wait as `lines_for_names` says: a domain whose name servers do not answer holds a place for seconds."""
        return Places(self, self._doorkeeper, self._doorkeeper.lines_for_names(self._client), "")

    def place(self, address: str) -> Places:
        """Wait as `lines_at` says."""
        return Places(self, self._doorkeeper, self._doorkeeper.lines_at(address, self._client), "busy_here")


class Places:
    """Waits in some lines, one after the other, and holds its places in all of them to the end."""

    __slots__ = ("_after", "_doorkeeper", "_held", "_lines", "_visitor")

    def __init__(self, visitor: Visitor, doorkeeper: ProbeLimiter, lines: Sequence[LineOf], after: str) -> None:
        """Begin when entered; `after` is the reason from then on."""
        self._visitor, self._doorkeeper, self._lines, self._after = visitor, doorkeeper, lines, after
        self._held = 0

    async def __aenter__(self) -> None:
        try:
            for name, most, why in self._lines:
                self._visitor.waits_for = why
                await self._doorkeeper.enter(name, most)
                self._held += 1
        except BaseException:
            self._leave()
            raise
        self._visitor.waits_for = self._after

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        for name, _, _ in reversed(self._lines[: self._held]):
            self._doorkeeper.leave(name)


class _Line:
    """The places at one address, and those who wait for one."""

    __slots__ = ("free", "most", "waiting")

    def __init__(self, most: int) -> None:
        self.most = self.free = most
        self.waiting: list[asyncio.Future[None]] = []
