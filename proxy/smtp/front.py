"""What all sessions of a worker share: one `Front`, built from the interfaces in `proxy.smtp.ports`."""

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
    """Everything that a session needs. Its mutable parts are owned by the event loop's thread."""

    settings: CoreOptions
    pipeline: Policy
    open_relay: Callable[[Session], Relay]
    capabilities: Callable[[], frozenset[str]]
    """EHLO keywords that every next hop is known to offer."""
    session_ended: Callable[[Session], None]
    """Called when a session ends, so that its client's own next-hop connections end, too."""
    authenticator: Authenticator
    """Verifies the credentials of clients that use AUTH."""
    sessions: TaskOwner
    outbox: Outbox
    stopping: bool = False
    """No more clients are accepted. A connection that still arrives is turned away."""
    reloaded: bool = False
    """Another worker has taken over, with another configuration."""
    live: set[Live] = field(default_factory=set)
    rates: Buckets = field(default_factory=Buckets)
    clients: Counter[str] = field(default_factory=Counter)
    """Connections of each client that has any."""
    connections: int = 0
    """All connections with an open socket."""

    def client_left(self, network: str) -> None:
        """Count one connection of a client less."""
        self.clients[network] -= 1
        if not self.clients[network]:
            del self.clients[network]
