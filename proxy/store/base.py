"""The interface of every store, and its one exception."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.options.throttle import Throttle

MOST_SCANNED = 1000
"""Most entries that one `scan` returns, unless told otherwise."""


class StoreUnavailable(Exception):
    """The store could not be reached, or did not answer in time; a change may or may not have happened."""

    def __init__(self, reason: str) -> None:
        """`reason` is for the log."""
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry's value and expiry: seconds since the epoch, by the clock of the machine that stored it."""

    value: bytes
    expires_at: float


Taking = tuple[str, Throttle, int]
"""A bucket's key, its limit, and the tokens to take."""


class Untouched:
    """For how long no other process has written to a store: what this process knows from that time still holds.

    Times are of the clock for waiting. The store writes them; a store that cannot know leaves them as they are.
    """

    __slots__ = ("since", "until")

    def __init__(self) -> None:
        """Know nothing."""
        self.since = math.inf
        self.until = 0.0
        """After this time, it may be otherwise."""


class Store(Protocol):
    """Entries, buckets and locks, each with separate keys. Keys may contain undecodable text from strangers.

    If the store is unusable, every method raises `StoreUnavailable` after a bounded time.
    """

    @property
    def untouched(self) -> Untouched:
        """For how long no other process has written to it. Always the same object."""
        ...

    async def get(self, key: str) -> Stored | None:
        """Return an entry that has not expired."""
        ...

    async def get_all(self, keys: Sequence[str]) -> list[Stored | None]:
        """Return what `get` returns for each key, with one trip to the store."""
        ...

    async def put(self, key: str, value: bytes, lives: float) -> None:
        """Store an entry for `lives` seconds, replacing the one before."""
        ...

    async def delete(self, key: str) -> None:
        """Remove an entry, if it exists."""
        ...

    async def purge(self, prefix: str = "") -> int:
        """Remove the entries whose keys begin with `prefix`; return how many."""
        ...

    async def count(self, prefix: str = "") -> int:
        """Return how many entries have keys that begin with `prefix`."""
        ...

    async def scan(self, prefix: str = "", most: int = MOST_SCANNED) -> list[tuple[str, Stored]]:
        """Return entries whose keys begin with `prefix`, in any order."""
        ...

    async def take(self, key: str, throttle: Throttle, tokens: int = 1) -> bool:
        """Take tokens from a bucket if it has enough, and return whether it had. See `throttle.Buckets`.

        All users of the store share the bucket. A negative number returns unused tokens.
        """
        ...

    async def take_each(self, takings: Sequence[Taking]) -> list[bool]:
        """Take from several buckets, with one trip to the store; return for each whether it had enough."""
        ...

    async def acquire(self, key: str, seconds: float) -> str | None:
        """Lock a key for `seconds`; return the token that releases it, or None while another holder has it."""
        ...

    async def release(self, key: str, token: str) -> bool:
        """Unlock a key that `acquire` locked; return whether the lock was still ours."""
        ...

    async def close(self) -> None:
        """Close connections and threads; never raises."""
        ...


def encoded(key: str) -> bytes:
    """Return a key as stored bytes; a stranger's undecodable bytes survive."""
    return key.encode("utf-8", "surrogateescape")


def decoded(key: bytes) -> str:
    """Return the key for stored bytes."""
    return key.decode("utf-8", "surrogateescape")
