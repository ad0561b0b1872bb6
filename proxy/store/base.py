"""What every store can do, and the one way in which it fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from proxy.options.throttle import Throttle

MOST_SCANNED = 1000
"""Entries that one `scan` returns at most, unless told otherwise."""


AHEAD_SECONDS = 300.0
"""So far in the future may lie what another machine, or this one before its clock was set, has written."""

Clock = Callable[[], float]


def steady(clock: Clock) -> Clock:
    """Return what times waits in memory beside a clock that shows the time of day: nobody sets the monotonic one.

    A clock of a test's own times both.
    """
    return time.monotonic if clock is time.time else clock


class StoreUnavailable(Exception):
    """The store could not be asked, or did not answer in time; whether a change took place is not known."""

    def __init__(self, reason: str) -> None:
        """Say why, for the log."""
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry's value, and when it expires: seconds since the epoch, by the clock of the machine that put it."""

    value: bytes
    expires_at: float


class Store(Protocol):
    """Entries, buckets and locks, each kind with keys of its own. Keys may hold what strangers sent, undecodable too.

    Every method raises `StoreUnavailable`, after a bounded time, where the store cannot be used.
    """

    async def get(self, key: str) -> Stored | None:
        """Return an entry that has not expired."""
        ...

    async def put(self, key: str, value: bytes, lives: float) -> None:
        """Keep an entry for `lives` seconds, in place of what had its key."""
        ...

    async def delete(self, key: str) -> None:
        """Remove an entry, if there is one."""
        ...

    async def purge(self, prefix: str = "") -> int:
        """Remove the entries whose keys begin so; return how many."""
        ...

    async def count(self, prefix: str = "") -> int:
        """Return how many entries have keys that begin so."""
        ...

    async def scan(self, prefix: str = "", most: int = MOST_SCANNED) -> list[tuple[str, Stored]]:
        """Return entries whose keys begin so, in no order that means anything."""
        ...

    async def take(self, key: str, throttle: Throttle, tokens: int = 1) -> bool:
        """Take tokens from a bucket, all of them or none; tell whether they were there. See `throttle.Buckets`.

        All who share the store share the bucket. A negative number gives back what was taken and not used.
        """
        ...

    async def acquire(self, key: str, seconds: float) -> str | None:
        """Lock a key for so many seconds; return the token that releases it, or None while somebody else has it."""
        ...

    async def release(self, key: str, token: str) -> bool:
        """Unlock what `acquire` locked; tell whether the lock was still ours."""
        ...

    async def close(self) -> None:
        """Let go of connections and threads; it does not raise."""
        ...


def encoded(key: str) -> bytes:
    """Return a key as the octets that are stored; undecodable octets of a stranger's survive."""
    return key.encode("utf-8", "surrogateescape")


def decoded(key: bytes) -> str:
    """Return the key that was stored as these octets."""
    return key.decode("utf-8", "surrogateescape")
