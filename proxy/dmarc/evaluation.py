"""The verdict: whether what SPF and DKIM authenticated aligns with the author's domain (RFC 9989 section 5.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from proxy.base.tasks import at_once
from proxy.dmarc.author import Authors
from proxy.dmarc.record import Policy
from proxy.dmarc.walk import LookUp, PolicyUnknown, Published, published, walk

MOST_IDENTIFIERS = 6
"""Authenticated domains that are compared: one of SPF, and five signatures."""


class Status(StrEnum):
    """Results of DMARC (RFC 9989 section 10, RFC 8601)."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    NONE = "none"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


@dataclass(frozen=True, slots=True)
class Identifiers:
    """What was authenticated: the domain of an SPF pass, and the domains of signatures that verified."""

    spf: str = ""
    dkim: tuple[str, ...] = ()
    unclear_spf: str = ""
    unclear_dkim: tuple[str, ...] = ()
    """Domains that had a temporary error. If one aligns, a fail is not certain. A forger's own does not align."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result for one author's domain."""

    status: Status
    domain: str = ""
    policy: Policy = Policy.NONE
    """What the domain's owner asks for if the message fails."""
    found: Published | None = None
    spf_aligned: bool = False
    dkim_aligned: bool = False
    reason: str = ""

    @property
    def asked(self) -> Policy:
        """What the owner asks for this message."""
        return self.policy if self.status is Status.FAIL else Policy.NONE


async def evaluate(
    authors: Authors, identifiers: Identifiers, look_up: LookUp, seconds: float | None = None
) -> Evaluation:
    """Return the result for a message. If it has several authors, the strictest result counts (section 11.5).

    All are looked up at once within these seconds, so a domain with silent name servers does not hide another's policy.
    """
    asked = [_in_time(domain, identifiers, look_up, seconds) for domain in authors.domains]
    results = await at_once(asked)
    if authors.problem:
        results.append(Evaluation(Status.PERMERROR, reason=authors.problem))
    return strictest(results)


def strictest(results: Sequence[Evaluation]) -> Evaluation:
    """Return the most severe result: fail (the strictest policy first), an error of either kind, none, then pass."""
    return max(results, key=lambda each: (_WEIGHT[each.status], each.asked.level))


_WEIGHT = {Status.FAIL: 4, Status.TEMPERROR: 3, Status.PERMERROR: 3, Status.NONE: 2, Status.PASS: 1}
"""A domain without a record next to one that passes: the message does not pass, since a reader may see either."""


async def _in_time(domain: str, identifiers: Identifiers, look_up: LookUp, seconds: float | None) -> Evaluation:
    try:
        async with asyncio.timeout(seconds):
            return await _of_domain(domain, identifiers, look_up)
    except TimeoutError:
        return Evaluation(Status.TEMPERROR, domain, reason="no answer in time")


async def _of_domain(domain: str, identifiers: Identifiers, look_up: LookUp) -> Evaluation:
    try:
        found = await published(domain, look_up)
        if found is None:
            return Evaluation(Status.NONE, domain, reason="no record")
        spf = await _aligned([identifiers.spf], found, look_up, strict=found.record.strict_spf)
        dkim = await _aligned(identifiers.dkim, found, look_up, strict=found.record.strict_dkim)
        unclear = not (spf or dkim) and await _may_align(identifiers, found, look_up)
    except PolicyUnknown as unknown:
        return Evaluation(Status.TEMPERROR, domain, reason=str(unknown))
    if spf or dkim:
        return Evaluation(Status.PASS, domain, found.policy, found, spf, dkim)
    if unclear:
        return Evaluation(Status.TEMPERROR, domain, found.policy, found, reason="SPF or DKIM had a temporary error")
    return Evaluation(Status.FAIL, domain, found.policy, found)


async def _may_align(identifiers: Identifiers, found: Published, look_up: LookUp) -> bool:
    """Return whether a domain that had a temporary error would align."""
    record = found.record
    return await _aligned([identifiers.unclear_spf], found, look_up, strict=record.strict_spf) or await _aligned(
        identifiers.unclear_dkim, found, look_up, strict=record.strict_dkim
    )


async def _aligned(names: Iterable[str], found: Published, look_up: LookUp, *, strict: bool) -> bool:
    """Return whether one of the authenticated domains aligns. Those that need no look-up are compared first."""
    wanted = dict.fromkeys([each for each in names if each][:MOST_IDENTIFIERS])
    if found.author in wanted:
        return True
    if strict or not wanted:
        return False
    walked = found.walked or await walk(found.author, look_up)
    organization = walked.organizational_domain
    for name in wanted:
        # An organizational domain is the name itself or above it, so only names that end in it can align.
        below = name == organization or name.endswith(f".{organization}")
        if below and (await walk(name, look_up)).organizational_domain == organization:
            return True
    return False
