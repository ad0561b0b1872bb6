"""Checks of listeners and next hops: unusable addresses and sockets, and next hops that loop back to us."""

from __future__ import annotations

import errno
import ipaddress
import socket
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from config.base.hosts import is_address
from config.diagnostics import Diagnostic, Note, Severity, Span
from config.scopes.listener import EVERY, Listener
from config.settings import Settings
from proxy.base.listening import comes_to_us
from proxy.checks.places import everywhere, origin_of, within
from proxy.options.core import CoreOptions
from proxy.options.names import wrong_with_name
from proxy.options.route import Route
from proxy.upstream.routes import Router

_ALL_OF = {EVERY: (4, 6), "0.0.0.0": (4,), "::": (6,)}  # noqa: S104 — for comparison only


class Way(NamedTuple):
    """A route to a next hop, with its port and where it is set."""

    route: Route
    port: int
    origin: Span | None


def addresses(settings: Settings) -> Iterator[Diagnostic]:
    """Yield problems with addresses and sockets that show without asking the network."""
    core = cast(CoreOptions, settings.core)
    yield from _own_name(core, settings)
    yield from _listeners(core.esmtp_listener, settings.core_origin("esmtp_listener"))
    yield from _sockets(settings)
    yield from _sources(settings)
    for way in ways(settings):
        if not way.route.is_socket and is_address(way.route.host):
            yield from loops(way, [way.route.host], core.esmtp_listener)


def ways(settings: Settings) -> Iterator[Way]:
    """Yield every route to a next hop, including routes for domains given as regular expressions."""
    seen: set[tuple[Route, int]] = set()
    for upstream in Router(settings).named():
        for route in upstream.routes:
            if (route, upstream.port(route)) not in seen:
                seen.add((route, upstream.port(route)))
                yield Way(route, upstream.port(route), _origin(settings, route))
    for place in settings.scopes.places:
        own = settings.scopes.at(place)
        port = own["remote_smtp_port"].value if "remote_smtp_port" in own else None
        for option in ("gateway", "routes"):
            for route in _routes(own[option].value) if option in own else ():
                core = cast(CoreOptions, settings.core)
                at = route.port or cast(int | None, port) or core.remote_smtp_port
                if (route, at) not in seen:
                    seen.add((route, at))
                    yield Way(route, at, own[option].origin)


def loops(way: Way, addresses: Sequence[str], listeners: Sequence[Listener]) -> Iterator[Diagnostic]:
    """Yield that a route leads to one of our own listeners: each session would open another, endlessly."""
    for address in addresses:
        listener = comes_to_us(address, way.port, listeners)
        if listener is not None:
            said = str(way.route) if str(way.route) in (way.origin.text if way.origin else "") else way.route.host
            resolved = "" if address == way.route.host else f" ({address})"
            notes = (Note("this listener", listener.span),) if listener.span is not None else ()
            yield Diagnostic(
                f"the next hop {way.route.host}:{way.port}{resolved} is our own listener",
                within(way.origin, said),
                hint="write the address and port of the next hop; Remote_SMTP_Port sets the port",
                notes=notes,
            )
            return


def _origin(settings: Settings, route: Route) -> Span | None:
    found = origin_of(settings, "gateway", route)
    if found is not None:
        return found
    return next((each.origin for each in everywhere(settings, "routes") if route in _routes(each.value)), None)


def _routes(value: object) -> tuple[Route, ...]:
    return (value,) if isinstance(value, Route) else cast(tuple[Route, ...], value or ())


def _own_name(core: CoreOptions, settings: Settings) -> Iterator[Diagnostic]:
    """Yield that Hostname is not set and the machine's own name is not usable in SMTP."""
    if settings.core_origin("hostname") is None and (wrong := wrong_with_name(core.hostname)) is not None:
        yield Diagnostic(
            f"this machine's own name, `{core.hostname}`, is not accepted by all MTAs",
            None,
            hint='set Hostname, such as Hostname = "mx.example.com"',
            severity=wrong[1],
        )


def _listeners(listeners: Sequence[Listener], origin: Span | None) -> Iterator[Diagnostic]:
    enabled = [listener for listener in listeners if listener.enabled]
    if not enabled:
        span = listeners[0].span if listeners else origin
        yield Diagnostic("no listener is enabled", span, hint="write ESMTP_Listener = ( *:25 )")
    taken: dict[tuple[int, str, int], Listener] = {}
    for listener in enabled:
        for version, address in _means(listener):
            first = taken.setdefault((version, address, listener.port), listener)
            if first is not listener and listener.port:
                notes = (Note("first listener is here", first.span),) if first.span is not None else ()
                yield Diagnostic(f"{first} already listens on {listener}", listener.span, "remove one", notes=notes)
                break
        if is_address(listener.address) and not listener.floats and not _is_here(listener.address):
            yield Diagnostic(
                f"cannot listen on {listener.address}: this machine does not have this address",
                listener.span,
                hint="write one that `ip address` lists, or * for all",
                severity=Severity.WARNING,
            )


def _means(listener: Listener) -> Iterator[tuple[int, str]]:
    """Yield the addresses that a listener binds, normalized, with their IP version."""
    for version in _ALL_OF.get(listener.address, ()):
        yield version, EVERY
    if listener.address not in _ALL_OF and is_address(listener.address):
        address = ipaddress.ip_address(listener.address)
        yield address.version, str(address)


def _is_here(address: str) -> bool:
    """Whether an address can be bound. Binding a datagram socket to port 0 shows it and sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((address, 0))
    except OSError as error:
        return error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
    return True


def _sources(settings: Settings) -> Iterator[Diagnostic]:
    """Warn about source addresses that this machine does not have: mail from them is deferred."""
    seen: set[str] = set()
    for setting in everywhere(settings, "bind_address"):
        for address in cast(tuple[str, ...], setting.value):
            if address not in seen and not _is_here(address):
                seen.add(address)
                yield Diagnostic(
                    f"cannot connect from {address}: this machine does not have this address",
                    setting.origin,
                    hint="write one that `ip address` lists",
                    severity=Severity.WARNING,
                )


def _sockets(settings: Settings) -> Iterator[Diagnostic]:
    """Warn about missing Unix sockets. No error, because the next hop may start later."""
    seen: set[str] = set()
    for option in ("gateway", "routes"):
        for setting in everywhere(settings, option):
            for route in _routes(setting.value):
                if route.is_socket and route.host not in seen and (missing := _missing(Path(route.host))):
                    seen.add(route.host)
                    yield Diagnostic(
                        f"{route.host} {missing}: mail for it is deferred",
                        setting.origin,
                        hint="start the next-hop server; this user needs access to the folder",
                        severity=Severity.WARNING,
                    )


def _missing(path: Path) -> str:
    """Return why there is no usable socket at a path; empty if there is one."""
    try:
        return "" if stat.S_ISSOCK(path.stat().st_mode) else "is not a socket"
    except OSError as error:
        return f"cannot be used ({error.strerror})"
