"""`Web`: /metrics, /healthz and /readyz over HTTP, on sockets that are bound already.

Requests are cheap and bounded: the size of the head, the number of connections, and how long each lives. A
stranger's page in a visitor's browser cannot read it under another name (DNS rebinding): such a Host is refused.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from proxy.base.log import get_logger, printable
from proxy.control.exposition import Exposition
from proxy.control.health import Health
from proxy.control.hosts import is_ours

MOST_CONNECTIONS = 64
"""Further ones are closed at once."""

LIFE_SECONDS = 60.0
"""How long a connection lives, whatever its client does."""

LONGEST_LINE = 4096
"""Octets of a request's line, and of each field."""

_LEAST_PACKED = 1024

SILENT = logging.getLogger("proxy.control.aiohttp")
SILENT.disabled = True
"""aiohttp would log what strangers send; we log our own failures."""

log = get_logger()

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Web:
    """A part of the control process. The event loop's thread owns its state."""

    name = "web"

    def __init__(
        self, sockets: Sequence[socket.socket], exposition: Exposition, health: Health, hosts: frozenset[str]
    ) -> None:
        """`hosts` are the names, in lower case, by which clients may reach it besides addresses."""
        self._sockets, self._exposition, self._health, self._hosts = sockets, exposition, health, hosts
        self._servers: list[asyncio.Server] = []
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Serve all sockets."""
        application = web.Application(middlewares=[self._guarded], client_max_size=LONGEST_LINE)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            logger=SILENT,
            keepalive_timeout=LIFE_SECONDS,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
        )
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        for each in self._sockets:
            self._servers.append(await loop.create_server(self._protocol, sock=each, backlog=MOST_CONNECTIONS))

    async def stop(self) -> None:
        """Serve nothing more."""
        for server in self._servers:
            server.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def _protocol(self) -> asyncio.BaseProtocol:
        server = self._runner.server if self._runner is not None else None
        if server is None or len(server.connections) >= MOST_CONNECTIONS:
            return Closed()
        made = server()
        asyncio.get_running_loop().call_later(LIFE_SECONDS, made.force_close)
        return made

    # ------------------------------------------------------------ requests

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse a Host that is neither an address nor one of our names, and forbid caching."""
        if not is_ours(request.host, self._hosts):
            raise web.HTTPForbidden(text="This Host is not known here; add it to Metrics_Hosts.\n")
        try:
            response = await handler(request)
        except web.HTTPException:
            raise
        except Exception as error:
            log.error("page_failed", path=printable(request.path), exc_info=error)
            raise web.HTTPInternalServerError(text="It failed; the log says why.\n") from None
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = _encoder(request.headers.get("Accept", ""))
        strict = content_type.startswith("application/openmetrics-text")
        return _answered(
            request, encode(self._exposition.as_openmetrics() if strict else self._exposition), content_type
        )

    async def _healthz(self, _request: web.Request) -> web.Response:
        lives = self._health.lives
        body = {"alive": lives, "silent_seconds": round(self._health.silent_seconds, 1)}
        return web.json_response(body, status=200 if lives else 503)

    async def _readyz(self, request: web.Request) -> web.Response:
        answer = self._health.answer(strict=request.query.get("strict", "0") not in {"", "0"})
        return web.json_response(answer, status=200 if answer["ready"] else 503)


def _encoder(accepted: str) -> tuple[Callable[..., bytes], str]:
    """Return the format that a client prefers; the usual one if it writes a version that is not a number."""
    try:
        return choose_encoder(accepted)
    except (TypeError, ValueError):
        return choose_encoder("")


def _answered(request: web.Request, body: bytes, content_type: str) -> web.Response:
    headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    if len(body) >= _LEAST_PACKED and "gzip" in request.headers.get("Accept-Encoding", "").lower():
        body, headers["Content-Encoding"] = gzip.compress(body, 1, mtime=0), "gzip"
    return web.Response(body=body, headers=headers)


class Closed(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: Any) -> None:
        transport.abort()
