"""`Page`: the part of the control process that serves the page on sockets that are bound already."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from typing import Any

from aiohttp import web

from proxy.console.registry import Commands
from proxy.control.health import Health
from proxy.control.observers import Peer, Take
from proxy.control.web import SILENT, Closed
from proxy.history.sender import NUMBER
from proxy.history.settings import HistorySettings
from proxy.options.core import CoreOptions
from proxy.page.figures import Sampler
from proxy.page.guard import ROLE, Guard, allowed
from proxy.page.handshakes import Handshakes
from proxy.page.live import Live
from proxy.page.logins import Logins
from proxy.page.operating import Operating
from proxy.page.overview import Overview
from proxy.page.passes import Links, Passes
from proxy.page.rendering import Rendering, static_files
from proxy.page.routes import Role
from proxy.page.running import Ask, Running
from proxy.page.searching import Searching
from proxy.page.streams import Streams
from proxy.page.views import Views

MOST_CONNECTIONS = 64
"""Further ones are closed at once."""

LIFE_SECONDS = 60.0
"""How long a connection lives that sends no server-sent events."""

LONGEST_LINE = 4096
"""Octets of a request's line, of each field, and of a form."""


class Page:
    """Serves the page. The event loop's thread owns its state."""

    name = "page"

    def __init__(
        self, core: CoreOptions, health: Health, ask: Ask, commands: Commands, sockets: Sequence[socket.socket],
        history: HistorySettings, key: bytes,
    ) -> None:  # fmt: skip
        """Nothing is served before `start`. `key` signs the cookies of logins."""
        self._core, self._health, self._ask, self._commands, self._sockets = core, health, ask, commands, sockets
        self.live = Live()
        self._sampler = Sampler(health.watched)
        self._links = Links()
        self._searching = Searching(history)
        self._streams = Streams()
        names = {"localhost", core.hostname, socket.gethostname(), *core.web_hosts}
        self._guard = Guard(frozenset(each.lower() for each in names), core.web_plain_networks, Passes(key))
        self._servers: list[asyncio.Server] = []
        self._runner: web.AppRunner | None = None
        self._files = static_files()
        self._handshakes: list[Handshakes] = []
        self._lives: dict[Any, asyncio.TimerHandle] = {}

    async def start(self) -> None:
        """Serve all sockets."""
        self._sampler.start()
        self._runner = web.AppRunner(
            self._application(),
            access_log=None,
            logger=SILENT,
            keepalive_timeout=LIFE_SECONDS,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
        )
        await self._runner.setup()
        context = self._context()
        loop = asyncio.get_running_loop()
        for each in self._sockets:
            secure = None if _is_loopback(each) else context
            take = partial(self._protocol, None if secure is None else self._shaking(secure))
            self._servers.append(await loop.create_server(take, sock=each, backlog=MOST_CONNECTIONS))

    async def stop(self) -> None:
        """Serve nothing more."""
        for server in self._servers:
            server.close()
        self._streams.close()
        self._searching.close()
        for each in self._handshakes:
            await each.close()
        await self._sampler.stop()
        if self._runner is not None:
            await self._runner.cleanup()

    def beside(self, take: Take) -> Take:
        """Return what takes frames for the history, and shows the lines in them here."""

        def both(peer: Peer, content: bytes) -> None:
            take(peer, content)
            self.live.take(content[2 * NUMBER :])

        return both

    def link(self, role: Role) -> str:
        """Return a one-time link."""
        return f"{self.addresses[0]}/login/{self._links.make(role)}"

    @property
    def addresses(self) -> list[str]:
        """Where a browser on this machine finds it, without a final slash."""
        found = []
        for each in self._sockets:
            host, port = each.getsockname()[:2]
            secure = not _is_loopback(each) and self._core.web_tls_certificate is not None
            name = "localhost" if host in {"0.0.0.0", "::"} else f"[{host}]" if ":" in host else host  # noqa: S104 - compared
            found.append(f"http{'s' if secure else ''}://{name}:{port}")
        return found

    # ------------------------------------------------------------ connections

    def _context(self) -> ssl.SSLContext | None:
        certificate = self._core.web_tls_certificate
        if certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, self._core.web_tls_key or certificate)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _shaking(self, context: ssl.SSLContext) -> Handshakes:
        made = Handshakes(context, self._handler)
        self._handshakes.append(made)
        return made

    def _protocol(self, handshakes: Handshakes | None) -> asyncio.BaseProtocol:
        server = self._runner.server if self._runner is not None else None
        open_ = sum(each.open for each in self._handshakes)
        if server is None or len(server.connections) + open_ >= MOST_CONNECTIONS:
            return Closed()
        return self._handler() if handshakes is None else handshakes.protocol()

    def _handler(self) -> Any:
        """Return the HTTP protocol for a connection, with its time limit."""
        assert self._runner is not None  # noqa: S101 — a programmer's mistake
        assert self._runner.server is not None  # noqa: S101 — as above
        made = self._runner.server()
        self._limit(made)
        return made

    def _limit(self, protocol: Any) -> None:
        self._lives[protocol] = asyncio.get_running_loop().call_later(LIFE_SECONDS, self._end, protocol)

    def _end(self, protocol: Any) -> None:
        self._lives.pop(protocol, None)
        protocol.force_close()

    @web.middleware
    async def _connection(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Refuse clients elsewhere if there is no TLS."""
        if not request.secure and not self._guard.is_near(request.remote):
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=403)
        response: web.StreamResponse = await handler(request)
        return response

    @web.middleware
    async def _outliving(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Let the streams of those who are logged in outlive other connections, while they last."""
        timer = (
            self._lives.pop(request.protocol, None) if request.path.startswith("/stream/") and ROLE in request else None
        )
        if timer is not None:
            timer.cancel()
        try:
            response: web.StreamResponse = await handler(request)
        finally:
            if timer is not None:
                self._limit(request.protocol)
        return response

    # ------------------------------------------------------------ requests

    def _application(self) -> web.Application:
        core, rendering = self._core, Rendering()
        overview = Overview(self._sampler, self._health, self.live)
        views = Views(overview, Running(self._ask, self.live), self._searching, rendering, self._streams)
        operating = Operating(self._commands)
        logins = Logins.of(self._guard, self._links, rendering, core.web_password_file, core.web_role)
        middlewares = [self._connection, self._guard.watch, self._outliving, views.explain]
        application = web.Application(middlewares=middlewares, client_max_size=LONGEST_LINE)
        routes = application.router
        for path, handler in (
            ("/", views.home), ("/now", views.now), ("/live", views.live), ("/why", views.why),
            ("/session/{id}", views.session), ("/running/{id}", views.running),
            ("/stream/now", views.stream_now), ("/stream/live", views.stream_live),
            ("/login", logins.form), ("/login/{secret}", logins.follow), ("/static/{name}", self._static),
        ):  # fmt: skip
            routes.add_get(path, allowed(path, handler))
        for path, handler in (("/login", logins.enter), ("/logout", logins.leave), ("/operate", operating.carry_out)):
            routes.add_post(path, allowed(path, handler))
        return application

    async def _static(self, request: web.Request) -> web.Response:
        found = self._files.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        octets, kind = found
        return web.Response(body=octets, content_type=kind, charset="utf-8")


def _is_loopback(bound: socket.socket) -> bool:
    return ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback
