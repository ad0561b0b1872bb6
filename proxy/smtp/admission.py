"""Counts connections: per client, per listener, and for the whole service.

A connection counts until its socket is closed. That may be after its session ends, because a client that does not read
still uses a descriptor. If workers share limits, the places that it takes among all of theirs are its claims.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from proxy.counting.leases import Leases
from proxy.mail.session import Session
from proxy.smtp.shared import Claim, Rate, SharedLimits

_OF_CLIENT = "max_connections_per_client"


class Listening(Protocol):
    """The counter of a listener."""

    connections: int

    @property
    def address(self) -> str:
        """The listening address."""
        ...


class Counts(Protocol):
    """The counters for all clients of a worker."""

    clients: Counter[str]
    connections: int
    shared: SharedLimits | None
    elsewhere: Leases | None

    def client_left(self, network: str) -> None:
        """Count one connection of a client less."""
        ...


class Admission:
    """Counts one connection. Its state is the client that it counts for."""

    __slots__ = ("_claims", "_entrance", "_front", "_network")

    def __init__(self, front: Counts, entrance: Listening, network: str) -> None:
        """Count it."""
        self._front, self._entrance = front, entrance
        self._network: str | None = network
        self._claims: tuple[Claim, ...] = ()
        front.clients[network] += 1
        front.connections += 1
        entrance.connections += 1

    def turn_to(self, network: str) -> None:
        """Count for another client, announced by a proxy in front of us."""
        if self._network is not None:
            self._front.client_left(self._network)
            self._front.clients[network] += 1
            self._network = network
            self._give_up([each for each in self._claims if each.option == _OF_CLIENT])

    def end(self) -> None:
        """Stop counting it: its socket is closed."""
        if self._network is None:
            return
        self._front.client_left(self._network)
        self._network = None
        self._front.connections -= 1
        self._entrance.connections -= 1
        self._give_up(self._claims)

    def limit_reached(self, session: Session) -> str:
        """Return the option whose limit of connections is exceeded, or nothing."""
        options, front = session.options, self._front
        if front.elsewhere is not None:
            return self._limit_reached_together(session, front.elsewhere)
        most = options.max_connections_per_client
        if options.listener_sessions and self._entrance.connections > options.listener_sessions:
            return "listener_sessions"
        if options.service_sessions and front.connections > options.service_sessions:
            return "service_sessions"
        if most and not session.can_relay and front.clients[session.client_network] > most:
            return "max_connections_per_client"
        return ""

    def _limit_reached_together(self, session: Session, others: Leases) -> str:
        """Do the same after a reload, while the worker before this one may still have connections."""
        front = self._front
        own = {
            "listener_sessions": self._entrance.connections,
            "service_sessions": front.connections,
            _OF_CLIENT: front.clients[session.client_network],
        }
        for each in self.claims(session, self._entrance.address):
            if own[each.option] + others.places(each.key) > each.most:
                return each.option
        return ""

    def share(self, shared: SharedLimits, session: Session) -> None:
        """Take its places where another process counts from now on: it has them already, so none is refused."""
        if self._network is not None and not self._claims:
            self._claims = tuple(self.claims(session, self._entrance.address))
            shared.have(self._claims)

    def count_alone(self, shared: SharedLimits) -> None:
        """Undo that: this process counts again."""
        claims, self._claims = self._claims, ()
        if claims:
            shared.leave(claims)

    async def claim(self, shared: SharedLimits, session: Session, rates: Sequence[Rate]) -> str:
        """Take a place in each limit that all workers share, and the events of `rates`: all, or none.

        Return the option or event that has none left, or nothing.
        """
        wanted = self.claims(session, self._entrance.address)
        claims = [each for each in wanted if each not in self._claims]
        if not claims and not rates:
            return ""
        refused = await shared.enter(session.client_network, claims, rates)
        if not refused:
            self._claims = (*self._claims, *claims)
            if self._network is None:  # the socket was closed meanwhile
                self._give_up(claims)
        return refused

    @staticmethod
    def claims(session: Session, listener: str) -> list[Claim]:
        """Return the place that a connection needs in each limit."""
        options, claims = session.options, []
        if options.listener_sessions:
            claims.append(Claim("listener_sessions", listener, options.listener_sessions))
        if options.service_sessions:
            claims.append(Claim("service_sessions", "", options.service_sessions))
        if options.max_connections_per_client and not session.can_relay:
            claims.append(Claim(_OF_CLIENT, session.client_network, options.max_connections_per_client))
        return claims

    def _give_up(self, claims: Sequence[Claim]) -> None:
        if claims and self._front.shared is not None:
            self._claims = tuple([each for each in self._claims if each not in claims])
            self._front.shared.leave(claims)
