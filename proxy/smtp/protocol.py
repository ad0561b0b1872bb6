"""The session: the one place that reads from a client, executes its commands in order, and ends.

`data_received` adds to the connection's buffer and calls `turn`, which executes the commands that have arrived. A
command is a function in `front.verbs`. It returns a reply, or a `Pending`: then the session is `busy`, one task does
the rest, and no command is read until it has ended. aiosmtpd's constructor, reader, timer, DATA, STARTTLS and replies
to exceptions are not used: they cost 95 µs a connection and 287 KiB for TLS, read line by line, cancel a relay when
the client half-closes, and turn an internal error into a permanent 500.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import cast

from aiosmtpd.smtp import SMTP

from config.base.ip import plain_address
from proxy.base.log import get_logger
from proxy.base.tasks import spawn
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.metrics.book import BOOK
from proxy.smtp.account import tell_end, tell_refusal
from proxy.smtp.commands import data, opening
from proxy.smtp.connection import BACKLOG, LINES_IN_A_TURN, ClientGone, ClientIdle, Connection, Draining, LineTooLong
from proxy.smtp.counting import NO_COMMAND
from proxy.smtp.data import DataReader
from proxy.smtp.dialogue import MOST_DEFERRED, MOST_JUNK, Dialogue
from proxy.smtp.entrance import Entrance
from proxy.smtp.hooks import answer_to_failure
from proxy.smtp.mistakes import note_answer, note_line, note_unknown
from proxy.smtp.pending import Answer, Over, Pending, Verb
from proxy.smtp.ports import Front
from proxy.smtp.said import CLIENT, SERVER
from proxy.smtp.syntax import PLAIN, parse, unknown

log = get_logger()

TURN_SECONDS = 0.0005
"""Time after which a turn ends, although more commands have arrived, so that other sessions get theirs. Each message of
another session may wait for seven such turns: with 1 ms, the p99 of its latency was 5.5 ms."""


class SmtpProtocol(SMTP):
    """One client's session. The transport's callbacks and its one task change it, never both at once."""

    def __init__(self, front: Front, entrance: Entrance) -> None:
        """Wait for the connection. aiosmtpd's constructor is not called: it costs more than a short session."""
        self.front = front
        self.entrance = entrance
        self.busy = False
        """A command waits for something outside. No other command is read."""
        self.over = False
        self._has_greeted = False
        self._turn_is_due = False
        self._task: asyncio.Task[None] | None = None
        self.pending: Pending | None = None
        """The command that waits."""

    # ------------------------------------------------------------ the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.loop = loop = asyncio.get_running_loop()
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if not peer or not local:  # the client left before it was accepted, so nothing is known of it
            self.over = self.busy = True
            self.front.checks.count()
            cast(asyncio.Transport, transport).abort()
            return
        client, here = (plain_address(peer[0]), peer[1]), (plain_address(local[0]), local[1])
        self.session: Session = Session(loop, client, here, self.entrance.options(client[0]))
        stream = cast(asyncio.Transport, transport)
        stream.set_write_buffer_limits(high=BACKLOG)  # a client that reads its replies leaves nothing in it
        self.connection = Connection(loop, stream, self.idle)
        self.dialogue = Dialogue(self.front, self.entrance, self.session, self.connection)
        self.front.live.add(self)
        try:
            if self.front.hooks.begin is not None:
                self.front.hooks.begin(self.session, self.dialogue)
            self._act(None, opening.opening(self.dialogue))
            self._rest()
        except Exception as error:  # noqa: BLE001 — uvloop would close the connection without a word
            self._failed(error)

    def data_received(self, data: bytes) -> None:
        """Execute what arrives, unless a command waits."""
        self.connection.received(data)
        if not self.busy and not self._turn_is_due:
            self.turn()

    def eof_received(self) -> bool:
        """Keep our side open: a client that half-closed still gets its replies. Within TLS, `SmallTls` does this."""
        self.connection.end()
        if not self.busy and not self._turn_is_due:
            self.turn()
        return self.session.ssl is None

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 — the transport's signature
        """End the session. If the next hop may already have accepted the message, await and log its verdict first."""
        if not hasattr(self, "connection"):  # it was never accepted
            return
        self.connection.lose()
        self.dialogue.admission.end()
        self.cut()

    def pause_writing(self) -> None:
        self.connection.pause_writing()

    def resume_writing(self) -> None:
        self.connection.resume_writing()
        if not self.busy and not self._turn_is_due:
            self.turn()

    def idle(self) -> None:
        self.end("timeout", replies.IDLE_TOO_LONG)

    # ------------------------------------------------------------ turns

    def turn(self) -> None:
        """Execute the commands that have arrived, then write their replies in one piece.

        It ends after LINES_IN_A_TURN or TURN_SECONDS, and when a command waits or the client does not read its replies.
        """
        self._turn_is_due = False
        try:
            if self.dialogue.content is None:
                self._execute_lines()
            if self.dialogue.content is not None and not self.busy:
                self._gather(self.dialogue.content)
            if not self.busy or self.connection.outgoing:
                self._rest()
        except ClientIdle:
            self.idle()
        except Exception as error:  # noqa: BLE001 — as in connection_made
            self._failed(error)

    def _execute_lines(self) -> None:
        connection, lines, began = self.connection, 0, 0.0
        while not self.busy and not connection.is_stuck and (line := connection.take_line()) is not None:
            if type(line) is LineTooLong:
                self.dialogue.argument = b""
                self._answer(None, replies.LINE_TOO_LONG.closing() if line.endless else replies.LINE_TOO_LONG)
            else:
                self._execute(line)
            if not connection.buffer or self.dialogue.content is not None:
                return
            lines += 1
            now = time.monotonic()
            began = began or now
            if lines >= LINES_IN_A_TURN or now - began > TURN_SECONDS:
                if not self.busy:
                    self._turn_is_due = self._has_time()
                    if self._turn_is_due:
                        self.loop.call_soon(self.turn)
                return

    def _has_time(self) -> bool:
        """Whether the session's time is not over. If it is, end the session: its client may never pause."""
        if not self.dialogue.patience():
            self.idle()
        return not self.over

    def _execute(self, line: bytes) -> None:
        """Execute one command line. A failure in it is 451, and the session continues."""
        connection, dialogue, session = self.connection, self.dialogue, self.session
        at = int((time.monotonic() - session.tally.started) * 1000)
        connection.said += b"\1%d\3%b" % (at, line)
        connection.stamp = SERVER
        if self.front.trace is not None:
            self.front.trace(session, CLIENT, line)
        verbs, plain = self.front.verbs, PLAIN.fullmatch(line)
        parsed = parse(line, session.options) if plain is None else (plain[1], plain[2] or b"")
        if type(parsed) is Reply:
            note_line(session, line, verbs)
            word, _, dialogue.argument = line.partition(b" ")
            self._answer(None, parsed, word)
            return
        verb, dialogue.argument = parsed
        command = verbs[verb] if verb in verbs else verbs.get(verb.upper())  # without a call if it is in capitals
        if command is None or (command.verb == "AUTH" and not dialogue.knows_auth):
            note_unknown(session)
            self._answer(None, unknown(verb.upper().decode()), verb)
            return
        refusal = dialogue.progress.refusal(command.verb) if command.is_ordered else None
        is_followed = connection.buffer and (command.goes_last or not session.extended_smtp)
        if refusal is not None or is_followed or dialogue.barred:
            refusal = dialogue.refusal(command, refusal)
        if refusal is not None:
            self._answer(None, refusal, verb)
            return
        session.tally.junk += command.is_junk
        session.tally.acted |= command.acts
        try:
            answer = command.run(dialogue, dialogue.argument)
        except Exception as error:  # noqa: BLE001 — whatever it is, the client keeps its mail
            answer = self._internal(command, error)
        if type(answer) is Reply:
            self._answer(command, answer)
        else:
            self._act(command, answer)

    def _act(self, command: Verb | None, answer: Answer) -> None:
        """Answer a command, or begin to wait for its reply."""
        if type(answer) is Pending:
            self.busy = True
            self.connection.timer.deadline = None
            self.pending = answer
            self._task = spawn(
                self._wait(command, answer), name=f"session {self.session.id}", owner=self.front.sessions
            )
        elif self._has_greeted:
            self._answer(command, answer)
        else:
            self._greet(answer)

    def _answer(self, command: Verb | None, reply: Reply, verb: bytes = b"") -> None:
        """Queue the reply to a command, go to the next state, and end the session if the reply does.

        `verb` is what a client sent that is not executed as a command.
        """
        connection, code, wire = self.connection, reply.code, reply.wire
        connection.said += connection.stamp + wire
        if code >= 400:  # RFC 5321 section 4.2.1, first digit
            tell_refusal(self.dialogue, verb if command is None else command.verb, reply)
            if command is not None and reply.permanent:
                note_answer(self.session, reply)
        elif command is not None and command.is_ordered and reply.accepted:
            self.dialogue.progress.accepted(command.verb)
        BOOK.counts[self.entrance.commands + (NO_COMMAND if command is None else command.place) + code // 100] += 1
        connection.timer.deadline = None
        connection.outgoing += wire
        if self.front.trace is not None:
            self.front.trace(self.session, SERVER, wire)
        tally = self.session.tally
        if reply.close or reply.permanent or tally.junk > MOST_JUNK or tally.deferred > MOST_DEFERRED:
            self._close_after(reply)

    def _close_after(self, reply: Reply) -> None:
        """End the session if the reply does, or if the client has made too many errors."""
        if not reply.close and not self.dialogue.too_many_errors(reply):
            return
        if reply.permanent or (reply.code >= 400 and not reply.close):
            self._act(None, Pending(self._last_words()))
        else:
            self.end("quit")

    def _greet(self, reply: Reply) -> None:
        self._has_greeted = True
        self.connection.high_water = BACKLOG
        self.connection.outgoing += reply.wire
        self.connection.said += b"\2%d\3" % int((time.monotonic() - self.session.tally.started) * 1000) + reply.wire
        BOOK.counts[self.entrance.commands + reply.code // 100] += 1
        if self.front.trace is not None:
            self.front.trace(self.session, SERVER, reply.wire)
        if not reply.accepted:
            tell_refusal(self.dialogue, "CONNECT", reply)
            self.end("refused")

    async def _last_words(self) -> None:
        await self.connection.linger()
        raise Over

    def _gather(self, reader: DataReader) -> None:
        """Collect a message until it is complete, or large. Only then a task takes it."""
        timer = self.connection.timer
        if timer.deadline is not None:
            reader.pace.end()
        if self.connection.buffer and reader.has_arrived():
            self._act(data.MESSAGE, data.message_arrived(self.dialogue, reader))
        else:
            timer.until(reader.pace.begin())

    def _rest(self) -> None:
        """End a turn: write the replies, and wait for the client unless a command waits for something else."""
        connection = self.connection
        if connection.outgoing:
            connection.flush()
        if self.busy or self._turn_is_due:
            return
        if connection.ended and not connection.is_stuck:
            self.end("client gone")
        elif self.dialogue.content is not None:
            return
        elif connection.draining and not connection.is_stuck:
            self.end("shutdown", self.dialogue.farewell())
        elif connection.timer.deadline is None:
            timer = connection.timer
            timer.deadline = self.dialogue.patience()  # 0 if the client's time is over: it rings at once
            if timer.rings_at > timer.deadline:  # mostly it is set already, and looks early enough
                timer.until(timer.deadline)

    # ------------------------------------------------------------ a command that waits

    async def _wait(self, command: Verb | None, pending: Pending) -> None:
        """Do the rest of a command, then continue with those that have arrived. This is the session's only task."""
        answer: Answer | None
        try:
            answer = await pending.work
        except (Over, ClientGone, ClientIdle, Draining) as reason:
            self.end(*self.dialogue.ending(reason))
            return
        except BaseException as error:  # noqa: BLE001 — as in _execute
            answer = self._broken_off(command, error)
        self.pending = self._task = None
        self.busy = False
        self.connection.stamp = b"\2%d\3" % int((time.monotonic() - self.session.tally.started) * 1000)
        try:
            if type(answer) is Reply and self._has_greeted:
                self._answer(command, answer)
            elif answer is not None:
                self._act(command, answer)
            if self.busy or not self.connection.buffer:
                self._rest()
            elif self._has_time():
                self.turn()
        except Exception as error:  # noqa: BLE001 — the session must end, whatever happens
            self._failed(error)

    def _broken_off(self, command: Verb | None, error: BaseException) -> Answer:
        """Return the answer to a failed command. If the session's task cannot continue, end the session and raise."""
        if isinstance(error, Exception):
            return self._internal(command, error)
        if not isinstance(error, asyncio.CancelledError):  # such as GeneratorExit, from a site's hook
            self._failed(error)
            raise error
        if self._task is None or self._task.cancelling():
            self.end(*self.dialogue.ending(error))
            raise error
        failure = RuntimeError("a hook awaited something that was cancelled")
        failure.__cause__ = error
        return self._internal(command, failure)

    def _internal(self, command: Verb | None, error: Exception) -> Answer:
        log.error("command_failed", session=self.session.id, command=command and command.verb, exc_info=error)
        if not self._has_greeted:
            return replies.INTERNAL_CLOSING
        return answer_to_failure(self.front.hooks, self.session, error)

    # ------------------------------------------------------------ the end

    def drain(self) -> None:
        """Ringback is shutting down: answer 421 at the next command, which may be now."""
        self.connection.drain()
        if not self.busy and not self._turn_is_due:
            self.turn()

    def cut(self) -> None:
        """End the session at once, or after the next hop's reply if it may already have accepted the message."""
        if self.dialogue.committed:
            self.connection.drain()
        elif self._task is None:
            self.end(*self.dialogue.ending(Draining()))
        else:
            self._task.cancel()
            if self.pending and self.pending.drop():
                self.end(*self.dialogue.ending(Draining()))

    def kill(self) -> None:
        """As `cut`, because an operator wants it."""
        self.dialogue.killed = True
        self.cut()

    def keep(self, earlier: Front, entrances: Mapping[Entrance, Entrance]) -> None:
        """Continue with the settings from before the configuration changed."""
        self.front = self.dialogue.front = earlier
        self.entrance = self.dialogue.entrance = entrances.get(self.entrance, self.entrance)

    def _failed(self, error: BaseException) -> None:
        """End a session that failed outside a command, which is our mistake."""
        log.error("session_failed", session=self.session.id, exc_info=error)
        self.end("failed", replies.INTERNAL_CLOSING)

    def end(self, reason: str, last: Reply | None = None) -> None:
        """End the session, with a last reply if there is one."""
        if self.over:
            return
        self.over = self.busy = True
        try:
            if last is not None:
                self.connection.outgoing += last.wire
                if self.session.ssl is not None or not self.session.options.implicit_tls:  # it can read a reply
                    tell_refusal(self.dialogue, "", last)
                if self.front.trace is not None:
                    self.front.trace(self.session, SERVER, last.wire)
            self.dialogue.end_transaction()
            self.front.session_ended(self.session)
            if self.front.hooks.end is not None:
                self.front.hooks.end(self.session)
        finally:
            self.connection.close()
            self.front.sessions.forget(self)
            tell_end(self.dialogue, self.entrance, reason)
