"""From equivalent addresses to a connected socket, with overlapping attempts: a dead address costs 0.25 s.

This follows RFC 8305: families alternate, and each attempt begins 0.25 s after the one before, or when that one fails.
The first to connect wins; the others are cancelled and closed. aiohappyeyeballs runs the race.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

STAGGER_SECONDS = 0.25
"""Time between the starts of two attempts: the Connection Attempt Delay of RFC 8305 section 5."""

Address = tuple[str, int]
"""An IP address and a port, or the path of a Unix socket and an ignored number."""


class NotReached(Exception):
    """None of the addresses accepts a connection; each was tried for as long as the time allowed."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A connected, non-blocking socket that its holder must close. Addresses are given by their index in the list."""

    sock: socket.socket
    winner: int
    behind: tuple[int, ...]
    """Addresses whose attempts began earlier: they failed, or were slower than the winner."""


def is_socket_path(host: str) -> bool:
    """Whether a host is the path of a Unix socket."""
    return host.startswith("/")


async def reach(
    addresses: Sequence[Address], seconds: float, local: Mapping[socket.AddressFamily, str] = MappingProxyType({})
) -> Reached:
    """Connect to the first address that accepts a connection, within `seconds` for all of them together.

    `local` gives a local address to connect from, per family.

    Raises:
        NotReached: no address accepted a connection in time.
        ValueError: there is no address.
    """
    wanted = [_address_info(each) for each in addresses]
    begun: list[tuple[int, socket.socket]] = []

    def begin(info: AddrInfoType) -> socket.socket:
        sock = socket.socket(*info[:3])
        begun.append((wanted.index(info), sock))
        if (source := local.get(sock.family)) is not None:
            try:
                sock.bind((source, 0))
            except OSError:
                sock.close()
                raise
        return sock

    try:
        async with asyncio.timeout(seconds):
            sock = await aiohappyeyeballs.start_connection(
                wanted, happy_eyeballs_delay=STAGGER_SECONDS, interleave=1, socket_factory=begin
            )
    except TimeoutError as error:
        raise NotReached(str(error) or "timeout") from error
    except (OSError, RuntimeError) as error:  # uvloop raises RuntimeError in place of some OSErrors
        raise NotReached(str(error)) from error
    order = [number for number, each in begun]
    at = [each for number, each in begun].index(sock)
    return Reached(sock, order[at], tuple(order[:at]))


def family_of(host: str) -> socket.AddressFamily:
    """Return the family of an IP address, or of a socket path."""
    if is_socket_path(host):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _address_info(address: Address) -> AddrInfoType:
    """Return the arguments for a socket. The event loop disables Nagle's algorithm only if the protocol is named."""
    family = family_of(address[0])
    if family == socket.AF_UNIX:
        return (family, socket.SOCK_STREAM, 0, "", address[0])  # type: ignore[return-value]  # typed for IP alone
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)
