"""Counts refusals by who decided, and by limit. What is accepted is counted inline, where it happens."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from proxy.mail.replies import Reply
from proxy.metrics.book import BOOK
from proxy.metrics.deciders import DECIDERS
from proxy.metrics.metric import OTHER
from proxy.metrics.table import COMMAND, LIMIT_HITS, REFUSALS, SOURCE

OF_VERB = {
    "CONNECT": "connect", "EHLO": "ehlo", "HELO": "ehlo", "STARTTLS": "starttls", "AUTH": "auth", "XCLIENT": "xclient",
    "MAIL": "mailfrom", "RCPT": "rcptto", "DATA": "data", "BDAT": "data",
}  # fmt: skip
"""The place of a command in the metrics."""

_OF_TYPE = {"sieve": "script", "dns_rbl": "dnsbl", "url_ripper": "dnsbl", "openarc": "arc", "opendkim": "dkim_validate"}
"""Types of modules whose source has another name."""

_STANZAS: dict[str, str] = {}
"""The first word of a stanza's name → its source, in this process. Several stanzas may have one type."""

_LIMITS = LIMIT_HITS.table()


def place_of(verb: str) -> int:
    """Return how far the replies to a command are from the first, in `ringback_commands_total`."""
    return COMMAND.values.index(OF_VERB.get(verb, OTHER)) * 4  # classes


NO_COMMAND = place_of(OTHER)
"""The place of anything that is not one of our commands."""


_place = cache(REFUSALS.at)


def source_of_type(kind: str) -> str:
    """Return the source under which refusals of a type of module are counted."""
    source = _OF_TYPE.get(kind, kind)
    return source if source in SOURCE.values else OTHER


def know_stanzas(types: Mapping[str, str]) -> None:
    """Learn the types of the stanzas, by name."""
    _STANZAS.update({name.partition(" ")[0]: source_of_type(kind) for name, kind in types.items()})
    source_of.cache_clear()


@cache
def source_of(word: str) -> str:
    """Return the metric's word for who decided, by the first word of a reply's `by`."""
    decider = DECIDERS.get(word)
    return decider.source if decider is not None else _STANZAS.get(word) or source_of_type(word)


def count_refusal(verb: str, reply: Reply) -> None:
    """Count a refused command or message."""
    by = reply.by.partition(" ")[0]
    counts = BOOK.counts
    phase, kind = OF_VERB.get(verb, OTHER), "5xx" if reply.permanent else "4xx"
    counts[_place(phase, source_of(by), kind)] += 1
    if by in _LIMITS:
        counts[_LIMITS[by]] += 1
