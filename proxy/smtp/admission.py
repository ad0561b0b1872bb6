"""Counts connections: per client, per listener, and for the whole service.

A connection counts until its socket is closed. That may be after its session ends, because a client that does not read
still uses a descriptor.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from proxy.mail.session import Session


class Listening(Protocol):
    """The counter of a listener."""

    connections: int


class Counts(Protocol):
    """The counters for all clients of a worker."""

    clients: Counter[str]
    connections: int

    def client_left(self, network: str) -> None:
        """Count one connection of a client less."""
        ...


class Admission:
    """Counts one connection. Its state is the client that it counts for."""

    __slots__ = ("_entrance", "_front", "_network")

    def __init__(self, front: Counts, entrance: Listening, network: str) -> None:
        """Count it."""
        self._front, self._entrance = front, entrance
        self._network: str | None = network
        front.clients[network] += 1
        front.connections += 1
        entrance.connections += 1

    def turn_to(self, network: str) -> None:
        """Count for another client, announced by a proxy in front of us."""
        if self._network is not None:
            self._front.client_left(self._network)
            self._front.clients[network] += 1
            self._network = network

    def end(self) -> None:
        """Stop counting it: its socket is closed."""
        if self._network is None:
            return
        self._front.client_left(self._network)
        self._network = None
        self._front.connections -= 1
        self._entrance.connections -= 1

    def limit_reached(self, session: Session) -> str:
        """Return the option whose limit of connections is exceeded, or nothing."""
        options, front = session.options, self._front
        most = options.max_connections_per_client
        if options.listener_sessions and self._entrance.connections > options.listener_sessions:
            return "listener_sessions"
        if options.service_sessions and front.connections > options.service_sessions:
            return "service_sessions"
        if most and not session.can_relay and front.clients[session.client_network] > most:
            return "max_connections_per_client"
        return ""
