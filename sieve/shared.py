"""Protocols for what scripts share with other sessions and machines: counts, lists, datasources, message ids."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

T = TypeVar("T")

Soon: TypeAlias = "T | Coroutine[Any, Any, T]"
"""A result, or the coroutine that returns it. No result of a script's function is itself a coroutine."""


MOST_AMOUNT = 2**53 - 1
"""The largest sum of a series, positive or negative. Python, and Lua in Redis, both count exactly up to it."""


@dataclass(frozen=True, slots=True)
class SeriesName:
    """A series, with the seconds and the number of its windows: others with the same name are other series."""

    name: str
    interval: int
    number: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """What `inbound_audit` counts: `connect`, `reception` or `rejection`, in which windows, and where."""

    kind: str
    monitor: tuple[int, int]
    first: int = 0
    last: int = 0
    smooth: bool = False
    """The current window, and what the one before it weighs by the time that has passed."""
    cluster: bool = False
    """On all machines."""


class Duplicates(Protocol):
    """The messages that `duplicate` knows (RFC 7352)."""

    async def is_known(self, digest: str) -> bool:
        """Tell whether an ID was remembered and has not expired."""
        ...

    def remember(self, digests: Mapping[str, float]) -> None:
        """Remember IDs for these seconds, once the next hop has accepted the message."""
        ...

    async def renew(self, digest: str, seconds: float) -> None:
        """Keep a known ID for this many seconds from now."""
        ...


@dataclass(slots=True)
class Found:
    """The result of a query: rows of text, NULL as an empty one; a column may have several values.

    With an error, there are no rows. Not frozen, because each query makes one.
    """

    columns: tuple[str, ...] = ()
    rows: Sequence[tuple[str | tuple[str, ...], ...]] = ()
    error: str = ""


class Datasources(Protocol):
    """Databases and directories. A failed query is a result with an error; only an undeclared name raises."""

    def fetch(
        self, name: str, query: str, parameters: tuple[str, ...] | Mapping[str, str] | None
    ) -> Found | Awaitable[Found]:
        """Return what a query finds; a result that is at hand at once.

        Raises:
            ScriptError: there is no such datasource.
        """
        ...

    async def execute(self, name: str, query: str, parameters: tuple[str, ...] | Mapping[str, str] | None) -> Found:
        """Change something; the result has no rows.

        Raises:
            ScriptError: there is no such datasource.
        """
        ...


class Counters(Protocol):
    """What scripts count together with all workers, and maybe with other machines.

    A method raises ScriptError if the name is unknown, or if nothing can be counted now. Addresses have 4 or 16 octets.
    """

    def define_throttle(self, name: str, count: int, seconds: float, *, shared: bool) -> None:
        """Let a throttle permit `count` events in `seconds`. Nothing happens if there is one of this name."""
        ...

    def add_to_throttle(self, name: str, change: int, *, shared: bool) -> Soon[None]:
        """Count events."""
        ...

    def is_exceeded(self, name: str, *, shared: bool) -> Soon[bool]:
        """Return whether more than the permitted events were counted in the last seconds."""
        ...

    def reserve(self, name: str, patience: float, *, shared: bool) -> Soon[float | None]:
        """Count an event as soon as it is permitted; return in how many seconds that is.

        None if that is later than in `patience` seconds. Then nothing is counted.
        """
        ...

    def define_gauges(self, cache: str, most: int, lives: float) -> None:
        """Let a cache hold `most` gauges, each for `lives` seconds after its last change (0: for ever)."""
        ...

    def gauge(self, cache: str, key: str, change: int) -> Soon[int]:
        """Change a gauge, and return its value."""
        ...

    def add_to_series(self, series: SeriesName, address: bytes, amount: int, *, keep: bool) -> None:
        """Add to an address in the current window; with `keep`, for longer than until the next restart."""
        ...

    def series(self, series: SeriesName, address: bytes, mask: int, first: int, last: int) -> Soon[int]:
        """Sum up an address's network in these windows; 0 is the current one."""
        ...

    @property
    def monitors(self) -> Sequence[tuple[int, int]]:
        """Seconds and number of the windows that `inbound_audit` keeps."""
        ...

    def traffic(self, what: Traffic, address: bytes, mask: int) -> Soon[int]:
        """Return how much came from a network."""
        ...

    def connections(self, address: bytes, mask: int, *, listener: bool) -> Soon[int]:
        """Return how many connections a network has open, to this listener or to all of this machine's."""
        ...

    def cached(self, cache: str, key: str) -> Soon[str]:
        """Return a value that was kept, or an empty string."""
        ...

    def keep_cached(self, cache: str, key: str, value: str, lives: float) -> None:
        """Keep a value for `lives` seconds; 0: until there is no room."""
        ...


class ListDefinition(dict[str, str]):
    """What `define_cidr` says of a list, by its keys in lower case."""


class Lists(Protocol):
    """Lists of networks. An answer that is not possible is a ScriptError."""

    def define(self, given: ListDefinition) -> Coroutine[Any, Any, None] | None:
        """Define a list. What waits until it is loaded for the first time is returned if that takes time."""
        ...

    def holds(self, name: str, address: str) -> bool:
        """Tell whether an address is in a list."""
        ...

    def value(self, name: str, address: str) -> str:
        """Return the value of an address in a list."""
        ...

    def reason(self, name: str, address: str) -> str:
        """Return why an operator has listed an address; empty if it is not listed."""
        ...

    async def reload(self, name: str) -> None:
        """Load a list again."""
        ...
