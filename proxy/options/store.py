"""A store's URL, as a configuration value: `memory`, `sqlite:///…`, `redis://…`, `rediss://…`, `unix://…`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Annotated, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from config.errors import not_a
from config.language.nodes import String, Value, Word
from config.masking import MASK, masked
from config.schema.readers import ReadContext, Unreadable, ValueReader
from proxy.options.schemes import SCHEMES, Kind, Scheme

_REDIS_PORT = 6379
_HERE = frozenset({"file", "socket"})
_DATABASE = re.compile(r"/?(\d{0,5})")
_WRITTEN = [each.written for each in SCHEMES.values()]
_HINT = f"write {', '.join(_WRITTEN[:-1])} or {_WRITTEN[-1]}"


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A store's location. `path` is SQLite's file or Redis's socket; `authorities` is a PEM file for `rediss`."""

    scheme: Scheme = "memory"
    path: str = ""
    host: str = ""
    port: int = _REDIS_PORT
    database: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    authorities: str = ""

    def __str__(self) -> str:
        """Return the URL without its password, for logs and the operator's screen."""
        if self.place == "process":
            return self.scheme
        login = f"{self.user}{':***' if self.password else ''}@" if self.user or self.password else ""
        if self.place in _HERE:
            return f"{self.scheme}://{login}{self.path}" + (f"?db={self.database}" if self.database else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        query = f"?authorities={self.authorities}" if self.authorities else ""
        return f"{self.scheme}://{login}{host}:{self.port}/{self.database}{query}"

    @property
    def kind(self) -> Kind:
        """What serves it."""
        return SCHEMES[self.scheme].kind

    @property
    def place(self) -> str:
        """What it names: `process` (this one's memory), `file`, `socket` or `host`."""
        return SCHEMES[self.scheme].place

    @property
    def is_for_machines(self) -> bool:
        """Whether several machines may use it."""
        return SCHEMES[self.scheme].for_machines


MEMORY = StoreUrl()


def parse_store_url(text: str) -> StoreUrl:
    """Parse a store's URL.

    Raises:
        ValueError: it is not a valid URL.
    """
    if text.lower() == "memory":
        return MEMORY
    parts = urlsplit(text)
    scheme, query = parts.scheme, dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    if scheme not in SCHEMES or scheme == MEMORY.scheme or parts.fragment:
        raise ValueError(text)
    url = StoreUrl(
        scheme=cast(Scheme, scheme), user=unquote(parts.username or ""), password=unquote(parts.password or "")
    )
    url = _on_this_machine(url, parts, query) if url.place in _HERE else _elsewhere(url, parts, query)
    if query or (url.place == "file" and (url.user or url.password)):
        raise ValueError(text)
    return url


def _on_this_machine(url: StoreUrl, parts: SplitResult, query: dict[str, str]) -> StoreUrl:
    path = "/" + unquote(parts.path).lstrip("/")  # sqlite:////path, as some write it, is the same path
    if parts.hostname or path.endswith("/") or "\0" in path:
        raise ValueError(parts.path)
    return replace(url, path=path, database=_database(query.pop("db", "")) if url.place == "socket" else 0)


def _elsewhere(url: StoreUrl, parts: SplitResult, query: dict[str, str]) -> StoreUrl:
    if not parts.hostname or parts.port == 0:
        raise ValueError(parts.netloc)
    authorities = query.pop("authorities", "") if url.scheme == "rediss" else ""
    return replace(
        url,
        host=parts.hostname,
        port=parts.port or _REDIS_PORT,
        database=_database(parts.path),
        authorities=authorities,
    )


def _database(text: str) -> int:
    found = _DATABASE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return int(found[1] or 0)


def _read(value: Value, _reading: ReadContext) -> StoreUrl:
    text = value.text if isinstance(value, Word | String) else ""
    try:
        return parse_store_url(text)
    except ValueError:
        raise Unreadable(not_a("a store", _without_password(text), value.span, _HINT)) from None


def _without_password(text: str) -> str:
    """Return what may be shown of a text that is no URL of ours: without `://` any part of it may be a password."""
    return masked(text) if "://" in text else MASK


StoreValue = Annotated[StoreUrl, ValueReader(_read, "a store's URL", write=lambda value: f'"{value}"')]
