"""A listener: where to listen, and which options apply to which client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, TypeAlias

from config.base.ip import unmapped
from config.diagnostics import Span
from config.schema.values import ValueKind
from config.scopes.places import Setting

DEFAULT_PORT = 25


DEFAULT_BACKLOG = 500
"""As in 4.x. The 5 of 2.2 overflows on a burst of connections."""


Client: TypeAlias = IPv4Address | IPv6Address


SOCKET_OPTIONS: Mapping[str, int] = {
    "listen_backlog": DEFAULT_BACKLOG,
    "concurrency": 0,
    "enable": True,
    "enable_duravip": False,
}
"""Options of the socket rather than of its sessions, with their defaults."""


PATHWAY = "pathway"


@dataclass(frozen=True, slots=True)
class Peer:
    """The options of one network's clients; `proceeds` if later 2.2 rules also apply."""

    network: IPv4Network | IPv6Network
    options: Mapping[str, Setting]
    proceeds: bool = True
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Listener:
    """One address to listen on.

    `address` is an IP address, a host name, or `*` for every address; `concurrency` 0 is no limit. `options` belong to
    the address and `shared` to the whole listener. `peers` are options for client networks, chosen in written order if
    `in_order`, else by specificity.
    """

    address: str
    port: int
    backlog: int = DEFAULT_BACKLOG
    concurrency: int = 0
    enabled: bool = True
    floats: bool = False
    """Whether the address may be on another machine now (a DuraVIP, VRRP): it is bound even while it is not here."""
    options: Mapping[str, Setting] = field(default_factory=dict)
    shared: Mapping[str, Setting] = field(default_factory=dict)
    peers: tuple[Peer, ...] = ()
    in_order: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)

    def layers(self, client: Client | None) -> tuple[Mapping[str, Setting], ...]:
        """Return the layers of options for a client, highest precedence first."""
        return (*self._matching(client), self.options, self.shared)

    def every_layer(self) -> tuple[Mapping[str, Setting], ...]:
        """Return every layer of options."""
        return (self.shared, self.options, *(peer.options for peer in self.peers))

    def _matching(self, client: Client | None) -> list[Mapping[str, Setting]]:
        if client is None or not self.peers:
            return []
        address = unmapped(client)
        matching = [peer for peer in self.peers if address in peer.network]
        if not self.in_order:
            return [peer.options for peer in sorted(matching, key=lambda peer: -peer.network.prefixlen)]
        last = next((index for index, peer in enumerate(matching) if not peer.proceeds), len(matching))
        return [peer.options for peer in reversed(matching[: last + 1])]

    def __str__(self) -> str:
        """Return the address as written."""
        return shown(self.address, self.port)


def shown(address: str, port: int) -> str:
    """Return an address and a port as written."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


Listeners: TypeAlias = Annotated[tuple[Listener, ...], ValueKind.LISTENERS]
"""Addresses to listen on, in both forms. `config.scopes.listeners` reads them."""


EVERY = "*"
"""The listener address for every IPv4 and IPv6 address."""
