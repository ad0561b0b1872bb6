"""Parts of a mail address, and whether a text can be one."""

from __future__ import annotations

import re

from sieve.library import AddressPart

SEPARATOR = "+"
"""Between user and detail in a localpart (RFC 5233 leaves the choice to the site)."""

_IMPOSSIBLE = re.compile(r"[\x00-\x20\x7f\x85\xa0\u2028\u2029\udc80-\udcff]")


def part_of(address: str, part: AddressPart) -> str | None:
    """Return a part of an address; None where it has no such part, which is only a detail (RFC 5233, 4)."""
    if part is AddressPart.ALL:
        return address
    localpart, at, domain = address.rpartition("@")
    if not at:
        localpart, domain = domain, ""
    if part is AddressPart.DOMAIN:
        return domain
    if part is AddressPart.LOCALPART:
        return localpart
    user, separator, detail = localpart.partition(SEPARATOR)
    if part is AddressPart.USER:
        return user
    return detail if separator else None


def is_plausible(address: str) -> bool:
    """Tell whether a text can be an address: a localpart, `@`, a domain, and nothing that breaks a command line."""
    localpart, _, domain = address.rpartition("@")
    return bool(localpart and domain) and _IMPOSSIBLE.search(address) is None
