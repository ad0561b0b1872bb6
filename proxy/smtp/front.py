"""What the front is built with, and what it asks of the layers above it: one `Front` for all sessions of a worker.

The relay is known here only as a protocol; `proxy.upstream` implements it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

from proxy.base.tasks import TaskOwner
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Letter, Path, Session, Transaction
from proxy.options.settings import CoreOptions
from proxy.options.throttle import Buckets
from proxy.smtp.authentication import Authenticator
from proxy.smtp.pipeline import PhasePipeline

if TYPE_CHECKING:
    from proxy.smtp.conversation import Conversation


class RelayFailed(Exception):
    """The upstream cannot take the message now, or refused it; `reply` is what the client hears."""

    def __init__(self, reply: Reply) -> None:
        """Keep the reply."""
        super().__init__(reply.text)
        # The last line of defence: a failure never tells a client that its message was taken.
        self.reply = reply if reply.code >= 400 else replies.INTERNAL


class OutboxUnavailable(Exception):
    """What Ringback makes itself cannot be kept durably now; logged where it was found."""

    reply: ClassVar[Reply] = replies.INTERNAL
    """What the client of the message hears that goes with it."""


class OutboxFull(OutboxUnavailable):
    """The outbox holds as much as it may."""

    reply = replies.OUTBOX_FULL


class LettersLoop(OutboxUnavailable):
    """The message was made of a message that was made of a message, and so on: it goes in circles."""

    reply = replies.LETTERS_LOOP


class Outbox(Protocol):
    """Where messages that Ringback makes itself wait for their delivery; what was committed survives a crash."""

    async def commit(self, session: Session, letters: Sequence[Letter]) -> None:
        """Keep letters and deliver them. Raises OutboxUnavailable."""
        ...

    async def hold(self, session: Session) -> None:
        """Keep what goes with the session's message: what policy made, and the report of who is refused.

        It waits for `release`, and is dropped if that never comes. Raises OutboxUnavailable.
        """
        ...

    async def release(self, session: Session) -> None:
        """Deliver what was held, and a report of who was refused since. Raises OutboxUnavailable."""
        ...

    def drop(self, session: Session) -> None:
        """Forget what was held: the message is not accepted. Harmless when nothing is held."""
        ...


class Relay(Protocol):
    """One transaction's way to the upstream. Nothing here raises for trouble upstream but `RelayFailed`."""

    @property
    def upstream(self) -> str:
        """Which upstream took the transaction, for the log; empty before."""
        ...

    async def recipients(self, transaction: Transaction, paths: Sequence[Path]) -> list[Reply]:
        """Offer recipients, and MAIL FROM before the first; return the upstream's verdict on each."""
        ...

    async def begin(self) -> None:
        """Say DATA, after the envelope again where policy changed it since. Raises RelayFailed unless it is wanted."""
        ...

    async def content(self, block: bytes) -> None:
        """Send dot-stuffed content, waiting where the upstream does not keep up. Raises RelayFailed."""
        ...

    async def finish(self, block: bytes) -> Reply:
        """Send the last content and the dot in one write: from then on the message may be the upstream's.

        Raises RelayFailed where no verdict came.
        """
        ...

    def abort(self) -> None:
        """End the transaction wherever it stands, so that nothing of it is delivered. Harmless when it has ended."""
        ...


@dataclass(slots=True)
class Front:
    """Everything that a session needs. The event loop's thread owns what of it changes."""

    settings: CoreOptions
    pipeline: PhasePipeline
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
    live: set[Conversation] = field(default_factory=set)
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
