"""Refuses clients that are in a list of Refuse_Lists, with the reason that an operator gave."""

from __future__ import annotations

from typing import Protocol

from proxy.base.log import get_logger, printable
from proxy.lists.entries import Entry
from proxy.lists.listed import Lists
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Session

log = get_logger()


class Listing(Protocol):
    """Who has the lists: a worker's `Front`."""

    lists: Lists | None


def refusal(front: Listing, session: Session) -> Reply | None:
    """Return the reply to a client that a list refuses, and tell the log about the entry."""
    reply, found = foreseen(front, session)
    if found is not None:
        tell(session.id, found)
    return reply


def foreseen(front: Listing, session: Session) -> tuple[Reply | None, Entry | None]:
    """Return the reply that a client would hear, and the operators' entry if there is one."""
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
