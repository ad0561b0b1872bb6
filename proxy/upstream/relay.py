"""One transaction's way upstream, live: MAIL and RCPT when the client sends RCPT, the message as it arrives.

Upstream replies about the mail go to the client word for word. Replies about our own session, and all failures, become
451: the sender keeps the message and retries. The client never gets 250 without the upstream's 250.

A connection lost before DATA, or given back because the client idles, is replaced: the envelope is sent again. The
transaction goes on only if every recipient is accepted again.

`state` has what the upstream knows of the transaction, `promises` what the client was told of its recipients.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.base.log import get_logger
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Path, Session, Transaction
from proxy.metrics.book import BOOK
from proxy.outgoing import envelope
from proxy.outgoing.content import GO_AHEAD, Answered, Chunked, Dotted, OutgoingContent
from proxy.outgoing.envelope import NOT_ACCEPTED
from proxy.outgoing.wire import WireBroken
from proxy.smtp.ports import RelayFailed
from proxy.upstream.failures import Lost
from proxy.upstream.identity import forward_client
from proxy.upstream.overheard import overhear
from proxy.upstream.pool import ConnectionPool, PooledConnection
from proxy.upstream.pools import Pools
from proxy.upstream.promises import Promises
from proxy.upstream.routes import Router
from proxy.upstream.state import COMMITTED, CONTENT, ENVELOPE, HOLDING, NO_ENVELOPE, Passage
from proxy.upstream.tally import DATA, DOT, RCPT
from proxy.upstream.verdicts import TROUBLE, heard_of, note_refusals, taken_by_some, verdict_of, worst_of

log = get_logger()


class UpstreamRelay:
    """Implements `proxy.smtp.ports.Relay` over the pools. One session's task owns it."""

    __slots__ = ("_passage", "_pools", "_promises", "_router", "_session", "_transaction", "taken_by")

    def __init__(self, router: Router, pools: Pools, session: Session) -> None:
        """Start without an upstream: the first recipient decides which one."""
        self._router, self._pools, self._session, self._transaction = router, pools, session, session.transaction
        self._promises = Promises()
        self._passage = Passage(session)
        self.taken_by = ""

    @property
    def upstream(self) -> str:
        """The upstream's name for the log; empty before the first recipient."""
        return self._promises.pool.name if self._promises.pool is not None else ""

    # ------------------------------------------------------------ envelope

    async def recipients(self, transaction: Transaction, paths: Sequence[Path]) -> list[Reply]:
        """Offer recipients, with MAIL FROM before the first; return the upstream's verdict on each.

        Recipients that the client pipelined are pipelined upstream too, if they have the same upstream.
        """
        self._transaction = transaction
        promises, passage = self._promises, self._passage
        heard: dict[bytes, Reply] = {}
        alone = len(paths) == 1
        waiting = list(paths) if alone else list({path.raw: path for path in paths}.values())
        while waiting:
            first = waiting[0]
            pool = self._pool_for(first)
            if not promises.accepted and pool is not promises.pool:
                if passage.stage is ENVELOPE:
                    passage.withdraw()
                promises.turn_to(pool)
            known = promises.known(pool, first, self._session)
            if known is not None:
                heard[first.raw] = known
                del waiting[0]
                continue
            together = waiting if alone else self._together(pool, waiting)
            answers = await self._ask(pool, together)
            for path, answer in zip(together, answers, strict=False):
                heard[path.raw] = answer
            if alone:
                break
            del waiting[: len(answers)]
        if passage.stage is ENVELOPE:  # many idle clients must not occupy the upstream's places
            passage.connection.wire.when_unused(passage.connection.pool.policy.upstream_hold, self.abort)
        return [heard[paths[0].raw]] if alone else [heard[path.raw] for path in paths]

    def _together(self, pool: ConnectionPool, waiting: Sequence[Path]) -> list[Path]:
        """Return the first recipients that go upstream in one piece."""
        together = [waiting[0]]
        if pool.lmtp and not self._session.tells_of_each:
            return together
        told, way = self._promises.told, (waiting[0].domain, waiting[0].gateway)
        for path in waiting[1:]:
            if path.raw in told or ((path.domain, path.gateway) != way and self._pool_for(path) is not pool):
                break
            together.append(path)
        return together

    async def _ask(self, pool: ConnectionPool, paths: Sequence[Path]) -> list[Reply]:
        """Offer recipients in the open transaction, or open one; return the verdicts on the first, at least one.

        A lost connection is replaced once.
        """
        passage, added = self._passage, self._passage.stage is ENVELOPE
        try:
            try:
                answers = await (self._add(passage.connection, paths) if added else self._open(pool, paths))
            except Lost as lost:
                if not added and not lost.used:  # it was new: another would do no better
                    raise
                answers = await self._open(pool, paths[:1] if added else paths, fresh=True)
        except RelayFailed as refused:
            return [refused.reply] * len(paths)
        except TROUBLE as trouble:
            return [heard_of(trouble)] * (1 if isinstance(trouble, Lost) else len(paths))
        for number, (path, answer) in enumerate(zip(paths, answers, strict=False)):
            BOOK.counts[pool.replies + RCPT + answer.code // 100] += 1
            if answer.code < NOT_ACCEPTED:
                self._promises.keep(path, answer)
            else:
                answers[number] = self._verdict(answer, "RCPT", (path, path.parameters))
        return answers

    async def _add(self, connection: PooledConnection, paths: Sequence[Path]) -> list[Reply]:
        """Send RCPT in the open transaction; return the upstream's replies. Raises Lost."""
        try:
            answers = await envelope.say_recipients(connection.wire, connection.pool.policy, paths)
        except (WireBroken, TimeoutError) as error:
            raise self._lost(error) from error
        if connection.wire.broken is not None:
            self._broke(connection)
        return answers

    async def _open(self, pool: ConnectionPool, paths: Sequence[Path], *, fresh: bool = False) -> list[Reply]:
        """Send the envelope: MAIL, the recipients accepted before, and new ones; return its replies to the new ones.

        Raises:
            Lost: the connection broke before the first verdict, or a recipient accepted before is now refused.
            RelayFailed: the sender is refused, or a recipient whose verdict was deferred.
        """
        session, transaction, promises = self._session, self._transaction, self._promises
        connection = None if fresh else pool.take_idle(session)
        if connection is None:
            connection = await pool.take(session, fresh=fresh)
        sender, wire = transaction.reverse_path, connection.wire
        self._passage.open(connection, sender)
        overhear(wire, session, self._pools.tell)
        everybody = (*promises.accepted, *paths)
        parameters = envelope.with_utf8(transaction.parameters, (sender, *everybody))
        if parameters and (unfit := envelope.unfit(wire, parameters)) is not None:
            self._passage.give_back()
            raise RelayFailed(unfit)
        if pool.policy.xforward != "no":
            await self._forward(connection)
        offered = len(promises.accepted) if promises.accepted else 0
        least = offered + bool(paths)
        try:
            to_mail, answers = await envelope.say(wire, pool.policy, sender, parameters, everybody, least=least)
        except (WireBroken, TimeoutError) as error:
            raise self._lost(error) from error
        if connection.wire.broken is not None:
            self._broke(connection)
        BOOK.counts[pool.replies + to_mail.code // 100] += 1
        if to_mail.code >= NOT_ACCEPTED:
            raise self._sender_refused(to_mail, (sender, parameters))
        if not offered:
            return answers
        self._settle(answers[:offered])
        return answers[offered:]

    async def _forward(self, connection: PooledConnection) -> None:
        """Tell the upstream whose message comes next. Raises Lost."""
        try:
            await forward_client(connection.wire, connection.pool.policy, self._session)
        except (WireBroken, TimeoutError) as error:
            raise self._lost(error) from error
        if connection.wire.broken is not None:
            self._broke(connection)

    def _sender_refused(self, answer: Reply, said: envelope.Said) -> RelayFailed:
        """Return the refusal of MAIL, after which nothing is open upstream."""
        refused = self._verdict(answer, "MAIL", said)
        if not self._promises.accepted:
            self._promises.sender_refused = refused
        if self._passage.stage is ENVELOPE:
            self._passage.give_back()
        return RelayFailed(refused)

    def _settle(self, answers: Sequence[Reply]) -> None:
        """Judge recipients accepted before, or deferred: all must be accepted again, or each must be reportable.

        Raises:
            Lost: a recipient accepted before is now refused.
            RelayFailed: the client gets the refusal, and keeps the message for all recipients.
        """
        promises = self._promises
        refused = {
            path.raw: self._verdict(answer, "RCPT", (path, path.parameters))
            for path, answer in zip(promises.accepted, answers, strict=True)
            if not answer.accepted
        }
        if not refused:
            return
        worst = worst_of(refused.values())
        if worst.permanent and self._session.tells_of_each and promises.go_on_without(refused):
            note_refusals(self._session, refused)
            return
        self._cut(f"a recipient is refused: {worst.code}")
        if refused.keys() & promises.told:
            raise Lost(used=False)  # the client was told that it is accepted
        raise RelayFailed(worst)

    def _broke(self, connection: PooledConnection) -> None:
        """Drop a connection that broke after replies that count. Raises Lost if the transaction ended meanwhile."""
        passage = self._passage
        if passage.connection is not connection or passage.stage not in HOLDING:
            raise Lost(used=False)
        self._cut(connection.wire.broken or "")

    # ------------------------------------------------------------ content

    async def begin(self) -> None:
        """Send DATA, preceded by the envelope if policy changed it. Raises RelayFailed unless the message is wanted."""
        promises, passage, transaction = self._promises, self._passage, self._transaction
        same_sender = passage.stage is ENVELOPE and transaction.reverse_path is passage.sender
        if not same_sender or not promises.are_those_of(transaction):
            self._follow_edits()
        pool = promises.pool
        if pool is None or not promises.accepted or passage.stage not in {NO_ENVELOPE, ENVELOPE}:
            raise RelayFailed(promises.sender_refused or replies.UPSTREAM_LOST)
        try:
            if transaction.parameters and transaction.is_binary:
                wire = (await self._opened(pool)).wire
                content: OutgoingContent = Chunked(wire, len(promises.accepted) if pool.lmtp else 1)
            else:
                content = await self._dotted(pool)
        except TROUBLE as trouble:
            raise RelayFailed(heard_of(trouble)) from None
        passage.go_ahead(content)

    async def _dotted(self, pool: ConnectionPool, *, again: bool = False) -> Dotted:
        """Send DATA; a lost connection is replaced once, since no part of the message was sent yet.

        Raises RelayFailed if the upstream refuses, and Lost if the new connection is lost, or the reply makes no sense.
        """
        passage = self._passage
        try:
            connection = passage.connection if passage.stage is ENVELOPE else None
            if connection is None or connection.wire.broken is not None:
                connection = await self._opened(pool)
            wire = connection.wire
            answer = (await wire.read(wire.send(b"DATA\r\n"), pool.policy.rcptto_timeout))[0]
            if wire.broken is not None:
                self._broke(connection)
        except (WireBroken, TimeoutError, Lost) as error:
            if again:
                raise self._lost(error) from error
            self._lost(error)
            await self._open(pool, (), fresh=True)
            return await self._dotted(pool, again=True)
        BOOK.counts[pool.replies + DATA + answer.code // 100] += 1
        if answer.code >= 400:
            raise RelayFailed(self._verdict(answer, "DATA"))
        if answer.code != GO_AHEAD:  # neither a refusal nor 354: unclear whether it waits for content
            self._cut(f"answered DATA with {answer.code}")
        if passage.stage is not ENVELOPE:  # or it broke right after its answer
            raise Lost(used=False)
        # LMTP replies to the message once per recipient (RFC 2033 section 4.2).
        return Dotted(wire, len(self._promises.accepted) if pool.lmtp else 1)

    async def _opened(self, pool: ConnectionPool) -> PooledConnection:
        """Return the connection with the open transaction; open one if it is missing or broke. Raises Lost."""
        passage = self._passage
        if passage.stage is ENVELOPE and passage.connection.wire.broken is not None:
            self._cut(passage.connection.wire.broken)
        if passage.stage is NO_ENVELOPE:
            await self._open(pool, ())
        if passage.stage is not ENVELOPE:
            raise Lost(used=False)
        return passage.connection

    def _follow_edits(self) -> None:
        """Drop the open transaction if policy has changed sender, recipients or upstream: it will be opened again."""
        transaction, promises = self._transaction, self._promises
        wanted = transaction.destinations
        pools = {self._pool_for(path) for path in wanted}
        if not pools:
            raise RelayFailed(promises.sender_refused or replies.UPSTREAM_LOST)
        each_answers = len(wanted) > 1 and any(pool.lmtp for pool in pools)
        if len(pools) > 1 or (each_answers and not self._session.tells_of_each):
            # A transaction goes to one upstream, and LMTP replies to the dot once per recipient.
            log.error("recipients_of_different_upstreams", session=self._session.id)
            raise RelayFailed(replies.UPSTREAM_REFUSED_US)
        unchanged = pools == {promises.pool} and transaction.reverse_path is self._passage.sender
        if unchanged and [path.raw for path in wanted] == [path.raw for path in promises.accepted]:
            return
        self.abort()
        promises.replace(pools.pop(), wanted)

    def _pool_for(self, path: Path) -> ConnectionPool:
        return self._pools.of(self._router.of_recipient(path.domain, self._transaction.binding, path.gateway))

    async def content(self, block: bytes) -> None:
        """Send dot-stuffed content, and wait if the upstream is slow. Raises RelayFailed."""
        if self._passage.stage is not CONTENT:
            raise RelayFailed(replies.UPSTREAM_LOST)
        try:
            await self._passage.content.send(block, self._session.options.relaying_timeout)
        except Answered as answered:
            raise self._answered_early(answered.reply) from None
        except (WireBroken, TimeoutError) as error:
            raise self._unanswered(error) from None

    async def finish(self, block: bytes) -> Reply:
        """Send the last content and the dot in one write, and return the upstream's reply.

        Raises RelayFailed if no verdict came; the upstream may or may not have the message.
        """
        passage = self._passage
        if passage.stage is not CONTENT:
            raise RelayFailed(replies.UPSTREAM_LOST)
        connection = passage.connection
        try:
            answers = passage.content.end(block)
            passage.dot()
            await connection.wire.read(answers, connection.pool.policy.body_timeout)
            if connection.wire.broken is not None:
                self._broke(connection)
        except Answered as answered:
            raise self._answered_early(answered.reply) from None
        except (WireBroken, TimeoutError, Lost) as error:
            raise self._unanswered(error) from None
        if connection.wire.garbled:  # two replies instead of one: unclear which is about the message
            raise RelayFailed(replies.UPSTREAM_LOST)
        try:
            first = answers.replies[0]
            BOOK.counts[connection.pool.replies + DOT + first.code // 100] += 1
            taken = first if first.code < NOT_ACCEPTED and not connection.pool.lmtp else self._taken(answers.replies)
            connection.deliveries += 1
            self.taken_by = connection.address
        finally:
            if passage.stage is COMMITTED:
                passage.give_back()
        return taken

    def _taken(self, answers: Sequence[Reply]) -> Reply:
        """Return the reply of the first recipient that has the message. Raises RelayFailed if none has it."""
        verdicts = [self._verdict(answer, "the message") for answer in answers]
        return taken_by_some(self._promises.accepted, verdicts, self._session)

    def _answered_early(self, answer: Reply) -> RelayFailed:
        """Return the meaning of a reply before our dot: a refusal, or a failure, since an acceptance cannot be true."""
        about_mail = not answer.accepted and answer.code != 421
        verdict = self._verdict(answer, "the message") if about_mail else replies.UPSTREAM_LOST
        self._cut("answered before the end of the message")
        return RelayFailed(verdict)

    def _unanswered(self, error: Exception) -> RelayFailed:
        """Return the meaning of a message without a verdict."""
        self._cut(str(error) or "timeout")
        return RelayFailed(replies.UPSTREAM_LOST)

    # ------------------------------------------------------------ ends

    def abort(self) -> None:
        """End the transaction in any state, so that nothing of it is delivered."""
        passage = self._passage
        if passage.stage is ENVELOPE and not passage.connection.wire.is_awaited:
            passage.withdraw()
        else:
            self._cut("aborted")

    def _lost(self, error: Exception) -> Lost:
        """Drop the connection; the exception says whether another transaction had it before."""
        if isinstance(error, Lost):  # it was dropped then
            return Lost(used=error.used)
        used = self._passage.stage in HOLDING and self._passage.connection.used
        self._cut(str(error) or "timeout")
        return Lost(used=used)

    def _cut(self, why: str) -> None:
        """Drop the connection, if one is ours."""
        if self._passage.stage in HOLDING:
            self._passage.cut(why)

    def _verdict(self, answer: Reply, step: str, said: envelope.Said | None = None) -> Reply:
        """Return the client's reply; a refusal is an error of the connection."""
        if answer.accepted:
            return answer
        self._passage.refused()
        connection = self._passage.connection
        return verdict_of(answer, connection, self._session, upstream=self.upstream, step=step, said=said)
