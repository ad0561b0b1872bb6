"""Where the replies of a next hop are counted: the place for MAIL, and the distance of the other steps from it."""

from __future__ import annotations

from proxy.metrics.table import STEP, UPSTREAM_REPLIES

RCPT, DATA, DOT = (4 * STEP.values.index(step) for step in ("rcptto", "data", "dot"))
"""How far the places of these steps are from MAIL's."""


def replies_of(number: int) -> int:
    """Return the place of an upstream's replies to MAIL. The first digit of a reply's code is added to it."""
    return UPSTREAM_REPLIES.at(number, "mailfrom", "2xx") - 2
