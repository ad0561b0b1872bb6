"""What a DKIM-Signature field says (RFC 6376 section 3.5)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from config.base.domains import normal_domain
from proxy.dkim import tags
from proxy.dkim.tags import BadTags

SHA256 = "sha256"
RSA, ED25519 = "rsa", "ed25519"

_REQUIRED = ("v", "a", "b", "bh", "d", "h", "s")
_DIGITS = re.compile(r"[0-9]{1,76}")
_SELECTOR = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*")
_DOMAIN = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")
_CANON = frozenset({"simple", "relaxed"})
_LONGEST_NAME = 253


class Unusable(ValueError):
    """The signature cannot be judged; `value` is the word of RFC 8601 section 2.7.1."""

    def __init__(self, reason: str, value: str = "neutral") -> None:
        """Keep the word."""
        super().__init__(reason)
        self.value = value


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that has everything it needs."""

    key_type: str
    """`rsa` or `ed25519`."""
    hash_name: str
    domain: str
    selector: str
    identity: str
    """`i=`: an address, or `@` and a domain within `domain`."""
    header_names: tuple[str, ...]
    header_canon: str
    body_canon: str
    body_hash: bytes
    value: bytes
    short_value: str
    """The first characters of `b=`, which tell signatures apart (RFC 6008)."""
    length: int | None
    """Octets of the body that are signed (`l=`); None: all."""
    expires: int | None

    @property
    def identity_domain(self) -> str:
        """The domain of the identity."""
        return self.identity.rpartition("@")[2]

    @property
    def key_name(self) -> str:
        """Where the public key is."""
        return f"{self.selector}._domainkey.{self.domain}"


def read(body: bytes) -> Signature:
    """Read a field's body.

    Raises:
        Unusable: it is malformed, or of a kind that is not supported.
    """
    try:
        found = tags.parse(body)
        return of_tags(found)
    except BadTags as bad:
        raise Unusable(str(bad)) from None


def of_tags(found: dict[str, str]) -> Signature:
    """Return what the tags of a field say. ARC has the same tags (RFC 8617 section 4.1.2).

    Raises:
        Unusable: they are of a kind that is not supported.
        BadTags: a value is malformed.
    """
    missing = [name for name in _REQUIRED if not found.get(name)]
    if missing:
        raise Unusable(f"tag {missing[0]}= is missing")
    if found["v"] != "1":
        raise Unusable("unknown version")
    key_type, _, hash_name = tags.without_blanks(found["a"]).lower().partition("-")
    if (key_type, hash_name) not in {(RSA, SHA256), (ED25519, SHA256), (RSA, "sha1")}:
        raise Unusable("unknown algorithm")
    methods = [each.partition("/")[0] for each in tags.names_of(found.get("q", "dns/txt"))]
    if "dns" not in methods:
        raise Unusable("unknown way to find the key")
    header_canon, body_canon = _canons(found.get("c", "simple/simple"))
    domain = _domain(found["d"])
    return Signature(
        key_type=key_type,
        hash_name=hash_name,
        domain=domain,
        selector=_selector(found["s"]),
        identity=_identity(found.get("i"), domain),
        header_names=_names(found["h"]),
        header_canon=header_canon,
        body_canon=body_canon,
        body_hash=tags.octets_of(found["bh"]),
        value=tags.octets_of(found["b"]),
        short_value=tags.without_blanks(found["b"])[:8],
        length=_number(found, "l"),
        expires=_expiry(found),
    )


def _canons(value: str) -> tuple[str, str]:
    header, _, body = tags.without_blanks(value).lower().partition("/")
    body = body or "simple"
    if header not in _CANON or body not in _CANON:
        raise Unusable("unknown canonicalization")
    return header, body


def _domain(text: str) -> str:
    domain = normal_domain(tags.without_blanks(text))
    if len(domain) > _LONGEST_NAME or _DOMAIN.fullmatch(domain) is None:
        raise Unusable("d= is not a domain")
    return domain


def _selector(text: str) -> str:
    selector = normal_domain(tags.without_blanks(text))
    if len(selector) > _LONGEST_NAME or _SELECTOR.fullmatch(selector) is None:
        raise Unusable("s= is not a selector")
    return selector


def _identity(text: str | None, domain: str) -> str:
    """Return the identity, whose domain is `d=` or within it (RFC 6376 section 6.1.1)."""
    if text is None:
        return f"@{domain}"
    local, at, where = tags.without_blanks(text).rpartition("@")
    where = normal_domain(where)
    if not at or not (where == domain or where.endswith(f".{domain}")):
        raise Unusable("the domain of i= is not within d=")
    return f"{local}@{where}"


def _names(value: str) -> tuple[str, ...]:
    names = tuple(each.lower() for each in tags.names_of(value))
    if "from" not in names:
        raise Unusable("From is not signed", "permerror")
    return names


def _number(found: dict[str, str], name: str) -> int | None:
    if name not in found:
        return None
    if _DIGITS.fullmatch(found[name]) is None:
        raise Unusable(f"{name}= is not a number")
    return int(found[name])


def _expiry(found: dict[str, str]) -> int | None:
    signed, expires = _number(found, "t"), _number(found, "x")
    if signed is not None and expires is not None and expires <= signed:
        raise Unusable("x= is not after t=")
    return expires
