"""Counts refusals by who decided, and by limit. What is accepted is counted inline, where it happens."""

from __future__ import annotations

from functools import cache

from proxy.mail.replies import Reply
from proxy.metrics.book import BOOK
from proxy.metrics.metric import OTHER
from proxy.metrics.table import COMMAND, LIMIT, LIMIT_HITS, REFUSALS, SOURCE

OF_VERB = {
    "CONNECT": "connect", "EHLO": "ehlo", "HELO": "ehlo", "STARTTLS": "starttls", "AUTH": "auth", "XCLIENT": "xclient",
    "MAIL": "mailfrom", "RCPT": "rcptto", "DATA": "data", "BDAT": "data",
}  # fmt: skip
"""Where a command stands, in the metrics."""

_SOURCES = {
    **{name: "limit" for name in LIMIT.values if name != OTHER},
    **{name: name for name in SOURCE.values},
    "relay_domains": "access",
    "xclient_hosts": "access",
    "proxy_protocol_networks": "access",
    "authentication_without_tls": "authentication",
    "outbox_size": "outbox",
    "require_ehlo": "protocol",
    "early_talker": "protocol",
    "routes": "upstream",
    "handler": "python",
    "": "upstream",
}
"""The first word of who decided → the metric's word. A reply without one is the next hop's."""

_LIMITS = LIMIT_HITS.table()


def place_of(verb: str) -> int:
    """Return how far the replies to a command are from the first, in `ringback_commands_total`."""
    return COMMAND.values.index(OF_VERB.get(verb, OTHER)) * 4  # classes


NO_COMMAND = place_of(OTHER)
"""The place of what is no command of ours."""


_place = cache(REFUSALS.at)


def count_refusal(verb: str, reply: Reply) -> None:
    """Count a refused command or message."""
    by = reply.by.partition(" ")[0]
    counts = BOOK.counts
    phase, kind = OF_VERB.get(verb, OTHER), "5xx" if reply.permanent else "4xx"
    counts[_place(phase, _SOURCES.get(by, OTHER), kind)] += 1
    if by in _LIMITS:
        counts[_LIMITS[by]] += 1
