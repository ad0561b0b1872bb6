"""The key of a triplet. Parts that a sender changes with each message must not create a new triplet.

So the sender is taken without what VERP, BATV, SRS and counters put into it, and the client is a network, or the domain
for which SPF has passed.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from hashlib import blake2b

from config.base.ip import read_address
from proxy.mail.session import Path

LONGEST_KEY = 200
"""Octets of a key that people can read; a longer one ends in a hash."""

_BATV = re.compile(r"(?:ms)?prvs[0-9]?=[^=/]{1,64}[=/](.+)", re.IGNORECASE)
"""`prvs=0123456789=local` (draft-levine-smtp-batv), and as others write it."""

_SRS0 = re.compile(r"srs0[=+-][^=]{1,64}=[^=]{1,8}=([^=]+)=(.+)", re.IGNORECASE)
_SRS1 = re.compile(r"srs1[=+-][^=]{1,64}=([^=]+)=[=+-][^=]{1,64}=[^=]{1,8}=([^=]+)=(.+)", re.IGNORECASE)
"""`SRS0=hash=time=domain=local`, and `SRS1=hash=forwarder==hash=time=domain=local`: hash and time change each day."""

_TOKEN = re.compile(r"(?<![a-z0-9])(?=[a-z0-9]*[0-9])[a-f0-9]{8,}(?![a-z0-9])")
"""A hexadecimal number, such as a part of a message id."""

_DASHED = re.compile(r"(?<![a-z0-9])[a-f0-9]{4,}(?:-[a-f0-9]{4,})+(?![a-z0-9])")
"""Several hexadecimal numbers, such as a UUID. Code looks for a digit afterwards: a
look-ahead here would take quadratic time."""

_DIGITS = re.compile(r"[0-9]+")


@lru_cache(maxsize=4096)
def network(client: str, ipv4_prefix: int, ipv6_prefix: int) -> str:
    """Return the network that a client belongs to."""
    address = read_address(client)
    prefix = ipv4_prefix if address.version == 4 else ipv6_prefix
    return str(ipaddress.ip_network(f"{address}/{prefix}", strict=False))


def sender_of(reverse_path: Path, recipient: Path) -> str:
    """Return a sender without what changes with each message."""
    domain, local = reverse_path.domain, reverse_path.local_part.lower()
    if not domain:
        return ""
    if found := _BATV.fullmatch(local):
        local = found[1]
    if found := _SRS0.fullmatch(local):
        local = f"srs={found[1]}={found[2]}"
    elif found := _SRS1.fullmatch(local):
        local = f"srs={found[2]}={found[3]}"
    for separator in ("=", "-at-"):
        local = local.replace(f"{recipient.local_part.lower()}{separator}{recipient.domain}", "#")
    return f"{_DIGITS.sub('#', _TOKEN.sub('#', _DASHED.sub(_number, local)))}@{domain}"


def _number(found: re.Match[str]) -> str:
    return "#" if _DIGITS.search(found[0]) else found[0]


def triplet(client: str, reverse_path: Path, recipient: Path) -> bytes:
    """Return the key of a triplet."""
    text = f"{client} {sender_of(reverse_path, recipient)} {recipient.text.lower()}"
    return bounded(text)


def bounded(text: str) -> bytes:
    """Return a text as a key of at most LONGEST_KEY octets."""
    octets = text.encode("utf-8", "surrogateescape")
    if len(octets) <= LONGEST_KEY:
        return octets
    digest = blake2b(octets, digest_size=16).hexdigest().encode("ascii")
    return octets[: LONGEST_KEY - len(digest) - 1] + b" " + digest
