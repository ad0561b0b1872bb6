"""`Greylister`: decides about recipients of a session, for the module and for scripts."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from proxy.base.log import get_logger, printable
from proxy.counting.base import Counting, CountingUnavailable, answered
from proxy.counting.operations import Delivered, Greylist, Seen
from proxy.mail.evidence import found_by
from proxy.mail.session import Path, Session
from proxy.metrics.book import BOOK
from proxy.metrics.table import GREYLIST
from proxy.modules.greylist.keys import bounded, network, triplet
from proxy.modules.greylist.options import GreylistOptions
from proxy.modules.greylist.whitelists import ClientList, RecipientList
from proxy.modules.services import Names

log = get_logger()

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

    async def wait_for(self, session: Session, recipients: Sequence[Path]) -> float:
        """Return for how many seconds mail for the recipients is deferred; 0 if it passes. Each counts as an attempt.

        Raises:
            CountingUnavailable: nobody answers, and `on_store_error = defer`.
        """
        if session.can_relay or await self._is_listed(session):
            BOOK.counts[GREYLIST.at("whitelisted")] += 1
            return 0.0
        wanted = [each for each in recipients if not self._is_exempt(each)]
        if not wanted:
            BOOK.counts[GREYLIST.at("whitelisted")] += 1
            return 0.0
        who = self._who(session)
        waits = [await self._attempt(session, who, each) for each in wanted]
        if not max(waits):
            self._note_delivery(session, who)
        return max(waits)

    def _is_exempt(self, recipient: Path) -> bool:
        name = recipient.local_part.lower()
        return name in self._options.exempt_recipients or self._whitelists.recipients.has(name, recipient.domain)

    async def _is_listed(self, session: Session) -> bool:
        clients = self._whitelists.clients
        if clients.has_address(session.client_ip):
            return True
        if not clients.asks_for_names:
            return False
        if session.client_name is None:
            session.client_name = await self._resolver.name_of(session.client_ip) or UNKNOWN
        return session.client_name != UNKNOWN and clients.has_name(session.client_name)

    def _who(self, session: Session) -> str:
        """Return the client: a provider that sends from many networks is one, if SPF says that they are its own."""
        options = self._options
        if options.spf_domain:
            for result in found_by("spf", session.transaction):
                domain = result.about("smtp", "mailfrom").rpartition("@")[2] or result.about("smtp", "helo")
                if result.value == "pass" and domain:
                    return f"spf:{domain.lower()}"
        return network(session.client_ip, options.ipv4_prefix, options.ipv6_prefix)

    async def _attempt(self, session: Session, who: str, recipient: Path) -> float:
        options = self._options
        operation = Greylist(
            room=self._room,
            key=triplet(who, session.transaction.reverse_path, recipient),
            delay=options.delay,
            window=options.window,
            life=options.life,
            client=bounded(who),
            enough=options.whitelist_after,
        )
        try:
            seen = await answered(self._counting, operation)
        except CountingUnavailable:
            if options.on_store_error == "defer":
                raise
            BOOK.counts[GREYLIST.at("unavailable")] += 1
            return 0.0
        self._tell(session, who, recipient, seen)
        return 0.0 if seen.passes else max(1.0, seen.wait)

    def _tell(self, session: Session, who: str, recipient: Path, seen: Seen) -> None:
        if seen.passes:
            enough = self._options.whitelist_after
            known = "known_client" if enough and seen.client >= enough else "passed"
            BOOK.counts[GREYLIST.at(known)] += 1
            return
        first = seen.wait >= self._options.delay
        BOOK.counts[GREYLIST.at("new" if first else "early")] += 1
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

    @property
    def _room(self) -> str:
        return f"greylist {self._name}"


def seconds_left(wait: float) -> str:
    """Return seconds as a reply tells them."""
    return str(math.ceil(wait))
