"""Refuses clients that are in a list of Refuse_Lists, with the reason that an operator gave."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from proxy.base.log import get_logger, printable
from proxy.mail import replies
from proxy.mail.replies import Reply

log = get_logger()


class Entry(Protocol):
    """What an operator listed: `proxy.lists.entries.Entry`."""

    @property
    def list(self) -> str: ...

    @property
    def network(self) -> str: ...

    @property
    def reason(self) -> str: ...

    @property
    def user(self) -> str: ...


class Refusing(Protocol):
    """The lists: `proxy.lists.listed.Lists`."""

    def refusing(self, names: Collection[str], address: str) -> tuple[str, Entry | None] | None:
        """Return the first of these lists that has an address, and the entry if an operator made it."""
        ...


class Options(Protocol):
    """The options of a client."""

    @property
    def refuse_lists(self) -> tuple[str, ...]: ...


class Listable(Protocol):
    """A session, as far as a list sees it."""

    @property
    def id(self) -> str: ...

    @property
    def client_ip(self) -> str: ...

    @property
    def options(self) -> Options: ...


class Listing(Protocol):
    """Who has the lists: a worker's `Front`."""

    @property
    def lists(self) -> Refusing | None: ...


def refusal(front: Listing, session: Listable) -> Reply | None:
    """Return the reply to a client that a list refuses, and tell the log about the entry."""
    reply, found = foreseen(front, session)
    if found is not None:
        tell(session.id, found)
    return reply


def foreseen(front: Listing, session: Listable) -> tuple[Reply | None, Entry | None]:
    """Return the reply that a client would get, and the operators' entry if there is one."""
    found = None if front.lists is None else front.lists.refusing(session.options.refuse_lists, session.client_ip)
    if found is None:
        return None, None
    name, entry = found
    by = f"list {name}"
    if entry is None or not entry.reason:
        return replies.LISTED.decided_by(by), entry
    return replies.from_policy(554, f"5.7.1 {entry.reason}", close=True, by=by), entry


def tell(session: str, entry: Entry) -> None:
    """Log that an operator's entry was found, for `ringback why`."""
    log.info(
        "listed",
        session=session,
        list=printable(entry.list),
        network=entry.network,
        reason=printable(entry.reason),
        operator=printable(entry.user),
    )
