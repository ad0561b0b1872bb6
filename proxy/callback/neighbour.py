"""What keeps callbacks from becoming a nuisance: budgets for each target, breakers, and an eye for forgery storms.

An exchanger that is asked too often, or about too many who do not exist, is right to block us. Each limit refuses
before a packet is sent, and the refusal has a reason of its own. Budgets stand in the store, so that all who share it
keep them together; breakers and storms are what one worker has seen itself.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache

from cachetools import LRUCache

from config.ip import read_address
from proxy.log import get_logger, printable
from proxy.store.base import Store
from proxy.throttle import Throttle

log = get_logger()

_MOST_REMEMBERED = 16_384
_PREFIX = {4: 24, 6: 48}
"""Bits of a network that one operator has, by IP version."""

_HALF_OPEN_PATIENCE = 60.0
"""A trial that has not come back after so many seconds is given to somebody else."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """How often strangers are asked; each in Momentum's throttle form, none where its count is 0."""

    per_domain: Throttle
    per_exchanger: Throttle
    """For the network of an exchanger, and so for each address in it."""
    unknown_users: Throttle
    """Answers of an exchanger that there is no such user: too many look like harvesting."""
    per_client: Throttle


class Neighbour:
    """Keeps the budgets."""

    def __init__(self, budgets: Budgets, store: Store) -> None:
        """Take the limits, and the store that counts."""
        self._budgets, self._store = budgets, store

    async def may_ask(self, client: str, domain: str) -> bool:
        """Take one probe from a client's and a domain's budget; tell whether there was one."""
        budgets = self._budgets
        if client and not await self._store.take(f"cbv client {client}", budgets.per_client):
            return False
        if not budgets.per_domain.count:
            return True
        return await self._store.take(f"cbv domain {organisational(domain)}", budgets.per_domain)

    async def may_connect(self, address: str, unknown: int = 1) -> bool:
        """Take one conversation from the budget of an exchanger's network, which holds for each address in it, too.

        As many unknown users as it may hear of are set aside, so that those under way together keep the budget;
        `give_back` returns what is left of them.
        """
        budgets, network = self._budgets, network_of(address)
        if budgets.per_exchanger.count and not await self._store.take(f"cbv mx {network}", budgets.per_exchanger):
            return False
        limit = budgets.unknown_users
        return not limit.count or await self._store.take(f"cbv unknown {network}", limit, min(unknown, limit.count))

    async def give_back(self, address: str, unknown: int) -> None:
        """Return so many of the unknown users that `may_connect` set aside: they were none."""
        limit = self._budgets.unknown_users
        back = min(unknown, limit.count)
        if back > 0:
            await self._store.take(f"cbv unknown {network_of(address)}", limit, -back)


@lru_cache(_MOST_REMEMBERED)
def network_of(address: str) -> str:
    """Return the network that one operator's exchangers share: the /24, or the /48 of IPv6."""
    ip = read_address(address)
    return str(ipaddress.ip_network((ip, _PREFIX[ip.version]), strict=False))


@cache
def _suffixes() -> Callable[[str], str]:
    """Return what finds a registered domain. The list is the library's own; nothing is fetched, no file written."""
    import tldextract  # noqa: PLC0415 — 30 ms, and only callbacks need it

    extract = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())
    return lambda domain: extract(domain).top_domain_under_public_suffix or domain


def organisational(domain: str) -> str:
    """Return the domain that somebody registered: example.co.uk of mail.example.co.uk."""
    return _suffixes()(domain)


# ---------------------------------------------------------------- exchangers that turn us away


@dataclass(slots=True)
class _Breaker:
    """What is known of one exchanger that dislikes us."""

    opened: int = 0
    """How often in a row."""
    until: float = 0.0
    trial: float = 0.0
    """Until when somebody tries whether it is well again."""


class Breakers:
    """Exchangers that said they are busy or do not want us: left alone for a while, then tried by one probe."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        """`seconds` is how long one is left alone; 0 opens none."""
        self._seconds, self._clock = seconds, clock
        self._known: LRUCache[str, _Breaker] = LRUCache(_MOST_REMEMBERED)

    def rests(self, address: str) -> bool:
        """Whether an exchanger is left alone now."""
        breaker = self._known.get(address)
        return breaker is not None and bool(breaker.opened) and self._clock() < max(breaker.until, breaker.trial)

    def lets(self, address: str) -> bool:
        """Whether an exchanger may be asked now; where its rest is over, by one probe at a time: whoever hears True."""
        breaker = self._known.get(address)
        if breaker is None or not breaker.opened:
            return True
        now = self._clock()
        if now < breaker.until or now < breaker.trial:
            return False
        breaker.trial = now + _HALF_OPEN_PATIENCE
        return True

    def times(self, address: str) -> int:
        """Return how often in a row an exchanger turned us away."""
        breaker = self._known.get(address)
        return breaker.opened if breaker is not None else 0

    def good(self, address: str) -> None:
        """Record that an exchanger talked to us."""
        self._known.pop(address, None)

    def bad(self, address: str) -> int:
        """Record that an exchanger turned us away; return how often it did in a row."""
        if not self._seconds:
            return 0
        breaker = self._known.get(address) or self._known.setdefault(address, _Breaker())
        now = self._clock()
        if now >= breaker.until:  # those that were under way when it opened count once
            breaker.opened += 1
            breaker.until, breaker.trial = now + self._seconds, 0.0
            log.warning("breaker_opened", address=address, times=breaker.opened, seconds=self._seconds)
        return breaker.opened


# ---------------------------------------------------------------- domains that are being forged


@dataclass(slots=True)
class _Watch:
    """Who was asked about lately in one domain, and by how many clients."""

    seen: deque[tuple[float, int, str]] = field(default_factory=deque)
    until: float = 0.0


class Storms:
    """Domains that are being forged: many local parts at once, from clients that have nothing to do with each other."""

    def __init__(self, limit: Throttle, clock: Callable[[], float]) -> None:
        """`limit` is as many local parts from as many client networks in so many seconds; a count of 0 sees none."""
        self._limit, self._clock = limit, clock
        self._watched: LRUCache[str, _Watch] = LRUCache(_MOST_REMEMBERED)

    def rages(self, domain: str, local_part: str, client: str) -> bool:
        """Note a question that nothing is remembered of; tell whether the domain is in a storm."""
        if not self._limit.count or not client:
            return False
        watch = self._watched.get(domain) or self._watched.setdefault(domain, _Watch())
        now = self._clock()
        watch.seen.append((now, hash(local_part), client))
        while watch.seen and (watch.seen[0][0] <= now - self._limit.seconds or len(watch.seen) > 4 * self._limit.count):
            watch.seen.popleft()
        if now >= watch.until and self._is_storm(watch):
            watch.until = now + self._limit.seconds
            log.warning("forgery_storm", domain=printable(domain), seconds=self._limit.seconds)
        return now < watch.until

    def _is_storm(self, watch: _Watch) -> bool:
        most = self._limit.count
        if len(watch.seen) < most:
            return False
        return len({local for _, local, _ in watch.seen}) >= most and len({each for *_, each in watch.seen}) >= most
