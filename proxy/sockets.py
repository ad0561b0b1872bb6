"""Listening sockets: bound once, before anything else, so that a port in use is told before mail is taken."""

from __future__ import annotations

import socket

from config import Listener


class CannotListen(Exception):
    """An address cannot be bound."""


def bind(listener: Listener) -> socket.socket:
    """Return a bound, listening socket.

    Raises:
        CannotListen: the address is in use, not ours, or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listener.address, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListen(f"{listener.address}:{listener.port}: {error.strerror}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
        bound.listen(listener.backlog)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise CannotListen(f"{listener.address}:{listener.port}: {error.strerror}") from error
    return bound
