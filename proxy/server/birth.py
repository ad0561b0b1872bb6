"""Forks a process of the service. No code on the supervisor's stack runs in it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from config.scopes.listener import Listener
from proxy.control.watched import Watched
from proxy.keeper.door import Calling, Door, Doors
from proxy.metrics.board import Block
from proxy.server.generation import A
from proxy.server.orders import EX_SOFTWARE, SUPERVISORS_SIGNALS
from proxy.server.pulse import Pulse


@dataclass(frozen=True, slots=True)
class Post:
    """What every new process gets: its end of the socket for orders, its heartbeat, the control process's door."""

    orders: socket.socket
    pulse: Pulse
    rows: Door
    """Observers' rows go to `outside`; only the control process has `inside`."""
    block: Block
    """Where it counts."""
    steering: socket.socket | None = None
    """Where the control process asks its supervisor."""
    told: socket.socket | None = None
    """Where the control process reads what its supervisor logs."""
    generation: int = 0
    """The number of its configuration."""


BeWorker: TypeAlias = Callable[[int, A, Sequence[tuple[socket.socket, Listener]], Post, Calling | None], int]
"""Serves as a numbered worker in a process that was just forked, and returns its exit status."""

BeKeeper: TypeAlias = Callable[[A, Sequence[A], Doors, Post], int]
"""Is the keeper in a process that was just forked, and returns its exit status. The second argument has the earlier
assemblies whose workers may still ask it, the oldest first."""

BeControl: TypeAlias = Callable[[A, Watched, Sequence[socket.socket], Post], int]
"""Is the control process, was just forked, and returns its exit status."""


class Born(NamedTuple):
    """A new process: its id, our end of the socket for orders, and its heartbeat."""

    pid: int
    orders: socket.socket
    pulse: Pulse


def fork(be: Callable[[Post], int], rows: Door, block: Block) -> Born:
    """Fork a process that runs `be` and exits with the status that it returns.

    Signals stay blocked in it until it has its own handlers.

    Raises:
        OSError: the system has no place for another process.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    pulse = Pulse()
    signal.pthread_sigmask(signal.SIG_BLOCK, SUPERVISORS_SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            ours.close()
            _live(be, Post(theirs, pulse, rows, block))
    except OSError:
        ours.close()
        pulse.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SUPERVISORS_SIGNALS)
        theirs.close()
    return Born(pid, ours, pulse)


def _live(be: Callable[[Post], int], post: Post) -> None:
    """Be the process. Never returns."""
    status = EX_SOFTWARE
    try:
        post.pulse.give_stack_when_asked()
        status = be(post)
    finally:
        os._exit(status)
