"""The author's domains: what the From fields of a message say (RFC 9989 section 5.3.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from config.base.domains import LONGEST_DOMAIN, normal_domain
from sieve.message.addresses import mailboxes

MOST_OCTETS = 64 * 1024
"""Longer From fields are not read: they have no author that a reader would see."""

MOST_DOMAINS = 10
"""A message with more domains in From is not evaluated."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}\.)*{_LABEL}")


@dataclass(frozen=True, slots=True)
class Authors:
    """The domains in From, in A-labels, each once; and what prevents an evaluation, if anything does."""

    domains: tuple[str, ...] = ()
    problem: str = ""


def authors(fields: Sequence[str]) -> Authors:
    """Return the domains of all addresses in all From fields.

    A message must have one From field (RFC 5322 section 3.6). If a forger adds a second one, a reader may see either,
    so the addresses of both count. An address without a domain that DNS can have does not: it must not hide another.
    """
    if not fields:
        return Authors(problem="no From field")
    if sum(map(len, fields)) > MOST_OCTETS:
        return Authors(problem="the From field is too long")
    found: dict[str, None] = {}
    for field in fields:
        for _, address in mailboxes(field):
            _, at, domain = address.rpartition("@")
            if at and (name := _domain(domain)):
                found[name] = None
            if len(found) > MOST_DOMAINS:
                return Authors(problem=f"more than {MOST_DOMAINS} domains in From")
    if not found:
        return Authors(problem="no domain in From")
    return Authors(tuple(found))


def is_domain(name: str) -> bool:
    """Whether DNS can have a normalized name."""
    return _DOMAIN.fullmatch(name) is not None


def _domain(text: str) -> str:
    """Return a domain in A-labels, or nothing."""
    text = text.strip().rstrip(".")
    name = normal_domain(text) if len(text) <= LONGEST_DOMAIN else ""
    return name if is_domain(name) else ""
