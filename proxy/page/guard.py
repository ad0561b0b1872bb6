"""`Guard`: checks every request before its handler runs: Host, Origin, the client's address, and the cookie."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TypeAlias

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage

from proxy.base.log import get_logger, printable
from proxy.control.hosts import is_ours
from proxy.page import errors
from proxy.page.passes import PASS_SECONDS, Passes
from proxy.page.routes import PATHS, PUBLIC, Role

log = get_logger()

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
Network: TypeAlias = IPv4Network | IPv6Network

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""With `Referrer-Policy: no-referrer`, browsers would send `Origin: null` with our own forms (Fetch, 3.2)."""

ROLE = web.RequestKey("role", Role)
"""What the request's login allows; handlers find it in the request."""


def view_of(request: web.Request) -> str:
    """Return the first part of a path; `OPTIONS *` has no slash."""
    return request.path.removeprefix("/").partition("/")[0]


def allowed(path: str, handler: Handler) -> Handler:
    """Return a handler that refuses those whose role may not see a path of the table."""
    least = PATHS[path].role
    if least is None:
        return handler

    async def checked(request: web.Request) -> web.StreamResponse:
        if request[ROLE] < least:
            raise web.HTTPForbidden
        return await handler(request)

    return checked


async def form_of(request: web.Request) -> Mapping[str, object]:
    """Return the fields of a form.

    Raises:
        web.HTTPBadRequest: it cannot be read. That is the client's fault, and no failure for the log.
    """
    try:
        return await request.post()
    except (ValueError, LookupError, AssertionError, RuntimeError, BadHttpMessage):
        raise web.HTTPBadRequest(text=errors.BAD_FORM) from None


@dataclass(frozen=True, slots=True)
class Guard:
    """Knows who may ask."""

    names: frozenset[str]
    """Hosts besides addresses, in lower case."""
    near: Sequence[Network]
    """Networks that count as loopback."""
    passes: Passes

    def is_near(self, client: str | None) -> bool:
        """Return whether a client is on this machine, or on a network that counts as it."""
        try:
            address = ip_address((client or "").partition("%")[0])
        except ValueError:
            return False
        plain = getattr(address, "ipv4_mapped", None) or address
        return plain.is_loopback or any(plain in network for network in self.near)

    @web.middleware
    async def watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what no page of ours asks, and add the headers that every answer has."""
        response = self._refused(request)
        if response is None:
            try:
                response = await handler(request)
            except web.HTTPException as raised:
                raised.headers.update(HEADERS)
                raise
            except Exception as error:
                log.error("page_failed", path=printable(request.path), exc_info=error)
                response = web.Response(status=500, text=errors.FAILED)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _refused(self, request: web.Request) -> web.StreamResponse | None:
        if not is_ours(request.host, self.names):
            return web.Response(status=403, text=errors.UNKNOWN_HOST)
        if not _is_same_origin(request):
            return web.Response(status=403, text=errors.OTHER_ORIGIN)
        role = self.passes.role_of(request.cookies.get(cookie_name(request), ""))
        if role is not None:
            request[ROLE] = role
        elif view_of(request) not in PUBLIC:
            if view_of(request) == "stream":
                return web.Response(status=401)
            return web.Response(status=303, headers={"Location": "/login"})
        return None

    def admit(self, request: web.Request, response: web.Response, role: Role) -> None:
        """Give a browser its cookie."""
        response.set_cookie(
            cookie_name(request), self.passes.issue(role), max_age=PASS_SECONDS, path="/", httponly=True,
            samesite="Strict", secure=request.secure,
        )  # fmt: skip


def cookie_name(request: web.Request) -> str:
    """Return a name for each port, because browsers send cookies to all ports of a host."""
    socket = request.transport.get_extra_info("sockname") if request.transport is not None else None
    port = socket[1] if isinstance(socket, tuple) else 0
    return f"__Host-ringback-{port}" if request.secure else f"ringback-{port}"


def _is_same_origin(request: web.Request) -> bool:
    """Return whether a page of ours asks, or a person who typed the address or followed a link."""
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "none")
    if origin is not None:
        same = origin.partition("://")[2] == request.host and site == "same-origin"  # a proxy before us speaks TLS
        return same or origin == f"{request.scheme}://{request.host}"
    if request.method not in {"GET", "HEAD"}:
        return False
    return site in {"none", "same-origin"} or request.headers.get("Sec-Fetch-Mode") == "navigate"
