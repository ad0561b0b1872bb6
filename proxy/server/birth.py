"""Forks a process of the service. No code on the supervisor's stack runs in it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import NamedTuple

from proxy.server.orders import EX_SOFTWARE, SUPERVISORS_SIGNALS
from proxy.server.pulse import Pulse


class Born(NamedTuple):
    """A new process: its id, our end of the socket for orders, and its heartbeat."""

    pid: int
    orders: socket.socket
    pulse: Pulse


def fork(be: Callable[[socket.socket, Pulse], int]) -> Born:
    """Fork a process that runs `be` and exits with the status that it returns.

    Signals stay blocked in it until it has handlers of its own.

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
            _live(be, theirs, pulse)
    except OSError:
        ours.close()
        pulse.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SUPERVISORS_SIGNALS)
        theirs.close()
    return Born(pid, ours, pulse)


def _live(be: Callable[[socket.socket, Pulse], int], orders: socket.socket, pulse: Pulse) -> None:
    """Be the process. Never returns."""
    status = EX_SOFTWARE
    try:
        pulse.give_stack_when_asked()
        status = be(orders, pulse)
    finally:
        os._exit(status)
