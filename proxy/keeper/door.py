"""The door: how a worker reaches the keeper, whichever process that is now.

It is an unnamed pair of sockets that the supervisor makes before it forks, one for each configuration. A worker makes a
connection of its own and sends one end through the door. If the keeper is dead, what was sent waits there for its
replacement. Nothing is in the file system or in the abstract name space, so no other user can reach it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

_LONGEST_HELLO = 256


class Door:
    """Both sides of a door. The supervisor owns it; workers use `outside`, the keeper `inside`."""

    def __init__(self) -> None:
        self.outside, self.inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.outside.setblocking(False)
        self.inside.setblocking(False)

    def __iter__(self) -> Iterator[socket.socket]:
        """Yield both sockets."""
        yield self.outside
        yield self.inside

    def close(self) -> None:
        """Close both sides."""
        for each in self:
            each.close()


@dataclass(frozen=True, slots=True)
class Calling:
    """How one worker reaches the keeper, and how it identifies itself."""

    outside: socket.socket
    generation: int
    worker: int
    doors: Doors | None = None
    """Where others reach this worker, if it is the only one: then it is the keeper, until another takes over."""

    def __iter__(self) -> Iterator[socket.socket]:
        """Yield the sockets that the worker keeps."""
        yield self.outside
        yield from self.doors or ()


@dataclass(frozen=True, slots=True)
class Doors:
    """Where a keeper is asked, and how it reaches the one that it takes over from."""

    insides: Sequence[socket.socket]
    predecessor: socket.socket | None
    generation: int

    def __iter__(self) -> Iterator[socket.socket]:
        """Yield the sockets that the keeper keeps."""
        yield from self.insides
        if self.predecessor is not None:
            yield self.predecessor


class NobodyOutside(OSError):
    """The outer side is closed everywhere: no connection will come."""


def knock(outside: socket.socket, hello: bytes) -> socket.socket:
    """Send a new connection through the door, and return our end of it.

    Raises:
        OSError: the queue before the door is full, or there is no door any more.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        socket.send_fds(outside, [hello], [theirs.fileno()])
        ours.setblocking(False)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours


def knocked(inside: socket.socket) -> tuple[bytes, socket.socket] | None:
    """Return the next connection that waits before the door, and its hello; None if no connection waits.

    Raises:
        NobodyOutside: see there.
        OSError: the door cannot be read.
    """
    while True:
        try:
            hello, descriptors, flags, _ = socket.recv_fds(inside, _LONGEST_HELLO, 1)
        except BlockingIOError:
            return None
        if descriptors and not flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
            connection = socket.socket(fileno=descriptors[0])
            connection.setblocking(False)
            return hello, connection
        if not hello:
            raise NobodyOutside
        for each in descriptors:
            with suppress(OSError):
                socket.close(each)
