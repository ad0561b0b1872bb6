"""From a domain to the addresses that take its mail: MX by preference, implicit MX, null MX.

Sources: RFC 5321 section 5.1, RFC 7505. A stranger chooses the domain, so an address inside our own networks is never
probed unless the operator lists it: the probe connects to the very address that was checked.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Mapping
from dataclasses import dataclass

from config import Network
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.dns import DnsUnavailable, Exchanger, NoSuchDomain, Resolver

MOST_HOSTS = 3
MOST_ADDRESSES = 5


@dataclass(frozen=True, slots=True)
class Candidate:
    """One address to probe, and the exchanger it belongs to."""

    exchanger: str
    address: str


class NoCandidate(Exception):
    """Nothing can be probed; `verdict` says what that means."""

    def __init__(self, verdict: CallbackVerdict) -> None:
        """Keep the verdict."""
        super().__init__(verdict.reason)
        self.verdict = verdict


class ExchangerFinder:
    """Finds the candidates of a domain."""

    def __init__(self, resolver: Resolver, routes: Mapping[str, str], allowed: tuple[Network, ...]) -> None:
        """`routes` maps domains to hosts asked instead of the MX; `allowed` networks are probed though not global."""
        self._resolver = resolver
        self._routes = {domain.lower(): host for domain, host in routes.items()}
        self._allowed = allowed

    async def find(self, domain: str) -> list[Candidate]:
        """Return the addresses to ask, in order.

        Raises:
            NoCandidate: there is none; the verdict tells why.
        """
        name = _ascii_domain(domain)
        routed = self._routes.get(name)
        try:
            if routed is not None:
                addresses = await self._resolver.host_addresses(routed.strip("[]"))
                return [Candidate(routed, address) for address in addresses[:MOST_ADDRESSES]]
            return await self._by_mail_exchange(name)
        except NoSuchDomain:
            raise _none(Status.FAIL, "nxdomain", f"{name}: no such domain") from None
        except DnsUnavailable as error:
            raise _none(Status.TRANSIENT, "dns", str(error)) from None

    async def _by_mail_exchange(self, name: str) -> list[Candidate]:
        if name.startswith("["):
            return self._fit([Candidate(name, _literal_address(name))])
        exchangers = await self._resolver.exchangers(name)
        if any(not each.host for each in exchangers):
            raise _none(Status.FAIL, "null_mx", f"{name}: takes no mail (null MX)")
        hosts = _shuffled(exchangers) if exchangers else [name]
        candidates, unknown = await self._addresses(hosts)
        if candidates:
            return self._fit(candidates)
        if unknown is not None:
            raise unknown
        raise _none(Status.FAIL, "no_address", f"{name}: its mail exchangers have no address")

    async def _addresses(self, hosts: list[str]) -> tuple[list[Candidate], DnsUnavailable | None]:
        """Look up exchangers until there are enough addresses; keep a failure that leaves the matter open."""
        candidates: list[Candidate] = []
        unknown: DnsUnavailable | None = None
        for host in hosts[:MOST_HOSTS]:
            try:
                found = await self._resolver.addresses(host)
            except NoSuchDomain:
                continue
            except DnsUnavailable as error:
                unknown = error
                continue
            candidates += [Candidate(host, address) for address in found]
            if len(candidates) >= MOST_ADDRESSES:
                break
        return candidates, unknown

    def _fit(self, candidates: list[Candidate]) -> list[Candidate]:
        """Leave out what must not be probed."""
        fit = [each for each in candidates if self._may_probe(each.address)]
        if not fit:
            refused = ", ".join(each.address for each in candidates)
            raise _none(Status.FAIL, "unroutable", f"its mail exchangers have no public address ({refused})")
        return fit[:MOST_ADDRESSES]

    def _may_probe(self, address: str) -> bool:
        ip = ipaddress.ip_address(address)
        inner = getattr(ip, "ipv4_mapped", None) or ip
        if any(inner.version == network.version and inner in network for network in self._allowed):
            return True
        return inner.is_global and not inner.is_multicast


def _shuffled(exchangers: list[Exchanger]) -> list[str]:
    """Order by preference, equal ones by chance (RFC 5321 section 5.1)."""
    ordered = sorted(exchangers, key=lambda each: (each.preference, random.random()))  # noqa: S311 — spreads load
    return [each.host for each in ordered]


def _ascii_domain(domain: str) -> str:
    """Return the domain as DNS knows it, in A-labels.

    Raises:
        NoCandidate: it has no such form, so it cannot exist.
    """
    if domain.isascii():
        return domain.lower()
    try:
        return domain.encode("idna").decode().lower()
    except UnicodeError:
        raise _none(Status.FAIL, "nxdomain", "not a domain name") from None


def _literal_address(name: str) -> str:
    """Return the address in `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 section 4.1.3)."""
    inner = name[1:-1].removeprefix("ipv6:")
    try:
        return str(ipaddress.ip_address(inner))
    except ValueError:
        raise _none(Status.ERROR, "internal", "not an address literal") from None


def _none(status: Status, reason: str, text: str) -> NoCandidate:
    return NoCandidate(CallbackVerdict(status, reason, text, stage="dns"))
