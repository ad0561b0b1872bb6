"""Listening sockets: bound once, before anything else, so that a port in use is told before mail is taken."""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from config import Listener

_NO_SUCH_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


class CannotListen(Exception):
    """An address cannot be bound."""


def bind(listener: Listener, inherited: Sequence[socket.socket] = ()) -> list[socket.socket]:
    """Return bound, listening sockets: one for each address of the listener; `*` is every IPv4 and IPv6 address.

    An address that one of the `inherited` sockets listens on is shared with it, so that no client finds it closed.

    Raises:
        CannotListen: an address is in use, not ours, or not allowed.
    """
    bound: list[socket.socket] = []
    every = listener.address == "*"
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            None if every else listener.address, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            if (shared := _at(address, inherited)) is not None:
                bound.append(shared.dup())
                continue
            try:
                bound.append(_bind_one(socket.socket(family, kind, protocol), address, listener.backlog))
            except OSError as error:
                if not (every and error.errno in _NO_SUCH_FAMILY):  # a machine without IPv6
                    raise
    except OSError as error:
        for each in bound:
            each.close()
        raise CannotListen(f"{listener.address}:{listener.port}: {error.strerror}") from error
    return bound


def raise_descriptor_limit() -> int:
    """Raise the limit of open files as far as the system lets us, and return it: each client and upstream needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # a hard limit that the kernel's own maximum does not allow
            return soft
    return hard


def _at(address: Any, inherited: Sequence[socket.socket]) -> socket.socket | None:
    return next((each for each in inherited if each.getsockname() == address), None)


def _bind_one(each: socket.socket, address: Any, backlog: int) -> socket.socket:
    try:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if each.family == socket.AF_INET6:
            with suppress(OSError):
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        each.bind(address)
        each.listen(backlog)
        each.setblocking(False)
    except OSError:
        each.close()
        raise
    return each
