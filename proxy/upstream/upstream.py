"""One upstream: its hosts in their order of preference, and how Ringback speaks to it."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from proxy.base.log import get_logger
from proxy.dns.resolver import DnsUnavailable, NoSuchDomain, Resolver
from proxy.options.outbound import OutboundOptions
from proxy.options.route import Route

log = get_logger()

NOBODY: Mapping[str, str] = {}
"""For the log: no session caused it."""


class Place(NamedTuple):
    """Where a connection may go. Places of one rank are equal; lower ranks are preferred."""

    address: str
    """An IP address, or the path of a Unix socket."""
    port: int
    host: str
    """The host that the address belongs to; empty for a Unix socket."""
    rank: tuple[int, int] = (0, 0)
    """The preference of the route, and of the exchanger within it."""


@dataclass(slots=True, eq=False)
class ReadySocket:
    """A connected socket on which nothing was sent. Its holder closes it."""

    sock: socket.socket
    place: Place


@dataclass(frozen=True, slots=True, eq=False)
class Upstream:
    """A next hop, or several that are equivalent. `Router` makes one for each different answer."""

    routes: tuple[Route, ...]
    policy: OutboundOptions
    """Everything else that is in force: how to speak, how long to wait, how many connections."""
    helo: str
    binding: str = ""
    """The binding that a script chose; empty for the configured route."""

    @property
    def lmtp(self) -> bool:
        """Whether LMTP is spoken (RFC 2033)."""
        return self.policy.delivery_method == "LMTP"

    @property
    def tells_clients(self) -> bool:
        """Whether the client is announced on a connection, so that the connection belongs to the client's session."""
        return self.policy.xclient != "no" or self.sends_headers

    @property
    def shares_announced(self) -> bool:
        """Whether sessions share connections on which a client was announced."""
        return self.policy.xclient != "no" and not self.policy.xclient_port and not self.sends_headers

    @property
    def sends_headers(self) -> bool:
        """Whether a connection begins with a PROXY header."""
        return self.policy.upstream_proxy_protocol != "no"

    @property
    def name(self) -> str:
        """The upstream's name for the log."""
        return ",".join(
            f"unix:{each.host}" if each.is_socket else f"{each.host}:{self.port(each)}" for each in self.routes
        )

    def source(self, address: str) -> str:
        """Return our own address for connections to an address; empty if the system chooses."""
        for each in self.policy.bind_address:
            if (":" in each) == (":" in address) and not address.startswith("/"):
                return each
        return ""

    def port(self, route: Route) -> int:
        """Return the port of a route: its own, or the option's."""
        return route.port or (self.policy.lmtp_port if self.lmtp else self.policy.remote_smtp_port)

    async def addresses(self, resolver: Resolver, session: Mapping[str, str] = NOBODY) -> list[Place]:
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
                    found += await self._places(route, resolver, session)
                except (DnsUnavailable, NoSuchDomain) as error:
                    problem = error
        if not found and problem is not None:
            raise problem
        return found

    async def _places(self, route: Route, resolver: Resolver, session: Mapping[str, str]) -> list[Place]:
        if route.is_socket:
            return [Place(route.host, 0, "", (route.preference, 0))]
        return [
            Place(address, self.port(route), host, (route.preference, preference))
            for preference, host in await _hosts(route, resolver)
            for address in await _addresses(host, resolver, session)
        ]


async def _addresses(host: str, resolver: Resolver, session: Mapping[str, str]) -> list[str]:
    """Return a host's addresses; one that cannot be resolved now is passed over (RFC 5321 section 5.1)."""
    try:
        return await resolver.host_addresses(host)
    except (DnsUnavailable, NoSuchDomain) as error:
        log.warning("upstream_unresolved", host=host, reason=str(error), **session)
        return []


async def _hosts(route: Route, resolver: Resolver) -> list[tuple[int, str]]:
    """Return the hosts that a route means: itself, or the exchangers of its name (RFC 5321 section 5.1)."""
    if not route.by_mx:
        return [(0, route.host)]
    try:
        exchangers = await resolver.exchangers(route.host)
    except NoSuchDomain:
        exchangers = []  # some servers say so about a type that they do not know: the name may have an address
    if any(not each.host for each in exchangers):
        raise NoSuchDomain(f"{route.host} takes no mail (null MX)")
    return [(each.preference, each.host) for each in exchangers] or [(0, route.host)]
