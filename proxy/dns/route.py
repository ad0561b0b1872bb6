"""Whether this machine can reach IPv4 at all: without a route, an A record is no way to a host."""

from __future__ import annotations

import socket
import time


def has_ipv4_route() -> bool:
    """Whether this machine has, or had a second ago, a route to a public IPv4 address; no packet is sent."""
    now = time.monotonic()
    if now >= _Route.until:
        _Route.exists, _Route.until = _looked_up_route(), now + _ROUTE_SECONDS
    return _Route.exists


class _Route:
    """What was found last: each probe needs it twice."""

    exists, until = True, 0.0


_ROUTE_SECONDS = 1.0


def _looked_up_route() -> bool:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            return sock.connect_ex(("198.41.0.4", 53)) == 0  # a.root-servers.net; a UDP connect sends no packet
    except OSError:
        return True  # out of descriptors: that says nothing about routes
