"""One transaction's way upstream, live: MAIL and RCPT when the client sends RCPT, the message as it arrives.

Upstream replies about the mail go to the client word for word. Replies about our own session, and all failures, become
451: the sender keeps the message and retries. The client never gets 250 without the upstream's 250.

A connection lost before DATA, or given back because the client idles, is replaced: the envelope is sent again. The
transaction goes on only if every recipient is accepted again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from proxy.base.log import get_logger, printable
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Path, Session, Transaction
from proxy.outgoing import envelope
from proxy.outgoing.content import GO_AHEAD, Answered, Chunked, Dotted, OutgoingContent, read
from proxy.outgoing.wire import Wire, WireBroken
from proxy.smtp.ports import RelayFailed
from proxy.upstream.failures import Lost
from proxy.upstream.identity import forward_client
from proxy.upstream.pool import ConnectionPool, PooledConnection, Pools
from proxy.upstream.routes import Router
from proxy.upstream.verdicts import TROUBLE, heard_of, note_refusals, verdict_of

log = get_logger()

T = TypeVar("T")


class UpstreamRelay:
    """Implements `proxy.smtp.ports.Relay` over the pools. One session's task owns it."""

    __slots__ = (
        "_accepted", "_connection", "_content", "_hold", "_last", "_pool", "_pools", "_promised", "_router",
        "_said_sender", "_sender_refused", "_session", "_tainted", "_transaction",
    )  # fmt: skip

    def __init__(self, router: Router, pools: Pools, session: Session) -> None:
        """Start without an upstream: the first recipient decides which one."""
        self._router, self._pools, self._session, self._transaction = router, pools, session, session.transaction
        self._pool: ConnectionPool | None = None
        self._connection: PooledConnection | None = None
        self._last: PooledConnection | None = None  # its replies are judged, even if it is lost by now
        self._accepted: list[Path] = []
        self._promised: dict[bytes, Reply] = {}
        """The accepted recipients that the client was told about, with the reply that it got."""
        self._said_sender: Path | None = None
        self._content: OutgoingContent | None = None
        self._tainted = False
        self._sender_refused: Reply | None = None
        self._hold: asyncio.TimerHandle | None = None

    @property
    def upstream(self) -> str:
        """The upstream's name for the log; empty before the first recipient."""
        return self._pool.name if self._pool is not None else ""

    # ------------------------------------------------------------ envelope

    async def recipients(self, transaction: Transaction, paths: Sequence[Path]) -> list[Reply]:
        """Offer recipients, with MAIL FROM before the first; return the upstream's verdict on each.

        Recipients that the client pipelined are pipelined upstream too, if they have the same upstream.
        """
        self._transaction = transaction
        self._hold_on()
        heard: dict[bytes, Reply] = {}
        waiting = list({path.raw: path for path in paths}.values())
        while waiting:
            first = waiting[0]
            pool = self._pool_for(first)
            self._turn_to(pool)
            own = self._known(pool, first)
            if own is not None:
                heard[first.raw] = own
                del waiting[0]
                continue
            together = [first]
            for path in waiting[1:] if self._session.tells_of_each or not pool.upstream.lmtp else []:
                if self._pool_for(path) is not pool or path.raw in self._promised:
                    break
                together.append(path)
            answers = await self._take(pool, together)
            heard |= {path.raw: answer for path, answer in zip(together, answers, strict=False)}
            del waiting[: len(answers)]
        if self._connection is not None and self._pool is not None:
            self._hold = asyncio.get_running_loop().call_later(self._pool.policy.upstream_hold, self._let_go)
        return [heard[path.raw] for path in paths]

    def _turn_to(self, pool: ConnectionPool) -> None:
        """Switch to another upstream if the one before accepted no recipient; its replies no longer matter then."""
        if not self._accepted and pool is not self._pool:
            self.abort()
            self._pool, self._sender_refused = pool, None

    def _known(self, pool: ConnectionPool, path: Path) -> Reply | None:
        """Return the verdict on a recipient if the upstream need not be asked."""
        if self._sender_refused is not None:
            return self._sender_refused
        if (known := self._promised.get(path.raw)) is not None:
            return known  # a repeated recipient, or two redirected to one: the upstream gets it once
        deferred = pool.policy.recipient_verdicts == "deferred"
        if deferred and any(path.raw == each.raw for each in self._accepted):
            return replies.RECIPIENT_OK
        if self._accepted and pool is not self._pool:
            return replies.ONE_UPSTREAM_AT_A_TIME
        if self._accepted and (pool.upstream.lmtp or deferred) and not self._session.tells_of_each:
            # One reply to the dot cannot report several verdicts, which LMTP and deferred verdicts may bring.
            return replies.ONE_RECIPIENT_AT_A_TIME
        if not deferred:
            return None
        self._accepted.append(path)
        return replies.RECIPIENT_OK

    async def _take(self, pool: ConnectionPool, paths: Sequence[Path]) -> list[Reply]:
        """Offer recipients of one upstream; return the verdicts on the first of them, at least one."""
        try:
            answers = await self._offer(pool, paths)
        except RelayFailed as refused:
            return [refused.reply] * len(paths)
        except TROUBLE as trouble:
            return [heard_of(trouble)] * (1 if isinstance(trouble, Lost) else len(paths))
        for path, answer in zip(paths, answers, strict=False):
            if answer.accepted:
                self._accepted.append(path)
                self._promised[path.raw] = answer
        return answers

    async def _offer(self, pool: ConnectionPool, paths: Sequence[Path]) -> list[Reply]:
        """Offer recipients in the open transaction, or open one; a lost connection is replaced once."""
        if self._connection is not None:
            try:
                wire = self._connection.wire
                answers = await self._heard(wire, envelope.say_recipients(wire, pool.policy, paths))
                return self._verdicts(paths, answers)
            except Lost:
                return await self._open(pool, paths[:1], fresh=True)
        try:
            return await self._open(pool, paths)
        except Lost as lost:
            if not lost.used:  # it was new: another would do no better
                raise
        return await self._open(pool, paths, fresh=True)

    async def _open(self, pool: ConnectionPool, paths: Sequence[Path], *, fresh: bool = False) -> list[Reply]:
        """Send the envelope: MAIL, the recipients accepted before, and new ones; return the verdicts on the new ones.

        Raises:
            Lost: the connection broke before the first verdict, or a recipient accepted before is now refused.
            RelayFailed: the sender is refused, or a recipient whose verdict was deferred.
        """
        connection = self._connection = self._last = await pool.take(self._session, fresh=fresh)
        wire, transaction = connection.wire, self._transaction
        everybody = (*self._accepted, *paths)
        parameters = envelope.with_utf8(transaction.parameters, (transaction.reverse_path, *everybody))
        if (unfit := envelope.unfit(wire, parameters)) is not None:
            self._release()
            raise RelayFailed(unfit)
        await self._heard(wire, forward_client(wire, pool.policy, self._session))
        said = envelope.say(
            wire, pool.policy, transaction.reverse_path, parameters, everybody, least=len(self._accepted) + bool(paths)
        )
        mail_answer, answers = await self._heard(wire, said)
        if not mail_answer.accepted:
            refused = self._verdict(mail_answer, "MAIL", (transaction.reverse_path, parameters))
            if not self._accepted:
                self._sender_refused = refused
            self._release()
            raise RelayFailed(refused)
        self._said_sender = transaction.reverse_path
        verdicts = self._verdicts(everybody, answers)
        offered = len(self._accepted)
        self._settle(verdicts[:offered])
        return verdicts[offered:]

    def _settle(self, verdicts: Sequence[Reply]) -> None:
        """Apply verdicts on recipients accepted before, or deferred: all must be accepted, or each must be reportable.

        Raises:
            Lost: a recipient accepted before is now refused.
            RelayFailed: the client gets the refusal, and keeps the message for all recipients.
        """
        refused = {path.raw: each for path, each in zip(self._accepted, verdicts, strict=True) if not each.accepted}
        if not refused:
            return
        worst = min(refused.values(), key=lambda each: each.permanent)  # the client can retry a temporary refusal
        kept = [path for path in self._accepted if path.raw not in refused]
        if kept and worst.permanent and not refused.keys() & self._promised and self._session.tells_of_each:
            self._accepted = kept
            note_refusals(self._session, refused)
            return
        self._lose(f"a recipient is refused: {worst.code}")
        if refused.keys() & self._promised:
            raise Lost(used=False)  # the client was told that it is accepted
        raise RelayFailed(worst)

    async def _heard(self, wire: Wire, said: Awaitable[T]) -> T:
        """Wait for the upstream's replies.

        Raises:
            Lost: the connection broke, stopped replying, or is being closed; it is dropped.
        """
        try:
            found = await said
        except (WireBroken, TimeoutError) as error:
            raise self._lost(str(error) or "timeout") from error
        if self._connection is None or self._connection.wire is not wire:
            raise Lost(used=False)  # it was taken away meanwhile: the reply may belong to another transaction
        if wire.broken is not None:  # it broke meanwhile; the replies before that count
            self._lose(wire.broken)
        return found

    # ------------------------------------------------------------ content

    async def begin(self) -> None:
        """Send DATA, preceded by the envelope if policy changed it. Raises RelayFailed unless the message is wanted."""
        self._hold_on()
        self._follow_edits()
        pool = self._pool
        if pool is None or not self._accepted:
            raise RelayFailed(self._sender_refused or replies.UPSTREAM_LOST)
        try:
            self._content = await self._ready_for_content(pool)
        except TROUBLE as trouble:
            raise RelayFailed(heard_of(trouble)) from None

    async def _ready_for_content(self, pool: ConnectionPool) -> OutgoingContent:
        """Make the upstream wait for the message: by DATA, or for one that DATA cannot carry, by nothing at all."""
        if self._transaction.is_binary:
            return Chunked(await self._wire(pool), self._answers_due(pool))
        try:
            wire, answer = await self._ask_data(pool)
        except Lost:  # no part of the message was sent yet
            await self._open(pool, (), fresh=True)
            wire, answer = await self._ask_data(pool)
        if answer.code == GO_AHEAD:
            return Dotted(wire, self._answers_due(pool))
        if answer.code < 400:  # neither a refusal nor 354: unclear whether it waits for content
            self._lose(f"answered DATA with {answer.code}")
            raise Lost(used=False)
        raise RelayFailed(self._verdict(answer, "DATA"))

    def _answers_due(self, pool: ConnectionPool) -> int:
        """Return how many replies the message will get: LMTP sends one per recipient (RFC 2033 section 4.2)."""
        return len(self._accepted) if pool.upstream.lmtp else 1

    def _follow_edits(self) -> None:
        """Drop the open transaction if policy has changed sender, recipients or upstream: it will be opened again."""
        wanted, transaction = self._transaction.destinations, self._transaction
        pools = {self._pool_for(path) for path in wanted}
        if not pools:
            raise RelayFailed(self._sender_refused or replies.UPSTREAM_LOST)
        each_answers = len(wanted) > 1 and any(pool.upstream.lmtp for pool in pools)
        if len(pools) > 1 or (each_answers and not self._session.tells_of_each):
            # A transaction goes to one upstream, and LMTP replies to the dot once per recipient.
            log.error("recipients_of_different_upstreams", session=self._session.id)
            raise RelayFailed(replies.UPSTREAM_REFUSED_US)
        unchanged = pools == {self._pool} and transaction.reverse_path is self._said_sender
        if unchanged and [path.raw for path in wanted] == [path.raw for path in self._accepted]:
            return
        self.abort()
        self._accepted = wanted
        (self._pool,) = pools

    def _pool_for(self, path: Path) -> ConnectionPool:
        upstream = self._router.of_domain(path.domain)
        if path.gateway:
            upstream = self._router.by_way_of(path.gateway, upstream)
        return self._pools.of(upstream)

    async def _ask_data(self, pool: ConnectionPool) -> tuple[Wire, Reply]:
        wire = await self._wire(pool)
        (to_data,) = wire.send(b"DATA\r\n")
        return wire, await self._heard(wire, read(wire, to_data, pool.policy.rcptto_timeout))

    async def _wire(self, pool: ConnectionPool) -> Wire:
        """Return the wire with the open transaction; open one if there is no transaction or it broke."""
        if self._connection is not None and self._connection.wire.broken is not None:
            self._lose(self._connection.wire.broken)
        if self._connection is None:
            await self._open(pool, ())
        if self._connection is None:
            raise Lost(used=False)
        return self._connection.wire

    async def content(self, block: bytes) -> None:
        """Send dot-stuffed content; wait if the upstream does not keep up. Raises RelayFailed."""
        try:
            await self._sending().send(block, self._session.options.relaying_timeout)
        except Answered as answered:
            raise self._answered_early(answered.reply) from None
        except (WireBroken, TimeoutError) as error:
            self._lose(str(error) or "timeout")
            raise RelayFailed(replies.UPSTREAM_LOST) from None

    async def finish(self, block: bytes) -> Reply:
        """Send the last content and the dot in one write, and return the upstream's reply.

        Raises:
            RelayFailed: no verdict came; the upstream may or may not have the message.
        """
        content, connection, pool = self._sending(), self._connection, self._pool
        if connection is None or pool is None:
            raise RelayFailed(replies.UPSTREAM_LOST)
        try:
            answers = content.end(block)
            seconds = pool.policy.body_timeout
            heard = [await self._heard(connection.wire, read(connection.wire, each, seconds)) for each in answers]
        except Answered as answered:
            raise self._answered_early(answered.reply) from None
        except (Lost, WireBroken) as error:
            if isinstance(error, WireBroken):
                self._lose(str(error))
            raise RelayFailed(replies.UPSTREAM_LOST) from None
        if connection.wire.garbled:  # two replies instead of one: unclear which is about the message
            raise RelayFailed(replies.UPSTREAM_LOST)
        self._content = None
        verdicts = [self._verdict(answer, "the message") for answer in heard]
        taken = [each for each in verdicts if each.accepted]
        if not taken:
            raise RelayFailed(min(verdicts, key=lambda each: each.permanent))
        # Some recipients have it, so the client gets 250; the sender gets a report on the others, even if temporary.
        of_each = zip(self._accepted, verdicts, strict=False)
        note_refusals(self._session, {path.raw: each for path, each in of_each if not each.accepted})
        connection.deliveries += 1
        self._release()
        return taken[0]

    def _sending(self) -> OutgoingContent:
        if self._content is None:
            raise RelayFailed(replies.UPSTREAM_LOST)
        return self._content

    def _answered_early(self, answer: Reply) -> RelayFailed:
        """Return the meaning of a reply before our dot: a refusal, or a failure, since an acceptance cannot be true."""
        about_mail = not answer.accepted and answer.code != 421
        verdict = self._verdict(answer, "the message") if about_mail else replies.UPSTREAM_LOST
        self._lose("answered before the end of the message")
        return RelayFailed(verdict)

    # ------------------------------------------------------------ ends

    def abort(self) -> None:
        """End the transaction in any state, so that nothing of it is delivered."""
        self._hold_on()
        connection = self._connection
        if connection is None:
            return
        if self._content is not None:
            self._lose("aborted")
        elif self._tainted:
            self._release()
        else:
            self._connection = None
            connection.pool.reset(connection)

    def _let_go(self) -> None:
        """Give the connection back while the client idles: many idle clients must not occupy the upstream's places."""
        self._hold = None
        if self._content is None:
            self.abort()

    def _hold_on(self) -> None:
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None

    def _release(self) -> None:
        """Give the connection back, or end it if the upstream counted an error on it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            (connection.pool.retire if self._tainted else connection.pool.give_back)(connection)
        self._tainted = False

    def _lost(self, why: str) -> Lost:
        """Drop the connection; the exception tells whether another transaction had it before."""
        used_before = self._connection is not None and self._connection.used
        self._lose(why)
        return Lost(used=used_before)

    def _lose(self, why: str) -> None:
        connection, self._connection, self._content, self._tainted = self._connection, None, None, False
        if connection is not None:
            log.warning("upstream_lost", session=self._session.id, upstream=self.upstream, reason=printable(why))
            connection.pool.drop(connection, why)

    def _verdicts(self, paths: Sequence[Path], answers: Sequence[Reply]) -> list[Reply]:
        return [self._verdict(each, "RCPT", (path, path.parameters)) for path, each in zip(paths, answers)]  # noqa: B905

    def _verdict(self, answer: Reply, step: str, said: envelope.Said | None = None) -> Reply:
        """Return what the client hears; a refusal taints the connection, because the upstream counts errors."""
        if answer.accepted or self._last is None:
            return answer
        self._tainted = True
        return verdict_of(answer, self._last, self._session, upstream=self.upstream, step=step, said=said)
