"""Listening sockets. They are bound first, so that a port in use is reported before mail is accepted.

A worker without a supervisor, as in the demo, has one socket for each address (`bind`). A server has one for each
address and worker (`WorkerSockets`).
"""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Self, TypeAlias

from config.scopes.listener import EVERY, Listener
from proxy.base.log import get_logger

log = get_logger()

OWN_FILES = 64
"""Listening sockets, the log, DNS, files that are read."""

Address: TypeAlias = tuple[socket.AddressFamily, Any]


_NO_SUCH_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


_FREEBIND = 15
"""IP_FREEBIND of ip(7), which Python does not name: it also works for IPv6."""


class CannotListen(Exception):
    """An address cannot be bound."""


def bind(listener: Listener) -> list[socket.socket]:
    """Return bound, listening sockets: one for each address of the listener; `*` is every IPv4 and IPv6 address.

    Raises:
        CannotListen: an address is in use, not ours, or not allowed.
    """
    bound: list[socket.socket] = []
    try:
        for family, address in _addresses(listener):
            try:
                bound.append(_bind_one(family, address, listener.backlog, floats=listener.floats))
            except OSError as error:
                if not _is_missing(listener, error):
                    raise
    except OSError as error:
        for each in bound:
            each.close()
        raise _cannot(listener, error) from error
    return bound


def raise_descriptor_limit() -> int:
    """Raise the limit of open files as far as allowed, and return it. Each client and next-hop connection needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # the hard limit is above the kernel's maximum
            return soft
    return hard


def compare_open_files(wanted: int, most: int) -> None:
    """Log how many files the process may open, and how many the configured limits need."""
    if wanted > most:
        log.warning("open_files", limit=most, wanted=wanted)
    else:
        log.info("open_files", limit=most, wanted=wanted)


class WorkerSockets:
    """A SO_REUSEPORT socket for each address and worker. The kernel distributes new connections among them.

    They are bound here; the workers listen on them, and from then on each socket gets its share of the connections.
    Closing a socket loses the connections waiting to be accepted, so a socket stays open while its address is
    configured, even if its worker dies. If there are fewer workers than sockets, some workers serve several.
    """

    def __init__(self, workers: int) -> None:
        """Start without addresses; `bind` adds them."""
        self.workers = workers
        self._held: dict[Address, list[socket.socket]] = {}
        self._listeners: dict[Address, Listener] = {}

    @classmethod
    def bind(cls, listeners: Sequence[Listener], workers: int, predecessor: WorkerSockets | None = None) -> Self:
        """Bind the addresses of the enabled listeners. Sockets that `predecessor` has for them are reused.

        Raises:
            CannotListen: an address is in use, not ours, or not allowed.
        """
        made = cls(workers)
        for listener in listeners:
            if not listener.enabled:
                continue
            try:
                made._add(listener, predecessor)
            except OSError as error:
                made.close(keep=predecessor)
                raise _cannot(listener, error) from error
        return made

    def __iter__(self) -> Iterator[socket.socket]:
        """Yield every socket."""
        for sockets in self._held.values():
            yield from sockets

    def at(self, address: Address) -> list[socket.socket]:
        """Return the sockets of an address."""
        return list(self._held.get(address, ()))

    def of(self, worker: int) -> list[tuple[socket.socket, Listener]]:
        """Return the sockets that a worker serves, counted from 1."""
        shares = [(sockets[worker - 1 :: self.workers], self._listeners[key]) for key, sockets in self._held.items()]
        return [(each, listener) for sockets, listener in shares for each in sockets]

    def close(self, keep: WorkerSockets | None = None) -> None:
        """Close every socket that `keep` does not also hold."""
        kept = set() if keep is None else set(keep)
        for each in self:
            if each not in kept:
                each.close()
        self._held.clear()

    def _add(self, listener: Listener, predecessor: WorkerSockets | None) -> None:
        for family, address in _addresses(listener):
            key = (family, address)
            if key in self._held:
                raise OSError(errno.EADDRINUSE, "Listed twice")
            sockets = [] if predecessor is None else predecessor.at(key)
            self._held[key], self._listeners[key] = sockets, listener
            try:
                if not sockets:
                    # With SO_REUSEPORT alone, a second server would bind without an error and get half of the clients.
                    _bind_one(family, address, None, floats=listener.floats).close()
                while len(sockets) < self.workers:
                    # if the system chose the port, all sockets use it
                    at = sockets[0].getsockname() if sockets else address
                    sockets.append(_bind_one(family, at, None, reuse_port=True, floats=listener.floats))
            except OSError as error:
                if sockets or not _is_missing(listener, error):
                    raise
                del self._held[key]


def _addresses(listener: Listener) -> list[tuple[socket.AddressFamily, Any]]:
    host = None if listener.address == EVERY else listener.address
    found = socket.getaddrinfo(host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [(family, address) for family, _, _, _, address in found]


def _is_missing(listener: Listener, error: OSError) -> bool:
    """Return whether the machine lacks an address family that `*` includes, such as IPv6."""
    return listener.address == EVERY and error.errno in _NO_SUCH_FAMILY


def _cannot(listener: Listener, error: OSError) -> CannotListen:
    return CannotListen(f"{listener.address}:{listener.port}: {error.strerror}")


def _bind_one(
    family: socket.AddressFamily, address: Any, backlog: int | None, *, reuse_port: bool = False, floats: bool = False
) -> socket.socket:
    """Return a bound socket, which listens if a backlog is given. An address that floats need not be here now."""
    each = socket.socket(family, socket.SOCK_STREAM)
    try:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if floats:
            each.setsockopt(socket.SOL_IP, _FREEBIND, 1)
        if each.family == socket.AF_INET6:
            with suppress(OSError):
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        each.bind(address)
        if backlog is not None:
            each.listen(backlog)
        each.setblocking(False)
    except OSError:
        each.close()
        raise
    return each
