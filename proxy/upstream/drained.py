"""`Drained`: the servers that an operator has drained: no new transactions. All pools of a worker share it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


class Server(Protocol):
    """Where a connection may go: `proxy.upstream.upstream.Place`."""

    @property
    def address(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def host(self) -> str: ...


@dataclass(slots=True, eq=False)
class Drained:
    """Names and addresses. The event loop's thread owns it."""

    names: set[str] = field(default_factory=set)
    """As the operator wrote them: a host or `host:port` of a route, an address, or a whole upstream's name."""
    addresses: set[str] = field(default_factory=set)
    """What these names are, as `address:port` or a socket's path: connections to them are not used again."""

    def holds(self, upstream: str, place: Server) -> bool:
        """Whether a place is drained."""
        if not self.names:
            return False
        end = end_of(place)
        host = place.host or f"unix:{place.address}"
        meant = {upstream, place.address, end, host, f"{place.host}:{place.port}"}
        if self.names.isdisjoint(meant):
            return False
        self.addresses.add(end)
        return True


def end_of(place: Server) -> str:
    """Return a place as a connection names its other end."""
    return f"{place.address}:{place.port}" if place.host else place.address
