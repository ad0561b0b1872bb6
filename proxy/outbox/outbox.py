"""The outbox for sessions: a message's letters are held before our dot and released after the upstream's 250.

Nothing promised is lost, and nothing is sent for a message that was not accepted: the client gets its 250 after the
release is committed. If the release never comes, because the process was killed or the upstream gave no verdict, the
client got nothing or 451. It sends again, and policy creates its letters again, so the held ones are dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from proxy.base.log import get_logger
from proxy.base.tasks import TaskOwner, spawn
from proxy.mail.session import Letter, Recipient, Session
from proxy.outbox.circles import traced, unanswered
from proxy.outbox.marks import FIELD, MOST_HOPS, marks_of, names
from proxy.outbox.reports import LARGEST_RETURNED, Failure, Occasion, report, wants_all
from proxy.outbox.store import OutboxStore
from proxy.smtp.ports import LettersLoop, OutboxUnavailable

log = get_logger()


class SessionOutbox:
    """Implements `proxy.smtp.ports.Outbox` for the sessions of one worker."""

    def __init__(self, store: OutboxStore, on_commit: Callable[[], None]) -> None:
        """`on_commit` is called when there is something to deliver."""
        self._store, self._on_commit = store, on_commit
        self._held: dict[str, int] = {}
        """Transactions with held letters, and the number of their deliveries."""
        self._owner = TaskOwner("outbox")

    async def commit(self, session: Session, letters: Sequence[Letter]) -> None:
        """Store letters that are due immediately."""
        wanted = await self._without_circles(session, letters)
        if wanted:
            self._committed(session, await self._store.add(await self._traced(session, wanted), session.transaction_id))

    async def hold(self, session: Session) -> None:
        """Store the letters that go with the session's message, held until `release`."""
        transaction = session.transaction
        letters = list(transaction.letters)
        for recipient in transaction.recipients:
            if recipient.apart is not None and recipient.refusal is None:
                letters += recipient.letters
        if letters:
            letters = await self._without_circles(session, letters)
        letters += await self._reports(session)
        if not letters:
            return
        origin = session.transaction_id
        self._held[origin] = 0  # so that `drop` also finds what a cancelled call left behind
        try:
            self._held[origin] = await self._store.add(await self._traced(session, letters), origin, held=True)
        except OutboxUnavailable:  # if it was stored anyway, it expires
            del self._held[origin]
            raise

    async def release(self, session: Session) -> None:
        """Make held letters due, and report recipients refused since then."""
        late = await self._reports(session)
        if not late and not self._held:
            return
        origin = session.transaction_id
        count = self._held.get(origin, 0)
        if not count and not late:
            return
        await self._store.release(origin, count, await self._traced(session, late))
        self._held.pop(origin, None)
        self._committed(session, count + len(late))

    def drop(self, session: Session) -> None:
        """Delete what is held, in the background; if that fails, it expires."""
        if self._held.pop(session.transaction_id, None) is not None:
            spawn(self._drop(session.transaction_id), name="outbox drop", owner=self._owner)

    async def _drop(self, origin: str) -> None:
        try:
            await self._store.drop(origin)
        except OutboxUnavailable:  # already logged
            return

    async def close(self) -> None:
        """Finish the work in progress."""
        await self._owner.wait(1.0)
        await self._owner.cancel()

    def _committed(self, session: Session, deliveries: int) -> None:
        holds = self._store.totals
        log.info(
            "outbox_committed", session=session.id, deliveries=deliveries, letters=holds.letters, octets=holds.octets
        )
        self._on_commit()

    async def _traced(self, session: Session, letters: Sequence[Letter]) -> list[Letter]:
        """Return the letters with trace fields: readers find our log by them, and we recognise our own letters."""
        if not letters:
            return []
        key, before = await self._store.key(), marks_of(_fields(session, FIELD))
        hostname, origin = session.options.hostname, session.transaction_id
        return [
            traced(letter, key, before, hostname=hostname, origin=origin, now=self._store.clock()) for letter in letters
        ]

    async def _without_circles(self, session: Session, letters: Sequence[Letter]) -> list[Letter]:
        """Return the letters without those that would loop.

        Raises:
            LettersLoop: the message has passed through too many letters.
            OutboxUnavailable: the key cannot be read.
        """
        if not letters:
            return []
        fields = _fields(session, FIELD)
        if len(fields) >= MOST_HOPS:
            log.warning("letters_loop", session=session.id, hops=len(fields))
            raise LettersLoop("the message has passed through too many letters")
        if fields and (await self._store.key()).knows(marks_of(fields), self._store.clock(), _sets(session, letters)):
            kept: list[Letter] = []  # it came back, and would come back again
        else:
            kept = unanswered(letters, session)
        if len(kept) < len(letters):
            log.warning("letters_dropped", session=session.id, letters=len(letters) - len(kept))
        return kept

    # ------------------------------------------------------------ reports

    async def _reports(self, session: Session) -> list[Letter]:
        """Return a report on refused recipients not yet reported, if the sender wants one."""
        transaction = session.transaction
        if transaction.prdr or not session.may_report:
            return []
        refused = [
            recipient
            for recipient in transaction.recipients
            if recipient.apart is not None and recipient.refusal is not None and not recipient.reported
        ]
        failures = [failure for failure in map(_failure, refused) if failure is not None and failure.is_wanted]
        for recipient in refused:
            recipient.reported = True
        return [await self._report(session, failures)] if failures else []

    async def _report(self, session: Session, failures: Sequence[Failure]) -> Letter:
        transaction, message = session.transaction, session.transaction.message
        occasion = Occasion(
            transaction.given_reverse_path,
            session.options.hostname,
            time.time(),
            transaction.created,
            transaction.parameters,
            f"{session.host_name} ({session.client_ip})",
        )
        if message is None:
            return report(occasion, failures, b"", whole=False)
        whole = wants_all(transaction.parameters) and message.is_whole and message.size <= LARGEST_RETURNED
        returned = await message.raw() if whole else message.head_bytes()
        message.forget()
        return report(occasion, failures, returned, whole=whole)


def _fields(session: Session, name: str) -> Sequence[str]:
    message = session.transaction.message
    return () if message is None else message.header(name)


def _sets(session: Session, letters: Sequence[Letter]) -> list[frozenset[bytes]]:
    """Return the recipients that a returning letter may have had: the envelope's, or the new letters'."""
    heard = [each.path for each in session.transaction.recipients]
    return [names(heard), *(names((each,)) for each in heard), *(names(each.recipients) for each in letters)]


def _failure(recipient: Recipient) -> Failure | None:
    if recipient.refusal is None:
        return None
    return Failure(recipient.path, recipient.refusal, recipient.parameters)
