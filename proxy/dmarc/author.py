"""The author's domains: what the From fields of a message say (RFC 9989 section 5.3.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from config.base.domains import LONGEST_DOMAIN, normal_domain
from sieve.message.addresses import mailboxes

MOST_OCTETS = 16 * 1024
"""Only the beginning of longer From fields is read. No mail program would show an author from the rest."""

_BESIDE_BODY = len("From: \r\n")
"""Octets of a field that are not its body: a header section of 1 MiB has room for 130,000 fields."""

MOST_DOMAINS = 10
"""If From has more domains, only the first ones are evaluated."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}\.)*{_LABEL}")
_AFTER_AT = re.compile(r"@[ \t]*([^\s\x00-,/:-@\[-^`{-\x7f]{1,255})")


@dataclass(frozen=True, slots=True)
class Authors:
    """The domains in From, in A-labels, each once; and what is wrong with it, so that it cannot pass."""

    domains: tuple[str, ...] = ()
    problem: str = ""


def authors(fields: Sequence[str]) -> Authors:
    """Return the domains of all addresses in all From fields.

    A message must have one From field (RFC 5322 section 3.6). If a forger adds a second one, a reader may see either,
    so the addresses of both count. An address whose domain DNS cannot have does not count: it must not hide another.
    Of a malformed field, such as `ceo@example.com <>`, everything counts that may look like an address.
    """
    if not fields:
        return Authors(problem="no From field")
    found: dict[str, None] = {}
    left = MOST_OCTETS
    for field in fields:
        for domain in _domains(field[:left]):
            if name := _domain(domain):
                found[name] = None
            if len(found) > MOST_DOMAINS:
                return Authors(tuple(found)[:MOST_DOMAINS], f"more than {MOST_DOMAINS} domains in From")
        left -= len(field) + _BESIDE_BODY
        if left < 0:
            return Authors(tuple(found), "the From field is too long")
    if not found:
        return Authors(problem="no domain in From")
    return Authors(tuple(found))


def _domains(field: str) -> list[str]:
    """Return the domains of a field's mailboxes as written, or if it is malformed, whatever follows an `@`."""
    boxes = mailboxes(field)
    domains = [address.rpartition("@")[2] if "@" in address else "" for _, address in boxes]
    if not all(map(_domain, domains)) or not boxes or _outside_quotes(field).count("<") > len(boxes):
        domains += _AFTER_AT.findall(field)
    return domains


def _outside_quotes(field: str) -> str:
    return "".join(field.split('"')[::2])


def is_domain(name: str) -> bool:
    """Whether DNS can have a normalized name."""
    return _DOMAIN.fullmatch(name) is not None


def _domain(text: str) -> str:
    """Return a domain in A-labels, or nothing."""
    text = text.strip().rstrip(".")
    name = normal_domain(text) if len(text) <= LONGEST_DOMAIN else ""
    return name if is_domain(name) else ""
