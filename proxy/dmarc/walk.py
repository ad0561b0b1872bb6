"""The DNS tree walk (RFC 9989 section 4.10): the record that applies to a domain, and its organizational domain.

A walk asks at most eight names, from the domain towards the root. `LookUp` is how it asks; whoever calls it sets the
deadline.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from proxy.dmarc.record import Policy, PolicyRecord, read
from proxy.dns.remembered import Answer

MOST_QUERIES = 8

_LABELS_AFTER_CUT = 7
"""A domain with more than eight labels is shortened to seven after the first query."""

LookUp = Callable[[str, str], Awaitable[Answer]]
"""Asks for the records of a name and a type."""


class PolicyUnknown(Exception):
    """A name server gave no clear answer, so it is not known whether there is a record."""


@dataclass(frozen=True, slots=True)
class Found:
    """A record, and the domain that has it."""

    domain: str
    record: PolicyRecord


@dataclass(frozen=True, slots=True)
class Walk:
    """What a walk from a domain found, from the longest name to the shortest."""

    start: str
    found: tuple[Found, ...] = ()

    @property
    def organizational_domain(self) -> str:
        """The domain whose owner is responsible (section 4.10.2)."""
        for each in self.found:
            if each.record.psd == "n":
                return each.domain
            if each.record.psd == "y" and each.domain != self.start:
                return _one_below(each.domain, self.start)
        return self.found[-1].domain if self.found else self.start

    @property
    def applied(self) -> Found | None:
        """The record that applies: the domain's own, or its organizational domain's, or its public suffix's."""
        by_domain = {each.domain: each for each in self.found}
        suffix = [each.domain for each in self.found if each.record.psd == "y"]
        for domain in (self.start, self.organizational_domain, *suffix):
            if domain in by_domain:
                return by_domain[domain]
        return None


@dataclass(frozen=True, slots=True)
class Published:
    """The policy for a domain: what applies to its mail that fails, before any local policy."""

    author: str
    """The domain that it is for."""
    found: Found
    policy: Policy
    """With `t=y` taken into account."""
    walked: Walk | None = None
    """The walk from the author's domain; None if the domain has a record of its own, so that none was needed."""

    @property
    def record(self) -> PolicyRecord:
        """The record that applies."""
        return self.found.record


def targets(domain: str) -> list[str]:
    """Return the domains that a walk asks, in order."""
    labels = domain.split(".")
    rest = labels[1:] if len(labels) <= MOST_QUERIES else labels[-_LABELS_AFTER_CUT:]
    return [domain, *[".".join(rest[at:]) for at in range(len(rest))]]


async def walk(domain: str, look_up: LookUp) -> Walk:
    """Walk from a domain to the root, or to the first record with a `psd` tag that ends the walk.

    Raises:
        PolicyUnknown: a name had no clear answer.
    """
    found = []
    for target in targets(domain):
        record = await _record_at(target, look_up)
        if record is not None:
            found.append(Found(target, record))
            if record.psd in {"y", "n"}:
                break
    return Walk(domain, tuple(found))


async def published(domain: str, look_up: LookUp) -> Published | None:
    """Return the policy for an author's domain; None if no record applies.

    The domain's own record is found by the first query, so a failure above it does not hide it.

    Raises:
        PolicyUnknown: a name had no clear answer.
    """
    own = await _record_at(domain, look_up)
    if own is not None:
        return Published(domain, Found(domain, own), _asked(own, is_own=True))
    walked = await walk(domain, look_up)
    applied = walked.applied
    if applied is None:
        return None
    exists = applied.record.np is None or await _exists(domain, look_up)
    return Published(domain, applied, _asked(applied.record, is_own=False, exists=exists), walked)


def _asked(record: PolicyRecord, *, is_own: bool, exists: bool = True) -> Policy:
    policy = record.asks(is_own=is_own, exists=exists)
    return policy.milder if record.testing else policy


async def _record_at(domain: str, look_up: LookUp) -> PolicyRecord | None:
    answer = await look_up(f"_dmarc.{domain}", "TXT")
    if not answer.clear:
        raise PolicyUnknown(f"_dmarc.{domain}: {answer.status}")
    return read(answer.records)


async def _exists(domain: str, look_up: LookUp) -> bool:
    """Return whether a domain exists: only NXDOMAIN says that it does not (RFC 8020)."""
    answer = await look_up(domain, "A")
    if not answer.clear:
        raise PolicyUnknown(f"{domain}: {answer.status}")
    return answer.exists


def _one_below(suffix: str, domain: str) -> str:
    """Return the ancestor of a domain, or the domain itself, that is one label below `suffix`."""
    labels: Sequence[str] = domain.split(".")
    return ".".join(labels[-len(suffix.split(".")) - 1 :])
