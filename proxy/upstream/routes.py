"""Which MTA takes a recipient's mail: Gateway or Routes, with the values in force for the recipient's domain.

An `Upstream` is the whole answer: hosts in their order of preference, how to speak, and the limits. Domains with equal
answers have one upstream, the same object, so their recipients share a transaction and its connections are pooled.
"""

from __future__ import annotations

import random
import re
import ssl
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, cast

from cachetools import LRUCache

from config.base.regular_files import require_regular
from config.settings import Settings
from proxy.base.log import get_logger
from proxy.dns.resolver import UNREADABLE, DnsUnavailable, NoSuchDomain, Resolver
from proxy.options.route import Route
from proxy.options.settings import CoreOptions, OutboundOptions
from proxy.options.tls_versions import Protocols
from proxy.upstream.patience import patient

log = get_logger()

_DOMAINS_REMEMBERED = 4096
_DETOURS_REMEMBERED = 256
"""Gateways that scripts named; a script may take the name out of a message, so they are bounded."""

_GATEWAY = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:]+))(?::(?P<port>\d{1,5}))?")


class Place(NamedTuple):
    """Where a connection may go. Those of one rank stand for each other; lower ranks are preferred."""

    address: str
    """An IP address, or the path of a Unix socket."""
    port: int
    host: str
    """Whom the address belongs to; empty for a Unix socket."""
    rank: tuple[int, int] = (0, 0)
    """The preference of the route, and of the exchanger within it."""


@dataclass(frozen=True, slots=True, eq=False)
class Upstream:
    """One MTA behind, or several that stand for each other. `Router` makes one for each different answer."""

    routes: tuple[Route, ...]
    policy: OutboundOptions
    """Everything else that is in force: how to speak, how long to wait, how many connections."""
    helo: str

    @property
    def lmtp(self) -> bool:
        """Whether LMTP is spoken (RFC 2033)."""
        return self.policy.delivery_method == "LMTP"

    @property
    def tells_clients(self) -> bool:
        """Whether a connection is told who the client is, so that it belongs to the client's session."""
        return self.policy.xclient != "no" or self.policy.upstream_proxy_protocol != "no"

    @property
    def name(self) -> str:
        """The upstream's name for the log."""
        return ",".join(
            f"unix:{each.host}" if each.is_socket else f"{each.host}:{self.port(each)}" for each in self.routes
        )

    def port(self, route: Route) -> int:
        """Return the port of a route: its own, or the option's."""
        return route.port or (self.policy.lmtp_port if self.lmtp else self.policy.remote_smtp_port)

    async def addresses(self, resolver: Resolver) -> list[Place]:
        """Return where to connect to, those preferred first, the hosts of one preference in random order.

        Raises:
            DnsUnavailable, NoSuchDomain: none of the hosts can be resolved.
        """
        found: list[Place] = []
        problem: Exception | None = None
        for _, same in groupby(sorted(self.routes, key=lambda each: each.preference), key=lambda each: each.preference):
            routes = list(same)
            random.shuffle(routes)
            for route in routes:
                try:
                    found += await self._places(route, resolver)
                except (DnsUnavailable, NoSuchDomain) as error:
                    problem = error
        if not found and problem is not None:
            raise problem
        return found

    async def _places(self, route: Route, resolver: Resolver) -> list[Place]:
        if route.is_socket:
            return [Place(route.host, 0, "", (route.preference, 0))]
        return [
            Place(address, self.port(route), host, (route.preference, preference))
            for preference, host in await _hosts(route, resolver)
            for address in await _addresses(host, resolver)
        ]


async def _addresses(host: str, resolver: Resolver) -> list[str]:
    """Return a host's addresses; one that cannot be resolved now is passed over (RFC 5321 section 5.1)."""
    try:
        return await resolver.host_addresses(host)
    except (DnsUnavailable, NoSuchDomain) as error:
        log.warning("upstream_unresolved", host=host, reason=str(error))
        return []


async def _hosts(route: Route, resolver: Resolver) -> list[tuple[int, str]]:
    """Return the hosts that a route means: itself, or the exchangers of its name (RFC 5321 section 5.1)."""
    if not route.by_mx:
        return [(0, route.host)]
    try:
        exchangers = await resolver.exchangers(route.host)
    except NoSuchDomain:
        exchangers = []  # some servers say so of a type they do not know: the name may have an address
    if any(not each.host for each in exchangers):
        raise NoSuchDomain(f"{route.host} takes no mail (null MX)")
    return [(each.preference, each.host) for each in exchangers if each != UNREADABLE] or [(0, route.host)]


class Router:
    """Finds the upstream of a domain. What it found is remembered; equal answers are one object."""

    def __init__(self, settings: Settings) -> None:
        """Take the configuration's scopes."""
        self._scopes = settings.scopes
        self._core = cast(CoreOptions, settings.core)
        self._known: dict[tuple[object, ...], Upstream] = {}
        self._detours: LRUCache[tuple[str, Upstream], Upstream] = LRUCache(_DETOURS_REMEMBERED)
        self.default = self._upstream(None)
        """The upstream of a domain for which nothing of its own is set."""
        self._of_domain = lru_cache(maxsize=_DOMAINS_REMEMBERED)(self._upstream)

    def of_domain(self, domain: str) -> Upstream:
        """Return the upstream of a recipient's domain; empty for a recipient without one."""
        return self._of_domain(domain) if self._scopes.places else self.default

    def _is_nearer(self, name: str, other: str, domain: str | None) -> bool:
        """Whether an option is set in a scope of the domain's own while another comes from the top of the file."""
        place = self._scopes.eval(name, domain=domain or None).place
        return bool(place) and not self._scopes.eval(other, domain=domain or None).place

    def by_way_of(self, gateway: str, upstream: Upstream) -> Upstream:
        """Return the same with another host in the place of its own: `host`, `host:port`, `[::1]:port`."""
        key = (gateway, upstream)
        found = self._detours.get(key)
        if found is None:
            written = _GATEWAY.fullmatch(gateway)
            host, port = (written["six"] or written["host"], written["port"]) if written else (gateway, None)
            routes = (Route(host, int(port) if port else None),)
            found = self._detours[key] = Upstream(routes, upstream.policy, upstream.helo)
        return found

    def named(self) -> list[Upstream]:
        """Return the upstreams that the configuration names outright; those of regular expressions are found in use."""
        for place in self._scopes.places:
            if place[-1].kind == "domain" and not place[-1].name.startswith("/"):
                self.of_domain(place[-1].name)
        return list(self._known.values())

    def _upstream(self, domain: str | None) -> Upstream:
        values: dict[str, Any] = {
            name: self._scopes.eval(name, domain=domain or None).value for name in OutboundOptions.model_fields
        }
        policy = patient(OutboundOptions.model_construct(**values))
        helo = policy.ehlo_hostname or self._core.hostname
        routes = policy.routes
        if policy.gateway is not None and not (routes and self._is_nearer("routes", "gateway", domain)):
            routes = (policy.gateway,)
        return self._known.setdefault((routes, policy, helo), Upstream(routes, policy, helo))


@lru_cache(maxsize=64)
def _context(
    verify: str, authority: Path | None, certificate: Path | None, key: Path | None, ciphers: str, protocols: Protocols
) -> ssl.SSLContext:
    require_regular(authority, certificate, key)
    context = ssl.create_default_context(cafile=authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    protocols.apply_to(context)
    if verify != "host":
        context.check_hostname = False
    if verify == "no":
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate, key or certificate, password="")  # or OpenSSL asks the terminal
    if ciphers:
        context.set_ciphers(ciphers)
    return context


def context_of(policy: OutboundOptions) -> ssl.SSLContext:
    """Return the TLS context of an upstream's options.

    Raises:
        OSError, ssl.SSLError: a file that is named cannot be used.
    """
    files = policy.tls_ca, policy.tls_certificate, policy.tls_key
    return _context(policy.tls_verify, *files, policy.tls_ciphers, policy.tls_protocols)
