"""The schemes of stores' URLs, and what each leads to. What opens them, shows them and counts them reads this table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Scheme = Literal["memory", "sqlite", "redis", "rediss", "unix"]
Kind = Literal["memory", "sqlite", "redis"]
"""The kinds of stores. If a `match` lacks one, mypy finds that."""


@dataclass(frozen=True, slots=True)
class Way:
    """What a scheme of URLs leads to."""

    kind: Kind
    place: Literal["process", "file", "socket", "host"]
    """What the rest of the URL names."""
    written: str
    """How an operator writes such a URL."""
    for_machines: bool = True
    """Whether several machines may use it."""


SCHEMES: Mapping[Scheme, Way] = {
    "memory": Way("memory", "process", "memory", for_machines=False),
    "sqlite": Way("sqlite", "file", "sqlite:///absolute/path.db", for_machines=False),
    "redis": Way("redis", "host", "redis://host:6379/0"),
    "rediss": Way("redis", "host", "rediss://host:6379/0"),
    "unix": Way("redis", "socket", "unix:///path/socket"),
}
"""Every scheme. `parse_store_url` refuses others."""

KINDS: Sequence[Kind] = list(dict.fromkeys([each.kind for each in SCHEMES.values() if each.place != "process"]))
"""The kinds of stores outside a process."""
