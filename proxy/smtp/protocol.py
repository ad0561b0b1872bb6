"""The SMTP commands. aiosmtpd's dispatch finds each method by name; the method returns the reply.

`state` has the table of legal commands. `conversation` reads, waits and ends the session.
"""

from __future__ import annotations

import time
from dataclasses import replace

from config.base.ip import any_holds
from proxy.base.log import get_logger, printable
from proxy.mail import replies
from proxy.mail.replies import Reply, reply
from proxy.mail.session import Path, Recipient, Transaction, silent
from proxy.smtp.access import admits
from proxy.smtp.ahead import recipients_ahead
from proxy.smtp.arguments import (
    BINARY,
    counts_context,
    helo_context,
    limits_of,
    mail_context,
    path_context,
    recipient_of,
    sender_of,
    submitter_for,
)
from proxy.smtp.authentication import MECHANISMS, MOST_FAILED_AUTHENTICATIONS, ExchangeFailed, authenticate
from proxy.smtp.chunks import Chunk, ChunkReader, Interrupted, chunk_of
from proxy.smtp.conversation import Conversation
from proxy.smtp.data import DataReader
from proxy.smtp.entrance import Entrance
from proxy.smtp.forwarded import XCLIENT_OFFER, introduction_of
from proxy.smtp.front import Front
from proxy.smtp.pace import Pace
from proxy.smtp.ports import Relay
from proxy.smtp.reception import MOST_DRAINED, MessageReader, Reception, log_message
from proxy.smtp.state import State
from proxy.smtp.stream import LineTooLong
from sieve.phases import Phase

log = get_logger()


class SmtpProtocol(Conversation):
    """Executes a client's commands. Its state belongs to its own task."""

    def __init__(self, front: Front, entrance: Entrance) -> None:
        """Wait for the connection."""
        super().__init__(front, entrance)
        self._foreseen: dict[bytes, Reply] = {}
        """The next hop's verdicts on recipients whose commands are next in the buffer."""

    async def smtp_EHLO(self, argument: bytes) -> Reply:
        """EHLO (RFC 5321 section 4.1.1.1)."""
        answer = await self._introduced(argument, extended=True)
        if not answer.accepted:
            return answer
        options = self.session.options
        offered = [b"PIPELINING", b"ENHANCEDSTATUSCODES", b"CHUNKING", b"PRDR", b"SIZE %d" % options.max_message_size]
        carried = self.front.capabilities()
        offered += [name.encode() for name in ("8BITMIME", "SMTPUTF8", "DSN") if name in carried]
        offered += [b"BINARYMIME"] if carried >= BINARY else []
        if self.session.ssl is None and self.entrance.certificate(options) is not None:
            offered.append(b"STARTTLS")
        if self._may_authenticate():
            offered.append(f"AUTH {' '.join(MECHANISMS)}".encode())
        if self._may_introduce():
            offered.append(XCLIENT_OFFER)
        offered += limits_of(options)
        return Reply(250, (options.hostname.encode(), *self._chosen(offered)))

    def _chosen(self, offered: list[bytes]) -> list[bytes]:
        """Return the EHLO lines after policy's additions and removals."""
        session = self.session
        if session.withdrawn:
            offered = [line for line in offered if line.split()[0].decode().upper() not in session.withdrawn]
        return offered + [printable(line).encode() for line in session.advertised]

    async def smtp_HELO(self, argument: bytes) -> Reply:
        """HELO (RFC 5321 section 4.1.1.1)."""
        answer = await self._introduced(argument, extended=False)
        return Reply(250, (self.session.options.hostname.encode(),)) if answer.accepted else answer

    async def _introduced(self, argument: bytes, *, extended: bool) -> Reply:
        session = self.session
        if not argument or not argument.isascii():
            return replies.HELO_SYNTAX
        name = printable(argument, 255)
        session.advertised.clear()
        session.withdrawn.clear()
        session.context |= helo_context(name)
        if self.front.pipeline.active(Phase.EHLO):
            session.host_name = name
            verdict = await self.front.pipeline.run(Phase.EHLO, session)
            if verdict.reply is not None:
                return verdict.reply
        self._end_transaction()
        session.host_name, session.extended_smtp = name, extended
        return replies.OK

    async def smtp_STARTTLS(self, argument: bytes) -> Reply | None:
        """STARTTLS (RFC 3207). Commands pipelined after it have already ended the session."""
        certificate = self.entrance.certificate(self.session.options)
        if certificate is None:
            return replies.NOT_IMPLEMENTED
        if argument:
            return replies.NO_ARGUMENT_WANTED
        if self.session.ssl is not None:
            return replies.TLS_ACTIVE
        if not self._within("tls", self.session.options.tls_rate_per_client):
            return replies.TOO_MUCH_TLS
        self._end_transaction()
        self._say(replies.READY_FOR_TLS)
        await self.secure(await certificate.context())
        self.state = State.SECURED
        return None

    def _may_authenticate(self) -> bool:
        """Whether AUTH is offered: it is configured, and the connection protects the password."""
        options = self.session.options
        if options.authentication == "no":
            return False
        return self.session.ssl is not None or options.authentication_without_tls

    async def smtp_AUTH(self, argument: bytes) -> Reply:
        """AUTH (RFC 4954)."""
        session = self.session
        if session.auth_user:
            return replies.AUTHENTICATED_ALREADY
        if not session.extended_smtp:
            return replies.EHLO_FIRST
        if not self._may_authenticate():
            return replies.TLS_BEFORE_AUTH
        answer = await authenticate(argument, session, self.front.authenticator, self._challenge)
        if session.failed_authentications < MOST_FAILED_AUTHENTICATIONS:
            return answer
        self._say(answer)
        session.tally.errors += 1
        return replies.TOO_MANY_PASSWORDS

    async def _challenge(self, challenge: Reply) -> bytes:
        """Send a challenge and return the client's line."""
        self._say(challenge)
        try:
            return await self.stream.line(self._patience())
        except LineTooLong as error:
            raise ExchangeFailed(replace(replies.AUTH_LINE_TOO_LONG, close=error.endless)) from None

    def _carried(self) -> frozenset[str]:
        """Return the extensions whose parameters we accept: the next hops', and AUTH if we offer it."""
        offered = {"AUTH"} if self._may_authenticate() else set[str]()
        return self.front.capabilities() - {"AUTH"} | offered

    async def smtp_XCLIENT(self, argument: bytes) -> Reply:
        """XCLIENT (Postfix): a trusted proxy names its client, and the session restarts for that client."""
        session = self.session
        if not self._may_introduce():
            return replies.NO_AUTHORIZATION
        told = introduction_of(argument)
        if isinstance(told, Reply):
            return told
        self._become(told.client(session.peer_address), told.local(session.local))
        session.introduced = told.address is not None
        session.speaks_within = silent  # the proxy is in between, and it waits
        session.client_name = told.name
        session.extended_smtp = bool(told.extended)
        if told.helo is not None:
            session.host_name = told.helo
            session.context |= helo_context(told.helo)
        answer = await self._greeting()
        if told.login is not None:
            session.authenticate(told.login)
        return answer if answer.accepted else replace(answer, close=True)

    def _may_introduce(self) -> bool:
        """Whether the client may use XCLIENT: judged by the connection's address, not by one from XCLIENT."""
        session = self.session
        return not session.introduced and any_holds(session.options.xclient_hosts, session.client_ip)

    async def smtp_MAIL(self, argument: bytes) -> Reply:
        """MAIL FROM (RFC 5321 section 4.1.1.2)."""
        session = self.session
        most = session.options.max_receptions_per_connection
        if most and session.tally.messages >= most:
            return replies.TOO_MANY_MESSAGES
        if session.options.require_ehlo and self.state is State.CONNECTED:
            return replies.EHLO_FIRST
        if not self._within("message", session.options.message_rate_per_client):
            return replies.TOO_MUCH_MAIL
        parsed = sender_of(argument, session.options, self._carried())
        if isinstance(parsed, Reply):
            return parsed
        path, parameters = parsed
        if (submitter := parameters.get("AUTH")) is not None:
            parameters["AUTH"] = submitter_for(submitter, session.auth_user)
        self._foreseen = {}
        transaction = session.transaction = Transaction()
        transaction.begin(path, parameters)
        session.tally.transactions += 1
        session.context |= counts_context(session)
        transaction.context |= mail_context(path, parameters)
        if self.front.pipeline.active(Phase.MAILFROM):
            verdict = await self.front.pipeline.run(Phase.MAILFROM, session)
            if verdict.reply is not None:
                log.info(
                    "sender_refused",
                    session=session.id,
                    client=session.client_ip,
                    sender=printable(path.text),
                    reply=printable(f"{verdict.reply.code} {verdict.reply.text}"),
                )
                self._end_transaction()
                return verdict.reply
            transaction.discarded = verdict.discard
        return replies.SENDER_OK

    async def smtp_RCPT(self, argument: bytes) -> Reply:
        """RCPT TO (RFC 5321 section 4.1.1.3)."""
        session = self.session
        transaction = session.transaction
        parsed = recipient_of(argument, session.options, self.front.capabilities(), utf8=transaction.smtp_utf8)
        if isinstance(parsed, Reply):
            return parsed
        path, parameters = parsed
        if self._full(transaction):
            return replies.TOO_MANY_RECIPIENTS
        if not self._within("recipient", session.options.recipient_rate_per_client):
            return replies.TOO_MUCH_MAIL
        if not admits(session.options, session, path):
            return replies.RELAYING_DENIED
        recipient = session.current_recipient = Recipient(path, parameters)
        session.context |= counts_context(session)
        transaction.context |= path_context("rcptto", path)
        answer = await self._judge_recipient(recipient)
        if answer.accepted:
            transaction.add(recipient)
            session.tally.recipients += 1
            if recipient.relayed:
                transaction.somebody_wants_it()
        else:
            transaction.refused_recipients += 1
        return answer

    def _full(self, transaction: Transaction) -> bool:
        """Whether another recipient is too many: by the limits, or because policy judges the content for each one."""
        options, taken = self.session.options, len(transaction.recipients)
        one_alone = self.front.pipeline.judges_recipients_by_content and not self.session.tells_of_each
        most, most_in_all = options.max_recipients_per_message, options.max_recipients_per_connection
        return (
            bool(most and taken >= most)
            or bool(most_in_all and self.session.tally.recipients >= most_in_all)
            or bool(taken and one_alone)
        )

    async def _judge_recipient(self, recipient: Recipient) -> Reply:
        """Ask policy, then the next hop."""
        session, pipeline = self.session, self.front.pipeline
        phases = (Phase.RCPTTO,) if pipeline.judges_recipients_by_content else (Phase.RCPTTO, Phase.EACH_RCPT)
        for phase in phases:
            if pipeline.active(phase):
                verdict = await pipeline.run(phase, session)
                if verdict.reply is not None:
                    return verdict.reply
                recipient.relayed &= not verdict.discard
        if session.transaction.discarded or not recipient.relayed:
            recipient.relayed = False
            return replies.RECIPIENT_OK
        if self._relay is None:
            self._relay = self.front.open_relay(session)
        return await self._ask_upstream(self._relay, recipient.destination)

    async def _ask_upstream(self, relay: Relay, path: Path) -> Reply:
        """Return the next hop's verdict on a recipient. Recipients pipelined after it are sent with it."""
        if (foreseen := self._foreseen.pop(path.raw, None)) is not None:
            return foreseen
        ahead = recipients_ahead(self.front, self.session, self.stream.buffer)
        first, *others = await relay.recipients(self.session.transaction, [path, *ahead])
        self._foreseen = {each.raw: answer for each, answer in zip(ahead, others, strict=True)}
        return first

    async def smtp_DATA(self, argument: bytes) -> Reply:
        """DATA (RFC 5321 section 4.1.1.4)."""
        if argument:
            return replies.NO_ARGUMENT_WANTED
        if self.session.transaction.is_binary:
            return replies.BINARYMIME_BY_BDAT
        self.stream.send_and_read(replies.START_DATA.wire)
        return await self._receive(DataReader(self.stream, self._pace()))

    async def smtp_BDAT(self, argument: bytes) -> Reply | None:
        """BDAT (RFC 3030). Its octets are always read, so that they are not taken for commands."""
        chunk = chunk_of(argument)
        if chunk is None:
            return replies.BDAT_SYNTAX  # the length is unknown, so the session ends
        session = self.session
        binary = session.transaction.is_binary
        reader = ChunkReader(self.stream, chunk, self._next_chunk, self._pace(), binary=binary)
        most = session.options.max_message_size
        if most and chunk.octets > most:
            if not await reader.drain(2 * most):
                return replace(replies.TOO_BIG, close=True)
            if self.state in {State.SENDER, State.RECIPIENTS}:
                self._end_transaction()
                self.state = State.READY
            return replies.TOO_BIG
        if self.state is not State.RECIPIENTS:
            if not await reader.drain(MOST_DRAINED):
                return replace(replies.TOO_BIG, close=True)
            return replies.NO_VALID_RECIPIENTS if self.state is State.SENDER else replies.NO_MAIL_YET
        try:
            return await self._receive(reader)
        except Interrupted as interrupted:
            return interrupted.answer or await self._do(interrupted.line)

    def _pace(self) -> Pace:
        options, tally = self.session.options, self.session.tally
        left = options.session_time - (time.monotonic() - tally.started)
        return Pace(self.stream, options.data_timeout, options.min_data_rate, left)

    async def _next_chunk(self, chunk: Chunk) -> Chunk:
        """Acknowledge a chunk and return the next. Any command except BDAT and NOOP abandons the message."""
        self._say(reply(250, "2.0.0", f"{chunk.octets} octets received"))
        while True:
            try:
                line = await self.stream.line(self._patience())
            except LineTooLong as error:
                raise Interrupted(b"", replace(replies.LINE_TOO_LONG, close=error.endless)) from None
            found = self._parse(line)
            if isinstance(found, Reply) or found[0] not in {"BDAT", "NOOP"}:
                raise Interrupted(line)
            if found[0] == "NOOP" and self.stream.buffer:  # it must be the last of its group, here as elsewhere
                raise Interrupted(line)
            if found[0] == "BDAT":
                following = chunk_of(found[1])
                if following is None:
                    raise Interrupted(line)
                return following
            self.session.tally.junk += 1
            if self._too_many_errors(replies.OK):
                raise Interrupted(b"", replies.BYE)
            self._say(replies.OK)

    async def _receive(self, reader: MessageReader) -> Reply:
        """Take a message through policy to the next hop, and return the reply."""
        session, relay = self.session, self._relay or self.front.open_relay(self.session)
        session.tally.messages += 1
        try:
            answer = await Reception(self.front, session, reader, relay, self._commit).run()
            log_message(session, answer, relay.upstream)
            if session.transaction.prdr and reader.finished and len(session.transaction.recipients) > 1:
                self._say_of_each(answer)
        finally:
            self._committed = False
            self._end_transaction()
            self.state = State.READY
        if answer.accepted:
            session.tally.errors = session.tally.junk = 0
        return answer

    def _say_of_each(self, answer: Reply) -> None:
        """Send a reply for each recipient before the final reply (draft-hall-prdr)."""
        self._say(replies.EACH_RECIPIENT)
        for recipient in self.session.transaction.recipients:
            self._say(recipient.refusal or answer)

    def _commit(self) -> None:
        """From here on, the next hop may accept the message, so a lost client no longer ends the session's task."""
        self._committed = True

    async def smtp_RSET(self, argument: bytes) -> Reply:
        """RSET (RFC 5321 section 4.1.1.5)."""
        if argument:
            return replies.NO_ARGUMENT_WANTED
        self._end_transaction()
        return replies.OK

    async def smtp_NOOP(self, argument: bytes) -> Reply:  # noqa: ARG002 — RFC 5321: ignored
        """NOOP (RFC 5321 section 4.1.1.9)."""
        return replies.OK

    async def smtp_HELP(self, argument: bytes) -> Reply:  # noqa: ARG002 — no topics
        """HELP (RFC 5321 section 4.1.1.8)."""
        return replies.HELP

    async def smtp_VRFY(self, argument: bytes) -> Reply:
        """VRFY (RFC 5321 section 3.5.3): never tells whether a user exists, and never echoes."""
        return replies.CANNOT_VERIFY if argument else replies.BAD_SYNTAX

    async def smtp_QUIT(self, argument: bytes) -> Reply:
        """QUIT (RFC 5321 section 4.1.1.10)."""
        return replies.NO_ARGUMENT_WANTED if argument else replies.BYE
