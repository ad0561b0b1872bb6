"""Keeps callbacks from becoming a nuisance: budgets for each target, breakers, and forgery-storm detection.

An exchanger that is probed too often, or about too many unknown users, is right to block us. Each limit applies before
a packet is sent, and has its own reason word. Budgets are in the store, so all workers and machines that share it keep
them together. Breakers and storms belong to one worker.

A probe is first charged to the share that its client's network has of the budget of the domain or exchanger. So a
spammer uses up only its own share, and other clients' mail is still verified.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from cachetools import LRUCache

from config.base.ip import read_address
from proxy.base.log import get_logger, printable
from proxy.callback.limits.suffixes import organisational
from proxy.options.throttle import Throttle
from proxy.store.base import Store, Taking, decoded, encoded

log = get_logger()

_MOST_REMEMBERED = 16_384
_PREFIX = 48
"""The length of one operator's prefix in IPv6; in IPv4 it is 24."""

_HALF_OPEN_PATIENCE = 60.0
"""If a trial probe has not returned after this many seconds, another probe may try."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """Limits on probes, in Momentum's throttle form. A count of 0 means no limit."""

    per_domain: Throttle
    per_exchanger: Throttle
    """For an exchanger's network, that is, for all of its addresses together."""
    unknown_users: Throttle
    """Unknown users reported by an exchanger. Too many look like address harvesting."""
    per_client: Throttle
    share: int = 25
    """Per cent of the other budgets that one client network may use; 100 is no limit."""


class Neighbour:
    """Keeps the budgets."""

    def __init__(self, budgets: Budgets, store: Store) -> None:
        """Take the limits and the store of the counters."""
        self._budgets, self._store = budgets, store

    @property
    def share(self) -> int:
        """Per cent of each limit that one client network may use."""
        return self._budgets.share

    async def may_ask(self, client: str, domain: str) -> str | None:
        """Take one probe from the client's and the domain's budgets; return the reason if one is used up."""
        budgets = self._budgets
        if client and not await self._store.take(f"cbv client {client}", budgets.per_client):
            return "client_throttled"
        return await self._charged(client, [(f"cbv domain {organisational(domain)}", budgets.per_domain, 1)])

    async def may_connect(self, address: str, unknown: int = 1, client: str = "") -> str | None:
        """Take one conversation from the budget of the exchanger's network; return the reason if it is used up.

        This also reserves `unknown` unknown users, so that parallel conversations together stay within that budget.
        `give_back` returns the unused ones.
        """
        conversation = (f"cbv mx {network_of(address)}", self._budgets.per_exchanger, 1)
        return await self._charged(client, [conversation, self._unknown(address, unknown)])

    async def give_back(self, address: str, unknown: int, client: str = "", *, of: int | None = None) -> None:
        """Return `unknown` of the reserved unknown users that were not used; `of` is the number reserved, if greater.

        A budget or share smaller than the reservation gets its tokens back only if none was used.
        """
        aside = unknown if of is None else of
        taken, used = ([self._unknown(address, each)] for each in (aside, aside - unknown))
        both = zip([*self._shares(client, taken), *taken], [*self._shares(client, used), *used], strict=True)
        await self._returned([(key, limit, had - kept) for (key, limit, had), (_, _, kept) in both])

    def _unknown(self, address: str, unknown: int) -> Taking:
        limit = self._budgets.unknown_users
        return f"cbv unknown {network_of(address)}", limit, min(unknown, limit.count)

    async def _charged(self, client: str, charges: list[Taking]) -> str | None:
        """Take a question's cost from the client's shares, then from the whole budgets: all of it, or nothing."""
        taken: list[Taking] = []
        if not await self._taken(self._shares(client, charges), taken):
            return "client_throttled"
        if not await self._taken(charges, taken):
            return "throttled"
        return None

    def _shares(self, client: str, charges: list[Taking]) -> list[Taking]:
        """Return the charges to the shares of the client's network; none if there is no client."""
        percent = self._budgets.share
        if not client or percent >= 100:
            return []
        network = operator_of(client)
        shares = []
        for key, limit, tokens in charges:
            most = max(1, limit.count * percent // 100) if limit.count else 0
            shares.append((f"cbv share {network} {key}", Throttle(most, limit.seconds), min(tokens, most)))
        return shares

    async def _taken(self, charges: list[Taking], taken: list[Taking]) -> bool:
        """Take charges together and add them to `taken`. If one fails, return all of `taken`."""
        limited = [charge for charge in charges if charge[1].count]
        if not limited:
            return True
        allowed = await self._store.take_each(limited)
        taken += [charge for charge, allows in zip(limited, allowed, strict=True) if allows]
        if all(allowed):
            return True
        await self._returned(taken)
        return False

    async def _returned(self, charges: list[Taking]) -> None:
        given = [(key, limit, -tokens) for key, limit, tokens in charges if limit.count and tokens > 0]
        if given:
            await self._store.take_each(given)


@lru_cache(_MOST_REMEMBERED)
def network_of(address: str) -> str:
    """Return the network that one operator's exchangers share: the IPv4 /24 or IPv6 /48."""
    ip = read_address(address)
    if ip.version == 4:  # a network object takes 40 calls
        return f"{str(ip).rpartition('.')[0]}.0/24"
    return str(ipaddress.ip_network((ip, _PREFIX), strict=False))


def operator_of(client: str) -> str:
    """Return the network that one operator's clients share. A /64 is too small: a spammer has thousands of them."""
    return network_of(client.partition("/")[0])


# ---------------------------------------------------------------- exchangers that turn us away


@dataclass(slots=True)
class _Breaker:
    """The state of one exchanger that rejects us."""

    opened: int = 0
    """Rejections in a row."""
    until: float = 0.0
    trial: float = 0.0
    """The deadline of the current trial probe."""


BreakerState = tuple[str, int, float, float]
"""Address, rejections in a row, end of the rest, deadline of the trial probe."""


class Breakers:
    """Exchangers that are busy or reject us. They are left alone for a while, then tried by one probe."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        """`seconds`: how long to leave an exchanger alone; 0 disables breakers."""
        self._seconds, self._clock = seconds, clock
        self._known: LRUCache[str, _Breaker] = LRUCache(_MOST_REMEMBERED)

    def rests(self, address: str) -> bool:
        """Whether an exchanger is left alone now."""
        breaker = self._known.get(address)
        return breaker is not None and bool(breaker.opened) and self._clock() < max(breaker.until, breaker.trial)

    @property
    def open_now(self) -> int:
        """How many exchangers are left alone now."""
        return sum(self.rests(address) for address in tuple(self._known))

    def lets(self, address: str) -> bool:
        """Whether an exchanger may be asked now. After its rest, only one probe at a time gets True."""
        breaker = self._known.get(address)
        if breaker is None or not breaker.opened:
            return True
        now = self._clock()
        if now < breaker.until or now < breaker.trial:
            return False
        breaker.trial = now + _HALF_OPEN_PATIENCE
        return True

    def times(self, address: str) -> int:
        """Return how often in a row an exchanger rejected us."""
        breaker = self._known.get(address)
        return breaker.opened if breaker is not None else 0

    def good(self, address: str) -> None:
        """Record that an exchanger talked to us."""
        breaker = self._known.pop(address, None)
        if breaker is not None and breaker.opened:
            log.info("breaker_closed", address=address, times=breaker.opened, reason="it talks to us again")

    def states(self) -> list[BreakerState]:
        """Return what is known, for the process that takes over."""
        return [(address, each.opened, each.until, each.trial) for address, each in self._known.items()]

    def adopt(self, states: Iterable[BreakerState]) -> None:
        """Know what another process of this machine knew, by the same clock."""
        for address, opened, until, trial in states:
            self._known[address] = _Breaker(opened, until, trial)

    def bad(self, address: str) -> int:
        """Record that an exchanger rejected us; return how often it did in a row."""
        if not self._seconds:
            return 0
        breaker = self._known.get(address) or self._known.setdefault(address, _Breaker())
        now = self._clock()
        if now >= breaker.until:  # probes that were running when the breaker opened count once
            breaker.opened += 1
            breaker.until, breaker.trial = now + self._seconds, 0.0
            log.warning("breaker_opened", address=address, times=breaker.opened, seconds=self._seconds)
        return breaker.opened


# ---------------------------------------------------------------- domains that are being forged


@dataclass(slots=True)
class _Watch:
    """Recent unknown users of one domain, and the client networks that brought them."""

    seen: deque[tuple[float, int, str]] = field(default_factory=deque)
    until: float = 0.0


StormState = tuple[bytes, float, list[tuple[float, int, str]]]
"""Domain, end of the storm, and when which local part (a hash) came from which network."""


class Storms:
    """Domains that are being forged: many unknown users at once, from unrelated networks.

    A sender that exists, or that could not be checked, is no evidence of forgery. Each network counts once, however
    many of its clients bring such mail, so one network alone cannot make a storm.
    """

    def __init__(self, limit: Throttle, clock: Callable[[], float]) -> None:
        """`limit`: how many unknown users, from as many networks, within how many seconds. A count of 0 disables it."""
        self._limit, self._clock = limit, clock
        self._watched: LRUCache[str, _Watch] = LRUCache(_MOST_REMEMBERED)

    def rages(self, domain: str) -> bool:
        """Whether the domain is in a storm."""
        watch = self._watched.get(domain)
        return watch is not None and self._goes_on(domain, watch)

    def _goes_on(self, domain: str, watch: _Watch) -> bool:
        """Whether a storm rages; its end is logged when the domain is next asked about."""
        if not watch.until:
            return False
        if self._clock() < watch.until:
            return True
        watch.until = 0.0
        log.info("forgery_storm_over", domain=printable(domain), seconds=self._limit.seconds)
        return False

    def note(self, domain: str, local_part: str, client: str) -> None:
        """Note that a client's sender does not exist."""
        if not self._limit.count or not client:
            return
        watch = self._watched.get(domain) or self._watched.setdefault(domain, _Watch())
        now = self._clock()
        watch.seen.append((now, hash(local_part), operator_of(client)))
        while watch.seen and (watch.seen[0][0] <= now - self._limit.seconds or len(watch.seen) > 4 * self._limit.count):
            watch.seen.popleft()
        if not self._goes_on(domain, watch) and self._is_storm(watch):
            watch.until = now + self._limit.seconds
            log.warning("forgery_storm", domain=printable(domain), seconds=self._limit.seconds)

    def states(self) -> list[StormState]:
        """Return what is known, for the process that takes over."""
        return [(encoded(domain), watch.until, list(watch.seen)) for domain, watch in self._watched.items()]

    def adopt(self, states: Iterable[StormState]) -> None:
        """Know what another process of this machine knew, by the same clock."""
        for domain, until, seen in states:
            self._watched[decoded(domain)] = _Watch(deque(seen), until)

    def _is_storm(self, watch: _Watch) -> bool:
        most = self._limit.count
        if len(watch.seen) < most:
            return False
        return len({local for _, local, _ in watch.seen}) >= most and len({each for *_, each in watch.seen}) >= most
