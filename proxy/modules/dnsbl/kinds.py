"""What zones can be asked about: one row for each kind of subject, such as the client, or the links of a message.

The options of a zone, the hooks, the questions and the test entries read these tables. Nothing is asked here, except
for the names of an address.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from proxy.dns.remembered import Remembered
from proxy.dns.reverse import reverse
from proxy.mail.message import Message
from proxy.mail.session import Session
from proxy.modules.dnsbl.subjects import address_domains_in, linked_hosts
from sieve.phases import Need, Phase


@dataclass(frozen=True, slots=True)
class OfSession:
    """A kind of subject that a command tells."""

    phase: Phase
    """From this phase on it is known, and asked about."""
    subjects: Callable[[Session], Sequence[str]]
    """Returns the subjects to ask about now; nothing if there are only empty strings."""
    counting: Callable[[Session], Sequence[str]] | None = None
    """Returns whose listings count now, if these are others than `subjects`: a client may say EHLO or MAIL again."""
    names: Callable[[str, Remembered], Awaitable[Sequence[str]]] | None = None
    """Asks DNS for what is looked up instead of a subject."""
    are_addresses: bool = False
    """Whether the subjects are IP addresses, and not names."""
    asked: Callable[[str], Sequence[str]] | None = None
    """Returns what is put in front of a zone for a subject, if that is not its domain or address, such as a hash.

    A stranger writes the subject: return only names that DNS can have.
    """

    def counts(self, session: Session, subject: str) -> bool:
        """Whether what was found about a subject still belongs to the transaction."""
        return subject in (self.counting or self.subjects)(session)


@dataclass(frozen=True, slots=True)
class OfMessage:
    """A kind of subject that is found in the message."""

    find: Callable[[Message, Sequence[str]], Awaitable[Sequence[str]]]
    """Finds the subjects; it also gets the names in `address_headers`."""
    needs: Need = Need.HEADERS
    are_addresses: bool = False
    asked: Callable[[str], Sequence[str]] | None = None
    """As in `OfSession`."""


async def _reverse_names(address: str, lookups: Remembered) -> Sequence[str]:
    found = await reverse(address, lookups)
    return [found.name] if found.status == "pass" else []


def _recipient(session: Session) -> Sequence[str]:
    current = session.current_recipient
    return [] if current is None else [current.path.domain]


def _recipients(session: Session) -> Sequence[str]:
    return [each.path.domain for each in session.transaction.recipients] + [*_recipient(session)]


OF_SESSION: Mapping[str, OfSession] = {
    "client": OfSession(Phase.CONNECT, lambda session: [session.client_ip], are_addresses=True),
    "helo": OfSession(Phase.EHLO, lambda session: [session.host_name or ""]),
    "ptr": OfSession(Phase.CONNECT, lambda session: [session.client_ip], names=_reverse_names),
    "sender": OfSession(Phase.MAILFROM, lambda session: [session.transaction.reverse_path.domain]),
    "recipient": OfSession(Phase.RCPTTO, _recipient, counting=_recipients),
}
"""The kinds, under the names that `checks` has."""

OF_MESSAGE: Mapping[str, OfMessage] = {
    "header": OfMessage(address_domains_in),
    "url": OfMessage(linked_hosts, Need.HEADERS | Need.BODY),
}
"""The kinds that a message has."""

KINDS: Mapping[str, OfSession | OfMessage] = {**OF_SESSION, **OF_MESSAGE}

ADDRESSES = frozenset(name for name, kind in KINDS.items() if kind.are_addresses)
