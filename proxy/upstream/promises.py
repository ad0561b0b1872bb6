"""The replies that a client has for its recipients, which must still be true for the message."""

from __future__ import annotations

from collections.abc import Container

from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Path, Session, Transaction
from proxy.upstream.pool import ConnectionPool


class Promises:
    """The recipients of one transaction that the next hop accepted, or that we accepted in its place."""

    __slots__ = ("_deferred", "_last", "accepted", "pool", "sender_refused", "told")

    def __init__(self) -> None:
        """Start with no recipient."""
        self.pool: ConnectionPool | None = None
        """Where the recipients are; the first of them decides."""
        self.accepted: list[Path] = []
        self.told: dict[bytes, Reply] = {}
        """Those of them whose reply was the next hop's."""
        self.sender_refused: Reply | None = None
        self._last: Reply | None = None
        self._deferred: set[bytes] = set()
        """Those that we accepted in its place."""

    def turn_to(self, pool: ConnectionPool) -> None:
        """Switch to another next hop, because the one before accepted no recipient: its replies no longer matter."""
        self.pool, self.sender_refused = pool, None

    def known(self, pool: ConnectionPool, path: Path, session: Session) -> Reply | None:
        """Return the verdict on a recipient if the next hop need not be asked."""
        if self.sender_refused is not None:
            return self.sender_refused
        deferred = pool.policy.recipient_verdicts == "deferred"
        if self.accepted and (verdict := self._beside_others(pool, path, session, deferred=deferred)) is not None:
            return verdict
        if not deferred:
            return None
        self.accepted.append(path)
        self._deferred.add(path.raw)
        return replies.RECIPIENT_OK

    def _beside_others(self, pool: ConnectionPool, path: Path, session: Session, *, deferred: bool) -> Reply | None:
        """Return the verdict on a recipient if the recipients before decide it."""
        if (told := self.told.get(path.raw)) is not None:
            return told  # a repeated recipient, or two redirected to one: the next hop gets it once
        if deferred and path.raw in self._deferred:
            return replies.RECIPIENT_OK
        if pool is not self.pool:
            return replies.ONE_UPSTREAM_AT_A_TIME
        if (pool.lmtp or deferred) and not session.tells_of_each:
            # One reply to the dot cannot report several verdicts, which LMTP and deferred verdicts may bring.
            return replies.ONE_RECIPIENT_AT_A_TIME
        return None

    def keep(self, path: Path, answer: Reply) -> None:
        """The next hop accepted a recipient, and the client gets that reply."""
        self.accepted.append(path)
        last = self._last
        if last is not None and last.wire == answer.wire:
            answer = last  # a thousand recipients mostly have the same reply
        self.told[path.raw] = self._last = answer

    def go_on_without(self, refused: Container[bytes]) -> bool:
        """Drop recipients that the next hop refuses now; return whether others are left, and no promise is broken."""
        kept = [path for path in self.accepted if path.raw not in refused]
        if not kept or any(raw in refused for raw in self.told):
            return False
        self.accepted = kept
        return True

    def replace(self, pool: ConnectionPool, paths: list[Path]) -> None:
        """Policy changed the recipients."""
        self.pool, self.accepted = pool, paths

    def are_those_of(self, transaction: Transaction) -> bool:
        """Whether policy has left the recipients and their next hop as they were promised."""
        accepted, recipients = self.accepted, transaction.recipients
        if self.pool is not None and self.pool.upstream.binding != transaction.binding:
            return False
        if transaction.copies or len(recipients) != len(accepted):
            return False
        for path, recipient in zip(accepted, recipients, strict=True):
            if not recipient.relayed or path.gateway:
                return False
            if recipient.apart is not None and (recipient.target is not None or recipient.gateway):
                return False
            if recipient.path is not path and recipient.path.raw != path.raw:
                return False
        return True
