"""One message from 354 to its reply: gathered, judged, relayed while it arrives, answered with the next hop's reply.

The client gets its reply only after its dot, even if the decision was made before. The commit point is our own dot to
the next hop. Before it, every exit aborts the transaction there; after it, none does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from email.utils import formatdate
from functools import lru_cache
from typing import Protocol

from proxy.base.log import get_logger
from proxy.mail import replies
from proxy.mail.authentication_results import remove_forged
from proxy.mail.header_section import HeaderSection
from proxy.mail.message import Message
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.mail.stuffing import StuffedBody, stuffed, unstuffed
from proxy.mail.verdict import Verdict
from proxy.smtp.chunks import Interrupted
from proxy.smtp.connection import ClientGone, ClientIdle, Draining
from proxy.smtp.data import GATHERED
from proxy.smtp.plan import Plan
from proxy.smtp.ports import BodyListener, Front, OutboxUnavailable, Relay, RelayFailed
from proxy.smtp.record import message_id_of, record_headers
from sieve.phases import Phase

log = get_logger()

MOST_DRAINED = 64 * 1024 * 1024
LEAST_DRAINED = 1024 * 1024
"""Bounds for the octets of a rejected message that are read before the client is cut off: four times the limit."""


SLICE_SECONDS = 0.0005
"""Time after which others get a turn while policy judges each of many recipients: a thousand took 4 ms."""


class MessageReader(Protocol):
    """Reads the message: `DataReader` or `ChunkReader`."""

    finished: bool
    size: int
    bare_line_break: bool

    async def block(self) -> bytes:
        """Return the next octets, dot-stuffed; with the last of them `finished` is set."""
        ...

    async def drain(self, most: int) -> bool:
        """Read and discard what must arrive before a rejection; False if that is more than `most` octets."""
        ...


class MessageRefused(Exception):
    """The message is not accepted; `reply` says why."""

    def __init__(self, reply: Reply) -> None:
        """Keep the reply."""
        super().__init__(reply.text)
        self.reply = reply


class Discarded(Exception):
    """Policy accepts the message and discards it."""


class Reception:
    """Receives one message. `on_commit` is called right before we send our dot to the next hop."""

    def __init__(
        self,
        front: Front,
        plan: Plan,
        session: Session,
        reader: MessageReader,
        relay: Relay,
        on_commit: Callable[[], None],
    ) -> None:
        """Start before the first octet of the message."""
        self._front, self._plan, self._session, self._reader = front, plan, session, reader
        self._relay, self._on_commit = relay, on_commit
        self._kept: StuffedBody | None = None
        self._pipeline = front.pipeline
        """The session's own: the front's may be another one before the message has ended."""

    async def run(self) -> Reply:
        """Return the reply to the dot. If the message is not accepted, abort the transaction at the next hop.

        Raises:
            ClientGone, ClientIdle, Draining, Interrupted: the client left, stalled or sent another command before the
                end, or Ringback is shutting down. The transaction at the next hop is aborted.
        """
        answer = replies.INTERNAL
        self._session.transaction.judged = ""  # what a rejected RCPT left
        try:
            answer = await self._relayed()
        except (MessageRefused, RelayFailed) as ended:
            answer = ended.reply
        except OutboxUnavailable as kept_not:
            answer = kept_not.reply
        except Discarded:
            answer = await self._discarded()
        except (ClientGone, ClientIdle, Draining, Interrupted):
            raise
        except Exception as error:  # an internal failure is always 451, never 5xx or 250
            log.error("reception_failed", session=self._session.id, exc_info=error)
        finally:
            if not answer.accepted:
                self._relay.abort()
                self._front.outbox.drop(self._session)
            if self._kept is not None:
                self._kept.close()
        whole = self._reader.finished or await self._reader.drain(self._most_drained())
        self._session.transaction.size = self._reader.size
        return answer if whole else answer.closing()

    def _most_drained(self) -> int:
        limit = self._session.options.max_message_size
        return max(LEAST_DRAINED, 4 * limit) if limit else MOST_DRAINED

    async def _relayed(self) -> Reply:
        head, *rest = await self._gather()
        message_id = self._message_id(head)
        transaction, message = self._session.transaction, Message(unstuffed(head))
        listening = await self._listening(message) if self._front.pipeline.listeners else ()
        kept = None
        if listening or self._plan.reads_body or self._may_go_back():
            kept = await self._keep(rest.pop(), listening)
            message.keep(kept)
        transaction.message = message
        transaction.message_id = message_id
        if self._front.settings.history_headers:
            record_headers(self._session, head)
        if self._plan.at_content:
            await self._open(message)
        if self._plan.at_content_judged or transaction.pending:
            await self._decided()
        elif transaction.discarded or not transaction.is_wanted:
            raise Discarded
        message.forget()
        if message.head_changed:
            head = await message.stuffed_head()
        began = time.monotonic()
        await self._relay.begin()
        # Pass the gathered octets on without keeping them: 200 concurrent large messages would use 50 MiB.
        first = [self._received_field() + head]
        del head
        if kept is not None or message.new_body is not None or not self._reader.finished:
            transaction.upstream_seconds += time.monotonic() - began
            return await self._stream(first, self._blocks(rest, message))
        return await self._finish(first.pop() + rest.pop(), began)

    async def _open(self, message: Message) -> None:
        """Prepare the message for the content phases."""
        session = self._session
        await message.take_apart()
        if self._plan.authserv_id:
            await remove_forged(message, self._plan.authserv_id)
        session.tell_counts()
        if not message.has("date"):
            session.transaction.context["rfc2822_date_missing"] = "true"

    async def _discarded(self) -> Reply:
        """Accept a discarded message. Letters that policy made are still delivered.

        It is read to its end under the same rules as mail that is relayed: the reply must not depend on how much of the
        message had arrived when policy decided.
        """
        self._relay.abort()
        try:
            while not self._reader.finished:
                await self._reader.block()
                self._check()
        except MessageRefused as refused:
            return refused.reply
        try:
            await self._front.outbox.hold(self._session)
            await self._front.outbox.release(self._session)
        except OutboxUnavailable as kept_not:
            return kept_not.reply
        return replies.DISCARDED

    async def _stream(self, first: list[bytes], blocks: AsyncIterator[bytes]) -> Reply:
        """Send the header section with the first block, then the other blocks as they arrive, the last with the dot."""
        pending, octets = [first.pop()], 0
        async for block in blocks:
            if octets + len(pending[0]) > GATHERED:
                began = time.monotonic()
                await self._relay.content(b"".join(pending))
                self._session.transaction.upstream_seconds += time.monotonic() - began
                pending, octets = [block], 0
            else:
                pending.append(block)
                octets += len(block)
        return await self._finish(b"".join(pending), time.monotonic())

    async def _finish(self, last: bytes, began: float) -> Reply:
        """Send the last block with the dot, and return the next hop's reply. The wait for it `began` before."""
        await self._front.outbox.hold(self._session)
        self._on_commit()
        try:
            answer = await self._relay.finish(last)
        finally:
            self._session.transaction.upstream_seconds += time.monotonic() - began
        await self._front.outbox.release(self._session)
        if self._session.transaction.when_accepted and answer.accepted:
            for remember in self._session.transaction.when_accepted:
                await remember()
        return answer

    async def _blocks(self, rest: list[bytes], message: Message) -> AsyncIterator[bytes]:
        """Yield the empty line and the body, as received or as changed by policy."""
        if message.new_body is not None:
            self._check()
            yield b"\r\n" + stuffed(message.new_body)
        elif self._kept is not None:
            for block in self._kept.blocks():
                yield block
        else:
            yield rest.pop()
            while not self._reader.finished:
                block = await self._reader.block()
                self._check()
                yield block

    async def _gather(self) -> tuple[bytes, bytes]:
        """Read the message, or its first GATHERED octets, or as much as its header section needs.

        Returns the header section, and the part of the rest that has arrived.
        """
        gathered, reader, limit = HeaderSection(), self._reader, self._session.options.max_header_size
        while not reader.finished and (not gathered.ended or len(gathered) < GATHERED):
            gathered.feed(await reader.block())
            self._check()
            if limit and gathered.octets > limit:
                break
        head, rest = gathered.part()
        if limit and len(head) > limit:
            raise MessageRefused(replies.HEADERS_TOO_BIG)
        return head, rest

    async def _listening(self, message: Message) -> Sequence[BodyListener]:
        """Return those that want to read this message's body."""
        await message.take_apart()
        found = [await each.listen(self._session, message) for each in self._front.pipeline.listeners]
        return [each for each in found if each is not None]

    async def _keep(self, content: bytes, listening: Sequence[BodyListener]) -> StuffedBody:
        """Read the rest of the message, for policy that reads the body."""
        kept = self._kept = StuffedBody(self._front.settings.spool_directory)
        while True:
            kept.write(content)
            for each in listening:
                await each.feed(content)
            if self._reader.finished:
                return kept
            content = await self._reader.block()
            self._check()

    def _may_go_back(self) -> bool:
        """Whether a DSN may have to return the whole message: the sender asked for it (RFC 3461 section 4.3)."""
        transaction = self._session.transaction
        if not transaction.parameters:
            return False
        wants_all = (transaction.parameters.get("RET") or "").upper() == "FULL"
        return wants_all and self._session.may_report and len(transaction.recipients) > 1

    def _check(self) -> None:
        """Check each block before it is sent, and reject the message if it must not be sent."""
        if self._reader.bare_line_break:
            raise MessageRefused(replies.BARE_LINE_BREAK)
        limit = self._session.options.max_message_size
        if limit and self._reader.size > limit:
            raise MessageRefused(replies.TOO_BIG)

    def _message_id(self, head: bytes) -> bytes:
        """Return the Message-ID. Reject a message that has passed too many servers (RFC 5321 section 6.3)."""
        lowered = b"\n" + head.lower()
        if lowered.count(b"\nreceived:") > self._session.options.max_received_headers:
            raise MessageRefused(replies.LOOP)
        return message_id_of(head, lowered)

    async def _judge(self) -> None:
        """Ask the validators of the content phases."""
        session, pipeline = self._session, self._pipeline
        transaction = session.transaction
        for phase in self._plan.at_content_judged:
            if phase is Phase.EACH_RCPT:
                await self._judge_each()
                continue
            session.current_recipient = None
            earlier = len(transaction.copies)
            verdict = pipeline.run(phase, session)
            if type(verdict) is not Verdict:
                verdict = await verdict
            if verdict.reply is not None:
                transaction.judged = phase.value
                raise MessageRefused(verdict.reply)
            if verdict.discard:
                transaction.judged, transaction.discarded_by = phase.value, verdict.by
                transaction.discard(earlier)

    async def _decided(self) -> None:
        """Ask the validators, and wait for active ones. Raises Discarded if no recipient gets the message."""
        transaction, began = self._session.transaction, time.monotonic()
        try:
            await self._judge()
            if transaction.pending:
                await transaction.settle()
        finally:
            seconds = time.monotonic() - began
            transaction.policy_seconds += seconds
            phase = self._plan.at_content_judged[-1] if self._plan.at_content_judged else Phase.DATA
            transaction.phases.append((phase, seconds, transaction.callback_seconds, transaction.dns_seconds))
        if transaction.discarded or not transaction.is_wanted:
            raise Discarded

    async def _judge_each(self) -> None:
        """Ask about every recipient. If there are several, the results go out by PRDR or in a DSN to the sender.

        A temporary rejection is not put in a DSN if the client can get it as the reply: then the client keeps the
        message for all recipients.
        """
        session = self._session
        recipients = session.transaction.recipients
        began = time.monotonic()
        for recipient in recipients:
            if recipient is not recipients[0] and time.monotonic() - began > SLICE_SECONDS:
                await asyncio.sleep(0)
                began = time.monotonic()
            session.current_recipient = recipient
            verdict = self._pipeline.run(Phase.EACH_RCPT, session)
            if type(verdict) is not Verdict:
                verdict = await verdict
            recipient.refusal = verdict.reply
            recipient.relayed &= verdict.reply is None and not verdict.discard
            recipient.discarded_by = verdict.by or recipient.discarded_by
        session.current_recipient = None
        refusals = [each.refusal for each in recipients if each.refusal is not None]
        refusals.sort(key=lambda each: each.permanent)
        if refusals and (len(refusals) == len(recipients) or not (session.transaction.prdr or refusals[0].permanent)):
            session.transaction.judged = Phase.EACH_RCPT.value
            raise MessageRefused(refusals[0])

    def _received_field(self) -> bytes:
        """Return our trace field (RFC 5321 section 4.4), with `for` only if there is one recipient."""
        session, transaction = self._session, self._session.transaction
        recipients, options = transaction.recipients, session.options
        only = "" if recipients[1:] else f"\r\n\tfor <{recipients[0].path.spoken}>"
        own_name = options.received_hostname or options.hostname
        field = (
            f"{_first_line(session.host_name, session.peer_address[0])}"
            f"\tby {own_name} (Ringback) with {_protocol(session)} id {session.transaction_id}{only};\r\n"
            f"\t{_date()}\r\n"
        )
        return field.encode("utf-8", "surrogateescape")


def _protocol(session: Session) -> str:
    """Return the protocol's name (RFC 3848, RFC 6531 section 4.3)."""
    name = "UTF8SMTP" if session.transaction.smtp_utf8 else "ESMTP" if session.extended_smtp else "SMTP"
    if not session.extended_smtp:
        return name
    return name + ("S" if session.ssl is not None else "") + ("A" if session.auth_user else "")


@lru_cache(maxsize=1024)
def _first_line(host_name: str | None, client_ip: str) -> str:
    """Return the first line of a client's trace fields."""
    return f"Received: from {_name_for_trace(host_name)} ([{_literal(client_ip)}])\r\n"


def _literal(address: str) -> str:
    """Return an address in the form of an address literal, without brackets (RFC 5321 section 4.1.3)."""
    return f"IPv6:{address}" if ":" in address else address


def _name_for_trace(helo: str | None) -> str:
    """Return the client's name in a form that is safe in a field body."""
    if not helo:
        return "unknown"
    return "".join(char if char.isascii() and (char.isalnum() or char in ".-_:[]") else "?" for char in helo)


_date_of_second: tuple[int, str] = (0, "")


def _date() -> str:
    """Return the date for a trace field, formatted once per second because it costs more than the rest."""
    global _date_of_second  # noqa: PLW0603 — a cache of one
    now = int(time.time())
    if _date_of_second[0] != now:
        _date_of_second = (now, formatdate(now, localtime=True))
    return _date_of_second[1]
