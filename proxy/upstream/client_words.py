"""Whether a refusal's text is about the client as the upstream sees it: its address, name or HELO.

That client is us, unless XCLIENT or a PROXY header announced another. Text that the upstream repeats from the mail must
not decide, so the transaction's addresses, and anything like an address, are removed before the text is read.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Standing:
    """What the upstream knows about us on a connection."""

    address: str = ""
    name: str = ""
    """Our name in EHLO."""
    peer_name: str = ""
    """The upstream's own name, in lower case."""
    announced: bool = False
    """Whether XCLIENT or a PROXY header announced the client, so that the client is no longer us."""


_RESTRICTION = re.compile(
    r"""
    \b(?:helo|ehlo|lhlo)\b                                            # Helo command rejected; invalid HELO name
    | \bclient\ (?:host|ip|address|network|name)\b                    # Client host rejected; Client host [x] blocked
    | \bservice\ unavailable\W{1,3}(?:unverified\ )?client\b
    | \bclient\ (?:was\ |is\ )?not\ authenticated\b | \bclient\ does\ not\ have\ permissions?\ to\ submit\b   # Exchange
    | \b(?:sending|connecting|source|banned)\ (?:ip|host|mta|hostname|(?:mail\ )?server)\b
    | \byour\ (?:ip|host|hostname|(?:mail\ ?)?server|network|mta|reverse)\b(?!(?:'s)?\ (?:admin|operator))
    | \b(?:reverse|inverse|forward-confirmed\ reverse)\W?(?:dns|hostname|host\ name|lookup|name|address\ lookup)\b
    | \brdns\b | \bfcrdns\b | \bptr\b | \bip\ name\ (?:lookup|possibly)\b    # Sendmail: IP name lookup failed
    | \bmust\ have\ an\ rdns\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Phrases of restrictions on the client's address, name and HELO: Postfix, Exim, Sendmail, OpenSMTPD, Exchange."""

_OTHER_HOST = re.compile(
    r"(?<!client )\bhost [^\s\[]{1,255}\[[^\]\s]{1,60}\](?::\d{1,5})? (?:said|refused)"
    r"|\bconnect to [^\s\[]{1,255}\[[^\]\s]{1,60}\]",
    re.IGNORECASE,
)
"""Postfix names a host that it asked itself, for example to verify an address."""

_LIKE_AN_ADDRESS = re.compile(r"[^\s<>(),;:]{0,320}@[^\s<>(),;]{1,320}")
_NUMBERS = re.compile(
    r"(?<![\w.:-])(?:(?=[0-9a-f]{0,20}[g-z])[a-z][a-z0-9]{0,20}:)?"  # IP:10.0.0.2, but not the fe80: of fe80::2
    r"([0-9a-f][0-9a-f.:]{1,44}|::[0-9a-f.:]{1,43})(?![\w-])",
    re.IGNORECASE,
)
_DOTS = 3
"""In an IPv4 address."""

_REVERSE_DNS_FAILED = (7, 25)
"""Subject and detail of an enhanced status code (RFC 7372 section 3.3)."""


def is_of_client(text: str, enhanced: tuple[int, int] | None) -> bool:
    """Whether a refusal reads like a restriction on the client's address, name or HELO. `text` comes from `spoken`."""
    return enhanced == _REVERSE_DNS_FAILED or _RESTRICTION.search(text) is not None


def spoken(text: str, addresses: Iterable[str]) -> str:
    """Return a reply's text without addresses, and without statements about hosts that the upstream asked."""
    if "@" in text:
        near = [each for each in addresses if _may_have(text, each)]
        for address in sorted({form for each in near for form in _forms(each)}, key=len, reverse=True):
            text = _without(text, address)
        text = _LIKE_AN_ADDRESS.sub(" ", text)
    return _OTHER_HOST.sub(" ", text)


def _may_have(text: str, address: str) -> bool:
    """Whether a form of the address may be in the text. A transaction may have a thousand addresses."""
    plain = address.rpartition("@")[0].strip('"')
    return "\\" in plain or not (text.isascii() and address.isascii()) or plain.lower() in text.lower()


def _without(text: str, address: str) -> str:
    """Return a text with a blank for each time that it has the address, in any case."""
    if not (text.isascii() and address.isascii()):
        return re.sub(re.escape(address), " ", text, flags=re.IGNORECASE)
    kept, at = [], 0  # compiling an expression for each address would cost 0.1 ms
    for part in text.lower().split(address.lower()):
        kept.append(text[at : at + len(part)])
        at += len(part) + len(address)
    return " ".join(kept)


def _forms(address: str) -> set[str]:
    """Return how an upstream may write an address: unchanged, and without the quotes of its local part."""
    local_part, at, domain = address.rpartition("@")
    if not at:
        return set()  # `postmaster` alone is an ordinary word
    plain = local_part.strip('"')
    if "\\" in plain:
        plain = re.sub(r"\\(.)", r"\1", plain)
    return {address, f"{plain}@{domain}", f'"{plain}"@{domain}'}


def names_us(text: str, standing: Standing, domains: Iterable[str]) -> bool:
    """Whether text from `spoken` names our address, or our EHLO name, as the client's.

    If our name is also the upstream's, a domain of the mail, or a single word, it counts only with an address after it:
    `mail[192.0.2.1]`.
    """
    if standing.address and has_address(text, standing.address):
        return True
    name = standing.name.rstrip(".").lower()
    if not name or name.startswith("["):
        return bool(name) and has_address(text, name.strip("[]"))
    shared = "." not in name or name == standing.peer_name or name in {each.lower() for each in domains}
    return _as_client(name, shared=shared).search(text) is not None


@lru_cache(maxsize=64)
def _as_client(name: str, *, shared: bool) -> re.Pattern[str]:
    """Return what finds our name."""
    behind = r"\.?\s?[\[(]\d" if shared else r"(?![\w-]|\.\w)"
    return re.compile(rf"(?<![\w.@-]){re.escape(name)}{behind}", re.IGNORECASE)


def has_address(text: str, address: str) -> bool:
    """Whether a text contains an IP address in any notation, or reversed as in a DNSBL query."""
    wanted, backwards = _sought(address)
    if wanted is None:
        return False
    numbers = [each for each in _NUMBERS.findall(text) if ":" in each or each.count(".") >= _DOTS]  # not `5.1.1`
    if any(_ip(found) == wanted for each in numbers for found in {each, each.rstrip(".:"), _host(each)}):
        return True
    if backwards not in text.lower():
        return False
    return re.search(rf"(?<![\w.]){re.escape(backwards)}[a-z]", text, re.IGNORECASE) is not None


@lru_cache(maxsize=256)
def _sought(address: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address | None, str]:
    """Return an address to look for, and how a DNSBL query has it."""
    wanted = _ip(address)
    backwards = "" if wanted is None else wanted.reverse_pointer
    return wanted, backwards.removesuffix("in-addr.arpa").removesuffix("ip6.arpa")


def _host(number: str) -> str:
    """Return `192.0.2.1:25` without its port."""
    return number.partition(":")[0] if number.count(":") == 1 else number


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.removeprefix("IPv6:").partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
