"""From addresses that mean the same to a connected socket: attempts that overlap, so that a dead one costs 0.25 s.

In the spirit of RFC 8305: families take turns, each attempt begins a little after the one before or as soon as that
has failed, the first that connects wins, and the others are cancelled and closed. aiohappyeyeballs does the racing.
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
"""Between the beginnings of two attempts: the Connection Attempt Delay of RFC 8305 section 5."""

Address = tuple[str, int]
"""An IP address and a port, or the path of a Unix socket and a number without meaning."""


class NotReached(Exception):
    """None of the addresses takes a connection; each was tried for as long as the time allowed."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A connected socket, non-blocking and its holder's to close. Addresses are told by their place in the list."""

    sock: socket.socket
    winner: int
    behind: tuple[int, ...]
    """Those that began sooner: they failed, or the winner outran them although it began later."""


def is_socket_path(host: str) -> bool:
    """Whether what stands for a host is the path of a Unix socket."""
    return host.startswith("/")


async def reach(
    addresses: Sequence[Address], seconds: float, local: Mapping[socket.AddressFamily, str] = MappingProxyType({})
) -> Reached:
    """Connect to the first of the addresses that takes a connection, within so many seconds for all of them together.

    `local` are addresses of ours that connections of a family leave from.

    Raises:
        NotReached: none does, or none did in time.
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
    except (OSError, RuntimeError) as error:  # uvloop raises the latter in place of some of the former
        raise NotReached(str(error)) from error
    order = [number for number, each in begun]
    at = [each for number, each in begun].index(sock)
    return Reached(sock, order[at], tuple(order[:at]))


def family_of(host: str) -> socket.AddressFamily:
    """Return the family of an IP address, or of a socket's path."""
    if is_socket_path(host):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _address_info(address: Address) -> AddrInfoType:
    """Return what a socket is made of. The protocol is named: the event loop switches Nagle's algorithm off by it."""
    family = family_of(address[0])
    if family == socket.AF_UNIX:
        return (family, socket.SOCK_STREAM, 0, "", address[0])  # type: ignore[return-value]  # typed for IP alone
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)
