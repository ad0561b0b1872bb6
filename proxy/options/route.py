"""Routes to a next hop as option values: Gateway, and the entries of Routes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, cast
from urllib.parse import parse_qsl, urlsplit

from config.base.hosts import what_to_write
from config.errors import not_a, value_not_acted_on
from config.language.nodes import String, Value, Word
from config.schema.readers import NotOurs, ReadContext, Unreadable, ValueReader, reader_for
from config.schema.values import Endpoint


@dataclass(frozen=True, slots=True)
class Route:
    """A route to a next hop: host and preference (lower first). `by_mx` looks up the MX records of the host."""

    host: str
    port: int | None = None
    preference: int = 0
    by_mx: bool = False
    is_socket: bool = False
    """`host` is the path of a Unix socket. Scripts name hosts and must not reach a socket."""

    def __str__(self) -> str:
        asked = [f"pref={self.preference}"] if self.preference else []
        asked += ["type=mx"] if self.by_mx else []
        scheme = "unix:" if self.is_socket else "smtp://" if asked else ""
        where = self.host if self.is_socket else str(Endpoint(self.host, self.port))
        return f"{scheme}{where}{'?' if asked else ''}{'&'.join(asked)}"


_FOREIGN = frozenset({"apn", "ecstream", "gcm", "mm7", "smpp", "xfer", "xmpp"})
"""Schemes of Momentum's routes that are not SMTP."""

_BY_RECIPIENT = "__mx__"
"""Momentum's route to the exchangers of the recipient's domain; Ringback has a next hop instead."""

_HINT = "write host, host:port, smtp://host?pref=10&port=25&type=mx, or unix:/path?pref=10"
_SOCKET_HINT = "write the whole path, such as unix:/run/dovecot/lmtp"
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_NUMBER = re.compile(r"[0-9]{1,9}")
_SOCKET = re.compile(r"unix:(?://)?(/[^?]*[^?/])(?:\?pref=([0-9]{1,9}))?")
_LONGEST_PATH = 107
"""Octets, by the size of sun_path (unix(7))."""


def _read_route(value: Value, reading: ReadContext) -> Route:
    """Read `host`, `host:port`, `smtp://host?pref=…&port=…&type=…` or `unix:/path?pref=…`; `ttl` has no effect here."""
    text = value.text if isinstance(value, Word | String) else ""
    if text == _BY_RECIPIENT or ("://" in text and text.partition("://")[0].lower() in _FOREIGN):
        raise NotOurs(value_not_acted_on(reading.name, text, value.span))
    route = _socket(text) if text.startswith("unix:") else _route(text)
    if route is None:
        raise Unreadable(not_a("a route", text, value.span, _HINT))
    return route


def _read_gateway(value: Value, reading: ReadContext) -> Route:
    """Read a host, optionally with a port, or `unix:/path`."""
    if isinstance(value, Word | String) and value.text.startswith("unix:"):
        route = _socket(value.text)
        if route is None or route.preference:
            raise Unreadable(not_a("a Unix socket", value.text, value.span, _SOCKET_HINT))
        return route
    host = cast(Endpoint, reader_for(Endpoint).read(value, reading))
    return Route(host.host, host.port)


def _socket(text: str) -> Route | None:
    found = _SOCKET.fullmatch(text)
    if found is None or len(found[1].encode()) > _LONGEST_PATH or "\0" in text:
        return None
    return Route(found[1], preference=int(found[2] or 0), is_socket=True)


def _route(text: str) -> Route | None:
    """Return the route in `text`, or None if it is not a route."""
    scheme, _, rest = text.rpartition("://")
    try:
        parts = urlsplit(f"smtp://{rest}")
        asked = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        own_port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    port = own_port if own_port is not None else int(asked["port"]) if _is_number(asked.get("port")) else None
    sound = (
        scheme in {"", "smtp"}
        and asked.keys() <= {"pref", "ttl", "port", "type"}
        and all(_is_number(asked[name]) for name in ("pref", "ttl", "port") if name in asked)
        and asked.get("type", "a") in {"a", "mx"}
        and (port is None or 1 <= port <= 65535)
        and "@" not in parts.netloc
        and not (parts.path or parts.fragment)
        and host != _BY_RECIPIENT
        and _HOST.fullmatch(host) is not None
        and what_to_write(host) is None
    )
    return Route(host, port, int(asked.get("pref", 0)), by_mx=asked.get("type") == "mx") if sound else None


def _is_number(text: str | None) -> bool:
    return text is not None and _NUMBER.fullmatch(text) is not None


RouteValue = Annotated[Route, ValueReader(_read_route, "a route")]
GatewayValue = Annotated[Route, ValueReader(_read_gateway, "a host, or unix:/path")]
