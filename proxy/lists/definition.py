"""`Definition`: what `define_cidr` says of a list: where it comes from, and how it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import parse_qs

Result: TypeAlias = "tuple[Sequence[str], Sequence[Sequence[object]]]"
"""The names of the columns, and the rows."""

Rows: TypeAlias = Callable[[str, str], Awaitable[Result]]
"""Returns what a query to a datasource finds. Raises NoRows."""

DEFAULT_REFRESH = 1800.0
"""Seconds, in the form with a hash."""

LONGEST_NAME = 64
_KEYS = frozenset(
    {
        "cidrname", "dstype", "cachename", "query", "type", "refresh", "cidr_column", "value_column", "default_value",
        "interpolate", "optimize",
    }
)  # fmt: skip
_TRUE = frozenset({"true", "1", "yes", "on"})


class NoRows(Exception):
    """A datasource has no answer; the text says why."""


class Undefined(Exception):
    """A definition makes no sense; the text says why, and what to write."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One list. Equal definitions are one list."""

    name: str
    file: str = ""
    """An rbldnsd file, or empty for a datasource."""
    want: str = "a"
    """Which value of the file's lines: `a` or `txt`."""
    cache: str = ""
    query: str = ""
    has_values: bool = False
    refresh: float = 0.0
    """Seconds; 0 only loads it again on demand."""
    network_column: str = ""
    value_column: str = ""
    default: str = ""
    interpolates: bool = False

    @property
    def key(self) -> str:
        """Return the name of its table's file: the same for lists with the same content."""
        source = "\0".join(
            (self.file, self.want, self.cache, self.query, str(self.has_values), self.network_column, self.value_column)
        )
        return hashlib.sha256(source.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def by_query(name: str, cache: str, query: str, refresh: float = 0.0) -> Definition:
    """Return a list of networks from a datasource.

    Raises:
        Undefined: it makes no sense.
    """
    return _checked(Definition(name, cache=cache, query=query, refresh=refresh))


def by_hash(given: Mapping[str, str]) -> Definition:
    """Return the list that a hash defines.

    Raises:
        Undefined: it makes no sense.
    """
    unknown = sorted(given.keys() - _KEYS)
    if unknown:
        raise Undefined(f"define_cidr has no key {unknown[0][:40]!r}; the keys are {', '.join(sorted(_KEYS))}")
    kind, source = given.get("type", "boolean").lower(), given.get("dstype", "dslayer").lower()
    if kind not in {"boolean", "value"}:
        raise Undefined(f"type {kind[:40]!r} of a list: write boolean or value")
    if source not in {"dslayer", "rbldnsd"}:
        raise Undefined(f"dstype {source[:40]!r} of a list: write rbldnsd or dslayer")
    query = given.get("query", "")
    file, want = _file(query) if source == "rbldnsd" else ("", "a")
    return _checked(
        Definition(
            name=given.get("cidrname", ""),
            file=file,
            want=want,
            cache="" if file else given.get("cachename", ""),
            query="" if file else query,
            has_values=kind == "value",
            refresh=_seconds(given.get("refresh", "")),
            network_column=given.get("cidr_column", "") if not file else "",
            value_column=given.get("value_column", "") if not file else "",
            default=given.get("default_value", ""),
            interpolates=given.get("interpolate", "").lower() in _TRUE,
        )
    )


def _file(query: str) -> tuple[str, str]:
    path, _, asked = query.partition("?")
    want = parse_qs(asked).get("want", [""])[0].lower()
    if want not in {"a", "txt"}:
        raise Undefined(f"the query {query[:80]!r} of an rbldnsd list needs ?want=a or ?want=txt after the file")
    if not path.startswith("/") or "\0" in path:
        raise Undefined(f"the query {query[:80]!r} of an rbldnsd list needs the whole path of a file")
    return path, want


def _seconds(text: str) -> float:
    if not text:
        return DEFAULT_REFRESH
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 10**8:
        raise Undefined(f"refresh {text[:40]!r} of a list: write seconds, or 0 to load it only on demand")
    return seconds


def _checked(definition: Definition) -> Definition:
    if not definition.name or len(definition.name) > LONGEST_NAME:
        raise Undefined(f"a list needs a name of at most {LONGEST_NAME} characters")
    if not definition.file and not (definition.cache and definition.query):
        raise Undefined(f"list {definition.name!r} needs a datasource's cache and a query")
    return definition


def places(definition: Definition, names: Sequence[str]) -> list[int]:
    """Return the places of the network and the value in a row. A column is named, or numbered from 0.

    By default they are the first two.

    Raises:
        NoRows: there is no such column.
    """
    if not names:
        return []
    found = [_column(definition.network_column, names, 0)]
    if definition.has_values:
        found.append(_column(definition.value_column, names, 1 if len(names) > 1 else 0))
    return found


def _column(wanted: str, names: Sequence[str], usual: int) -> int:
    if not wanted:
        return usual
    lowered = [name.lower() for name in names]
    if wanted.lower() in lowered:
        return lowered.index(wanted.lower())
    if wanted.isascii() and wanted.isdigit() and int(wanted) < len(names):
        return int(wanted)
    raise NoRows(f"the rows have no column {wanted[:40]!r}: they have {', '.join(names)[:200]}")
