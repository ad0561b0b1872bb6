"""Server-sent events: the parts of a view that have changed, to every browser that has it open.

A part is rendered once for all who may see it. A browser that does not read is cut off, so it costs at most what its
socket and one write hold.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from proxy.page import errors
from proxy.page.guard import HEADERS

MOST_VIEWERS = 16

TICK_SECONDS = 1.0

WRITE_SECONDS = 10.0
"""Longest wait for a browser that does not read."""

LIFE_SECONDS = 3600.0
"""A browser then connects again, with the login that it has by then."""

Parts = Mapping[str, str]
"""The id of an element → its new content."""


@dataclass(slots=True)
class View:
    """A view whose parts change. `stamp` says at little cost whether they may have changed."""

    stamp: Callable[[], object]
    render: Callable[[], Parts]
    ask: Callable[[], Awaitable[None]] | None = None
    """Asks the workers first, at most once a tick, however many look."""
    _asked: float = 0.0
    _known: object = None
    _parts: Parts = field(default_factory=dict)

    async def look(self) -> None:
        """Ask, if that is due."""
        now = time.monotonic()
        if self.ask is not None and now - self._asked >= TICK_SECONDS / 2:
            self._asked = now
            await self.ask()

    def parts(self) -> Parts:
        """Return the parts of now."""
        stamp = self.stamp()
        if stamp != self._known or not self._parts:
            self._parts, self._known = self.render(), stamp
        return self._parts


class Streams:
    """The event loop's thread owns it."""

    def __init__(self) -> None:
        self.viewers = 0
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End all streams."""
        self._closing.set()

    async def serve(self, request: web.Request, view: View) -> web.StreamResponse:
        """Send changes until the browser goes."""
        if self.viewers >= MOST_VIEWERS:
            return web.Response(status=503, text=errors.TOO_MANY_VIEWERS, headers={"Retry-After": "10"})
        self.viewers += 1
        try:
            return await self._send(request, view)
        finally:
            self.viewers -= 1

    async def _send(self, request: web.Request, view: View) -> web.StreamResponse:
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        await response.prepare(request)
        ends = asyncio.get_running_loop().time() + LIFE_SECONDS
        sent: dict[str, str] = {}
        while not self._closing.is_set() and asyncio.get_running_loop().time() < ends:
            await view.look()
            changed = {name: content for name, content in view.parts().items() if sent.get(name) != content}
            sent |= changed
            octets = f"data: {json.dumps(changed)}\n\n".encode() if changed else b": nothing new\n\n"
            try:
                async with asyncio.timeout(WRITE_SECONDS):
                    await response.write(octets)
            except (TimeoutError, OSError):
                if request.transport is not None:
                    request.transport.abort()
                break
            await self._pause()
        return response

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(TICK_SECONDS):
                await self._closing.wait()
        except TimeoutError:
            return
