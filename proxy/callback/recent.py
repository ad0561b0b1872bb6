"""Recent DNS answers: mail comes in bursts, and many senders share a domain or a provider.

A query costs 0.12 ms of the event loop even if c-ares has the answer cached; the three queries of a probe cost half as
much as the probe. Concurrent equal questions share one query. An answer is cached for `SECONDS`, a failure is not.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from cachetools import TTLCache

from proxy.dns.resolver import DnsUnavailable, Exchanger, NoSuchDomain, Resolver
from proxy.metrics.book import BOOK
from proxy.metrics.table import CACHE_HITS, CACHE_LOOKUPS

SECONDS = 10.0
"""Short enough to ignore the TTL."""

MOST = 10_000

T = TypeVar("T")


class RecentNames:
    """A resolver's answers about exchangers. The event loop's thread owns the cache."""

    def __init__(self, resolver: Resolver, clock: Callable[[], float] = time.monotonic) -> None:
        self._resolver = resolver
        self._known: TTLCache[tuple[str, str], Any] = TTLCache(MOST, SECONDS, timer=clock)
        self._asked: dict[tuple[str, str], asyncio.Future[Any]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def known(self, kind: str, name: str) -> list[str] | None:
        """Return a cached answer, for people, or None. `kind` is MX or A."""
        found = self._known.get((kind, name))
        return None if found is None else [str(each) for each in found]

    def forget(self, name: str = "") -> int:
        """Forget the answers about a name, or all; return how many there were."""
        gone = [key for key in self._known if not name or key[1] == name]
        for key in gone:
            self._known.pop(key, None)
        return len(gone)

    async def exchangers(self, domain: str) -> list[Exchanger]:
        """Return what `Resolver.exchangers` does, or raise the same. Equal preferences keep one order while cached.

        So a retry for the same mail looks up the same few of many exchangers.
        """
        return await self._shared(("MX", domain), self._mixed)

    async def _mixed(self, domain: str) -> list[Exchanger]:
        found = await self._resolver.exchangers(domain)
        return sorted(found, key=lambda each: (each.preference, random.random()))  # noqa: S311 — spreads load

    async def addresses(self, host: str) -> list[str]:
        """Return what `Resolver.addresses` does, or raise the same."""
        return await self._shared(("A", host), self._resolver.addresses)

    async def host_addresses(self, host: str) -> list[str]:
        """Return what `Resolver.host_addresses` does, or raise the same."""
        return await self._shared(("host", host), self._resolver.host_addresses)

    async def _shared(self, key: tuple[str, str], ask: Callable[[str], Awaitable[list[T]]]) -> list[T]:
        BOOK.counts[CACHE_LOOKUPS.base] += 1
        BOOK.counts[CACHE_HITS.base] += key in self._known or key in self._asked
        while (known := self._known.get(key)) is None:
            asked = self._asked.get(key)
            if asked is None:
                return await self._first(key, ask)
            await asyncio.wait((asked,))
            if not asked.cancelled():
                return list(asked.result())
        return list(known)

    async def _first(self, key: tuple[str, str], ask: Callable[[str], Awaitable[list[T]]]) -> list[T]:
        """Ask on behalf of all; if this task is cancelled, one of the waiters asks again."""
        asked = self._asked[key] = asyncio.get_running_loop().create_future()
        try:
            found = await ask(key[1])
        except (NoSuchDomain, DnsUnavailable) as error:
            asked.set_exception(error)
            asked.exception()  # retrieve it once: perhaps nothing else waits
            raise
        else:
            self._known[key] = found
            asked.set_result(found)
            return found
        finally:
            asked.cancel()
            del self._asked[key]
