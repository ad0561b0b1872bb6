"""Verifying a chain: the newest message signature, and every seal (RFC 8617 section 5.2, steps 4 to 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proxy.arc.chain import ArcSet, Broken, chain_of, signed_by
from proxy.dkim.bodies import BodyHash, Wanted
from proxy.dkim.canonical import header_field, without_value
from proxy.dkim.keys import Key, KeyCache
from proxy.dkim.signature import SHA256, Signature
from proxy.dns.resolver import DnsUnavailable
from proxy.mail.fields import Field
from sieve.run.threads import ThreadPool, in_thread

_RELAXED = "relaxed"
_FEW, _SHORT = 5, 32 * 1024
"""Signatures, and octets that they cover, which are checked on the event loop: about 0.3 ms. More go to a thread."""


@dataclass(frozen=True, slots=True)
class ChainClaim:
    """What a header section claims: a chain and what it takes to judge it, or why it is not a chain."""

    sets: tuple[ArcSet, ...] = ()
    signed: bytes = b""
    """The fields that the newest message signature covers."""
    sealed: tuple[bytes, ...] = ()
    """What each seal covers, from the oldest on."""
    problem: str = ""

    @property
    def wanted(self) -> Wanted | None:
        """The hash of the body that is needed; None if none is."""
        if not self.sets:
            return None
        newest = self.sets[-1].message_signature
        return Wanted(newest.body_canon, SHA256, newest.length)


@dataclass(frozen=True, slots=True)
class ChainResult:
    """The result of checking a chain."""

    status: str
    """`none`, `pass` or `fail` (RFC 8617 section 4.4), or `temperror` if a key cannot be looked up now."""
    sealers: tuple[str, ...] = ()
    """The domains of the sealers, from the oldest on."""
    reason: str = ""

    @property
    def newest(self) -> str:
        """The newest sealer; empty without a chain."""
        return self.sealers[-1] if self.sealers else ""


def claim_of(fields: Sequence[Field]) -> ChainClaim:
    """Read a header section."""
    try:
        sets = chain_of(fields)
    except Broken as broken:
        return ChainClaim(problem=str(broken))
    return ChainClaim(sets, signed_by(fields, sets[-1]), tuple(_sealed(sets))) if sets else ChainClaim()


def _sealed(sets: Sequence[ArcSet]) -> list[bytes]:
    """Return what each seal covers: all older sets, and its own with the seal's value empty."""
    found, before = [], bytearray()
    for each in sets:
        before += header_field(each.results.raw, _RELAXED) + header_field(each.message_field.raw, _RELAXED)
        own = header_field(without_value(each.seal_field.raw), _RELAXED).removesuffix(b"\r\n")
        found.append(bytes(before) + own)
        before += header_field(each.seal_field.raw, _RELAXED)
    return found


async def verified(claim: ChainClaim, bodies: Mapping[Wanted, BodyHash], keys: KeyCache) -> ChainResult:
    """Return the result of checking a chain. All keys are looked up at the same time."""
    if claim.problem:
        return ChainResult("fail", reason=claim.problem)
    if not claim.sets or claim.wanted is None:
        return ChainResult("none")
    sealers = tuple([each.seal.domain for each in claim.sets])
    newest, body = claim.sets[-1].message_signature, bodies[claim.wanted]
    if newest.body_hash != body.digest or (newest.length or 0) > body.octets:
        return ChainResult("fail", sealers, "the body was changed after the newest seal")
    signatures = [newest, *[each.seal for each in claim.sets]]
    try:
        found = await asyncio.gather(*[keys.of(each) for each in signatures])
    except DnsUnavailable:
        return ChainResult("temperror", sealers, "a key cannot be looked up now")
    if newest.length is not None and newest.length < body.octets:
        return ChainResult("fail", sealers, "the newest signature covers only a part of the body")
    signed = [claim.signed, *claim.sealed]
    if len(signatures) > _FEW or sum(map(len, signed)) > _SHORT:
        reason = await in_thread(ThreadPool.CONTENT, lambda: _wrong(signatures, found, signed))
    else:
        reason = _wrong(signatures, found, signed)
    return ChainResult("fail" if reason else "pass", sealers, reason)


def _wrong(signatures: Sequence[Signature], keys: Sequence[Key], signed: Sequence[bytes]) -> str:
    """Return which signature is wrong; empty if none is. The message's comes first, then the seals from the newest."""
    order = [0, *range(len(signatures) - 1, 0, -1)]
    for at in order:
        signature, key = signatures[at], keys[at]
        whose = "the newest message signature" if at == 0 else f"seal {at}"
        if key.public is None:
            return f"{whose}: {key.problem}"
        if not key.fits(signature) or not key.has_signed(signature.value, signed[at]):
            return f"{whose} did not verify"
    return ""
