"""Which of the upstream's replies are about the mail, and what a client hears of everything else: 451.

A 5xx that speaks of our conversation with the upstream says nothing of the client's mail, and trouble on the way says
nothing at all: the sender keeps the message and tries again.
"""

from __future__ import annotations

from proxy import replies
from proxy.log import get_logger, printable
from proxy.replies import Reply
from proxy.upstream.connect import Unreachable
from proxy.upstream.identity import RefusedUs
from proxy.upstream.pool import PoolFull

log = get_logger()

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


def verdict_of(answer: Reply, *, session: str, upstream: str, step: str) -> Reply:
    """Return an answer word for word where it speaks of the mail; 451, and an alarm, where it speaks of us."""
    if answer.accepted or (answer.code >= 400 and answer.code not in _ABOUT_US):  # RFC 5321 section 4.2.1, first digit
        return answer
    log.error(
        "upstream_refused_us",
        session=session,
        upstream=upstream,
        step=step,
        reply=printable(f"{answer.code} {answer.text}"),
    )
    return replies.UPSTREAM_REFUSED_US
