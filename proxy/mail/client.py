"""What is known about a client apart from its dialogue: the network that it counts as, and what it has done so far."""

from __future__ import annotations

import ipaddress
import time
from functools import lru_cache

from config.base.ip import read_address


class SessionCounts:
    """Counters for the summary line that is logged at the end of a session."""

    __slots__ = ("acted", "deferred", "errors", "junk", "messages", "recipients", "started", "transactions")

    def __init__(self) -> None:
        """Start now."""
        self.transactions = self.messages = self.recipients = self.errors = 0
        self.acted = False
        """Whether the client did more than a health check does, or anything was refused."""
        self.deferred = 0
        """Temporary refusals since the last delivered message."""
        self.junk = 0
        """Errors and junk commands (RSET, NOOP, VRFY …) since the last delivered message."""
        self.started = time.monotonic()


@lru_cache(maxsize=1024)
def client_network_of(client_ip: str) -> str:
    """Return the network that counts as one client: see `Session.client_network`."""
    address = read_address(client_ip)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
