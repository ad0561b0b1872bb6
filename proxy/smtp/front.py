"""What all sessions of a worker share: one `Front`, built from the interfaces in `proxy.smtp.ports`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.base.tasks import TaskOwner
from proxy.mail.session import Session
from proxy.options.core import CoreOptions
from proxy.options.throttle import Buckets
from proxy.smtp.ports import Authenticator, Live, Outbox, Policy, Relay


class Sessions(TaskOwner):
    """The running sessions of a worker, and the tasks of their commands that wait. The loop's thread owns it."""

    __slots__ = ("_waiters", "live")

    def __init__(self) -> None:
        """Start without a session."""
        super().__init__("sessions")
        self.live: set[Live] = set()
        self._waiters: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self.live)

    def forget(self, session: Live) -> None:
        """Forget a session that has ended."""
        self.live.discard(session)
        if self._waiters and not self.live:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()

    async def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for all sessions to end; return whether they did."""
        if self.live:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await asyncio.wait((waiter,), timeout=seconds)
        return not self.live

    async def cancel(self) -> None:
        """End every session, also one that waits for the next hop's reply to our dot."""
        await super().cancel()
        for session in tuple(self.live):
            session.cut()


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
    sessions: Sessions
    outbox: Outbox
    stopping: bool = False
    """No more clients are accepted. A connection that still arrives is turned away."""
    reloaded: bool = False
    """Another worker has taken over, with another configuration."""
    rates: Buckets = field(default_factory=Buckets)
    clients: Counter[str] = field(default_factory=Counter)
    """Connections of each client that has any."""
    connections: int = 0
    """All connections with an open socket."""

    @property
    def live(self) -> set[Live]:
        """The running sessions."""
        return self.sessions.live

    def client_left(self, network: str) -> None:
        """Count one connection of a client less."""
        self.clients[network] -= 1
        if not self.clients[network]:
            del self.clients[network]
