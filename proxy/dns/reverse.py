"""The names of an address, and whether they lead back to it: "iprev" (RFC 8601 section 3)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from config.base.ip import read_address
from proxy.dns.remembered import Remembered

_HOST = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
"""A name of a host. DNS can hold any octets, such as a dot within a label, but no host has such a name."""

MOST_NAMES = 7
"""Names of an address that are looked up."""


@dataclass(frozen=True, slots=True)
class Reverse:
    """A result in the words of RFC 8601 section 2.7.3, and the name that it is about."""

    status: str
    """`pass`, `fail` (no name of a host leads back), `permerror` (the address has no name) or `temperror`."""
    name: str = ""
    """The first name that leads back; else the first name."""


async def reverse(address: str, lookups: Remembered) -> Reverse:
    """Look up the names of an address, and then the addresses of all names at the same time."""
    answer = await lookups.ask(address, "PTR")
    if not answer.clear:
        return Reverse("temperror")
    told = [each for each in dict.fromkeys(answer.records) if each]
    if not told:
        return Reverse("permerror")
    names = [each for each in told if _HOST.fullmatch(each)][:MOST_NAMES]
    if not names:
        return Reverse("fail")
    family = "AAAA" if ":" in address else "A"
    found = await asyncio.gather(*[_leads_back(name, family, address, lookups) for name in names])
    return _judged(names, found)


def _judged(names: Sequence[str], found: Sequence[bool | None]) -> Reverse:
    for name, leads_back in zip(names, found, strict=True):
        if leads_back:
            return Reverse("pass", name)
    return Reverse("temperror" if None in found else "fail", names[0])


async def _leads_back(name: str, family: str, address: str, lookups: Remembered) -> bool | None:
    answer = await lookups.ask(name, family)
    if not answer.clear:
        return None
    return _is_among(address, answer.records)


def _is_among(address: str, records: Sequence[str]) -> bool:
    """Whether a record is the address, however both are written."""
    with suppress(ValueError):
        return read_address(address) in [read_address(each) for each in records]
    return False
