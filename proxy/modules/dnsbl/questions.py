"""The names that are asked: a client's address backwards, or a domain, in front of a zone (RFC 5782 section 2)."""

from __future__ import annotations

import ipaddress
import re

from config.base.ip import read_address
from proxy.callback.limits.suffixes import organisational

LONGEST_NAME = 253

_DOMAIN = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def of_address(address: str) -> str:
    """Return an address backwards: octets for IPv4, nibbles for IPv6. Empty for any other text."""
    try:
        ip = read_address(address)
    except ValueError:
        return ""
    if isinstance(ip, ipaddress.IPv4Address):
        return ".".join(reversed(str(ip).split(".")))
    return ".".join(reversed(ip.exploded.replace(":", "")))


def is_address(text: str) -> bool:
    """Whether a host is an IP address."""
    return bool(of_address(text))


def is_name(text: str) -> bool:
    """Whether a stranger's text is a name that DNS can have, with a dot, and not an address."""
    name = text.lower().rstrip(".")
    return _DOMAIN.fullmatch(name) is not None and len(name) <= LONGEST_NAME and not is_address(name)


def of_domain(domain: str, *, full: bool) -> list[str]:
    """Return the names of a domain to ask: the registered one, and the full one if wanted. A stranger writes them."""
    if not is_name(domain):
        return []
    name = domain.lower().rstrip(".")
    base = organisational(name)
    return [base, name] if full and base != name else [base]
