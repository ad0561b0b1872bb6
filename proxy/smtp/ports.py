"""What the SMTP server uses: the interfaces of policy, relay, outbox and authenticator, and the `Front` with them.

A worker has one `Front`, which all its sessions share.
"""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, ClassVar, Protocol, runtime_checkable

from proxy.base.health import HealthChecks
from proxy.counting.base import Counting
from proxy.counting.leases import Leases
from proxy.counting.memory import MemoryCounting
from proxy.mail import replies
from proxy.mail.message import Message
from proxy.mail.replies import Reply
from proxy.mail.session import Letter, Path, Session, Transaction
from proxy.mail.verdict import Verdict
from proxy.options.core import CoreOptions
from proxy.options.throttle import Buckets
from proxy.smtp.listed import Refusing
from proxy.smtp.pending import Verb
from proxy.smtp.running import Live, Sessions
from proxy.smtp.said import Allowance
from proxy.smtp.shared import SharedLimits
from sieve.phases import Phase


class RelayFailed(Exception):
    """The next hop cannot accept the message now, or rejected it. `reply` goes to the client."""

    def __init__(self, reply: Reply) -> None:
        """Keep the reply."""
        super().__init__(reply.text)
        # Last line of defence: a failure must never tell a client that its message was accepted.
        self.reply = reply if reply.code >= 400 else replies.INTERNAL


class OutboxUnavailable(Exception):
    """The outbox cannot store a message durably now. The cause has been logged."""

    reply: ClassVar[Reply] = replies.INTERNAL
    """The reply to the client whose message depends on it."""


class OutboxFull(OutboxUnavailable):
    """The outbox is full."""

    reply = replies.OUTBOX_FULL


class LettersLoop(OutboxUnavailable):
    """The message was made from a message that was made from a message, and so on: a loop."""

    reply = replies.LETTERS_LOOP


class Outbox(Protocol):
    """The queue of messages that Ringback makes itself. Committed messages survive a crash."""

    async def commit(self, session: Session, letters: Sequence[Letter]) -> None:
        """Store letters and deliver them. Raises OutboxUnavailable."""
        ...

    async def hold(self, session: Session) -> None:
        """Store what goes with the session's message: letters made by policy, and the DSN for rejected recipients.

        They wait for `release`, and are dropped if it never comes. Raises OutboxUnavailable.
        """
        ...

    async def release(self, session: Session) -> None:
        """Deliver what was held, and a DSN for recipients rejected since then. Raises OutboxUnavailable."""
        ...

    def drop(self, session: Session) -> None:
        """Drop what was held, because the message was not accepted. Does nothing if nothing is held."""
        ...


class Relay(Protocol):
    """Relays one transaction to the next hop. Trouble there raises only `RelayFailed`."""

    @property
    def upstream(self) -> str:
        """The next hop that has the transaction, for the log; empty before."""
        ...

    @property
    def taken_by(self) -> str:
        """The address that accepted the message; empty before."""
        ...

    async def recipients(self, transaction: Transaction, paths: Sequence[Path]) -> list[Reply]:
        """Send recipients, with MAIL FROM before the first. Return the next hop's verdict on each."""
        ...

    async def begin(self) -> None:
        """Send DATA, after a new envelope if policy changed it. Raises RelayFailed unless the next hop answers 354."""
        ...

    async def content(self, block: bytes) -> None:
        """Send dot-stuffed content, and wait if the next hop does not keep up. Raises RelayFailed."""
        ...

    async def finish(self, block: bytes) -> Reply:
        """Send the last content and the dot in one write. After that, the next hop may have accepted the message.

        Raises RelayFailed if no verdict came.
        """
        ...

    def abort(self) -> None:
        """Abort the transaction in any state, so that nothing is delivered. Does nothing if it has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Credentials:
    """A client's user name and password. No representation contains the password."""

    mechanism: str
    user: str
    password: str = field(repr=False)


class Verification(Enum):
    """An authenticator's result."""

    ACCEPTED = auto()
    REFUSED = auto()
    UNKNOWN = auto()
    """Could not be determined now; the client should try again."""


class Authenticator(Protocol):
    """Verifies credentials. Never raises for its own failures: it logs them and returns UNKNOWN."""

    async def verify(self, session: Session, credentials: Credentials) -> Verification:
        """Verify credentials under the session's options."""
        ...


class Logins(Authenticator, Protocol):
    """An authenticator that also limits the logins that modules judge."""

    def forgive(self, network: str) -> int:
        """Forget a client network's failures, because an operator says so; return how many counts it had."""
        ...

    def guess(self, session: Session, mechanism: str) -> AbstractAsyncContextManager[bool]:
        """Enter a login that a module judges; False if the client has failed too often. Its failure is counted."""
        ...


class BodyListener(Protocol):
    """Reads a body while it arrives."""

    async def feed(self, block: bytes) -> None:
        """Take the next octets after the header section as they are on the wire, dot-stuffed."""
        ...


@runtime_checkable
class ListensToBodies(Protocol):
    """A validator that reads bodies while they arrive. The message is then kept until policy has decided."""

    async def listen(self, session: Session, message: Message) -> BodyListener | None:
        """Return the listener for a message whose header section is there; None if the body does not matter."""
        ...


class Policy(Protocol):
    """The modules' verdicts in each phase. Never raises: a failing module also gives a verdict."""

    @property
    def judges_recipients_by_content(self) -> bool:
        """Whether a verdict on one recipient needs the message, so that RCPT cannot be decided at once."""
        ...

    @property
    def judges_recipients(self) -> bool:
        """Whether any module has a hook at RCPT."""
        ...

    @property
    def reads_body(self) -> bool:
        """Whether the message must be kept until policy has decided."""
        ...

    @property
    def listeners(self) -> Sequence[ListensToBodies]:
        """The modules that read bodies while they arrive."""
        ...

    @property
    def authenticates(self) -> bool:
        """Whether any module writes `Authentication-Results`."""
        ...

    def active(self, phase: Phase) -> bool:
        """Whether any module has a hook in the phase."""
        ...

    def run(self, phase: Phase, session: Session) -> Verdict | Awaitable[Verdict]:
        """Return the first verdict that is not a pass; it is awaited if a module must wait."""
        ...


class Client(Protocol):
    """The client of a session, for hooks that talk to it."""

    @property
    def transport(self) -> asyncio.BaseTransport | None:
        """The connection."""
        ...

    def send(self, octets: bytes) -> None:
        """Send a line from within a command that waits. Raises what ends the session."""
        ...

    async def next_line(self) -> bytes:
        """Return the client's next line, for a command that takes more than one. Raises what ends the session."""
        ...


class Proxied(Protocol):
    """A PROXY header. `client` and `local` are None if the proxy connects for itself."""

    @property
    def version(self) -> int:
        """The header's version, 1 or 2."""
        ...

    @property
    def client(self) -> tuple[str, int] | None:
        """The client's address and port."""
        ...

    @property
    def local(self) -> tuple[str, int] | None:
        """The address and port that it connected to."""
        ...


@dataclass(frozen=True, slots=True)
class SessionHooks:
    """What modules hook into besides the phases. A hook that is None costs nothing.

    A hook that returns a reply has decided; None lets the command continue. It never raises because of its own failure.
    """

    begin: Callable[[Session, Client], None] | None = None
    """A connection has been made."""
    end: Callable[[Session], None] | None = None
    """The session has ended."""
    helo: Callable[[Session, str], Awaitable[Reply | None]] | None = None
    """After policy has accepted the name."""
    ehlo: Callable[[Session, str, Sequence[str]], Awaitable[Reply | Sequence[str]]] | None = None
    """As `helo`; it gets the lines of our reply, without codes, and returns those to send."""
    rset: Callable[[Session], Awaitable[Reply | None]] | None = None
    noop: Callable[[Session, str], Awaitable[Reply | None]] | None = None
    vrfy: Callable[[Session, str], Awaitable[Reply | None]] | None = None
    auth: Callable[[Session, list[str]], Awaitable[Reply | None]] | None = None
    """The words after AUTH. The hook records a login or a rejected password in the session itself."""
    mechanisms: Mapping[str, Callable[[Session, list[str]], Awaitable[Reply | None]]] = field(default_factory=dict)
    """Mechanisms of AUTH, which come before our own; otherwise as `auth`."""
    started_tls: Callable[[Session], Awaitable[bool]] | None = None
    """The handshake after STARTTLS was done. False: the session gets 554."""
    proxied: Callable[[Session, Proxied], Awaitable[bool]] | None = None
    """A PROXY header was read. False: the connection is closed."""
    failed: Callable[[Session, Exception], Awaitable[Reply]] | None = None
    """A command failed by our own mistake."""
    taken: Callable[[Session], None] | None = None
    """A message was accepted."""
    refused: Callable[[Session, Reply], None] | None = None
    """A command or message was refused, by whomever."""


@runtime_checkable
class HooksIntoSession(Protocol):
    """A validator that also has hooks outside the phases."""

    def session_hooks(self) -> SessionHooks:
        """Return its hooks."""
        ...


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
    """Gets each line of each dialogue, and which side said it, while an operator watches."""
    checks: HealthChecks = field(default_factory=HealthChecks)
    """Connections that are not logged one by one."""
    lists: Refusing | None = None
    """The lists that may refuse a client, and that scripts ask."""
    dialogues: Allowance | None = None
    """How many refusals are reported with their dialogue; None without a history."""
    counting: Counting = field(default_factory=MemoryCounting)
    """Counts what does not belong to a client: the turns of all messages."""
    shared: SharedLimits | None = None
    """Counts clients' limits for all workers and machines; None if this worker counts alone."""
    elsewhere: Leases | None = None
    """Places of the worker before the only one, after a reload. If limits are shared, they are among all the others."""
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

    def share(self, shared: SharedLimits) -> None:
        """Let another process count clients' limits, and tell it about the connections that are open."""
        for front in self.in_use:
            front.shared = shared
        for each in self.live:
            each.dialogue.admission.share(shared, each.dialogue.session)

    def count_alone(self, shared: SharedLimits) -> None:
        """Undo that."""
        for each in self.live:
            each.dialogue.admission.count_alone(shared)
        for front in self.in_use:
            front.shared = None

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
