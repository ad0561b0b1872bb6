"""The value types of options; `config.schema.readers` reads them from text.

An annotation names the type. The program gets a plain `float`, `int`, `Path` or one of the small frozen classes
below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, TypeAlias

from config.base.domains import normal_domain


class ValueKind(Enum):
    """Distinguishes value types that share a Python type."""

    SECONDS = auto()
    BYTES = auto()
    FILE_MODE = auto()
    NETWORK = auto()
    PATH = auto()
    LISTENERS = auto()


Seconds: TypeAlias = Annotated[float, ValueKind.SECONDS]
"""A duration in seconds: `25`, `30s`, `5m`, `2h`, `1d`; a bare number is seconds, as in Momentum."""

Bytes: TypeAlias = Annotated[int, ValueKind.BYTES]
"""A size in bytes: `1024`, `10K`, `25M`, `1G`, in steps of 1024."""

FileMode: TypeAlias = Annotated[int, ValueKind.FILE_MODE]
"""Permissions, written in octal: `0660`."""

Network: TypeAlias = Annotated[IPv4Network | IPv6Network, ValueKind.NETWORK]
"""An address or a CIDR block; a bare address is a block of one."""

ConfigPath: TypeAlias = Annotated[Path, ValueKind.PATH]
"""A path; a relative one starts at the folder of the file that contains it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host with an optional port: `127.0.0.1:5353`, `[::1]:53`, `mx.example.com`."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        """Return the endpoint as it would be written."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


class DomainPatterns:
    """Domains as `Relay_Domains` lists them: `example.com`, `*.example.com` (only below it), `*example.com` (its end).

    Letter case, a final dot, and U-labels or A-labels do not matter. Exact names and `*.` patterns cost one lookup per
    label, however many patterns there are; other patterns are compared one by one.
    """

    __slots__ = ("_endings", "_exact", "_parents", "patterns")

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Sort patterns by lookup method."""
        self.patterns = tuple(patterns)
        exact, parents, endings = set(), set(), []
        for pattern in self.patterns:
            if not pattern.startswith("*"):
                exact.add(normal_domain(pattern))
            elif pattern.startswith("*."):
                parents.add(normal_domain(pattern[2:]))
            else:
                endings.append(normal_domain(pattern[1:]))
        self._exact = frozenset(exact)
        self._parents = frozenset(parents)
        self._endings = tuple(endings)

    def matches(self, domain: str) -> bool:
        """Return whether a domain matches."""
        return self.holds(normal_domain(domain))

    def holds(self, name: str) -> bool:
        """Return whether a domain that is already normalized matches."""
        if name in self._exact or (self._endings and name.endswith(self._endings)):
            return True
        if self._parents:
            at = name.find(".")
            while at >= 0:
                if at and name[at + 1 :] in self._parents:
                    return True
                at = name.find(".", at + 1)
        return False

    def __iter__(self) -> Iterator[str]:
        """Iterate over the patterns as written."""
        return iter(self.patterns)

    def __len__(self) -> int:
        """Return how many patterns there are."""
        return len(self.patterns)

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self.patterns)

    def __eq__(self, other: object) -> bool:
        """Compare the patterns as written."""
        return isinstance(other, DomainPatterns) and self.patterns == other.patterns

    def __hash__(self) -> int:
        """Hash the patterns as written."""
        return hash(self.patterns)

    def __repr__(self) -> str:
        """Return the call that makes it."""
        return f"DomainPatterns({list(self.patterns)!r})"
