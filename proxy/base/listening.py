"""Whether an address leads back to us: a connection to one of our own listeners would be a loop."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from config.base.ip import plain_address
from config.scopes.listener import EVERY, Listener

_UNSPECIFIED = frozenset({"0.0.0.0", "::"})  # noqa: S104 — for comparison only


def comes_to_us(address: str, port: int, listeners: Sequence[Listener]) -> Listener | None:
    """Return our own listener that a connection to the address would reach, or None."""
    address = plain_address(address)
    for each in listeners:
        if not each.enabled or each.port != port:
            continue
        everywhere = each.address == EVERY or (
            each.address in _UNSPECIFIED and (":" in each.address) == (":" in address)
        )
        if address == plain_address(each.address) or (everywhere and _is_local(address)):
            return each
    return None


def _is_local(address: str) -> bool:
    """Whether the address is this machine's: a datagram socket to it would leave from itself. Nothing is sent."""
    if address in _UNSPECIFIED or ipaddress.ip_address(address).is_loopback:
        return True  # all of 127.0.0.0/8 is answered, and leaves from 127.0.0.1; the system takes 0.0.0.0 for itself
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((address, 25))
            return bool(sock.getsockname()[0] == address)
    except OSError:
        return False
