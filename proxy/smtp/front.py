"""`Front`: what all sessions of a worker share, and the sessions themselves. A worker has one."""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from proxy.base.health import HealthChecks
from proxy.base.tasks import TaskOwner
from proxy.counting.base import Counting
from proxy.counting.memory import MemoryCounting
from proxy.mail.session import Session
from proxy.options.core import CoreOptions
from proxy.options.throttle import Buckets
from proxy.smtp.listed import Refusing
from proxy.smtp.pending import Verb
from proxy.smtp.ports import Logins, Outbox, Policy, Relay, SessionHooks
from proxy.smtp.said import Allowance
from proxy.smtp.shared import SharedLimits


class Live(Protocol):
    """A running session, as the code that stops the server sees it, and the console."""

    @property
    def dialogue(self) -> Any:
        """The client as the commands see it: a `Dialogue`."""
        ...

    @property
    def pending(self) -> Any:
        """The command that waits, a `Pending`; None if none does."""
        ...

    def kill(self) -> None:
        """As `cut`, because an operator wants it."""
        ...

    def drain(self) -> None:
        """Answer 421 at the next command, which may be now."""
        ...

    def keep(self, earlier: Front, entrances: Mapping[Any, Any]) -> None:
        """Go on with what there was before the configuration changed: `earlier` in place of the front."""
        ...

    def cut(self) -> None:
        """End the session at once, or after the next hop's reply if it may already have accepted the message."""
        ...


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
    verbs: Mapping[bytes, Verb]
    """The commands, by verb in capitals."""
    pipeline: Policy
    open_relay: Callable[[Session], Relay]
    capabilities: Callable[[], frozenset[str]]
    """EHLO keywords that every next hop is known to offer."""
    session_ended: Callable[[Session], None]
    """Called when a session ends, so that its client's own next-hop connections end, too."""
    authenticator: Logins
    """Verifies the credentials of clients that use AUTH."""
    sessions: Sessions
    outbox: Outbox
    hooks: SessionHooks = field(default_factory=SessionHooks)
    """What modules do besides judging in the phases."""
    stopping: bool = False
    """No more clients are accepted. A connection that still arrives is turned away."""
    reloaded: bool = False
    """Another worker has taken over, with another configuration."""
    closed: bool = False
    """An operator lets no more clients in; those that come get 421."""
    trace: Callable[[Session, bytes, bytes], None] | None = None
    """Gets each line of each dialogue, with who said it, while an operator looks on."""
    checks: HealthChecks = field(default_factory=HealthChecks)
    """Connections that are not logged one by one."""
    lists: Refusing | None = None
    """The lists that may refuse a client, and that scripts ask."""
    dialogues: Allowance | None = None
    """How many refusals are told with their dialogue; None without a history."""
    counting: Counting = field(default_factory=MemoryCounting)
    """Counts what is no client's: the turns of all messages."""
    shared: SharedLimits | None = None
    """Counts clients' limits for all workers and machines; None if this worker counts alone."""
    rates: Buckets = field(default_factory=Buckets)
    clients: Counter[str] = field(default_factory=Counter)
    """Connections of each client that has any."""
    connections: int = 0
    """All connections with an open socket."""

    @property
    def live(self) -> set[Live]:
        """The running sessions."""
        return self.sessions.live

    @property
    def in_use(self) -> list[Front]:
        """This front, and those that running sessions have kept from before the configuration changed."""
        return list({id(each): each for each in (self, *(each.dialogue.front for each in self.live))}.values())

    def turn_to(self, other: Front, entrances: Mapping[Any, Any]) -> None:
        """Serve new sessions by another configuration. Running ones keep theirs, and the copies of their entrances."""
        earlier = copy.copy(self)
        self.settings, self.pipeline, self.hooks = other.settings, other.pipeline, other.hooks
        self.open_relay = other.open_relay
        for session in self.live:
            if session.dialogue.front is self:  # others began before an earlier change
                session.keep(earlier, entrances)

    def client_left(self, network: str) -> None:
        """Count one connection of a client less."""
        self.clients[network] -= 1
        if not self.clients[network]:
            del self.clients[network]
