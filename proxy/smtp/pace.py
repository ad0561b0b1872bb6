"""Limits how slowly a client may send a message: octets received, against time spent waiting for it.

With a deadline for each block alone, a client that sends one byte per minute could stay forever. Only time in which we
wait for the client counts, because a slow next hop is not its fault.
"""

from __future__ import annotations

import asyncio
import math

from proxy.smtp.connection import ClientIdle, Connection

GRACE_SECONDS = 30.0
"""Seconds of waiting before a client's rate is judged, because a link may stall once."""


class Pace:
    """Waits for a client's next octets and counts them. Owned by the reader of one message."""

    __slots__ = ("_began", "_came", "_connection", "_ends", "_held", "_loop", "_rate", "_timeout", "_waited")

    def __init__(
        self,
        connection: Connection,
        block_timeout: float,
        octets_a_second: int,
        session_ends: float = math.inf,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Start counting. A timeout or rate of 0 means no limit; if both are 0, only the session's end applies."""
        self._connection, self._timeout, self._rate = connection, block_timeout, octets_a_second
        self._loop = loop or asyncio.get_running_loop()
        self._ends = session_ends
        self._waited = self._began = 0.0
        self._held = 0
        self._came = 0

    async def more(self) -> None:
        """Wait for octets beyond those in the buffer.

        Raises:
            ClientGone: the connection ended.
            ClientIdle: nothing came in time, or the client is too slow.
        """
        await self._connection.more(self.begin())
        self.end()

    def begin(self) -> float:
        """Begin to wait; return until when, by the loop's clock.

        Raises:
            ClientIdle: there is no time left.
        """
        self._began, self._held = self._loop.time(), len(self._connection.buffer)
        deadline = self._began + self._timeout if self._timeout else self._without_timeout(self._began)
        if deadline <= self._began:  # a client that never pauses would be read forever
            raise ClientIdle
        return deadline

    def end(self) -> None:
        """Octets have come: end the wait and count them.

        Raises:
            ClientIdle: the client is too slow.
        """
        self._waited += self._loop.time() - self._began
        self._came += len(self._connection.buffer) - self._held
        if self._rate and self._waited > GRACE_SECONDS and self._came < self._waited * self._rate:
            raise ClientIdle

    def _without_timeout(self, now: float) -> float:
        if self._rate:  # one second after a client that sends nothing more becomes too slow
            return now + max(GRACE_SECONDS, self._came / self._rate) - self._waited + 1.0
        return self._ends
