"""`Dialogue`: one client as the commands see it. It has what is in progress, and what ends with the session.

It reads nothing and executes nothing: `protocol` does.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Protocol

from config.base.ip import any_holds
from proxy.base.log import get_logger, printable
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Recipient, Session, Transaction
from proxy.mail.verdict import PASS, Verdict
from proxy.metrics.book import BOOK
from proxy.metrics.handshakes import count_failure, count_handshake
from proxy.metrics.metric import OTHER
from proxy.metrics.table import PHASE, PHASES, SECONDS
from proxy.options.inbound import InboundOptions
from proxy.smtp.access import is_trusted
from proxy.smtp.admission import Admission
from proxy.smtp.connection import BACKLOG, ClientGone, ClientIdle, Connection
from proxy.smtp.data import DataReader
from proxy.smtp.forwarded import Address
from proxy.smtp.pending import Answer, Over, Pending, Verb
from proxy.smtp.plan import Looks, Plan
from proxy.smtp.ports import Front, Relay
from proxy.smtp.record import record_left, record_message, record_refused
from proxy.smtp.said import SERVER
from proxy.smtp.state import END_OF_MESSAGE, Progress
from proxy.smtp.tls import HANDSHAKE_SECONDS, ServerCertificate, shake_hands, tls_context
from sieve.phases import Phase

log = get_logger()

_SUM = len(SECONDS) + 1
_PHASES = {
    phase: tuple(
        PHASES.at(phase.value if phase.value in PHASE.values else OTHER, part)
        for part in ("total", "script", "callback", "dns")
    )
    for phase in Phase
}
"""Where the times of a phase are counted: all, its scripts, its callbacks, its lookups."""

MOST_ERRORS = 20
"""Rejected commands, without a delivered message in between, after which the session ends, as in Postfix."""

MOST_DEFERRED = 1000
"""Temporary refusals, without a delivered message in between, after which each counts as an error, as do Postfix's
recipients above its limit. A client that ignored them had each logged: a mebibyte of RCPT made 12 MiB of log."""

MOST_JUNK = 100
"""Junk commands (RSET, NOOP, VRFY, HELP, repeated EHLO) after which each counts as an error, as in Postfix."""


class Entrance(Protocol):
    """The client's way in: `proxy.smtp.entrance.Entrance`."""

    own_options: InboundOptions
    connections: int

    @property
    def address(self) -> str:
        """The listening address."""
        ...

    def options(self, client_ip: str) -> InboundOptions:
        """Return the options that apply to a client."""
        ...

    def plan(self, options: InboundOptions, policy: Looks) -> Plan:
        """Return the plan for clients with these options."""
        ...

    def certificate(self, options: InboundOptions) -> ServerCertificate | None:
        """Return the certificate for TLS under these options; None if TLS is not offered."""
        ...


class Dialogue:
    """One client's session, and its transaction at the next hop. Its protocol owns it."""

    __slots__ = (
        "admission", "argument", "barred", "committed", "connection", "content", "entrance", "foreseen",
        "front", "killed", "loop", "plan", "progress", "recorded", "relay", "session",
    )  # fmt: skip

    def __init__(self, front: Front, entrance: Entrance, session: Session, connection: Connection) -> None:
        """Start before the greeting."""
        self.front, self.entrance, self.session, self.connection = front, entrance, session, connection
        self.loop = session.loop
        self.plan = entrance.plan(session.options, front.pipeline)
        self.progress = Progress()
        self.admission = Admission(front, entrance, session.client_network)
        self.relay: Relay | None = None
        self.foreseen: dict[bytes, tuple[Recipient | None, Reply]] = {}
        """Recipients whose commands are next in the buffer, by argument, and the next hop's verdicts on them.

        It does not hear of those that we refuse: they are None."""
        self.content: DataReader | None = None
        """Between 354 and the task that takes the message: what the client sends is content."""
        self.barred = False
        """A module does not accept the client's TLS: only QUIT is left."""
        self.argument = b""
        """The argument of the command that is executed."""
        self.recorded: Reply | None = None
        """The reply whose event is logged already."""
        self.committed = False
        """The next hop may already have accepted the message, so a lost client does not end the session."""
        self.killed = False
        """An operator ends the session."""

    # ------------------------------------------------------------ the transaction

    def open_relay(self) -> Relay:
        """Return the transaction's way to the next hop."""
        if self.relay is None:
            self.relay = self.front.open_relay(self.session)
        return self.relay

    def commit(self) -> None:
        """From here on, the next hop may accept the message."""
        self.committed = True

    def end_message(self) -> None:
        """A message has ended, whatever the reply is, and the transaction with it."""
        self.committed = False
        self.connection.high_water = BACKLOG
        self.end_transaction()
        self.progress.accepted(END_OF_MESSAGE)

    def end_transaction(self) -> None:
        """Drop the transaction, here and at the next hop."""
        transaction = self.session.transaction
        if not (transaction.begun or transaction.phases or transaction.context):
            return
        if transaction.recipients and not transaction.recorded:
            if self.content is not None:  # the client left before its message had arrived
                transaction.size = len(self.connection.buffer)
                record_message(self.session, None, self.relay)
            else:
                record_left(self.session)
        if self.relay is not None:
            self.relay.abort()
            self.relay = None
        if transaction.phases:
            count_phases(transaction)
        self.session.transaction = Transaction()
        self.session.current_recipient = None

    # ------------------------------------------------------------ policy

    def ask(
        self, phases: tuple[Phase, ...], heed: Callable[[Verdict], Reply | None], go_on: Callable[[], Answer] | Reply
    ) -> Answer:
        """Ask policy in each phase; the first reply that `heed` makes of a verdict ends it, otherwise `go_on` follows.

        That is the reply, or what gives it. It is Pending only if a verdict must be waited for.
        """
        transaction, began = self.session.transaction, time.monotonic()
        for number, phase in enumerate(phases, 1):
            verdict = self.front.pipeline.run(phase, self.session)
            if type(verdict) is not Verdict:
                return Pending(self._asked((verdict, transaction, began), phases[number - 1 :], heed, go_on))
            now = time.monotonic()
            transaction.policy_seconds += now - began
            asked = transaction.callback_seconds, transaction.dns_seconds
            transaction.phases.append((phase, now - began, *asked))
            began = now
            if verdict is not PASS and (reply := heed(verdict)) is not None:
                transaction.judged = phase.value
                return reply
        return go_on if type(go_on) is Reply else go_on()

    async def _asked(
        self,
        waiting: tuple[Any, Transaction, float],
        phases: tuple[Phase, ...],
        heed: Callable[[Verdict], Reply | None],
        go_on: Callable[[], Answer] | Reply,
    ) -> Reply | None:
        """Wait for the verdict of the first phase, then ask in the others."""
        verdict, transaction, began = waiting
        found = await verdict
        seconds = time.monotonic() - began
        transaction.policy_seconds += seconds
        transaction.phases.append((phases[0], seconds, transaction.callback_seconds, transaction.dns_seconds))
        reply = heed(found)  # it may end the transaction
        answer = reply if reply is not None else self.ask(phases[1:], heed, go_on)
        return await answer.work if type(answer) is Pending else answer

    # ------------------------------------------------------------ the client

    def refusal(self, command: Verb, by_order: Reply | None) -> Reply | None:
        """Return why a command is not allowed now, or None. `by_order` is what its order says."""
        connection, session = self.connection, self.session
        if self.barred and command.verb != "QUIT":
            return replies.TLS_NOT_ACCEPTED
        if by_order is not None:
            none_left = by_order is replies.NO_RECIPIENTS_YET and session.transaction.refused_recipients
            return replies.NO_VALID_RECIPIENTS if none_left else by_order
        # Without EHLO, the client was never offered PIPELINING (RFC 2920 section 3.1). BDAT's octets are not commands,
        # and BDAT always reads them.
        if not connection.buffer or not command.is_ordered or (session.extended_smtp and not command.goes_last):
            return None
        if command.verb == "STARTTLS" and session.options.starttls_injection_policy == "ignore":
            connection.consume(len(connection.buffer))
            return None
        return replies.SYNCHRONIZATION

    def say(self, reply: Reply) -> None:
        """Send a reply from within a command that waits."""
        connection = self.connection
        at = int((time.monotonic() - self.session.tally.started) * 1000)
        connection.said += b"\2%d\3" % at + reply.wire
        if self.front.trace is not None:
            self.front.trace(self.session, SERVER, reply.wire)
        connection.send(reply.wire)

    def send(self, octets: bytes) -> None:
        """Send a line from within a command that waits, for a module's hook."""
        self.connection.send(octets)

    @property
    def transport(self) -> asyncio.BaseTransport | None:
        """The connection, for a module's hook; None after its end."""
        return None if self.connection.lost else self.connection.transport

    def become(self, client: Address, local: Address) -> None:
        """Continue as a session of the client that a proxy named, under that client's limits and options."""
        session = self.session
        self.end_transaction()
        self.front.session_ended(session)  # next-hop connections of the previous client
        session.become(client, local, self.entrance.options(client[0]))
        self.plan = self.entrance.plan(session.options, self.front.pipeline)
        self.admission.turn_to(session.client_network)

    async def secure(self, certificate: ServerCertificate) -> None:
        """Start TLS, and forget everything received in the clear (RFC 3207 section 4.2).

        Raises:
            ClientGone: the handshake failed, so no reply can be sent.
        """
        session, connection = self.session, self.connection
        session.tally.acted = True
        try:
            context = await certificate.context()
            connection.flush()
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                # The buffer holds the start of the handshake. Commands after STARTTLS have already ended the session.
                transport = await shake_hands(connection.protocol, connection.transport, context, connection.buffer)
        except (OSError, ssl.SSLError) as error:
            count_failure("client")
            log.info("tls_failed", session=session.id, client=session.client_ip, reason=printable(str(error)))
            raise ClientGone from error
        count_handshake("client", transport)
        connection.transport = transport
        transport.set_write_buffer_limits(high=BACKLOG)
        cipher = connection.transport.get_extra_info("cipher")
        session.ssl = {"cipher": cipher}
        session.cipher, session.tls = cipher[:2] if cipher else ("", "")
        session.host_name, session.extended_smtp = None, False
        session.encryption = tls_context(connection.transport)
        session.context |= session.encryption
        session.forget_authentication(can_relay=is_trusted(session))

    def patience(self) -> float:
        """Return until when the client may send its next command, by the loop's clock: 0 if its time is over.

        It has less time under stress, and near the end of its session time.
        """
        plan, now = self.plan, self.loop.time()
        deadline, ends = now + plan.idle, self.session.tally.started + plan.lifetime
        if plan.stress and len(self.front.live) > plan.stress:
            deadline = now + (plan.options.stress_idle_time or plan.idle)
        if ends > deadline:
            return deadline
        return ends if ends > now else 0.0

    async def next_line(self) -> bytes:
        """Return the client's next line, for a command that takes more than one.

        Raises:
            ClientGone, ClientIdle, Draining, LineTooLong: as `Connection.line`.
        """
        deadline = self.patience()
        if not deadline:
            raise ClientIdle
        return await self.connection.line(deadline - self.loop.time())

    def too_many_errors(self, reply: Reply) -> bool:
        """Count a rejected command, or a junk or deferred one too many; tell the client if it has made too many."""
        tally = self.session.tally
        is_deferred = reply.code >= 400 and tally.deferred > MOST_DEFERRED
        if not (reply.permanent or tally.junk > MOST_JUNK or is_deferred):
            return False
        tally.errors += 1
        if tally.errors < MOST_ERRORS:
            return False
        self.connection.outgoing += replies.TOO_MANY_ERRORS.wire
        record_refused(self.session, "", b"", replies.TOO_MANY_ERRORS)
        return True

    @property
    def may_introduce(self) -> bool:
        """Whether the client may use XCLIENT: judged by the connection's address, not by one from XCLIENT."""
        session = self.session
        return not session.introduced and any_holds(session.options.xclient_hosts, session.client_ip)

    @property
    def knows_auth(self) -> bool:
        """Whether AUTH is a command here: it is configured, or a module has mechanisms."""
        hooks = self.front.hooks
        return self.session.options.authentication != "no" or hooks.auth is not None or bool(hooks.mechanisms)

    @property
    def may_authenticate(self) -> bool:
        """Whether AUTH is offered: it is configured, and the connection protects the password."""
        options = self.session.options
        if not self.knows_auth:
            return False
        return self.session.ssl is not None or options.authentication_without_tls

    def carried(self) -> frozenset[str]:
        """Return the extensions whose parameters MAIL takes: the next hops', and AUTH if we offer it."""
        offered = {"AUTH"} if self.may_authenticate else set[str]()
        return self.front.capabilities() - {"AUTH"} | offered

    def ending(self, reason: BaseException) -> tuple[str, Reply | None]:
        """Return what the end of a session is called, and its last reply, by what ended it."""
        if isinstance(reason, Over):
            return "quit", None
        if isinstance(reason, ClientGone) or self.connection.lost:
            return "client gone", None
        if isinstance(reason, ClientIdle):
            return "timeout", replies.IDLE_TOO_LONG
        return "shutdown", self.farewell()  # Draining, or the task was cancelled

    def farewell(self) -> Reply:
        """Return the reply to a client whose session ends because we stop."""
        if self.killed:
            return replies.ENDED_BY_OPERATOR
        if self.front.reloaded:
            return replies.from_policy(421, self.session.options.reconfig_message, close=True, by="shutdown")
        return replies.SHUTTING_DOWN


def count_phases(transaction: Transaction) -> None:
    """Count the times of policy. What it waited for is known as sums over the phases so far."""
    counts = BOOK.counts
    callbacks = lookups = 0.0
    for phase, seconds, callback, dns in transaction.phases:
        script = seconds - (callback - callbacks) - (dns - lookups)
        parts = (seconds, script, callback - callbacks, dns - lookups)
        callbacks, lookups = callback, dns
        for first, part in zip(_PHASES[phase], parts, strict=False):
            if part > 0.0:
                counts[first + bisect_left(SECONDS, part)] += 1
                counts[first + _SUM] += int(part * 1_000_000)


def helo_context(name: str, *, extended: bool) -> dict[str, str]:
    """Return the context variables of the client's greeting: the whole command, and its name."""
    return {"ehlo_string": f"{'EHLO' if extended else 'HELO'} {name}", "ehlo_domain": name.strip("[]")}
