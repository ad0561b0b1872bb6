"""The results of one source: most recently used first, for a limited time and within a limited size.

Keys are digests: parameters may be passwords, and must not stay in memory.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from proxy.datasource.parameters import Parameters
from proxy.datasource.rows import Rows

LARGEST_KEPT = 1 << 20
"""Characters of a result above which it is not kept."""

MOST_KEPT = 64 << 20
"""Characters of all results of a source together."""

_SALT = secrets.token_bytes(32)


def key_of(query: str, parameters: Parameters, most: int) -> bytes:
    """Return the key of a query: its text, its parameters whatever the order of a hash is, and its rows."""
    digest = blake2b(key=_SALT, digest_size=16)
    parts: list[str] = [query, str(most)]
    if isinstance(parameters, Mapping):
        parts += ["named", *(part for name in sorted(parameters) for part in (name, parameters[name]))]
    elif parameters is not None:
        parts += ["list", *parameters]
    for part in parts:
        octets = part.encode("utf-8", "surrogateescape")
        digest.update(b"%d:" % len(octets))
        digest.update(octets)
    return digest.digest()


@dataclass(slots=True)
class Counts:
    """What `ds_core stats` says about a source; all of it can be added up over workers."""

    elements: int = 0
    hits: int = 0
    misses: int = 0
    pending: int = 0
    inserts: int = 0
    manual: int = 0
    ttl: int = 0
    lru: int = 0
    errors: int = 0


class ResultCache:
    """Results by key."""

    __slots__ = ("_clock", "_kept", "_life", "_most", "_size", "counts")

    def __init__(self, most: int, life: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep `most` results for `life` seconds."""
        self._most, self._life, self._clock = most, life, clock
        self._kept: OrderedDict[bytes, tuple[float, Rows]] = OrderedDict()
        self._size = 0
        self.counts = Counts()

    def get(self, key: bytes) -> Rows | None:
        """Return a result that is not too old."""
        found = self._kept.get(key)
        if found is None:
            return None
        if found[0] <= self._clock():
            self._drop(key)
            self.counts.ttl += 1
            return None
        self._kept.move_to_end(key)
        return found[1]

    def put(self, key: bytes, rows: Rows) -> None:
        """Keep a result, unless it is very large; drop those that were not used for longest."""
        if rows.size > LARGEST_KEPT:
            return
        if key in self._kept:
            self._drop(key)
        self._kept[key] = (self._clock() + self._life, rows)
        self._size += rows.size
        self.counts.inserts += 1
        while len(self._kept) > self._most or self._size > MOST_KEPT:
            self._drop(next(iter(self._kept)))
            self.counts.lru += 1

    def _drop(self, key: bytes) -> None:
        self._size -= self._kept.pop(key)[1].size

    def flush(self) -> int:
        """Forget everything; return how many results that were."""
        count = len(self._kept)
        self._kept.clear()
        self._size = 0
        self.counts.manual += count
        return count

    def __len__(self) -> int:
        return len(self._kept)
