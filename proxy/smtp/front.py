"""What all sessions of a worker share: one `Front`, built with what `proxy.smtp.ports` asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.base.tasks import TaskOwner
from proxy.mail.session import Session
from proxy.options.core import CoreOptions
from proxy.options.throttle import Buckets
from proxy.smtp.ports import Authenticator, Live, Outbox, Policy, Relay


@dataclass(slots=True)
class Front:
    """Everything that a session needs. The event loop's thread owns what of it changes."""

    settings: CoreOptions
    pipeline: Policy
    open_relay: Callable[[Session], Relay]
    capabilities: Callable[[], frozenset[str]]
    """EHLO keywords that every upstream carries, as far as is known."""
    session_ended: Callable[[Session], None]
    """Told when a session is over, so that what speaks for its client upstream ends, too."""
    authenticator: Authenticator
    """Judges the credentials of clients that say AUTH."""
    sessions: TaskOwner
    outbox: Outbox
    stopping: bool = False
    """No more clients are taken: one that slipped in is sent away."""
    reloaded: bool = False
    """Another worker has taken over, with another configuration."""
    live: set[Live] = field(default_factory=set)
    rates: Buckets = field(default_factory=Buckets)
    clients: Counter[str] = field(default_factory=Counter)
    """Connections of each client that has any."""
    connections: int = 0
    """All of them, as long as their sockets are open."""

    def client_left(self, network: str) -> None:
        """Count one connection of a client less."""
        self.clients[network] -= 1
        if not self.clients[network]:
            del self.clients[network]
