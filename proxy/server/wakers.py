"""`Wakers`: signals wake the supervisor's loop. They are handled between two turns, never inside a signal handler."""

from __future__ import annotations

import selectors
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from proxy.server.orders import RESERVED_SIGNALS, SUPERVISORS_SIGNALS


class Wakers:
    """The pair of sockets over which signals come."""

    def __init__(self) -> None:
        """Make the sockets; signals come within `heard_by`."""
        self._heard, self._woken = socket.socketpair()
        self._heard.setblocking(False)
        self._woken.setblocking(False)

    def __iter__(self) -> Iterator[socket.socket]:
        """Yield both sockets."""
        yield self._heard
        yield self._woken

    @contextmanager
    def heard_by(self, selector: selectors.BaseSelector, hear: Callable[[], None]) -> Iterator[None]:
        """Let the selector call `hear` after a signal."""
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        for each in RESERVED_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        for each in SUPERVISORS_SIGNALS:
            signal.signal(each, lambda *_: None)
        selector.register(self._heard, selectors.EVENT_READ, hear)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for each in SUPERVISORS_SIGNALS:  # a signal that arrives now must not change the exit status
                signal.signal(each, signal.SIG_IGN)
            selector.close()
            for wire in self:
                wire.close()

    def taken(self) -> bytes:
        """Return the numbers of the signals that have come."""
        with suppress(BlockingIOError):
            return self._heard.recv(4096)
        return b""
