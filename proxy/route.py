"""One entry of the option Routes: a host, its port and preference, as a value that the configuration can hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from config.errors import not_a
from config.nodes import String, Value, Word
from config.readers import Reader, Reading, Unreadable


@dataclass(frozen=True, slots=True)
class Route:
    """One way to an MTA behind: a host and its preference, lower first; `by_mx` asks for the exchangers of the name."""

    host: str
    port: int | None = None
    preference: int = 0
    by_mx: bool = False


_HINT = "write host, host:port or smtp://host?pref=10&port=25&type=mx"
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_NUMBER = re.compile(r"[0-9]{1,9}")


def _read_route(value: Value, _reading: Reading) -> Route:
    """Read `host`, `host:port`, or `smtp://host?pref=…&port=…&type=…`; `ttl` is accepted and has no effect here."""
    text = value.text if isinstance(value, Word | String) else ""
    route = _route(text)
    if route is None:
        raise Unreadable(not_a("a route", text, value.span, _HINT))
    return route


def _route(text: str) -> Route | None:
    """Return the route that a text means, None where it means none."""
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
        and host != "__mx__"
        and _HOST.fullmatch(host) is not None
    )
    return Route(host, port, int(asked.get("pref", 0)), by_mx=asked.get("type") == "mx") if sound else None


def _is_number(text: str | None) -> bool:
    return text is not None and _NUMBER.fullmatch(text) is not None


RouteValue = Annotated[Route, Reader(_read_route, "a route")]
