"""From a domain to the addresses that accept its mail: MX by preference, implicit MX, null MX.

Sources: RFC 5321 section 5.1, RFC 7505. A stranger chooses the domain, so an address inside our own networks is never
probed unless the operator lists it. The probe connects to exactly the address that was checked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from config.base.deadlines import Within
from config.base.domains import normal_domain
from config.base.ip import any_holds, read_address
from config.schema.values import Network
from proxy.callback.observer import NOBODY, Observer
from proxy.callback.question import NoCandidate
from proxy.callback.recent import RecentNames
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.dns.resolver import UNREADABLE, DnsUnavailable, Exchanger, NoSuchDomain, Resolver
from proxy.dns.route import has_ipv4_route

MOST_HOSTS = 3
MOST_ADDRESSES = 5
MOST_QUESTIONS = 8
"""Distinct DNS questions per domain; its owner chooses all of them. A second opinion repeats a question."""

FIND_SECONDS = 16.0
"""For all of them together; after that, the hosts found so far are asked."""


@dataclass(frozen=True, slots=True)
class ExchangerHost:
    """One mail exchanger, and its addresses that may be probed."""

    name: str
    addresses: tuple[str, ...]


@dataclass(slots=True)
class _Search:
    """What is known about the exchangers of one domain. The `find` call owns it."""

    observer: Observer
    ends: float
    """When its time is up, on the loop's clock."""
    fit: list[ExchangerHost] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)
    """Addresses that may not be probed."""
    unclear: DnsUnavailable | None = None
    """Why there may be another exchanger."""
    questions: int = 1
    """Questions asked, including the MX. For a host that does not exist, only A is asked."""

    def pass_over(self, host: str, why: str) -> None:
        """Report that a host is skipped."""
        self.observer.note("passed_over", host=host, address="", why=why)


class ExchangerFinder:
    """Finds the exchangers of a domain that may be probed."""

    def __init__(
        self,
        resolver: Resolver,
        routes: Mapping[str, str],
        allowed: tuple[Network, ...],
        *,
        unroutable: Status = Status.FAIL,
        is_us: Callable[[str], bool] = lambda address: False,  # noqa: ARG005 — no address is
    ) -> None:
        """`routes` maps domains to hosts asked instead of the MX; `allowed` networks are probed even if not global.

        `unroutable` is the status of a domain whose exchangers have no public address; `is_us` knows our own addresses.
        """
        self.names = self._resolver = RecentNames(resolver)
        """Recent answers of DNS about exchangers."""
        self._routes = {normal_domain(domain): host for domain, host in routes.items()}
        self._allowed = allowed
        self._unroutable, self._is_us = unroutable, is_us

    def is_routed(self, domain: str) -> bool:
        """Whether the operator named a host for the domain."""
        return domain in self._routes

    async def find(self, domain: str, observer: Observer = NOBODY) -> list[ExchangerHost]:
        """Return the hosts to ask, in order. `domain` is in A-labels. `observer` gets what is skipped, and why.

        Raises:
            NoCandidate: there is no host to ask; the verdict tells why.
        """
        routed = self._routes.get(domain)
        if routed is not None:
            observer.note("mapped", domain=domain, host=routed)
            return await self._by_route(routed, observer)
        try:
            return await self._by_mail_exchange(domain, observer)
        except NoSuchDomain:
            raise _none(Status.FAIL, "nxdomain", f"{domain}: no such domain") from None
        except DnsUnavailable as error:
            raise _none(Status.TRANSIENT, "dns", str(error)) from None

    async def _by_route(self, host: str, observer: Observer) -> list[ExchangerHost]:
        """Return the addresses of a mapped host. If it cannot be found, that says nothing about the sender's domain."""
        try:
            addresses = await self._resolver.host_addresses(host.strip("[]"))
        except DnsUnavailable as error:
            raise _none(Status.TRANSIENT, "dns", f"the mapped host cannot be resolved now: {error}") from None
        except NoSuchDomain as error:
            raise _none(Status.ERROR, "route", f"the mapped host cannot be resolved: {error}") from None
        observer.note("addresses", host=host, addresses=tuple(addresses))
        return [ExchangerHost(host, tuple(addresses[:MOST_ADDRESSES]))]

    async def _by_mail_exchange(self, name: str, observer: Observer) -> list[ExchangerHost]:
        if name.startswith("["):
            literal = _literal_address(name)
            if self._may_probe(literal):
                return self._others(name, [ExchangerHost(name, (literal,))], observer)
            raise self._nowhere([literal])
        ends = asyncio.get_running_loop().time() + FIND_SECONDS
        exchangers = await self._exchangers(name)
        observer.note("exchangers", domain=name, exchangers=tuple((each.preference, each.host) for each in exchangers))
        if len(exchangers) == 1 and not exchangers[0].host:
            raise _none(Status.FAIL, "null_mx", f"{name}: accepts no mail (null MX)")
        named = [each for each in exchangers if each.host]  # RFC 7505 section 3: ignore a null MX beside others
        search = _Search(observer, ends)
        return await self._addresses(name, _shuffled(named) if exchangers else [name], search)

    async def _exchangers(self, name: str) -> list[Exchanger]:
        """Return the MX records; empty if MX says NXDOMAIN but the domain has an address.

        Some name servers, mostly load balancers, answer NXDOMAIN for a type that they do not know.

        Raises:
            NoSuchDomain: it does not exist, for MX and A alike.
            DnsUnavailable: there was no clear answer.
        """
        try:
            return await self._resolver.exchangers(name)
        except NoSuchDomain:
            await self._resolver.addresses(name)  # cached: `_addresses` sends no query again
            return []

    async def _addresses(self, name: str, hosts: list[str], search: _Search) -> list[ExchangerHost]:
        """Look up exchangers until there are enough to ask.

        The domain counts as having no exchanger only if every one was looked up, and every answer was clear.
        """
        observer = search.observer
        try:
            with Within(search.ends - asyncio.get_running_loop().time()):
                for host in dict.fromkeys(hosts):
                    await self._look_up(host, search)
        except TimeoutError:
            search.unclear = search.unclear or DnsUnavailable(f"{name}: timeout", "TIMEOUT")
        if search.fit:
            return self._others(name, _at_most(search.fit, MOST_ADDRESSES, observer), observer)
        raise search.unclear or self._none_of(name, search.unfit)

    async def _look_up(self, host: str, search: _Search) -> None:
        """Look up one exchanger, unless there are enough hosts or the question limit is reached."""
        if _is_enough(search.fit):
            search.pass_over(host, _ENOUGH)
            return
        if host == UNREADABLE.host:
            search.unclear = search.unclear or DnsUnavailable("an MX record cannot be read")
            search.pass_over(host, "an MX record cannot be read")
            return
        if search.questions + 2 > MOST_QUESTIONS:  # A and AAAA
            search.unclear = search.unclear or DnsUnavailable(f"{host}: not looked up: too many DNS questions")
            search.pass_over(host, "not looked up: too many DNS questions")
            return
        try:
            found = [host] if _is_address(host) else await self._resolver.addresses(host)
        except NoSuchDomain:
            search.questions += 1
            search.pass_over(host, "no such host")
            return
        except DnsUnavailable as error:
            search.questions += 2
            search.unclear = error
            search.pass_over(host, str(error))
            return
        search.questions += 1 if any("." in each for each in found) and has_ipv4_route() else 2
        search.observer.note("addresses", host=host, addresses=tuple(found))
        good = tuple(address for address in found if self._may_probe(address))
        search.fit += [ExchangerHost(host, good)] if good else []
        bad = [address for address in found if address not in good]
        _note_all(search.observer, host, bad, "not a public address")
        search.unfit += bad

    def _none_of(self, name: str, unfit: list[str]) -> Exception:
        """Return the error for a domain without a reachable exchanger."""
        if unfit:
            return self._nowhere(unfit)
        return _none(Status.FAIL, "no_address", f"{name}: its mail exchangers have no address")

    def _others(self, name: str, hosts: list[ExchangerHost], observer: Observer) -> list[ExchangerHost]:
        """Leave out addresses that lead back to us: we would ask ourselves, and that would trigger another question."""
        others = []
        for each in hosts:
            ours = [address for address in each.addresses if self._is_us(address)]
            _note_all(observer, each.name, ours, "it is this server")
            if rest := tuple(address for address in each.addresses if address not in ours):
                others.append(ExchangerHost(each.name, rest))
        if not others:
            raise _none(Status.ERROR, "loop", f"{name}: its mail exchanger is this server")
        return others

    def _nowhere(self, addresses: list[str]) -> NoCandidate:
        shown = ", ".join(addresses[:MOST_ADDRESSES])
        return _none(self._unroutable, "unroutable", f"its mail exchangers have no public address ({shown})")

    def _may_probe(self, address: str) -> bool:
        inner = _destination(address)
        if any_holds(self._allowed, address) or any_holds(self._allowed, str(inner)):
            return True
        return inner.is_global and not inner.is_multicast and any_holds(_PUBLIC, str(inner))


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""The well-known prefix of RFC 6052; a gateway of ours may translate it to IPv4."""

_ADDRESSES_OF_PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")
"""RFC 6890: no mail exchanger is there, although Python calls most of it global."""

_PUBLIC: tuple[Network, ...] = (
    *ipaddress.IPv4Network("0.0.0.0/0").address_exclude(_ADDRESSES_OF_PROTOCOLS),
    # RFC 4291 section 2.4; the rest is unassigned, as fec0::/10 and ::/96, or local, as 64:ff9b:1::/48.
    *ipaddress.IPv6Network("2000::/3").address_exclude(ipaddress.IPv6Network("3fff::/20")),  # RFC 9637
)
"""Where an exchanger may be, among what Python calls global."""


def _destination(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the IPv4 address that an IPv6 address leads to: mapped, NAT64 (RFC 6052) or 6to4 (RFC 3056)."""
    ip = read_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.sixtofour or ip


def _is_address(host: str) -> bool:
    """Whether an MX names an IPv4 address. RFC 5321 section 5.1 forbids it, but Postfix delivers there anyway."""
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _is_enough(hosts: list[ExchangerHost]) -> bool:
    return len(hosts) >= MOST_HOSTS or sum(len(each.addresses) for each in hosts) >= MOST_ADDRESSES


def _at_most(hosts: list[ExchangerHost], addresses: int, observer: Observer) -> list[ExchangerHost]:
    """Keep the first `addresses` addresses."""
    kept, left = [], addresses
    for each in hosts:
        _note_all(observer, each.name, each.addresses[left:], _ENOUGH)
        if left:
            kept.append(ExchangerHost(each.name, each.addresses[:left]))
            left -= len(kept[-1].addresses)
    return kept


_ENOUGH = "enough other hosts come first"


def _note_all(observer: Observer, host: str, addresses: Iterable[str], why: str) -> None:
    for each in addresses:
        observer.note("passed_over", host=host, address=each, why=why)


def _shuffled(exchangers: list[Exchanger]) -> list[str]:
    """Order by preference; shuffle the first few equal ones (RFC 5321 section 5.1).

    If none of these has an address, all are looked up, so the shuffle adds no question about the domain.
    """
    different: dict[str, Exchanger] = {}
    for each in exchangers:
        different.setdefault(each.host.lower(), each)
    first, rest = list(different.values())[:MOST_HOSTS], list(different.values())[MOST_HOSTS:]
    mixed = sorted(first, key=lambda each: (each.preference, random.random()))  # noqa: S311 — spreads load
    return [each.host for each in [*mixed, *rest]]


def _literal_address(name: str) -> str:
    """Return the address in `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 section 4.1.3)."""
    inner = name[1:-1].removeprefix("ipv6:")
    try:
        # a zone (%) names a local interface of ours: it cannot be part of a stranger's address
        return str(ipaddress.ip_address(inner.replace("%", " ")))
    except ValueError:
        raise _none(Status.ERROR, "internal", "not an address literal") from None


def _none(status: Status, reason: str, text: str) -> NoCandidate:
    return NoCandidate(CallbackVerdict(status, reason, text, stage="dns"))
