"""One entry of the option Routes: a host, its port and preference, as a value that the configuration can hold."""

from __future__ import annotations

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


def _read_route(value: Value, _reading: Reading) -> Route:
    """Read `host`, `host:port`, or `smtp://host?pref=…&port=…&type=…`; `ttl` is accepted and has no effect here."""
    text = value.text if isinstance(value, Word | String) else ""
    scheme, _, rest = text.rpartition("://")
    parts = urlsplit(f"smtp://{rest}")
    asked = dict(parse_qsl(parts.query))
    known = asked.keys() <= {"pref", "ttl", "port", "type"} and scheme in {"", "smtp"}
    try:
        port = parts.port or (int(asked["port"]) if "port" in asked else None)
        route = Route(parts.hostname or "", port, int(asked.get("pref", 0)), by_mx=asked.get("type") == "mx")
    except ValueError:
        known = False
    if not known or not route.host or route.host == "__mx__":
        raise Unreadable(
            not_a("a route", text, value.span, "write host, host:port or smtp://host?pref=10&port=25&type=mx")
        )
    return route


RouteValue = Annotated[Route, Reader(_read_route, "a route")]
