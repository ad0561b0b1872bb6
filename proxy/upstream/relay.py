"""One transaction's way upstream, live: MAIL and RCPT when the client says RCPT, the message while it comes.

What the upstream says about the mail goes to the client word for word. What it says about our conversation with it, and
everything that breaks, becomes 451: the sender keeps the message and tries again. Never 250 without the upstream's 250.
"""

from __future__ import annotations

import asyncio

from proxy import replies
from proxy.log import get_logger, printable
from proxy.replies import Reply
from proxy.session import Path, Session, Transaction
from proxy.smtp.front import RelayFailed
from proxy.upstream.pool import Pool, PoolFull, RefusedUs, Unreachable
from proxy.wire import Wire, WireBroken

log = get_logger()

_ABOUT_US = frozenset({*range(500, 505), 521, *range(530, 539)})
"""Permanent replies that speak of our conversation (syntax, order, authentication), not of the mail."""

_CLOSING = 421
_GO_AHEAD = 354


class _Lost(Exception):
    """The connection broke or fell silent; what was under way on it has no answer."""


class UpstreamRelay:
    """Implements `proxy.smtp.front.Relay` over a pool. Owned by one session's task."""

    __slots__ = ("_dead", "_final", "_pool", "_sender_refused", "_session", "_tainted", "_taken", "_wire")

    def __init__(self, pool: Pool, session: Session) -> None:
        """Begin with no connection: one is taken at the first recipient."""
        self._pool = pool
        self._session = session
        self._wire: Wire | None = None
        self._final: asyncio.Future[Reply] | None = None
        self._taken = 0
        self._tainted = False
        self._dead = False
        self._sender_refused: Reply | None = None

    @property
    def upstream(self) -> str:
        """The upstream's name for the log."""
        return self._pool.name

    # ------------------------------------------------------------ envelope

    async def recipient(self, transaction: Transaction, path: Path) -> Reply:
        """Offer a recipient, and MAIL FROM before the first; return the upstream's verdict."""
        if self._sender_refused is not None:
            return self._sender_refused
        if self._dead:
            return replies.UPSTREAM_LOST
        try:
            wire = self._wire
            answer = await (self._first(transaction, path) if wire is None else self._another(wire, path))
        except Unreachable:
            return replies.UPSTREAM_UNREACHABLE
        except RefusedUs:
            return replies.UPSTREAM_REFUSED_US
        except PoolFull:
            return replies.UPSTREAM_BUSY
        except _Lost:
            # Recipients that the client was told are accepted are gone with the connection: the message must not
            # reach only the others.
            self._dead = self._taken > 0
            return replies.UPSTREAM_LOST
        if answer.accepted:
            self._taken += 1
        return answer

    async def _first(self, transaction: Transaction, path: Path) -> Reply:
        """Open the transaction upstream; a kept connection that turns out dead is replaced once, unseen."""
        wire, used_before = await self._pool.take()
        self._wire = wire
        try:
            return await self._open(wire, transaction, path)
        except _Lost:
            if not used_before:
                raise
        self._wire, _ = await self._pool.take(fresh=True)
        return await self._open(self._wire, transaction, path)

    async def _open(self, wire: Wire, transaction: Transaction, path: Path) -> Reply:
        """Send MAIL and RCPT, in one write where the upstream takes that."""
        if (unfit := _unfit(wire, transaction)) is not None:
            self._release()
            return unfit
        mail = b"MAIL FROM:<%b>%b\r\n" % (transaction.reverse_path.raw, _parameters(wire, transaction))
        rcpt = b"RCPT TO:<%b>\r\n" % path.raw
        limits = self._pool.timeouts
        if "pipelining" in wire.extensions:
            to_mail, to_rcpt = wire.send(mail + rcpt, replies=2)
            mail_answer = await self._read(wire, to_mail, limits.mailfrom_timeout)
            rcpt_answer = await self._read(wire, to_rcpt, limits.rcptto_timeout)
        else:
            (to_mail,) = wire.send(mail)
            mail_answer = await self._read(wire, to_mail, limits.mailfrom_timeout)
            rcpt_answer = await self._rcpt(wire, path) if mail_answer.accepted else mail_answer
        if not mail_answer.accepted:
            self._tainted = True
            self._sender_refused = self._about_the_mail(mail_answer, "MAIL")
            self._release()
            return self._sender_refused
        return self._verdict(rcpt_answer)

    async def _another(self, wire: Wire, path: Path) -> Reply:
        return self._verdict(await self._rcpt(wire, path))

    async def _rcpt(self, wire: Wire, path: Path) -> Reply:
        (to_rcpt,) = wire.send(b"RCPT TO:<%b>\r\n" % path.raw)
        return await self._read(wire, to_rcpt, self._pool.timeouts.rcptto_timeout)

    def _verdict(self, answer: Reply) -> Reply:
        self._tainted |= not answer.accepted
        return answer if answer.accepted else self._about_the_mail(answer, "RCPT")

    async def _read(self, wire: Wire, answer: asyncio.Future[Reply], seconds: float) -> Reply:
        """Wait for one reply. A 421 means that the upstream closes: that is a lost connection, not a verdict.

        Raises:
            _Lost: the connection broke, fell silent, or is being closed; it is dropped.
        """
        try:
            found = await wire.read(answer, seconds)
        except (WireBroken, TimeoutError) as error:
            self._lose(str(error) or "timeout")
            raise _Lost from error
        if found.code == _CLOSING:
            self._lose(found.text)
            raise _Lost
        return found

    # ------------------------------------------------------------ content

    async def begin(self) -> None:
        """Say DATA. Raises RelayFailed unless the upstream wants the message."""
        wire = self._wire
        if wire is None or self._dead:
            raise RelayFailed(self._sender_refused or replies.UPSTREAM_LOST)
        (to_data,) = wire.send(b"DATA\r\n")
        try:
            answer = await self._read(wire, to_data, self._pool.timeouts.rcptto_timeout)
        except _Lost:
            raise RelayFailed(replies.UPSTREAM_LOST) from None
        if answer.code != _GO_AHEAD:
            self._tainted = True
            raise RelayFailed(self._about_the_mail(answer, "DATA"))
        # The reply to the dot is awaited from here on: an upstream may refuse in the middle.
        (self._final,) = wire.send(b"")

    async def content(self, block: bytes) -> None:
        """Send dot-stuffed content, waiting where the upstream does not keep up. Raises RelayFailed."""
        wire, final = self._wire, self._final
        if wire is None or final is None:
            raise RelayFailed(replies.UPSTREAM_LOST)
        if final.done():
            raise RelayFailed(await self._early(wire, final))
        wire.write(block)
        try:
            await wire.drain(self._pool.timeouts.data_timeout)
        except (WireBroken, TimeoutError) as error:
            self._lose(str(error) or "timeout")
            raise RelayFailed(replies.UPSTREAM_LOST) from None

    async def finish(self, block: bytes) -> Reply:
        """Send the last content and the dot in one write, and return the upstream's answer.

        Raises:
            RelayFailed: no verdict came; the message may or may not be the upstream's.
        """
        wire, final = self._wire, self._final
        if wire is None or final is None:
            raise RelayFailed(replies.UPSTREAM_LOST)
        if final.done():
            raise RelayFailed(await self._early(wire, final))
        wire.write(block + b".\r\n")
        try:
            answer = await self._read(wire, final, self._pool.timeouts.body_timeout)
        except _Lost:
            raise RelayFailed(replies.UPSTREAM_LOST) from None
        self._final = None
        if answer.accepted:
            self._release()
            return answer
        self._tainted = True
        raise RelayFailed(self._about_the_mail(answer, "the message"))

    async def _early(self, wire: Wire, final: asyncio.Future[Reply]) -> Reply:
        """Return what to make of an answer that came before our dot: a refusal counts, an acceptance cannot be true."""
        try:
            answer = await self._read(wire, final, 0)
        except _Lost:
            return replies.UPSTREAM_LOST
        verdict = self._about_the_mail(answer, "the message")
        self._lose("answered before the end of the message")
        return verdict

    # ------------------------------------------------------------ ends

    def abort(self) -> None:
        """End the transaction wherever it stands, so that nothing of it is delivered."""
        wire = self._wire
        if wire is None:
            return
        if self._final is not None:
            self._lose("aborted")
        elif self._tainted:
            self._release()
        else:
            self._wire = None
            self._pool.reset(wire)

    def _release(self) -> None:
        """Give the connection back, or end it where the upstream counted an error on it."""
        wire, self._wire = self._wire, None
        if wire is not None:
            (self._pool.retire if self._tainted else self._pool.give_back)(wire)

    def _lose(self, why: str) -> None:
        wire, self._wire, self._final = self._wire, None, None
        if wire is not None:
            log.warning("upstream_lost", session=self._session.id, upstream=self.upstream, reason=printable(why))
            self._pool.drop(wire, why)

    def _about_the_mail(self, answer: Reply, step: str) -> Reply:
        """Return a refusal verbatim where it speaks of the mail; 451 and an alarm where it speaks of us."""
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


def _unfit(wire: Wire, transaction: Transaction) -> Reply | None:
    """Return why the upstream cannot carry the transaction; a message is never downgraded."""
    if transaction.smtp_utf8 and "smtputf8" not in wire.extensions:
        return replies.NO_SMTPUTF8_BEHIND
    if (transaction.parameters.get("BODY") or "").upper() == "8BITMIME" and "8bitmime" not in wire.extensions:
        return replies.NO_8BITMIME_BEHIND
    return None


def _parameters(wire: Wire, transaction: Transaction) -> bytes:
    """Return MAIL's parameters as the client gave them, less those that the upstream does not know."""
    given = transaction.parameters
    if not given:
        return b""
    known = {"SIZE": "size", "BODY": "8bitmime", "SMTPUTF8": "smtputf8"}
    words = [
        name if value is None else f"{name}={value}" for name, value in given.items() if known[name] in wire.extensions
    ]
    return "".join(f" {word}" for word in words).encode()
