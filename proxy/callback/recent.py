"""What DNS said a moment ago: mail comes in bursts, and many of its senders share a domain, or a provider.

A query costs 0.12 ms of the event loop even where c-ares remembers the answer, as much as half of a probe with its
three. Those who ask the same at once share one query; an answer is remembered for `SECONDS`, a failure is not.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from cachetools import TTLCache

from proxy.dns.resolver import DnsUnavailable, Exchanger, NoSuchDomain, Resolver

SECONDS = 10.0
"""Short enough to need no TTL."""

MOST = 10_000

T = TypeVar("T")


class RecentNames:
    """A resolver's answers about exchangers. The event loop's thread owns what is remembered."""

    def __init__(self, resolver: Resolver, clock: Callable[[], float] = time.monotonic) -> None:
        """Remember nothing yet."""
        self._resolver = resolver
        self._known: TTLCache[tuple[str, str], Any] = TTLCache(MOST, SECONDS, timer=clock)
        self._asked: dict[tuple[str, str], asyncio.Future[Any]] = {}

    async def exchangers(self, domain: str) -> list[Exchanger]:
        """Return what `Resolver.exchangers` does, equal ones in an order that holds as long, and raise the same.

        Whoever asks again for the sake of the same mail looks up the same few of many exchangers.
        """
        return await self._shared(("MX", domain), self._mixed)

    async def _mixed(self, domain: str) -> list[Exchanger]:
        found = await self._resolver.exchangers(domain)
        return sorted(found, key=lambda each: (each.preference, random.random()))  # noqa: S311 — spreads load

    async def addresses(self, host: str) -> list[str]:
        """Return what `Resolver.addresses` does, and raise the same."""
        return await self._shared(("A", host), self._resolver.addresses)

    async def host_addresses(self, host: str) -> list[str]:
        """Return what `Resolver.host_addresses` does, and raise the same."""
        return await self._shared(("host", host), self._resolver.host_addresses)

    async def _shared(self, key: tuple[str, str], ask: Callable[[str], Awaitable[list[T]]]) -> list[T]:
        while (known := self._known.get(key)) is None:
            asked = self._asked.get(key)
            if asked is None:
                return await self._first(key, ask)
            await asyncio.wait((asked,))
            if not asked.cancelled():
                return list(asked.result())
        return list(known)

    async def _first(self, key: tuple[str, str], ask: Callable[[str], Awaitable[list[T]]]) -> list[T]:
        """Ask on behalf of all; where we are cancelled, one of those who wait asks again."""
        asked = self._asked[key] = asyncio.get_running_loop().create_future()
        try:
            found = await ask(key[1])
        except (NoSuchDomain, DnsUnavailable) as error:
            asked.set_exception(error)
            asked.exception()  # read once: perhaps nobody else waits
            raise
        else:
            self._known[key] = found
            asked.set_result(found)
            return found
        finally:
            asked.cancel()
            del self._asked[key]
