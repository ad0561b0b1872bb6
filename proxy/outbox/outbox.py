"""The outbox as sessions see it: what goes with a message is held before our dot, released after the upstream's 250.

Neither is anything lost that was promised, nor does anything leave for a message that was not accepted: the client
hears its 250 after the release was committed. Where that never comes, since the process was killed or the upstream gave
no verdict, the client was told nothing or 451, sends again, and policy makes its messages again; so what is held is
dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from proxy.log import get_logger, printable
from proxy.outbox.composing import received
from proxy.outbox.reports import LARGEST_RETURNED, Failure, Occasion, report, wants_all
from proxy.outbox.store import OutboxStore
from proxy.session import Letter, Recipient, Session
from proxy.smtp.front import OutboxUnavailable
from proxy.tasks import TaskOwner, spawn

log = get_logger()


class Outbox:
    """Implements `proxy.smtp.front.Outbox` for the sessions of one worker."""

    def __init__(self, store: OutboxStore, on_commit: Callable[[], None]) -> None:
        """`on_commit` is called when there is something to deliver."""
        self._store, self._on_commit = store, on_commit
        self._held: dict[str, int] = {}
        """The transactions for which something is held, with the number of deliveries."""
        self._owner = TaskOwner("outbox")

    async def commit(self, session: Session, letters: Sequence[Letter]) -> None:
        """Keep letters, which are due at once."""
        self._committed(session, await self._store.add(self._traced(session, letters), session.transaction_id))

    async def hold(self, session: Session) -> None:
        """Keep what goes with the session's message, until `release`."""
        transaction = session.transaction
        taken = [each for each in transaction.recipients if each.refusal is None]
        letters = [*transaction.letters, *(letter for each in taken for letter in each.letters)]
        letters += await self._reports(session)
        if not letters:
            return
        origin = session.transaction_id
        self._held[origin] = 0  # so that `drop` finds what a lost wait leaves behind
        try:
            self._held[origin] = await self._store.add(self._traced(session, letters), origin, held=True)
        except OutboxUnavailable:  # should it be there all the same, its time will be over
            del self._held[origin]
            raise

    async def release(self, session: Session) -> None:
        """Make what is held due, with a report of who was refused since."""
        late = await self._reports(session)
        origin = session.transaction_id
        count = self._held.get(origin, 0)
        if not count and not late:
            return
        await self._store.release(origin, count, self._traced(session, late))
        self._held.pop(origin, None)
        self._committed(session, count + len(late))

    def drop(self, session: Session) -> None:
        """Forget what is held, in the background: should that fail, it is dropped when its time is over."""
        if self._held.pop(session.transaction_id, None) is not None:
            spawn(self._drop(session.transaction_id), name="outbox drop", owner=self._owner)

    async def _drop(self, origin: str) -> None:
        try:
            await self._store.drop(origin)
        except OutboxUnavailable:  # logged there
            return

    async def close(self) -> None:
        """Finish what is under way."""
        await self._owner.wait(1.0)
        await self._owner.cancel()

    def _committed(self, session: Session, deliveries: int) -> None:
        log.info("outbox_committed", session=session.id, deliveries=deliveries)
        self._on_commit()

    def _traced(self, session: Session, letters: Sequence[Letter]) -> list[Letter]:
        """Return the letters with a Received field on top, by which a loop is noticed and a reader finds the log."""
        field = received(session.options.hostname, session.transaction_id, time.time())
        return [replace(each, content=field + each.content) for each in letters]

    # ------------------------------------------------------------ reports

    async def _reports(self, session: Session) -> list[Letter]:
        """Return the report of those that were refused and stand in none yet, as far as the sender wants one."""
        transaction = session.transaction
        if transaction.prdr or not session.may_report:
            return []
        refused = [each for each in transaction.recipients if each.refusal is not None and not each.reported]
        failures = [found for found in map(_failure, refused) if found is not None and found.is_wanted]
        for each in refused:
            each.reported = True
            log.info(
                "recipient_refused_late",
                session=session.id,
                recipient=printable(each.path.text),
                reply=printable(each.refusal.text if each.refusal else ""),
            )
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


def _failure(recipient: Recipient) -> Failure | None:
    if recipient.refusal is None:
        return None
    return Failure(recipient.path, recipient.refusal, recipient.parameters)
