"""How many connections to make ahead, for the next sessions whose client must be announced, and sockets made ahead.

Such a session cannot share another client's connection, and would wait for the dialling. With XCLIENT, what is made
ahead is an ordinary unused connection, after EHLO. With PROXY headers it is a bare socket: the header comes first and
names the client. The next hop waits only some seconds for it (Postfix: 5), so a socket is closed after SOCKET_SECONDS.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from proxy.base.tasks import TaskOwner, spawn
from proxy.upstream.failures import RefusedUs, Unreachable
from proxy.upstream.upstream import ReadySocket

SOCKET_SECONDS = 3.0
MOST_AHEAD = 8
"""Connections made ahead to one next hop, at most. They take places of the pool."""


class Slots(Protocol):
    """The pool's slots: `proxy.upstream.slots.Slots`."""

    def take_free(self) -> bool:
        """Take a slot if one is free now."""
        ...

    async def lease(self) -> bool:
        """Return whether a slot that was just taken may be used."""
        ...

    def free(self) -> None:
        """Give a slot back."""
        ...


class Demand:
    """How many connections to have ahead: one more whenever two sessions in short succession found none.

    A next hop with little mail never gets a connection that is not used.
    """

    def __init__(self, name: str, slots: Slots, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start with none. `make` makes one and keeps it, in a slot that was taken for it."""
        self._name, self._slots, self._make = name, slots, make
        self._loop = asyncio.get_running_loop()
        self._missed: float | None = None
        self._makers = TaskOwner(f"ahead {name}")
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

    def meet(self, at_hand: int) -> None:
        """Begin to make what is missing, in free slots only."""
        for _ in range(self.wanted - self.making - at_hand):
            if not self._slots.take_free():
                return
            self.making += 1
            spawn(self._made(), name=f"ahead {self._name}", owner=self._makers)

    async def _made(self) -> None:
        try:
            if await self._slots.lease():
                await self._filled()
        finally:
            self.making -= 1

    async def _filled(self) -> None:
        try:
            await self._make()
        except BaseException as error:
            self._slots.free()
            if not isinstance(error, Unreachable | RefusedUs):  # these are logged; the next session tries itself
                raise

    async def close(self) -> None:
        """Make no more."""
        self.wanted = 0
        await self._makers.cancel()


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
