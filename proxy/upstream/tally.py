"""Where the replies of a next hop are counted: those to MAIL, and how far those to the other steps are from them."""

from __future__ import annotations

from proxy.metrics.table import STEP, UPSTREAM_REPLIES

RCPT, DATA, DOT = (4 * STEP.values.index(step) for step in ("rcptto", "data", "dot"))
"""How far the places of these replies are from those to MAIL."""


def replies_of(number: int) -> int:
    """Return the place of an upstream's replies to MAIL. The first digit of a reply's code is added to it."""
    return UPSTREAM_REPLIES.at(number, "mailfrom", "2xx") - 2
