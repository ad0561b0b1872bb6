"""The conversation: aiosmtpd's SMTP class with its `smtp_*` dispatch and Session, over our own reading and order.

A session is one task that reads a command, does it, and queues the reply. aiosmtpd's constructor (95 µs), its
line-by-line DATA, its one timer and its reply to exceptions (a permanent 500) are not used; see docs/internals.md.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiosmtpd.smtp import SMTP

from proxy import replies
from proxy.log import get_logger, printable
from proxy.replies import Reply
from proxy.session import Path, Recipient, Session, Transaction
from proxy.smtp.arguments import path_context, recipient_of, sender_of, unknown
from proxy.smtp.front import Front, Relay
from proxy.smtp.reception import Reception
from proxy.smtp.state import NEXT, State, out_of_order
from proxy.smtp.stream import ClientGone, ClientIdle, ClientStream, Draining, LineTooLong
from proxy.tasks import spawn
from sieve import Phase

log = get_logger()

MOST_ERRORS = 20
"""Refused commands without a delivered message in between after which the session ends, as in Postfix."""

_SYNCHRONISING = frozenset({"EHLO", "HELO", "DATA", "VRFY", "NOOP"})
"""Commands that must be the last of a pipelined group (RFC 2920 section 3.1)."""

_VERB = re.compile(rb"[A-Za-z]{1,16}")


class SmtpProtocol(SMTP):
    """One client's conversation. Its state is its own task's; the transport's callbacks only feed the stream."""

    def __init__(self, front: Front) -> None:
        """Wait for the connection. aiosmtpd's constructor is left out: it costs more than a short session."""
        self.front = front
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
        peer = transport.get_extra_info("peername") or ("0.0.0.0", 0)  # noqa: S104 — a client that has gone already
        local = transport.get_extra_info("sockname") or ("0.0.0.0", 0)  # noqa: S104 — likewise
        self.session: Session = Session(self.loop, peer[:2], local[:2])
        self.stream = ClientStream(self.loop, self.transport)
        self.front.live.add(self)
        self._task = spawn(self._handle_client(), name=f"session {self.session.id}", owner=self.front.sessions)

    def data_received(self, data: bytes) -> None:
        """Feed the stream."""
        self.stream.received(data)

    def eof_received(self) -> bool:
        """Keep our side open: a client that half-closed still gets its answers."""
        self.stream.end()
        return True

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 — the transport's signature
        """End the session, unless the message may already be the upstream's: then its verdict is awaited and logged."""
        self.stream.lose()
        if not self._committed and self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """Stop reading commands until the client reads its replies."""
        self.stream.pause_writing()

    def resume_writing(self) -> None:
        """Go on."""
        self.stream.resume_writing()

    def drain(self) -> None:
        """Ringback shuts down: say 421 at the next command, which may be now."""
        self.stream.drain()

    # ------------------------------------------------------------ the session's task

    async def _handle_client(self) -> None:
        session, reason = self.session, "failed"
        try:
            if await self._greet():
                await self._converse()
            reason = "quit"
        except ClientGone:
            reason = "client gone"
        except ClientIdle:
            self._say(replies.IDLE_TOO_LONG)
            reason = "timeout"
        except Draining:
            self._say(replies.SHUTTING_DOWN)
            reason = "shutdown"
        except asyncio.CancelledError:
            reason = "client gone" if self.stream.lost else "shutdown"
            raise
        finally:
            self._end_transaction()
            self.stream.close()
            self.front.live.discard(self)
            tally = session.tally
            log.info(
                "session",
                session=session.id,
                client=session.client_ip,
                helo=printable(session.host_name or "", 64),
                messages=tally.messages,
                recipients=tally.recipients,
                errors=tally.errors,
                seconds=round(self.loop.time() - self._began, 3),
                ended=reason,
            )

    async def _greet(self) -> bool:
        """Run the accept and connect phases and say the banner; tell whether the conversation begins."""
        self._began = self.loop.time()
        session, pipeline = self.session, self.front.pipeline
        session.can_relay = self.front.access.trusts(session)
        session.context["can_relay"] = "true" if session.can_relay else "false"
        for phase in (Phase.ACCEPT, Phase.CONNECT):
            if pipeline.active(phase) and (verdict := await pipeline.run(phase, session)).reply is not None:
                # A greeting is 220, 421 or 554 (RFC 5321 section 4.3.2): our own failure is no 451 here.
                self._say(replies.INTERNAL_CLOSING if verdict.reply is replies.INTERNAL else verdict.reply)
                return False
        if self.stream.buffer:
            self._say(replies.SYNCHRONIZATION)
            return False
        self._say(Reply(220, (f"{self.front.hostname} ESMTP Ringback".encode(),)))
        return True

    async def _converse(self) -> None:
        """Read and do commands until one ends the session."""
        while True:
            try:
                line = await self.stream.line(self.front.settings.command_timeout)
            except LineTooLong as error:
                answer = replies.LINE_TOO_LONG
                if error.endless:
                    self._say(answer)
                    return
            else:
                answer = await self._do(line)
            self._say(answer)
            if answer.close or self._too_many_errors(answer):
                return

    def _too_many_errors(self, answer: Reply) -> bool:
        if not answer.permanent:
            return False
        self.session.tally.errors += 1
        if self.session.tally.errors < MOST_ERRORS:
            return False
        self._say(replies.TOO_MANY_ERRORS)
        return True

    async def _do(self, line: bytes) -> Reply:
        """Do one command line and return its reply; nothing that goes wrong inside leaves here."""
        body = line[:-2]
        if line[-2:] != b"\r\n" or b"\r" in body or b"\0" in body:
            return replies.BARE_LINE_BREAK
        verb, _, argument = body.partition(b" ")
        if _VERB.fullmatch(verb) is None:
            return replies.BAD_SYNTAX
        command = verb.decode().upper()
        if (refused := self._refuse(command)) is not None:
            return refused
        try:
            answer = await _METHODS[command](self, argument.strip(b" \t"))
        except (ClientGone, ClientIdle):
            raise
        except Exception as error:
            log.error("command_failed", session=self.session.id, command=command, exc_info=error)
            return replies.INTERNAL
        if answer.accepted and command != "DATA":
            self.state = NEXT[self.state][command]
        return answer

    def _refuse(self, command: str) -> Reply | None:
        """Return why a command cannot be done now, or None."""
        if command not in _METHODS:
            return unknown(command)
        if (refused := out_of_order(self.state, command)) is not None:
            return refused
        return replies.SYNCHRONIZATION if command in _SYNCHRONISING and self.stream.buffer else None

    def _say(self, answer: Reply) -> None:
        self.stream.send(answer.wire)

    def _end_transaction(self) -> None:
        """Drop the transaction, here and upstream."""
        if self._relay is not None:
            self._relay.abort()
            self._relay = None
        self.session.transaction = Transaction()
        self.session.current_recipient = None

    # ------------------------------------------------------------ commands

    async def smtp_EHLO(self, argument: bytes) -> Reply:
        """EHLO (RFC 5321 section 4.1.1.1)."""
        answer = await self._introduced(argument, extended=True)
        if not answer.accepted:
            return answer
        limit = self.front.settings.max_message_size
        offered = [b"PIPELINING", b"ENHANCEDSTATUSCODES", b"SIZE %d" % limit]
        offered += [name.encode() for name in ("8BITMIME", "SMTPUTF8") if name in self.front.capabilities()]
        return Reply(250, (self.front.hostname.encode(), *offered))

    async def smtp_HELO(self, argument: bytes) -> Reply:
        """HELO (RFC 5321 section 4.1.1.1)."""
        answer = await self._introduced(argument, extended=False)
        return Reply(250, (self.front.hostname.encode(),)) if answer.accepted else answer

    async def _introduced(self, argument: bytes, *, extended: bool) -> Reply:
        session = self.session
        if not argument or not argument.isascii():
            return replies.HELO_SYNTAX
        name = printable(argument, 255)
        session.context |= {"ehlo_string": name, "ehlo_domain": name.strip("[]")}
        if self.front.pipeline.active(Phase.EHLO):
            session.host_name = name
            verdict = await self.front.pipeline.run(Phase.EHLO, session)
            if verdict.reply is not None:
                return verdict.reply
        self._end_transaction()
        session.host_name, session.extended_smtp = name, extended
        return replies.OK

    async def smtp_MAIL(self, argument: bytes) -> Reply:
        """MAIL FROM (RFC 5321 section 4.1.1.2)."""
        parsed = sender_of(argument, self.front.settings.max_message_size)
        if isinstance(parsed, Reply):
            return parsed
        path, parameters = parsed
        session = self.session
        transaction = session.transaction = Transaction()
        transaction.begin(path, parameters)
        transaction.context |= path_context("mailfrom", path)
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
        path = recipient_of(argument, utf8=transaction.smtp_utf8)
        if isinstance(path, Reply):
            return path
        if self._full(transaction):
            return replies.TOO_MANY_RECIPIENTS
        if not self.front.access.admits(session, path):
            return replies.RELAYING_DENIED
        session.current_recipient = path
        transaction.context |= path_context("rcptto", path)
        answer, recipient = await self._judge_recipient(path)
        if answer.accepted:
            transaction.add(recipient)
            session.tally.recipients += 1
        else:
            transaction.refused_recipients += 1
        return answer

    def _full(self, transaction: Transaction) -> bool:
        limit = self.front.settings.max_recipients_per_message
        taken = len(transaction.recipients)
        return bool(limit and taken >= limit) or bool(taken and self.front.pipeline.judges_recipients_by_content)

    async def _judge_recipient(self, path: Path) -> tuple[Reply, Recipient]:
        """Ask policy, then the upstream."""
        session, pipeline = self.session, self.front.pipeline
        phases = (Phase.RCPTTO,) if pipeline.judges_recipients_by_content else (Phase.RCPTTO, Phase.EACH_RCPT)
        discarded = session.transaction.discarded
        for phase in phases:
            if pipeline.active(phase):
                verdict = await pipeline.run(phase, session)
                if verdict.reply is not None:
                    return verdict.reply, Recipient(path)
                discarded |= verdict.discard
        if discarded:
            return replies.RECIPIENT_OK, Recipient(path, relayed=False)
        if self._relay is None:
            self._relay = self.front.open_relay(session)
        return await self._relay.recipient(session.transaction, path), Recipient(path)

    async def smtp_DATA(self, argument: bytes) -> Reply:
        """DATA (RFC 5321 section 4.1.1.4)."""
        if argument:
            return replies.NO_ARGUMENT_WANTED
        self._say(replies.START_DATA)
        session, relay = self.session, self._relay or self.front.open_relay(self.session)
        session.tally.messages += 1
        try:
            answer = await Reception(self.front, session, self.stream, relay, self._commit).run()
            self._log_message(answer, relay)
        finally:
            self._committed = False
            self._end_transaction()
            self.state = State.READY
        if answer.accepted:
            session.tally.errors = 0
        return answer

    def _commit(self) -> None:
        """From here on the message may be the upstream's: a lost client no longer ends the session's task."""
        self._committed = True

    def _log_message(self, answer: Reply, relay: Relay) -> None:
        session, transaction = self.session, self.session.transaction
        log.info(
            "message",
            session=session.id,
            client=session.client_ip,
            sender=printable(transaction.reverse_path.text),
            recipients=[printable(each.path.text) for each in transaction.recipients[:10]],
            recipient_count=len(transaction.recipients),
            size=transaction.size,
            upstream=relay.upstream,
            reply=printable(f"{answer.code} {answer.text}"),
        )

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


_METHODS: dict[str, Callable[[SmtpProtocol, bytes], Awaitable[Reply]]] = {
    name.removeprefix("smtp_"): cast(Any, method)
    for name, method in vars(SmtpProtocol).items()
    if name.startswith("smtp_")
}
"""aiosmtpd's dispatch, made once for the class. Only what is defined above: its own commands are not offered."""
