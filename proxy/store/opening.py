"""From a store's URL to the store that the service uses."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from proxy.options.store import StoreUrl
from proxy.store.base import Store
from proxy.store.fallback import FallingBack
from proxy.store.memory import MemoryStore


def open_store(url: StoreUrl, clock: Callable[[], float] = time.time) -> Store:
    """Return the store. It connects, or opens its file, at the first use; failures are logged then.

    `clock` gives the time of day. The service's methods on the result never raise (`FallingBack`).
    """
    memory = MemoryStore(clock)
    if url.kind == "memory":
        return memory
    return FallingBack(_opened(url, url.kind, clock), memory, name=str(url))


def _opened(url: StoreUrl, kind: Literal["sqlite", "redis"], clock: Callable[[], float]) -> Store:
    """Import only what is needed: the Redis client takes 4.5 MiB of each worker's memory."""
    match kind:
        case "sqlite":
            from proxy.store.sqlite import SqliteStore  # noqa: PLC0415 - see above

            return SqliteStore(Path(url.path), clock)
        case "redis":
            from proxy.store.redis import RedisStore  # noqa: PLC0415 - see above

            return RedisStore(url, clock)
