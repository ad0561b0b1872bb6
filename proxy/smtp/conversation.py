"""Runs a session: aiosmtpd's SMTP class and its `smtp_*` dispatch, with our own reader and command order.

A session is one task that reads a command, executes it, and queues the reply. aiosmtpd's constructor, reader, timer,
DATA, STARTTLS and replies to exceptions are not used: they cost 95 µs a connection and 287 KiB for TLS, read line by
line, cancel a relay when the client half-closes, and turn an internal error into a permanent 500. `protocol` has the
commands.
"""

from __future__ import annotations

import asyncio
import math
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, cast

from aiosmtpd.smtp import SMTP

from config.base.ip import any_holds, plain_address
from proxy.base.log import get_logger, printable
from proxy.base.tasks import spawn
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Session, Transaction
from proxy.options.throttle import Throttle
from proxy.smtp.access import is_trusted
from proxy.smtp.admission import Admission
from proxy.smtp.arguments import banner, unknown
from proxy.smtp.entrance import Entrance
from proxy.smtp.forwarded import Address, BadProxyHeader, read_proxy_header
from proxy.smtp.front import Front
from proxy.smtp.mistakes import note_answer, note_line, note_unknown
from proxy.smtp.ports import Relay
from proxy.smtp.state import NEXT, State, out_of_order
from proxy.smtp.stream import ClientGone, ClientIdle, ClientStream, Draining, LineTooLong
from proxy.smtp.tls import HANDSHAKE_SECONDS, shake_hands, tls_context
from sieve.phases import Phase

log = get_logger()

LINGER_SECONDS = 2.0
"""Seconds for a client that we cut off while it sends to read the reason."""

MOST_ERRORS = 20
"""Rejected commands, without a delivered message in between, after which the session ends, as in Postfix."""

MOST_JUNK = 100
"""Junk commands (RSET, NOOP, VRFY, HELP, repeated EHLO) after which each counts as an error, as in Postfix."""

_SETS_ITS_STATE = frozenset({"DATA", "BDAT"})
_JUNK = frozenset({"RSET", "NOOP", "VRFY", "HELP", "EHLO", "HELO"})
_SYNCHRONISING = frozenset({"EHLO", "HELO", "DATA", "VRFY", "NOOP", "STARTTLS", "XCLIENT"})
"""Commands that must be the last of a pipelined group (RFC 2920 section 3.1)."""

_HEADER = re.compile(rb"[!-9;-~]+[ \t]*:")
"""The start of a header field: a web browser sends one instead of a command, a mail client never does."""

_COMMAND = re.compile(rb"([A-Za-z]{1,16})(?:([ \t]+)(.*))?", re.DOTALL)


_MAY_HAVE_TAB = frozenset({"MAIL", "RCPT"})
"""Commands that some clients separate from their argument by a TAB."""

Command = Callable[[Any, bytes], Awaitable[Reply | None]]


class Conversation(SMTP):
    """One client's session. Its state belongs to its own task; the transport's callbacks only feed the stream."""

    commands: ClassVar[Mapping[str, Command]] = {}
    """aiosmtpd's dispatch, built once per class. It has only the subclass's commands, not aiosmtpd's own."""

    def __init_subclass__(cls) -> None:
        """Collect the `smtp_*` methods of a subclass."""
        cls.commands = {
            name.removeprefix("smtp_"): method for name, method in vars(cls).items() if name.startswith("smtp_")
        }

    def __init__(self, front: Front, entrance: Entrance) -> None:
        """Wait for the connection. aiosmtpd's constructor is not called: it costs more than a short session."""
        self.front = front
        self.entrance = entrance
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.state = State.CONNECTED
        self._relay: Relay | None = None
        self._committed = False
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the session."""
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername") or ("0.0.0.0", 0)  # noqa: S104 — the client is already gone
        local = transport.get_extra_info("sockname") or ("0.0.0.0", 0)  # noqa: S104 — as above
        client, here = (plain_address(peer[0]), peer[1]), (plain_address(local[0]), local[1])
        self.session: Session = Session(self.loop, client, here, self.entrance.options(client[0]))
        self.stream = ClientStream(self.loop, self.transport)
        self._admission = Admission(self.front, self.entrance, self.session.client_network)
        self._task = spawn(self._handle_client(), name=f"session {self.session.id}", owner=self.front.sessions)

    def data_received(self, data: bytes) -> None:
        """Feed the stream."""
        self.stream.received(data)

    def eof_received(self) -> bool:
        """Keep our side open: a client that half-closed still gets its replies. Within TLS, `SmallTls` does this."""
        self.stream.end()
        return self.session.ssl is None

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 — the transport's signature
        """End the session. If the next hop may already have accepted the message, await and log its verdict first."""
        self.stream.lose()
        self._admission.end()
        self.cut()

    def pause_writing(self) -> None:
        """Stop reading commands until the client reads its replies."""
        self.stream.pause_writing()

    def resume_writing(self) -> None:
        """Go on."""
        self.stream.resume_writing()

    async def secure(self, context: ssl.SSLContext) -> None:
        """Shake hands and forget everything received in the clear (RFC 3207 section 4.2).

        Raises:
            ClientGone: the handshake failed, so no reply can be sent.
        """
        stream = self.stream
        stream.flush()
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                # The buffer holds the start of the handshake. Commands after STARTTLS have already ended the session.
                transport = await shake_hands(self, stream.transport, context, stream.buffer)
        except (OSError, ssl.SSLError) as error:
            log.info("tls_failed", session=self.session.id, client=self.session.client_ip, reason=printable(str(error)))
            raise ClientGone from error
        self.transport = stream.transport = transport
        session = self.session
        session.ssl = {"cipher": transport.get_extra_info("cipher")}
        session.host_name, session.extended_smtp = None, False
        session.encryption = tls_context(transport)
        session.context |= session.encryption
        session.forget_authentication(can_relay=is_trusted(session))

    def drain(self) -> None:
        """Ringback is shutting down: answer 421 at the next command, which may be now."""
        self.stream.drain()

    def cut(self) -> None:
        """End the session at once, or after the next hop's reply if it may already have accepted the message."""
        if self._committed:
            self.stream.drain()
        elif self._task is not None:
            self._task.cancel()

    # ------------------------------------------------------------ the session's task

    async def _handle_client(self) -> None:
        session, reason, began = self.session, "failed", self.loop.time()
        # Not in connection_made: a task that is cancelled before its first step would never end the session.
        self.front.live.add(self)
        try:
            if await self._open() and await self._greet():
                await self._converse()
            reason = "quit"
        except ClientGone:
            reason = "client gone"
        except ClientIdle:
            self._say(replies.IDLE_TOO_LONG)
            reason = "timeout"
        except Draining:
            self._say(self._farewell())
            reason = "shutdown"
        except asyncio.CancelledError:
            reason = "client gone" if self.stream.lost else "shutdown"
            if not self.stream.lost:
                self._say(self._farewell())
            raise
        finally:
            self._end_transaction()
            self.front.session_ended(session)
            self.stream.close()
            self.front.live.discard(self)
            tally = session.tally
            log.info(
                "session",
                session=session.id,
                client=session.client_ip,
                via=session.via,
                helo=printable(session.host_name or "", 64),
                messages=tally.messages,
                recipients=tally.recipients,
                errors=tally.errors,
                seconds=round(self.loop.time() - began, 3),
                ended=reason,
            )

    async def _open(self) -> bool:
        """Do what comes before the greeting: a load balancer's header, and TLS if the listener requires it.

        The connection's own address decides who must send a header, before a byte is read.
        """
        session, options = self.session, self.entrance.own_options
        session.speaks_within = self.stream.speaks_within
        if any_holds(options.proxy_protocol_networks, session.client_ip):
            try:
                header = await read_proxy_header(self.stream)
            except BadProxyHeader as error:
                log.warning("proxy_header_refused", session=session.id, client=session.client_ip, reason=str(error))
                if not options.implicit_tls:
                    self._say(replies.NO_PROXY_HEADER)
                return False
            if header.client is not None and header.local is not None:
                self._become(header.client, header.local)
        if options.implicit_tls:
            certificate = self.entrance.certificate(session.options)
            if certificate is None:
                return False
            await self.secure(await certificate.context())
        return True

    def _become(self, client: Address, local: Address) -> None:
        """Continue as a session of the client that a proxy named, under that client's limits and options."""
        session = self.session
        self._end_transaction()
        self.front.session_ended(session)  # next-hop connections of the previous client
        session.become(client, local, self.entrance.options(client[0]))
        self._admission.turn_to(session.client_network)

    async def _greet(self) -> bool:
        """Send the greeting; return whether the session continues."""
        answer = await self._greeting()
        self._say(answer)
        return answer.accepted

    async def _greeting(self) -> Reply:
        """Run the accept and connect phases; return the banner, or the rejection."""
        session, pipeline = self.session, self.front.pipeline
        if self.front.stopping:
            return self._farewell()
        session.can_relay = is_trusted(session)
        session.context["can_relay"] = "true" if session.can_relay else "false"
        if self._admission.is_one_too_many(session):
            return replies.TOO_MANY_SESSIONS
        if not self._within("connection", session.options.connection_rate_per_client):
            return replies.TOO_MANY_CONNECTIONS
        for phase in (Phase.ACCEPT, Phase.CONNECT):
            if pipeline.active(phase) and (verdict := await pipeline.run(phase, session)).reply is not None:
                # A greeting is 220, 421 or 554 (RFC 5321 section 4.3.2), so our own failure must not be 451 here.
                return replies.INTERNAL_CLOSING if verdict.reply is replies.INTERNAL else verdict.reply
        if self.stream.draining:  # since the phases began
            return self._farewell()
        if self.stream.buffer and not session.may_talk_early:
            session.context["early_talker"] = "yes"
            log.info("early_talker", session=session.id, client=session.client_ip)
            return replies.SYNCHRONIZATION
        return banner(session.options)

    def _farewell(self) -> Reply:
        """Return the reply to a client whose session ends because we stop."""
        if self.front.reloaded:
            return replies.from_policy(421, self.session.options.reconfig_message, close=True)
        return replies.SHUTTING_DOWN

    async def _converse(self) -> None:
        """Read and execute commands until one ends the session."""
        while True:
            answer: Reply | None
            try:
                line = await self.stream.line(self._patience())
            except LineTooLong as error:
                answer = replies.LINE_TOO_LONG
                if error.endless:
                    self._say(answer)
                    return
            else:
                answer = await self._do(line)
            if answer is None:
                continue
            self.stream.send_and_read(answer.wire)
            if answer.close or self._too_many_errors(answer):
                if answer.permanent:
                    await self.stream.linger(LINGER_SECONDS)
                return

    def _within(self, what: str, throttle: Throttle) -> bool:
        """Whether the client is within a rate limit. Relay hosts are exempt."""
        session = self.session
        return session.can_relay or self.front.rates.take(f"{what} {session.client_network}", throttle)

    def _patience(self) -> float:
        """Return how long the client has for its next command: less under stress and near the end of its session time.

        Raises:
            ClientIdle: the session has reached its maximum age.
        """
        options = self.session.options
        stressed = options.stress_sessions and len(self.front.live) > options.stress_sessions
        seconds = (stressed and options.stress_idle_time) or options.idle_time or math.inf
        if not options.session_time:
            return seconds
        left = self.session.tally.started + options.session_time - time.monotonic()
        if left <= 0:
            raise ClientIdle
        return min(seconds, left)

    def _too_many_errors(self, answer: Reply) -> bool:
        tally = self.session.tally
        if answer.permanent or tally.junk > MOST_JUNK:
            tally.errors += 1
            if tally.errors >= MOST_ERRORS:
                self._say(replies.TOO_MANY_ERRORS)
                return True
        return False

    async def _do(self, line: bytes) -> Reply | None:
        """Execute one command line and return its reply, or None if it was sent already. Failures never propagate."""
        found = self._parse(line)
        if isinstance(found, Reply):
            note_line(self.session, line, self.commands)
            return found
        command, argument = found
        if (refused := self._refuse(command)) is not None:
            return refused
        self.session.tally.junk += command in _JUNK
        try:
            answer = await self.commands[command](self, argument)
        except (ClientGone, ClientIdle, Draining):
            raise
        except Exception as error:
            log.error("command_failed", session=self.session.id, command=command, exc_info=error)
            return replies.INTERNAL
        note_answer(self.session, answer)
        if answer is not None and answer.accepted and command not in _SETS_ITS_STATE:
            self.state = NEXT[self.state][command]
        return answer

    def _parse(self, line: bytes) -> tuple[str, bytes] | Reply:
        """Split a line into the upper-case command and its argument, or return why it is not a command."""
        body = line[:-2]
        if line[-2:] != b"\r\n" or b"\r" in body:
            return replies.BARE_LINE_BREAK
        if b"\0" in body:
            return replies.BAD_SYNTAX
        if body[-1:] in {b" ", b"\t"} and not self.session.options.allow_trailing_whitespace_in_commands:
            return replies.BAD_SYNTAX
        found = _COMMAND.fullmatch(body)
        if found is None:
            return replies.NOT_HTTP if _HEADER.match(body) else replies.BAD_SYNTAX
        command, argument = found[1].decode().upper(), (found[3] or b"").rstrip(b" \t")
        if argument and b"\t" in found[2] and (command not in _MAY_HAVE_TAB or self.session.options.strict_addresses):
            return replies.BAD_SYNTAX
        return command, argument

    def _refuse(self, command: str) -> Reply | None:
        """Return why a command is not allowed now, or None."""
        if command not in self.commands or (command == "AUTH" and self.session.options.authentication == "no"):
            note_unknown(self.session)
            return unknown(command)
        if (refused := out_of_order(self.state, command)) is not None:
            none_left = refused is replies.NO_RECIPIENTS_YET and self.session.transaction.refused_recipients
            return replies.NO_VALID_RECIPIENTS if none_left else refused
        # Without EHLO, the client was never offered PIPELINING (RFC 2920 section 3.1). BDAT's octets are not commands,
        # and BDAT always reads them.
        may_go_on = command == "BDAT" or (self.session.extended_smtp and command not in _SYNCHRONISING)
        if may_go_on or not self.stream.buffer:
            return None
        if command == "STARTTLS" and self.session.options.starttls_injection_policy == "ignore":
            self.stream.consume(len(self.stream.buffer))
            return None
        return replies.SYNCHRONIZATION

    def _say(self, answer: Reply) -> None:
        self.stream.send(answer.wire)

    def _end_transaction(self) -> None:
        """Drop the transaction, here and at the next hop."""
        if self._relay is not None:
            self._relay.abort()
            self._relay = None
        self.session.transaction = Transaction()
        self.session.current_recipient = None
