"""What keeps callbacks from becoming a nuisance: budgets for each target, breakers, and an eye for forgery storms.

An exchanger that is asked too often, or about too many who do not exist, is right to block us. Each limit refuses
before a packet is sent, and the refusal has a reason of its own. Budgets stand in the store, so that all who share it
keep them together; breakers and storms are what one worker has seen itself.

Each budget of a domain or an exchanger is charged first to the network of the client that caused the question, which
has a share of it alone: a spammer uses up his share, and the others' mail is verified on.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache

from cachetools import LRUCache

from config.base.ip import read_address
from proxy.base.log import get_logger, printable
from proxy.options.throttle import Throttle
from proxy.store.base import Store

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
    share: int = 25
    """Per cent of the other budgets that one client network may use; 100 is no limit."""


_Charge = tuple[str, Throttle, int]
"""A bucket's key, its limit, and how many tokens are taken."""


class Neighbour:
    """Keeps the budgets."""

    def __init__(self, budgets: Budgets, store: Store) -> None:
        """Take the limits, and the store that counts."""
        self._budgets, self._store = budgets, store

    @property
    def share(self) -> int:
        """Per cent of what one client network may use of anything."""
        return self._budgets.share

    async def may_ask(self, client: str, domain: str) -> str | None:
        """Take one probe from a client's and a domain's budget; return the reason if there was none."""
        budgets = self._budgets
        if client and not await self._store.take(f"cbv client {client}", budgets.per_client):
            return "client_throttled"
        return await self._charged(client, [(f"cbv domain {organisational(domain)}", budgets.per_domain, 1)])

    async def may_connect(self, address: str, unknown: int = 1, client: str = "") -> str | None:
        """Take one conversation from the budget of an exchanger's network, which holds for each address in it, too.

        As many unknown users as it may hear of are set aside, so that those under way together keep the budget;
        `give_back` returns what is left of them. Return the reason if there was none.
        """
        conversation = (f"cbv mx {network_of(address)}", self._budgets.per_exchanger, 1)
        return await self._charged(client, [conversation, self._unknown(address, unknown)])

    async def give_back(self, address: str, unknown: int, client: str = "", *, of: int | None = None) -> None:
        """Return so many of the unknown users that `may_connect` set aside, or of `of`: they were none.

        A budget or share that is smaller than what was set aside gives back what it had only if none of it was used.
        """
        aside = unknown if of is None else of
        taken, used = ([self._unknown(address, each)] for each in (aside, aside - unknown))
        both = zip([*self._shares(client, taken), *taken], [*self._shares(client, used), *used], strict=True)
        await self._returned([(key, limit, had - kept) for (key, limit, had), (_, _, kept) in both])

    def _unknown(self, address: str, unknown: int) -> _Charge:
        limit = self._budgets.unknown_users
        return f"cbv unknown {network_of(address)}", limit, min(unknown, limit.count)

    async def _charged(self, client: str, charges: list[_Charge]) -> str | None:
        """Take what a question costs from the client's shares, then from the whole: all of it, or nothing."""
        taken: list[_Charge] = []
        if not await self._taken(self._shares(client, charges), taken):
            return "client_throttled"
        if not await self._taken(charges, taken):
            return "throttled"
        return None

    def _shares(self, client: str, charges: list[_Charge]) -> list[_Charge]:
        """Return what the client's network pays of its own shares; nothing if it is asked on nobody's behalf."""
        percent = self._budgets.share
        if not client or percent >= 100:
            return []
        network = operator_of(client)
        shares = []
        for key, limit, tokens in charges:
            most = max(1, limit.count * percent // 100) if limit.count else 0
            shares.append((f"cbv share {network} {key}", Throttle(most, limit.seconds), min(tokens, most)))
        return shares

    async def _taken(self, charges: list[_Charge], taken: list[_Charge]) -> bool:
        """Take charges one after the other and add them to `taken`; if one is refused, give back all that is there."""
        for charge in charges:
            if not charge[1].count:
                continue
            if not await self._store.take(*charge):
                await self._returned(taken)
                return False
            taken.append(charge)
        return True

    async def _returned(self, charges: list[_Charge]) -> None:
        for key, limit, tokens in charges:
            if limit.count and tokens > 0:
                await self._store.take(key, limit, -tokens)


@lru_cache(_MOST_REMEMBERED)
def network_of(address: str) -> str:
    """Return the network that one operator's exchangers share: the /24, or the /48 of IPv6."""
    ip = read_address(address)
    return str(ipaddress.ip_network((ip, _PREFIX[ip.version]), strict=False))


def operator_of(client: str) -> str:
    """Return the network that one operator's clients share: a spammer has thousands of IPv6 /64s."""
    return network_of(client.partition("/")[0])


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
    """Who was found not to exist lately in one domain, and by how many client networks."""

    seen: deque[tuple[float, int, str]] = field(default_factory=deque)
    until: float = 0.0


class Storms:
    """Domains that are being forged: many unknown users at once, from networks that have nothing to do with each other.

    A sender who exists is no evidence of forgery, nor is one of whom nothing was found out. A network counts once,
    however many of its clients bring such mail: nobody makes a storm alone.
    """

    def __init__(self, limit: Throttle, clock: Callable[[], float]) -> None:
        """`limit` is as many unknown users from as many networks in so many seconds; a count of 0 sees none."""
        self._limit, self._clock = limit, clock
        self._watched: LRUCache[str, _Watch] = LRUCache(_MOST_REMEMBERED)

    def rages(self, domain: str) -> bool:
        """Whether the domain is in a storm."""
        watch = self._watched.get(domain)
        return watch is not None and self._clock() < watch.until

    def note(self, domain: str, local_part: str, client: str) -> None:
        """Note that a client's sender does not exist."""
        if not self._limit.count or not client:
            return
        watch = self._watched.get(domain) or self._watched.setdefault(domain, _Watch())
        now = self._clock()
        watch.seen.append((now, hash(local_part), operator_of(client)))
        while watch.seen and (watch.seen[0][0] <= now - self._limit.seconds or len(watch.seen) > 4 * self._limit.count):
            watch.seen.popleft()
        if now >= watch.until and self._is_storm(watch):
            watch.until = now + self._limit.seconds
            log.warning("forgery_storm", domain=printable(domain), seconds=self._limit.seconds)

    def _is_storm(self, watch: _Watch) -> bool:
        most = self._limit.count
        if len(watch.seen) < most:
            return False
        return len({local for _, local, _ in watch.seen}) >= most and len({each for *_, each in watch.seen}) >= most
