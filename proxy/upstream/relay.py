"""One transaction's way upstream, live: MAIL and RCPT when the client says RCPT, the message while it comes.

What the upstream says about the mail goes to the client word for word. What it says about our conversation with it, and
everything that breaks, becomes 451: the sender keeps the message and tries again. Never 250 without the upstream's 250.

A connection that is lost before DATA, or given back because the client idles, is replaced: the envelope is said again,
and only where every recipient is accepted again does the transaction go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from proxy import replies
from proxy.log import get_logger, printable
from proxy.replies import Reply
from proxy.session import Path, Session, Transaction
from proxy.settings import OutboundOptions
from proxy.smtp.front import RelayFailed
from proxy.upstream.connect import RefusedUs, Unreachable
from proxy.upstream.pool import Connection, Pool, PoolFull, Pools
from proxy.upstream.routes import Router
from proxy.wire import Wire, WireBroken

log = get_logger()

_ABOUT_US = frozenset({*range(500, 505), 521, *range(530, 539)})
"""Permanent replies that speak of our conversation (syntax, order, authentication), not of the mail."""

_CLOSING = 421
_GO_AHEAD = 354


class _Lost(Exception):
    """The connection broke or fell silent; what was under way on it has no answer."""


_TROUBLE: dict[type[Exception], Reply] = {
    Unreachable: replies.UPSTREAM_UNREACHABLE,
    RefusedUs: replies.UPSTREAM_REFUSED_US,
    PoolFull: replies.UPSTREAM_BUSY,
    _Lost: replies.UPSTREAM_LOST,
}
"""What a client hears of trouble that is not about its mail: always 451."""


class UpstreamRelay:
    """Implements `proxy.smtp.front.Relay` over the pools. Owned by one session's task."""

    __slots__ = (
        "_accepted", "_connection", "_final", "_hold", "_pool", "_pools", "_promised", "_router", "_said_sender",
        "_sender_refused", "_session", "_tainted", "_transaction",
    )  # fmt: skip

    def __init__(self, router: Router, pools: Pools, session: Session) -> None:
        """Begin with no upstream: the first recipient decides which."""
        self._router, self._pools, self._session = router, pools, session
        self._pool: Pool | None = None
        self._transaction = session.transaction
        self._connection: Connection | None = None
        self._accepted: list[Path] = []
        self._promised: dict[bytes, Reply] = {}
        """Of those, the ones that the client was told are accepted, with what it was told."""
        self._said_sender: Path | None = None
        self._final: asyncio.Future[Reply] | None = None
        self._tainted = False
        self._sender_refused: Reply | None = None
        self._hold: asyncio.TimerHandle | None = None

    @property
    def upstream(self) -> str:
        """The upstream's name for the log; empty before the first recipient."""
        return self._pool.name if self._pool is not None else ""

    # ------------------------------------------------------------ envelope

    async def recipient(self, transaction: Transaction, path: Path) -> Reply:
        """Offer a recipient, and MAIL FROM before the first; return the upstream's verdict."""
        self._transaction = transaction
        if self._sender_refused is not None:
            return self._sender_refused
        pool = self._pool_for(path)
        if (known := self._promised.get(path.raw)) is not None:
            return known  # said twice, or two were redirected to one: the upstream hears it once
        if self._accepted and (pool is not self._pool or pool.upstream.lmtp):
            # One upstream a transaction; and LMTP answers for each recipient, which one reply to the dot cannot.
            return replies.ONE_UPSTREAM_AT_A_TIME
        self._pool = pool
        self._hold_on()
        try:
            answer = await self._offer(pool, path)
        except tuple(_TROUBLE) as trouble:
            return _TROUBLE[type(trouble)]
        if answer.accepted:
            self._accepted.append(path)
            self._promised[path.raw] = answer
        if self._connection is not None:
            self._hold = asyncio.get_running_loop().call_later(pool.policy.upstream_hold, self._let_go)
        return answer

    async def _offer(self, pool: Pool, path: Path) -> Reply:
        """Offer one recipient on the open transaction, or open one; a lost connection is replaced once."""
        if self._connection is not None:
            try:
                return self._verdict(await self._rcpt(self._connection.wire, path), "RCPT")
            except _Lost:
                return await self._open(pool, path, fresh=True)
        try:
            return await self._open(pool, path)
        except _Lost as lost:
            if not lost.args[0]:  # it was new: another would fare no better
                raise
        return await self._open(pool, path, fresh=True)

    async def _open(self, pool: Pool, path: Path | None, *, fresh: bool = False) -> Reply:
        """Say the envelope: MAIL, what was accepted before, and one more recipient; return the verdict on the last.

        Raises:
            _Lost: the connection broke, or what was accepted before no longer is.
        """
        connection = self._connection = await pool.take(self._session, fresh=fresh)
        wire, transaction = connection.wire, self._transaction
        paths = [*self._accepted, path] if path is not None else self._accepted
        parameters = transaction.parameters
        if not all(each.raw.isascii() for each in (transaction.reverse_path, *paths)):
            parameters = parameters | {"SMTPUTF8": None}  # a script may have brought in an address that needs it
        if (unfit := _unfit(wire, parameters)) is not None:
            self._release()
            return unfit
        mail = _command(wire, b"MAIL FROM", transaction.reverse_path, parameters)
        mail_answer, answers = await self._say(wire, mail, paths)
        if not mail_answer.accepted:
            refused = self._verdict(mail_answer, "MAIL")
            if not self._accepted:
                self._sender_refused = refused
            self._release()
            return refused
        self._said_sender = transaction.reverse_path
        for answer, accepted in zip(answers, self._accepted, strict=False):
            if not answer.accepted:
                refused = self._verdict(answer, "RCPT")
                self._lose(f"a recipient is refused: {answer.code}")
                if accepted.raw in self._promised:
                    raise _Lost(False)  # the client was told that it is accepted
                raise RelayFailed(refused)
        return self._verdict(answers[-1], "RCPT")

    async def _say(self, wire: Wire, mail: bytes, paths: Sequence[Path]) -> tuple[Reply, list[Reply]]:
        """Send the envelope, in one write where the upstream takes that, and return the answers."""
        policy = self._policy
        if "pipelining" in wire.extensions:
            rcpts = b"".join(_command(wire, b"RCPT TO", path, path.parameters) for path in paths)
            to_mail, *to_rcpts = wire.send(mail + rcpts, replies=1 + len(paths))
            mail_answer = await self._read(wire, to_mail, policy.mailfrom_timeout)
            return mail_answer, [await self._read(wire, each, policy.rcptto_timeout) for each in to_rcpts]
        (to_mail,) = wire.send(mail)
        mail_answer = await self._read(wire, to_mail, policy.mailfrom_timeout)
        if not mail_answer.accepted:
            return mail_answer, []
        return mail_answer, [await self._rcpt(wire, path) for path in paths]

    async def _rcpt(self, wire: Wire, path: Path) -> Reply:
        (to_rcpt,) = wire.send(_command(wire, b"RCPT TO", path, path.parameters))
        return await self._read(wire, to_rcpt, self._policy.rcptto_timeout)

    @property
    def _policy(self) -> OutboundOptions:
        pool = self._pool
        if pool is None:
            raise RelayFailed(replies.UPSTREAM_LOST)
        return pool.policy

    async def _read(self, wire: Wire, answer: asyncio.Future[Reply], seconds: float) -> Reply:
        """Wait for one reply. A 421 means that the upstream closes: that is a lost connection, not a verdict.

        Raises:
            _Lost: the connection broke, fell silent, or is being closed; it is dropped.
        """
        try:
            found = await wire.read(answer, seconds)
        except (WireBroken, TimeoutError) as error:
            raise self._lost(str(error) or "timeout") from error
        if found.code == _CLOSING:
            raise self._lost(found.text)
        return found

    # ------------------------------------------------------------ content

    async def begin(self) -> None:
        """Say DATA, after the envelope where policy changed it. Raises RelayFailed unless the message is wanted."""
        self._hold_on()
        self._follow_edits()
        pool = self._pool
        if pool is None or not self._accepted:
            raise RelayFailed(self._sender_refused or replies.UPSTREAM_LOST)
        try:
            answer = await self._data(pool)
        except tuple(_TROUBLE) as trouble:
            raise RelayFailed(_TROUBLE[type(trouble)]) from None
        if answer.code != _GO_AHEAD:
            if answer.code < 400:  # neither refusal nor 354: nobody knows whether it waits for content
                self._lose(f"answered DATA with {answer.code}")
                raise RelayFailed(replies.UPSTREAM_LOST)
            raise RelayFailed(self._verdict(answer, "DATA"))
        if self._connection is not None:
            # The reply to the dot is awaited from here on: an upstream may refuse in the middle.
            (self._final,) = self._connection.wire.send(b"")

    def _follow_edits(self) -> None:
        """Drop the open transaction where policy changed sender, recipients or upstream since: it is opened anew."""
        wanted, transaction = self._transaction.destinations, self._transaction
        pools = {self._pool_for(path) for path in wanted}
        if not pools:
            raise RelayFailed(self._sender_refused or replies.UPSTREAM_LOST)
        if len(pools) > 1 or (len(wanted) > 1 and any(pool.upstream.lmtp for pool in pools)):
            # One transaction goes to one upstream; and LMTP would answer the dot for each recipient.
            log.error("recipients_of_different_upstreams", session=self._session.id)
            raise RelayFailed(replies.UPSTREAM_REFUSED_US)
        unchanged = pools == {self._pool} and transaction.reverse_path is self._said_sender
        if unchanged and [path.raw for path in wanted] == [path.raw for path in self._accepted]:
            return
        self.abort()
        self._accepted = wanted
        (self._pool,) = pools

    def _pool_for(self, path: Path) -> Pool:
        upstream = self._router.of_domain(path.domain)
        if path.gateway:
            upstream = self._router.by_way_of(path.gateway, upstream)
        return self._pools.of(upstream)

    async def _data(self, pool: Pool) -> Reply:
        """Send DATA on the open transaction, or on one that replaces it; nothing of the message has been sent yet."""
        if self._connection is None:
            await self._reopen(pool)
        try:
            return await self._ask_data()
        except _Lost:
            await self._reopen(pool, fresh=True)
            return await self._ask_data()

    async def _reopen(self, pool: Pool, *, fresh: bool = False) -> None:
        answer = await self._open(pool, None, fresh=fresh)
        if not answer.accepted:
            raise RelayFailed(answer)

    async def _ask_data(self) -> Reply:
        connection = self._connection
        if connection is None:
            raise _Lost(False)
        (to_data,) = connection.wire.send(b"DATA\r\n")
        return await self._read(connection.wire, to_data, self._policy.rcptto_timeout)

    async def content(self, block: bytes) -> None:
        """Send dot-stuffed content, waiting where the upstream does not keep up. Raises RelayFailed."""
        wire, final = await self._sending()
        wire.write(block)
        try:
            await wire.drain(self._session.options.data_timeout, unless=final)
        except (WireBroken, TimeoutError) as error:
            self._lose(str(error) or "timeout")
            raise RelayFailed(replies.UPSTREAM_LOST) from None

    async def finish(self, block: bytes) -> Reply:
        """Send the last content and the dot in one write, and return the upstream's answer.

        Raises:
            RelayFailed: no verdict came; the message may or may not be the upstream's.
        """
        wire, final = await self._sending()
        # A last line without its end would take the dot into it, and the message would never end.
        wire.write(block + (b".\r\n" if block.endswith(b"\r\n") or not block else b"\r\n.\r\n"))
        try:
            answer = await self._read(wire, final, self._policy.body_timeout)
        except _Lost:
            raise RelayFailed(replies.UPSTREAM_LOST) from None
        self._final = None
        if not answer.accepted:
            raise RelayFailed(self._verdict(answer, "the message"))
        if self._connection is not None:
            self._connection.deliveries += 1
        self._release()
        return answer

    async def _sending(self) -> tuple[Wire, asyncio.Future[Reply]]:
        """Return the wire and the answer to come. An answer before our dot is a refusal, or cannot be true."""
        if self._connection is None or self._final is None:
            raise RelayFailed(replies.UPSTREAM_LOST)
        wire, final = self._connection.wire, self._final
        if not final.done():
            return wire, final
        try:
            answer = await self._read(wire, final, 0)
        except _Lost:
            raise RelayFailed(replies.UPSTREAM_LOST) from None
        verdict = self._verdict(answer, "the message") if not answer.accepted else replies.UPSTREAM_LOST
        self._lose("answered before the end of the message")
        raise RelayFailed(verdict)

    # ------------------------------------------------------------ ends

    def abort(self) -> None:
        """End the transaction wherever it stands, so that nothing of it is delivered."""
        self._hold_on()
        connection, pool = self._connection, self._pool
        if connection is None or pool is None:
            return
        if self._final is not None:
            self._lose("aborted")
        elif self._tainted:
            self._release()
        else:
            self._connection = None
            pool.reset(connection)

    def _let_go(self) -> None:
        """Give the connection back while the client idles: many idle clients must not hold the upstream's places."""
        self._hold = None
        if self._final is None:
            self.abort()

    def _hold_on(self) -> None:
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None

    def _release(self) -> None:
        """Give the connection back, or end it where the upstream counted an error on it."""
        connection, self._connection = self._connection, None
        if connection is not None and self._pool is not None:
            (self._pool.retire if self._tainted else self._pool.give_back)(connection)
        self._tainted = False

    def _lost(self, why: str) -> _Lost:
        """Drop the connection; the exception tells whether another transaction had it before."""
        used_before = self._connection is not None and self._connection.used
        self._lose(why)
        return _Lost(used_before)

    def _lose(self, why: str) -> None:
        connection, self._connection, self._final = self._connection, None, None
        self._tainted = False
        if connection is not None and self._pool is not None:
            log.warning("upstream_lost", session=self._session.id, upstream=self.upstream, reason=printable(why))
            self._pool.drop(connection, why)

    def _verdict(self, answer: Reply, step: str) -> Reply:
        """Return a reply verbatim where it speaks of the mail; 451 and an alarm where it speaks of us."""
        if answer.accepted:
            return answer
        self._tainted = True
        if answer.code >= 400 and answer.code not in _ABOUT_US:  # RFC 5321 section 4.2.1, first digit
            return answer
        log.error(
            "upstream_refused_us",
            session=self._session.id,
            upstream=self.upstream,
            step=step,
            reply=printable(f"{answer.code} {answer.text}"),
        )
        return replies.UPSTREAM_REFUSED_US


def _unfit(wire: Wire, parameters: Mapping[str, str | None]) -> Reply | None:
    """Return why the upstream cannot carry the transaction; a message is never downgraded."""
    if "SMTPUTF8" in parameters and "smtputf8" not in wire.extensions:
        return replies.NO_SMTPUTF8_BEHIND
    if (parameters.get("BODY") or "").upper() == "8BITMIME" and "8bitmime" not in wire.extensions:
        return replies.NO_8BITMIME_BEHIND
    return None


_CARRIED_BY = {
    "SIZE": "size",
    "BODY": "8bitmime",
    "SMTPUTF8": "smtputf8",
    "RET": "dsn",
    "ENVID": "dsn",
    "NOTIFY": "dsn",
    "ORCPT": "dsn",
    "AUTH": "auth",
}
"""The extension that the upstream must have for a parameter to go on to it; one that is not here stays with us."""


def _command(wire: Wire, verb: bytes, path: Path, parameters: Mapping[str, str | None]) -> bytes:
    """Return MAIL or RCPT with the parameters as the client gave them, less those that the upstream does not know."""
    if not parameters:
        return b"%b:<%b>\r\n" % (verb, path.raw)
    words = "".join(
        f" {name}" if value is None else f" {name}={value}"
        for name, value in parameters.items()
        if _CARRIED_BY.get(name) in wire.extensions
    )
    return b"%b:<%b>%b\r\n" % (verb, path.raw, words.encode())
