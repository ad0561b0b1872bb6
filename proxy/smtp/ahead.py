"""Finds pipelined RCPT commands, so that they go to the next hop in one write, too (RFC 2920).

It collects only recipients that would be sent to the next hop anyway. The first other line ends the search and is
handled when its turn comes.
"""

from __future__ import annotations

from proxy.mail.replies import Reply
from proxy.mail.session import Path, Recipient, Session
from proxy.smtp.access import admits
from proxy.smtp.arguments import Carried, recipient_of
from proxy.smtp.front import Front

MOST_AHEAD = 50
"""Most recipients sent to the next hop in one write."""

_RCPT = b"RCPT "


def recipients_ahead(front: Front, session: Session, buffer: bytearray) -> list[Path]:
    """Return the paths of the RCPT commands at the head of the buffer that only the next hop judges.

    If policy or a rate limit applies, recipients are sent one by one, because a recipient that the next hop accepted
    must also be accepted towards the client.
    """
    if front.pipeline.judges_recipients or session.options.recipient_rate_per_client.count:
        return []
    found: list[Path] = []
    at, most = 0, _room(session)
    while len(found) < most and (end := buffer.find(b"\r\n", at)) >= 0:
        path = _wanted(bytes(buffer[at:end]), session, front.capabilities)
        if path is None:
            break
        found.append(path)
        at = end + 2
    return found


def _room(session: Session) -> int:
    """Return how many recipients the limits allow after the current one."""
    options = session.options
    limits = (
        (options.max_recipients_per_message, len(session.transaction.recipients)),
        (options.max_recipients_per_connection, session.tally.recipients),
    )
    return min([MOST_AHEAD, *(limit - taken - 1 for limit, taken in limits if limit)])


def _wanted(line: bytes, session: Session, carried: Carried) -> Path | None:
    """Return the recipient of a command line if the next hop would be asked about it."""
    if line[: len(_RCPT)].upper() != _RCPT or not line.isascii() or b"\0" in line or b"\n" in line or b"\r" in line:
        return None
    if line.endswith((b" ", b"\t")):
        return None
    utf8 = session.transaction.smtp_utf8
    parsed = recipient_of(line[len(_RCPT) :].lstrip(b" "), session.options, carried, utf8=utf8)
    if isinstance(parsed, Reply) or not admits(session.options, session, parsed[0]):
        return None
    return Recipient(*parsed).destination
