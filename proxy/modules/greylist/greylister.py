"""`Greylister`: decides about recipients of a session, for the module and for scripts."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from cachetools import TTLCache

from proxy.base.log import get_logger, printable
from proxy.counting.base import Counting, CountingUnavailable, is_later
from proxy.counting.operations import Delivered, Greylist, Seen
from proxy.history.asked import note
from proxy.mail.evidence import found_by
from proxy.mail.session import Path, Session
from proxy.metrics.book import BOOK
from proxy.metrics.table import GREYLIST
from proxy.modules.greylist.keys import bounded, network, triplet
from proxy.modules.greylist.options import GreylistOptions
from proxy.modules.greylist.whitelists import ClientList, RecipientList
from proxy.modules.services import Looked, Names
from sieve.run.patience import Soon, settled

log = get_logger()

KNOWN_SECONDS, MOST_KNOWN = 10.0, 10_000
"""For how long a worker lets a known client pass without asking; so `greylist forget` may take as long."""

_OUTCOMES = GREYLIST.table()

UNKNOWN = "unknown"
"""The name of a client that has none."""


@dataclass(frozen=True, slots=True)
class Whitelists:
    """Who is never deferred."""

    clients: ClientList
    recipients: RecipientList


@dataclass(frozen=True, slots=True)
class _Delivery:
    """What a delivered message is worth, once."""

    room: str
    counted: Callable[[], Awaitable[None]]

    def __call__(self) -> Awaitable[None]:
        return self.counted()


class Greylister:
    """One stanza in one worker."""

    def __init__(
        self, name: str, options: GreylistOptions, whitelists: Whitelists, counting: Counting, resolver: Names
    ) -> None:
        """Count under the stanza's name: each has its own list."""
        self._name, self._options, self._whitelists = name, options, whitelists
        self._counting, self._resolver = counting, resolver
        self._room = f"greylist {name}"
        self._known: TTLCache[str, None] = TTLCache(MOST_KNOWN, KNOWN_SECONDS)
        """Clients that the keeper or Redis knew just now."""

    def wait_for(self, session: Session, recipients: Sequence[Path], ahead: Looked | None = None) -> Soon[float]:
        """Return for how many seconds mail for the recipients is deferred; 0 if it passes. Each counts as an attempt.

        `ahead` knows what was asked before.

        Raises:
            CountingUnavailable: no answer, and `on_store_error = defer`. A coroutine raises it, too.
        """
        if self._needs_name(session):
            return self._wait_with_name(session, recipients, ahead)
        wanted = () if self._is_listed(session) else [each for each in recipients if not self._is_exempt(each)]
        if not wanted:
            BOOK.counts[_OUTCOMES["whitelisted"]] += 1
            return 0.0
        who = self._who(session)
        if who in self._known:  # it has delivered enough, and its next message need not be counted
            BOOK.counts[_OUTCOMES["known_client"]] += len(wanted)
            for each in wanted:
                note("greylist", self._name, who, each.text, 0.0)
            return 0.0
        if len(wanted) == 1 and ahead is not None and self._foreseen(session, who, wanted[0], ahead):
            self._note_delivery(session, who)
            return 0.0
        return self._attempts(session, who, wanted)

    async def _attempts(self, session: Session, who: str, wanted: Sequence[Path]) -> float:
        waits = [await self._attempt(session, who, each) for each in wanted]
        if not max(waits):
            self._note_delivery(session, who)
        return max(waits)

    def look(self, session: Session) -> Greylist | None:
        """Return a question whether the current recipient's mail would pass, which does not count; None: not needed."""
        recipient = session.current_recipient
        if recipient is None or self._needs_name(session) or self._is_listed(session):
            return None
        who = self._who(session)
        if who in self._known or self._is_exempt(recipient.path):
            return None
        return self._operation(session, who, recipient.path, look=True)

    def _foreseen(self, session: Session, who: str, recipient: Path, ahead: Looked) -> bool:
        """Whether a look has found that the attempt passes. Then it is counted without a wait."""
        attempt = self._operation(session, who, recipient)
        seen = ahead.seen(attempt)
        if seen is None or not seen.passes:
            return False
        self._counting.tell(attempt)
        self._heard(session, who, recipient, seen)
        return True

    def _is_exempt(self, recipient: Path) -> bool:
        name = recipient.local_part.lower()
        return name in self._options.exempt_recipients or self._whitelists.recipients.has(name, recipient.domain)

    def _needs_name(self, session: Session) -> bool:
        """Whether only its name, which is not known yet, can tell if the client is listed."""
        clients = self._whitelists.clients
        is_open = clients.asks_for_names and session.client_name is None and not session.can_relay
        return is_open and not clients.has_address(session.client_ip)

    async def _wait_with_name(self, session: Session, recipients: Sequence[Path], ahead: Looked | None) -> float:
        session.client_name = await self._resolver.name_of(session.client_ip) or UNKNOWN
        return await settled(self.wait_for(session, recipients, ahead))

    def _is_listed(self, session: Session) -> bool:
        """Whether the client is never deferred: it may relay, or a list of clients has it."""
        clients, name = self._whitelists.clients, session.client_name
        if session.can_relay or clients.has_address(session.client_ip):
            return True
        return clients.asks_for_names and name is not None and name != UNKNOWN and clients.has_name(name)

    def _who(self, session: Session) -> str:
        """Return the client: a provider that sends from many networks is one, if SPF says that they are its own."""
        options = self._options
        if options.spf_domain:
            for result in found_by("spf", session.transaction):
                domain = result.about("smtp", "mailfrom").rpartition("@")[2] or result.about("smtp", "helo")
                if result.value == "pass" and domain:
                    return f"spf:{domain.lower()}"
        return network(session.client_ip, options.ipv4_prefix, options.ipv6_prefix)

    def _operation(self, session: Session, who: str, recipient: Path, *, look: bool = False) -> Greylist:
        options = self._options
        return Greylist(
            room=self._room,
            key=triplet(who, session.transaction.reverse_path, recipient),
            delay=options.delay,
            window=options.window,
            life=options.life,
            client=bounded(who),
            enough=options.whitelist_after,
            look=look,
        )

    async def _attempt(self, session: Session, who: str, recipient: Path) -> float:
        answer = None
        try:
            answer = self._counting.ask(self._operation(session, who, recipient))
            seen = await answer if is_later(answer) else answer
        except CountingUnavailable:
            if self._options.on_store_error == "defer":
                raise
            BOOK.counts[_OUTCOMES["unavailable"]] += 1
            return 0.0
        return self._heard(session, who, recipient, seen, shared=answer is not seen)

    def _heard(self, session: Session, who: str, recipient: Path, seen: Seen, *, shared: bool = True) -> float:
        """Count an answer and keep it for the history; return the wait. `shared`: others count for this worker."""
        if shared and self._is_enough(seen):
            self._known[who] = None
        self._tell(session, who, recipient, seen)
        wait = 0.0 if seen.passes else max(1.0, seen.wait)
        note("greylist", self._name, who, recipient.text, wait)
        return wait

    def _tell(self, session: Session, who: str, recipient: Path, seen: Seen) -> None:
        if seen.passes:
            BOOK.counts[_OUTCOMES["known_client" if self._is_enough(seen) else "passed"]] += 1
            return
        first = seen.wait >= self._options.delay
        BOOK.counts[_OUTCOMES["new" if first else "early"]] += 1
        log.info(
            "greylisted",
            session=session.id,
            transaction=session.transaction_id,
            client=session.client_ip,
            sender=printable(session.transaction.reverse_path.text),
            recipient=printable(recipient.text),
            known_as=printable(who),
            first_attempt=first,
            wait=round(seen.wait, 1),
        )

    def _is_enough(self, seen: Seen) -> bool:
        enough = self._options.whitelist_after
        return bool(enough) and seen.client >= enough

    def _note_delivery(self, session: Session, who: str) -> None:
        """Count the message for the client once the next hop has accepted it."""
        if not self._options.whitelist_after:
            return
        transaction = session.transaction
        if any(isinstance(each, _Delivery) and each.room == self._room for each in transaction.when_accepted):
            return
        transaction.when_accepted = (
            *transaction.when_accepted,
            _Delivery(self._room, partial(self._delivered, bounded(who))),
        )

    async def _delivered(self, client: bytes) -> None:
        self._counting.tell(Delivered(self._room, client, 1, self._options.life))


def seconds_left(wait: float) -> str:
    """Return seconds as a reply shows them."""
    return str(math.ceil(wait))
