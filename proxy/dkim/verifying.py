"""Judging the signatures of a message: what they claim, then whether it is true.

The claims are read when the header section is there; the body is hashed while it arrives; the keys are asked for last.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proxy.base.tasks import at_once
from proxy.dkim import signature as signatures
from proxy.dkim.bodies import BodyHash, Wanted
from proxy.dkim.canonical import signed_header
from proxy.dkim.keys import Key, KeyCache
from proxy.dkim.signature import SHA256, Signature, Unusable
from proxy.dns.resolver import DnsUnavailable
from proxy.mail.fields import Field

FIELD = "dkim-signature"

MOST_SIGNATURES = 5
"""Signatures that are judged, from the top. Others are ignored."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One signature field, and what it takes to judge it."""

    signature: Signature | None
    signed: bytes = b""
    """The hashed header fields."""
    problem: str = ""
    value: str = "neutral"
    """The word of RFC 8601 for the problem."""

    @property
    def wanted(self) -> Wanted | None:
        """The body hash that it needs; None if the signature cannot pass whatever the body is."""
        found = self.signature
        return None if found is None else Wanted(found.body_canon, SHA256, found.length)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The result of checking one signature."""

    value: str
    """The word of RFC 8601 section 2.7.1."""
    reason: str = ""
    signature: Signature | None = None


def claims_of(fields: Sequence[Field]) -> list[Claim]:
    """Return the first signatures of a header section."""
    found = [each for each in fields if each.name.lower() == FIELD]
    return [_claim(fields, each) for each in found[:MOST_SIGNATURES]]


def _claim(fields: Sequence[Field], own: Field) -> Claim:
    try:
        found = signatures.read(own.raw.partition(b":")[2])
    except Unusable as bad:
        return Claim(None, problem=str(bad), value=bad.value)
    if found.hash_name != SHA256:
        return Claim(None, problem="rsa-sha1 is not accepted", value="policy")
    others = [each for each in fields if each is not own]
    return Claim(found, signed_header(others, own.raw, found.header_names, found.header_canon))


async def judged(
    claims: Sequence[Claim], bodies: Mapping[Wanted, BodyHash], keys: KeyCache, seconds: float | None = None
) -> list[Judgement]:
    """Return the result of each signature. The keys are looked up at once, each in this time."""
    return await at_once([_judged(each, bodies, keys, seconds) for each in claims])


async def _judged(claim: Claim, bodies: Mapping[Wanted, BodyHash], keys: KeyCache, seconds: float | None) -> Judgement:
    signature, wanted = claim.signature, claim.wanted
    if signature is None or wanted is None:
        return Judgement(claim.value, claim.problem)
    problem = _problem_of(signature, bodies[wanted])
    if problem is not None:
        return problem
    try:
        async with asyncio.timeout(seconds):
            key = await keys.of(signature)
    except TimeoutError:
        return Judgement("temperror", "no key in time", signature)
    except DnsUnavailable:
        return Judgement("temperror", "the key cannot be looked up now", signature)
    return _by_key(claim, signature, key, bodies[wanted])


def _problem_of(signature: Signature, body: BodyHash) -> Judgement | None:
    """Return what is wrong without a look at the key."""
    if signature.expires is not None and signature.expires < time.time():
        return Judgement("fail", "the signature has expired", signature)
    if signature.length is not None and signature.length > body.octets:
        return Judgement("fail", "the body is shorter than l=", signature)
    if signature.body_hash != body.digest:
        return Judgement("fail", "the body hash did not verify", signature)
    return None


def _by_key(claim: Claim, signature: Signature, key: Key, body: BodyHash) -> Judgement:
    if key.public is None:
        return Judgement(key.value, key.problem, signature)
    if not key.fits(signature):
        return Judgement("permerror", "the key does not fit the signature", signature)
    if not key.has_signed(signature.value, claim.signed):
        if key.is_test:
            return Judgement("neutral", "the domain tests DKIM: the signature did not verify", signature)
        return Judgement("fail", "the signature did not verify", signature)
    if signature.length is not None and signature.length < body.octets:
        return Judgement("policy", f"only {signature.length} of {body.octets} octets of the body are signed", signature)
    return Judgement("pass", "the domain tests DKIM" if key.is_test else "", signature)


_RANKS = ("pass", "temperror", "fail", "policy", "permerror", "neutral", "none")


def best_of(judgements: Sequence[Judgement]) -> str:
    """Return the word for the message: a pass, or the result that says most."""
    return min((each.value for each in judgements), key=_RANKS.index, default="none")
