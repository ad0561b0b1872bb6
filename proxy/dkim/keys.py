"""Public keys from DNS (RFC 6376 section 3.6, RFC 8463), with bounds on what a stranger's key may cost, and a cache."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from cachetools import TLRUCache
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from proxy.dkim import tags
from proxy.dkim.signature import ED25519, RSA, Signature, Unusable
from proxy.dkim.tags import BadTags
from proxy.dns.answers import Value
from proxy.dns.noted import tell
from proxy.dns.resolver import NoSuchDomain
from proxy.options.keys import KeyOptions

LEAST_BITS, MOST_BITS = 1024, 4096
"""RSA keys that are used (RFC 8301 section 3.2). A signature of 16,384 bits takes milliseconds to check."""

MOST_EXPONENT = 1 << 32
"""The largest public exponent: the time of a check grows with its bits. Real keys have 65,537."""

LONGEST_KEY = 800
"""Octets of an encoded key that is looked at; one of 4096 bits has 550."""

PublicKey = RSAPublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Key:
    """A key record that can be used, or why it cannot."""

    public: PublicKey | None = None
    is_strict: bool = False
    """The identity's domain must be the signature's own (`t=s`)."""
    is_test: bool = False
    """The domain tests DKIM (`t=y`): a message counts as unsigned."""
    problem: str = ""
    value: str = "permerror"
    """The word of RFC 8601 for the problem."""
    records: tuple[bytes, ...] = ()
    """What DNS has under its name."""

    def fits(self, signature: Signature) -> bool:
        """Whether the signature is of the key's kind, and its identity one that the key allows."""
        is_rsa = isinstance(self.public, RSAPublicKey)
        kind_fits = signature.key_type == (RSA if is_rsa else ED25519)
        return kind_fits and not (self.is_strict and signature.identity_domain != signature.domain)

    def has_signed(self, value: bytes, signed: bytes) -> bool:
        """Whether a signature of these octets is by this key."""
        try:
            if isinstance(self.public, RSAPublicKey):
                self.public.verify(value, signed, PKCS1v15(), SHA256())
            elif self.public is not None:
                self.public.verify(value, hashlib.sha256(signed).digest())  # RFC 8463 section 3
        except InvalidSignature:
            return False
        return self.public is not None


def read_key(record: bytes) -> Key:
    """Return what a key record says."""
    try:
        found = tags.parse(record)
        return _usable(found)
    except BadTags as bad:
        return Key(problem=f"the key record is malformed: {bad}")
    except Unusable as bad:
        return Key(problem=str(bad), value=bad.value)


def _usable(found: dict[str, str]) -> Key:
    if "v" in found and (found["v"] != "DKIM1" or next(iter(found)) != "v"):
        raise BadTags("unknown version")
    if "p" not in found:
        raise BadTags("it has no key")
    if not found["p"]:
        raise Unusable("the key is revoked", "permerror")
    if "h" in found and "sha256" not in tags.names_of(found["h"].lower()):
        raise Unusable("the key is not for sha256", "permerror")
    if not {"*", "email"} & set(tags.names_of(found.get("s", "*").lower())):
        raise Unusable("the key is not for mail", "permerror")
    flags = tags.names_of(found.get("t", "").lower())
    public = _public(found.get("k", RSA).lower(), tags.octets_of(found["p"]))
    return Key(public, is_strict="s" in flags, is_test="y" in flags)


def _public(kind: str, octets: bytes) -> PublicKey:
    if len(octets) > LONGEST_KEY:
        raise Unusable("the key is too long", "policy")
    try:
        if kind == ED25519:
            return Ed25519PublicKey.from_public_bytes(octets)
        key = load_der_public_key(octets) if kind == RSA else None
    except (ValueError, UnsupportedAlgorithm):
        raise BadTags("the key cannot be read") from None
    if not isinstance(key, RSAPublicKey):
        raise Unusable("the key is of another kind", "permerror")
    if not LEAST_BITS <= key.key_size <= MOST_BITS:
        raise Unusable(f"the key has {key.key_size} bits", "policy")
    if key.public_numbers().e > MOST_EXPONENT:
        raise Unusable("the key's exponent is too large", "policy")
    return key


class Records(Protocol):
    """Looks names up: `proxy.dns.resolver.Resolver`."""

    async def records(self, name: str, record_type: str) -> Sequence[Value]:
        """Return the data of the records. Raises NoSuchDomain or DnsUnavailable."""
        ...


class KeyCache:
    """Finds keys, and keeps them. One per worker and stanza."""

    def __init__(self, resolver: Records, *, size: int, life: float, missing_life: float) -> None:
        """`missing_life` is for names without a usable key; a name server that does not answer is not remembered."""
        self._resolver, self._keeps = resolver, size > 0
        self._known: TLRUCache[str, Key] = TLRUCache(
            max(size, 1),
            ttu=lambda _name, key, now: now + (missing_life if key.public is None else life),
            timer=time.monotonic,
        )

    @classmethod
    def by(cls, options: KeyOptions, resolver: Records) -> KeyCache:
        """Make the cache of a stanza."""
        size, life, missing_life = options.keycache_size, options.pos_keycache_ttl, options.neg_keycache_ttl
        return cls(resolver, size=size, life=life, missing_life=missing_life)

    def __len__(self) -> int:
        return len(self._known)

    def clear(self) -> None:
        """Forget all keys."""
        self._known.clear()

    async def of(self, signature: Signature) -> Key:
        """Return the key of a signature.

        Raises:
            DnsUnavailable: there is no clear answer now.
        """
        name = signature.key_name
        known = self._known.get(name)
        if known is not None:
            tell("TXT", name, None, "SUCCESS", known.records)
            return known
        found = await self._found(name)
        if self._keeps:
            self._known[name] = found
        return found

    async def _found(self, name: str) -> Key:
        try:
            records = await self._resolver.records(name, "TXT")
        except NoSuchDomain:
            records = ()
        texts = [each for each in records if isinstance(each, bytes)]
        if not texts:
            return Key(problem="no key for signature")
        if len(texts) > 1:
            texts = [each for each in texts if b"p=" in each] or texts
        return replace(read_key(texts[0]), records=tuple(texts))
