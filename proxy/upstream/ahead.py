"""How many connections to make ahead, for the next sessions whose client must be announced, and sockets made ahead.

Such a session cannot share another client's connection, and would wait for the dialling. With XCLIENT, what is made
ahead is an ordinary unused connection, after EHLO. With PROXY headers it is a bare socket: the header comes first and
names the client. The next hop waits only some seconds for it (Postfix: 5), so a socket is closed after SOCKET_SECONDS.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

from proxy.upstream.upstream import ReadySocket

SOCKET_SECONDS = 3.0
MOST_AHEAD = 8
"""Connections made ahead to one next hop, at most. They take places of the pool."""


class Demand:
    """How many connections to have ahead: one more whenever two sessions in short succession found none.

    A next hop with little mail never gets a connection that is not used.
    """

    __slots__ = ("_loop", "_missed", "making", "wanted")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start with none."""
        self._loop = loop
        self._missed: float | None = None
        self.wanted = 0
        self.making = 0
        """Those being made."""

    def missed(self) -> None:
        """A session found none."""
        now = self._loop.time()
        if self._missed is not None and now - self._missed <= SOCKET_SECONDS:
            self.wanted = min(self.wanted + 1, MOST_AHEAD)
        self._missed = now

    def unused(self) -> None:
        """One was closed that no session had taken."""
        self.wanted = max(self.wanted - 1, 0)


class ReadySockets:
    """The sockets of one pool that are ready. Each has a place of the pool."""

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        """Call `expired` for each socket that was closed because no session took it in time."""
        self._loop, self._expired = loop, expired
        self._ready: deque[tuple[ReadySocket, asyncio.TimerHandle]] = deque()

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, ready: ReadySocket) -> None:
        """Keep a socket for SOCKET_SECONDS."""
        self._ready.append((ready, self._loop.call_later(SOCKET_SECONDS, self.end_oldest)))

    def pop(self) -> ReadySocket | None:
        """Return the socket that was made last, if the next hop has not closed it."""
        while self._ready:
            ready, timer = self._ready.pop()
            timer.cancel()
            if _is_open(ready.sock):
                return ready
            ready.sock.close()
            self._expired()
        return None

    def end_oldest(self) -> None:
        """Close the socket that was made first."""
        ready, timer = self._ready.popleft()
        timer.cancel()
        ready.sock.close()
        self._expired()


def _is_open(sock: socket.socket) -> bool:
    """Whether the peer has neither closed nor said anything, which it must not do before the header."""
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
