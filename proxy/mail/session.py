"""The state of an SMTP session: Session, Transaction, Path. No sockets and no replies.

`Session` and `Transaction` extend aiosmtpd's Session and Envelope, so code written for aiosmtpd finds the attributes
that it expects.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import Envelope as AiosmtpdEnvelope
from aiosmtpd.smtp import Session as AiosmtpdSession

from proxy.base.rare import Rare
from proxy.mail.client import SessionCounts, client_network_of
from proxy.mail.evidence import NO_EVIDENCE, Evidence, Finding
from proxy.mail.message import Message, is_binary
from proxy.mail.replies import Reply
from proxy.mail.session_ids import next_session_id
from proxy.options.inbound import InboundOptions
from sieve.phases import Phase

KEYWORDS = FROM, TO = b"FROM:", b"TO:"
"""What the arguments of MAIL and RCPT begin with."""


class Path:
    """A reverse-path or forward-path (RFC 5321 section 4.1.2) without brackets and source route. It never changes.

    `raw` goes to the next hop. The other fields are normalized for policy, cache, routing and log: the local part
    without needless quotes, the domain in lower-case A-labels. What follows from others is made when it is first read:
    a client may have a thousand recipients.
    """

    __slots__ = ("domain", "local_part", "raw", "said", "text")

    domain: str
    local_part: str
    text: str
    """The normalized address, empty for the null sender."""
    parameters: Mapping[str, str | None] = MappingProxyType({})
    """RCPT parameters to send to the next hop with this path."""
    gateway = ""
    """The next hop chosen by policy; empty for the configured route."""

    def __init__(self, raw: bytes, local_part: str | None, domain: str, given: bytes = b"") -> None:
        """Take a parsed path. Without a local part, it is that of `raw`, which is plain ASCII."""
        self.raw, self.domain = raw, domain
        if local_part is not None:
            self.local_part = local_part
            self.text = f"{local_part}@{domain}" if domain else local_part
        self.said = given
        """`given`, or only `FROM:` or `TO:` if the raw path follows in brackets: a client may have 1,000 recipients."""

    if not TYPE_CHECKING:  # it would hide mistakes from mypy

        def __getattr__(self, name: str) -> str:
            """Make what is not there yet. Normal domains of plain addresses are as long as the domain in `raw`."""
            if name == "local_part":
                self.local_part = found = str(self.raw[: -1 - len(self.domain)], "ascii")
            elif name == "text":
                self.text = found = str(self.raw[: -len(self.domain)], "ascii") + self.domain
            else:
                raise AttributeError(name)
            return found

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Path):
            return NotImplemented
        return (self.raw, self.local_part, self.domain) == (other.raw, other.local_part, other.domain)

    def __hash__(self) -> int:
        return hash((self.raw, self.local_part, self.domain))

    def __repr__(self) -> str:
        return f"Path({self.raw!r}, {self.local_part!r}, {self.domain!r})"

    @property
    def given(self) -> bytes:
        """The argument of MAIL or RCPT as the client sent it; empty if the path did not come from the client."""
        return b"%b<%b>" % (self.said, self.raw) if self.said in KEYWORDS else self.said

    @property
    def spoken(self) -> str:
        """The address as sent to the next hop, for header fields and reports."""
        return self.raw.decode("utf-8", "surrogateescape")


class Directed(Path):
    """A forward-path with RCPT parameters or a next hop of its own."""

    __slots__ = ("gateway", "parameters")

    def __init__(self, path: Path, parameters: Mapping[str, str | None], gateway: str) -> None:
        super().__init__(path.raw, path.local_part, path.domain, path.said)
        self.parameters, self.gateway = parameters, gateway


NULL_PATH = Path(b"", "", "")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message created by Ringback. Each recipient gets a copy in a separate transaction."""

    sender: Path
    recipients: tuple[Path, ...]
    content: bytes
    """Header section and body, with CRLF line endings and without dot-stuffing."""
    purpose: str
    """The kind of message, for the log: forward, generated or report."""


class Recipient:
    """An accepted RCPT TO, and where the mail for it actually goes."""

    __slots__ = ("apart", "path", "relayed")

    parameters = Rare[Mapping[str, str | None]](Path.parameters)
    """RCPT parameters as received, such as NOTIFY and ORCPT (RFC 3461)."""
    target = Rare[Path | None](None)
    """The forward-path to use instead, if policy redirected this recipient."""
    gateway = Rare[str]("")
    """The next hop chosen by policy; empty for the configured route."""
    refusal = Rare[Reply | None](None)
    """Why this recipient is refused when others accept the message. Sent as a PRDR reply or in a report."""
    letters = Rare[Sequence[Letter]](())
    """Messages created by policy for this recipient, sent when the message is accepted."""
    discarded_by = Rare[str]("")
    """Who discarded this recipient."""
    reported = Rare[bool](False)
    """Whether a report to the sender includes the refusal."""

    def __init__(self, path: Path, parameters: Mapping[str, str | None] | None = None) -> None:
        """Start with what the client said."""
        self.path = path
        self.relayed = True
        """False if policy discarded this recipient."""
        self.apart: dict[str, Any] | None = {"parameters": parameters} if parameters else None
        """The other fields, as far as it has them."""

    @property
    def destination(self) -> Path:
        """The forward-path to send to the next hop, with its RCPT parameters and gateway."""
        if self.apart is None:
            return self.path
        path = self.target or self.path
        if self.parameters or self.gateway:
            return Directed(path, self.parameters, self.gateway)
        return path


class Transaction(AiosmtpdEnvelope):
    """One mail transaction, from MAIL FROM to the reply after the final dot, or until it is reset."""

    # Python reads a slot ten times as fast as a default of the class, or one of more than thirty attributes.
    __slots__ = (
        "begun", "binding", "callback", "callback_seconds", "context", "copies", "created", "discarded", "discarded_by",
        "dmarc", "dns_seconds", "evidence", "evidence_told", "given_reverse_path", "heard", "is_binary", "judged",
        "letters", "message", "message_id", "parameters", "pending", "phases", "policy_seconds", "prdr", "recipients",
        "recorded", "refused_recipients", "reverse_path", "size", "upstream_seconds", "when_accepted", "when_wanted",
    )  # fmt: skip

    def __init__(self) -> None:
        """Start an empty transaction, before MAIL FROM."""
        # aiosmtpd's attributes, but for `rcpt_tos`
        self.mail_from: str | None = None
        self.mail_options: list[str] = []
        self.rcpt_options: list[str] = []
        self.smtp_utf8 = False
        self.content = self.original_content = None
        self.begun = False
        """MAIL was accepted, or policy is being asked about it."""
        self.created = 0.0
        """When it began."""
        self.reverse_path: Path = NULL_PATH
        self.given_reverse_path: Path = NULL_PATH
        """The reverse-path sent by the client, even if policy replaced it. Reports go to this address."""
        self.parameters: dict[str, str | None] = {}
        self.recipients: list[Recipient] = []
        self.prdr = False
        """The client accepts a reply for each recipient after the dot (draft-hall-prdr)."""
        self.is_binary = False
        """The message may hold any octets, as MAIL said."""
        self.refused_recipients = self.size = 0
        self.message: Message | None = None
        self.copies: list[Path] = []
        """Forward-paths added by policy."""
        self.letters: list[Letter] = []
        """Messages created by policy, sent when the message is accepted."""
        self.context: dict[str, str] = {}
        self.phases: list[tuple[Phase, float, float, float]] = []
        """Phases in which policy was asked: the seconds of each, and of callbacks and DNS until its end."""
        self.discarded = False
        self.heard: dict[object, object] = {}
        """What modules know of the message and need again. The key is the module itself or contains it: two modules may
        have the same name."""
        self.pending: list[asyncio.Task[None]] = []
        """Tasks of active validators. Reading the context variable that a task will set waits for the task."""
        self.when_wanted: list[Callable[[], None]] = []
        """Callbacks to run when the next hop accepts the first recipient."""
        self.when_accepted: Sequence[Callable[[], Awaitable[None]]] = ()
        """What to do once the next hop has accepted the message, before the client gets the reply. It never raises."""
        self.discarded_by = self.judged = self.binding = ""
        self.message_id = b""
        self.callback: Finding | None = None
        """What the last callback found."""
        self.policy_seconds = self.callback_seconds = self.upstream_seconds = self.dns_seconds = 0.0
        self.recorded = self.evidence_told = False
        """Whether the results of its recipients, and the evidence, have been logged."""
        self.evidence: Evidence = NO_EVIDENCE
        """What modules found about who sent the message."""
        self.dmarc: Mapping[str, Any] | None = None
        """What an aggregate report says about the message."""

    def begin(self, path: Path, parameters: dict[str, str | None]) -> None:
        """Record an accepted MAIL FROM in the fields of Ringback and of aiosmtpd."""
        self.begun, self.created = True, time.time()
        self.reverse_path = self.given_reverse_path = path
        self.parameters = parameters
        self.mail_from = path.text
        self.mail_options = list(parameters)
        if parameters:
            self.smtp_utf8 = "SMTPUTF8" in parameters
            self.prdr = "PRDR" in parameters
            self.is_binary = is_binary(parameters)

    def add(self, recipient: Recipient) -> None:
        """Record an accepted RCPT TO."""
        self.recipients.append(recipient)

    @property
    def rcpt_tos(self) -> list[str]:  # type: ignore[override]  # aiosmtpd's is a second list
        """The recipients' addresses, for code written for aiosmtpd."""
        return [each.path.text for each in self.recipients]

    def discard(self, earlier: int) -> None:
        """Discard the message, except for copies that this phase added after the first `earlier` ones."""
        del self.copies[:earlier]
        self.discarded = not self.copies
        for recipient in self.recipients:
            recipient.relayed = False

    def somebody_wants_it(self) -> None:
        """Run the callbacks that wait for the first accepted recipient, once."""
        waiting, self.when_wanted = self.when_wanted, []
        for begin in waiting:
            begin()

    @property
    def destinations(self) -> list[Path]:
        """The forward-paths to send to the next hop, without duplicates, in RCPT TO order."""
        paths = [each.destination for each in self.recipients if each.relayed] + self.copies
        return list({path.raw: path for path in paths}.values())

    @property
    def is_wanted(self) -> bool:
        """Whether anyone gets the message."""
        for recipient in self.recipients:
            if recipient.relayed:
                return True
        return bool(self.copies)

    async def settle(self) -> None:
        """Wait for the tasks of active validators. Their failures are already logged and do not affect the mail."""
        if self.pending:
            await asyncio.wait(self.pending)
            self.pending.clear()


class Session(AiosmtpdSession):
    """One client connection: who the client is, the state of the SMTP dialogue, and the context variables."""

    __slots__ = (
        "advertised", "auth_user", "can_relay", "cipher", "client_name", "client_network", "context",
        "current_recipient", "encryption", "evidence", "failed_authentications", "greeting", "id", "introduced",
        "local", "may_talk_early", "options", "peer_address", "speaks_within", "tally", "tls", "transaction",
        "transaction_id", "via", "withdrawn",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        peer: tuple[str, int],
        local: tuple[str, int],
        options: InboundOptions,
    ) -> None:
        """Start a session between two addresses, with the options that apply to this client."""
        super().__init__(loop)
        self.id = next_session_id()
        self.transaction_id = f"{self.id}.0"
        """The name of the last transaction, in the Received field and in the log."""
        self.peer_address = peer
        self.client_network = client_network_of(peer[0])
        """The network that counts as one client: an IPv4 address, or an IPv6 /64 (usually one customer)."""
        self.local = local
        self.options = options
        self.can_relay = False
        self.auth_user = ""
        """The authenticated user, after AUTH."""
        self.failed_authentications = 0
        self.context: dict[str, str] = {}
        self.encryption: dict[str, str] = {}
        """Context variables set by the TLS handshake."""
        self.transaction = Transaction()
        self.current_recipient: Recipient | None = None
        """The recipient that the rcptto or each_rcpt phase is running for."""
        self.advertised: list[str] = []
        """Lines added to the EHLO reply by policy."""
        self.withdrawn: set[str] = set()
        """Keywords removed from the EHLO reply by policy, in upper case."""
        self.tally = SessionCounts()
        self.via = ""
        """Address of the proxy that sent the client's identity; empty if the client connected directly."""
        self.introduced = False
        """Whether XCLIENT set the client address. A second XCLIENT is then refused."""
        self.speaks_within: Callable[[float], Awaitable[bool]] = silent
        """Waits up to this many seconds and returns whether the client sent anything before its turn."""
        self.may_talk_early = False
        """Whether policy allows the client to talk before the greeting."""
        self.client_name: str | None = None
        """The client's validated host name; None until the lookup is done."""
        self.tls = self.cipher = ""
        """The TLS version and cipher; empty without TLS."""
        self.evidence: Evidence = NO_EVIDENCE
        """What modules found about the client."""
        self.greeting: Callable[[Reply], Reply] | None = None
        """What a module makes of the usual greeting."""

    @property
    def may_report(self) -> bool:
        """Whether a recipient refused after DATA gets a report: Multi_Recipient is "dsn", the sender is not null."""
        return self.options.multi_recipient == "dsn" and bool(self.transaction.given_reverse_path.raw)

    @property
    def tells_of_each(self) -> bool:
        """Whether recipients may get different results after the final dot, by PRDR or by a report."""
        return self.transaction.prdr or self.may_report

    def tell_counts(self) -> None:
        """Set the context variables that count the connection's messages and recipients."""
        self.context |= {
            "connection_message_count": str(self.tally.messages),
            "connection_rcpt_count": str(self.tally.recipients),
            "message_rcpt_count": str(len(self.transaction.recipients)),
        }

    def authenticate(self, user: str) -> None:
        """Record a successful AUTH. The client may now relay."""
        self.auth_user, self.authenticated, self.can_relay = user, True, True
        self.context |= {"auth_user": user, "can_relay": "true"}

    def forget_authentication(self, *, can_relay: bool) -> None:
        """Undo a successful AUTH. `can_relay` says whether the client may relay without it."""
        self.auth_user, self.authenticated, self.can_relay = "", None, can_relay
        for name in ("auth_user", "auth_name", "auth_status"):
            self.context.pop(name, None)
        self.context["can_relay"] = "true" if can_relay else "false"

    def become(self, client: tuple[str, int], local: tuple[str, int], options: InboundOptions) -> None:
        """Switch to the client named by a proxy, and forget the previous client."""
        if client[0] != self.client_ip:
            self.via = self.client_ip
        self.client_network = client_network_of(client[0])
        self.peer_address, self.local, self.options, self.client_name = client, local, options, None
        self.host_name, self.extended_smtp, self.evidence = None, False, NO_EVIDENCE
        self.advertised.clear()
        self.withdrawn.clear()
        self.context.clear()
        # The certificate belongs to the proxy, not to its client.
        self.encryption = {name: value for name, value in self.encryption.items() if "_client_" not in name}
        self.context |= self.encryption
        self.forget_authentication(can_relay=False)
        self.failed_authentications = self.tally.errors = self.tally.junk = self.tally.deferred = 0
        self.may_talk_early = False

    @property
    def certificate_verified(self) -> bool:
        """Whether the client sent a certificate issued by TLS_Client_CA."""
        return "tls_client_verified" in self.encryption

    @property
    def client_ip(self) -> str:
        """The client's address."""
        return self.peer_address[0]


async def silent(seconds: float) -> bool:  # noqa: ARG001 — no one is waiting
    """Return False immediately if there is no client or a proxy speaks for it."""
    return False
