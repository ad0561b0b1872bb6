"""`Handshakes`: TLS handshakes of the page, counted and closed like other connections if they never finish.

asyncio would start any number of handshakes, keep each for a minute, and count none.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from proxy.base.tasks import TaskOwner, spawn

HANDSHAKE_SECONDS = 10.0


class Handshakes:
    """The event loop's thread owns it."""

    def __init__(self, context: ssl.SSLContext, then: Callable[[], Any]) -> None:
        """Hand each connection that speaks TLS to the protocol that `then` makes."""
        self._context, self._then = context, then
        self._owner = TaskOwner("handshakes")
        self.open = 0
        """How many are not finished."""

    def protocol(self) -> asyncio.Protocol:
        """Return what takes a new connection."""
        return _Beginning(self)

    def begin(self, transport: asyncio.Transport, beginning: _Beginning) -> None:
        """Begin TLS."""
        self.open += 1
        spawn(self._shake(transport, beginning), name="handshake", owner=self._owner)

    async def close(self) -> None:
        """End those that are not finished."""
        await self._owner.cancel()

    async def _shake(self, transport: asyncio.Transport, beginning: _Beginning) -> None:
        try:
            secure = await asyncio.get_running_loop().start_tls(
                transport, beginning, self._context, server_side=True, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except OSError:  # it speaks no TLS, is too slow, or has left
            secure = None
        finally:
            self.open -= 1
        if secure is None or beginning.is_over:
            transport.abort()
            return
        handler = self._then()
        secure.set_protocol(handler)
        handler.connection_made(secure)
        if beginning.early:
            handler.data_received(bytes(beginning.early))


class _Beginning(asyncio.Protocol):
    """A connection before TLS, and until its handler has it."""

    def __init__(self, handshakes: Handshakes) -> None:
        self._handshakes = handshakes
        self.early = bytearray()
        """Data that came together with the end of the handshake: at most one read."""
        self.is_over = False

    def connection_made(self, transport: Any) -> None:
        transport.pause_reading()
        self._handshakes.begin(transport, self)

    def data_received(self, octets: bytes) -> None:
        self.early += octets

    def connection_lost(self, _error: Exception | None) -> None:
        self.is_over = True
