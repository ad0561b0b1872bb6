"""What the front asks of others: policy, the relay, the outbox, who judges passwords, a session that runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import ClassVar, Protocol

from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Letter, Path, Session, Transaction
from proxy.mail.verdict import Verdict
from sieve.phases import Phase


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


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client says it is. The password is kept out of every representation."""

    mechanism: str
    user: str
    password: str = field(repr=False)


class Verification(Enum):
    """What an authenticator found."""

    ACCEPTED = auto()
    REFUSED = auto()
    UNKNOWN = auto()
    """It could not be found out now: the client shall try again."""


class Authenticator(Protocol):
    """Tells whether a client is who it says. Never raises for trouble of its own: that is UNKNOWN, and logged."""

    async def verify(self, session: Session, credentials: Credentials) -> Verification:
        """Judge credentials by the options in force for the session."""
        ...


class Policy(Protocol):
    """The modules' verdicts, phase by phase. Never raises: a module that fails has a verdict, too."""

    @property
    def judges_recipients_by_content(self) -> bool:
        """Whether a verdict on one recipient needs the message, so that it cannot stand at RCPT."""
        ...

    @property
    def judges_recipients(self) -> bool:
        """Whether any module speaks at RCPT."""
        ...

    @property
    def judges_content(self) -> bool:
        """Whether any module speaks once the message is there."""
        ...

    @property
    def reads_body(self) -> bool:
        """Whether the message must be kept until it was judged."""
        ...

    def active(self, phase: Phase) -> bool:
        """Whether any module speaks in the phase."""
        ...

    async def run(self, phase: Phase, session: Session) -> Verdict:
        """Return the first verdict that is not a pass."""
        ...


class Live(Protocol):
    """A session that runs, as whoever stops the server knows it."""

    def drain(self) -> None:
        """Say 421 at the next command, which may be now."""
        ...

    def cut(self) -> None:
        """End the session at once; where the message may already be the upstream's, after its answer."""
        ...
