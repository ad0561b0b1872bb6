"""Which of the upstream's replies are about the mail, and what a client hears of everything else: 451.

A 5xx that speaks of our conversation with the upstream says nothing of the client's mail, and trouble on the way says
nothing at all: the sender keeps the message and tries again.
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy import replies
from proxy.log import get_logger, printable
from proxy.replies import Reply
from proxy.session import Session
from proxy.upstream.connect import Unreachable
from proxy.upstream.identity import RefusedUs
from proxy.upstream.pool import PoolFull

log = get_logger()

_ABOUT_US = frozenset({*range(500, 505), 521, *range(530, 539)})
"""Permanent replies that speak of our conversation (syntax, order, authentication), not of the mail."""

GO_AHEAD = 354


class Lost(Exception):
    """The connection broke or fell silent; what was under way on it has no answer.

    `used` tells whether another transaction had the connection before.
    """

    def __init__(self, *, used: bool) -> None:
        """Keep how the connection was."""
        super().__init__()
        self.used = used


_HEARD: dict[type[Exception], Reply] = {
    Unreachable: replies.UPSTREAM_UNREACHABLE,
    RefusedUs: replies.UPSTREAM_REFUSED_US,
    PoolFull: replies.UPSTREAM_BUSY,
    Lost: replies.UPSTREAM_LOST,
}

TROUBLE = tuple(_HEARD)
"""What may go wrong on the way that is not about the mail."""


def heard_of(trouble: Exception) -> Reply:
    """Return what the client hears of trouble on the way: always 451."""
    return _HEARD[type(trouble)]


def is_about_mail(refusal: Reply) -> bool:
    """Whether a refusal speaks of the mail, so that the client shall hear it word for word."""
    return refusal.code >= 400 and refusal.code not in _ABOUT_US  # RFC 5321 section 4.2.1, first digit


def note_refusals(session: Session, refused: Mapping[bytes, Reply]) -> None:
    """Keep with each recipient what the upstream said of it where others have the message.

    A copy that policy added was nobody's wish but the operator's, who finds it in the log.
    """
    recipients = session.transaction.recipients
    for recipient in recipients:
        if recipient.relayed and recipient.refusal is None:
            recipient.refusal = refused.get(recipient.destination.raw)
    for raw in refused.keys() - {each.destination.raw for each in recipients if each.relayed}:
        address = printable(raw.decode("utf-8", "surrogateescape"))
        log.warning("copy_refused", session=session.id, recipient=address, reply=printable(refused[raw].text))


def verdict_of(answer: Reply, *, session: str, upstream: str, step: str) -> Reply:
    """Return an answer word for word where it speaks of the mail; 451, and an alarm, where it speaks of us."""
    if answer.accepted or is_about_mail(answer):
        return answer
    log.error(
        "upstream_refused_us",
        session=session,
        upstream=upstream,
        step=step,
        reply=printable(f"{answer.code} {answer.text}"),
    )
    return replies.UPSTREAM_REFUSED_US
