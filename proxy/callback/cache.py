"""Callback results: in memory, and behind it in a store that may be shared.

A hit in memory never waits. Memory trusts results from a shared store for `LOCAL_SECONDS`, and longer only while the
store knows that no other process has written to it, so a purge or another machine's verdict soon takes effect. If the
store is memory itself, it is not asked about verdicts, because memory already has them. Addresses are personal data:
nothing outlives its lifetime, and if a secret is set, only keyed hashes of addresses are kept.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace

from cachetools import TTLCache

from proxy.callback.echo import Said, unsaid_text
from proxy.callback.lives import DOMAIN_REASONS, FACT_SECONDS, NEVER_KEPT, CachedVerdict, Lives, successor
from proxy.callback.memory import Packed, VerdictMemory
from proxy.callback.question import PREFIX, CacheKeys, Question
from proxy.callback.verdict import CallbackVerdict, Status, printable_text
from proxy.metrics.book import BOOK
from proxy.metrics.table import CACHE_ENTRIES, CACHE_EVICTIONS, CACHE_HITS, CACHE_LOOKUPS
from proxy.store.base import Store, Stored
from proxy.store.clocks import AHEAD_SECONDS, Clock, steady

LOCAL_SECONDS = 60.0
"""How long memory may still believe what another process has corrected or purged."""

FACT_LOCAL_SECONDS = 10.0
"""How long memory trusts a fact about a domain, or its absence: mail from one domain comes in bursts."""

ASKED_FIRST = "no_probe", "catchall"
"""Facts that are looked up before each probe."""


class CallbackCache:
    """Verdicts by question, and facts by domain. One process owns it; the store behind it may be shared."""

    def __init__(
        self,
        lives: Lives,
        store: Store,
        *,
        most: int,
        shared: bool,
        secret: bytes = b"",
        clock: Clock = time.time,
        ticking: Clock | None = None,
    ) -> None:
        """`most` records stay in memory. `shared` says that others also write to the store.

        `clock` gives the time of day used in the store; `ticking` is the clock by which records age in memory.
        """
        self.lives, self._store = lives, store
        self._wall = clock
        self.now = ticking or steady(clock)
        """The clock by which verdicts age in memory. It is not the time of day."""
        self._alone = not shared
        self._local_seconds = LOCAL_SECONDS if shared else max(lives.longest, LOCAL_SECONDS)
        self.keys = CacheKeys(secret)
        self._facts: TTLCache[str, bool] = TTLCache(most, FACT_LOCAL_SECONDS, timer=self.now)
        self.memory = VerdictMemory(most, store.untouched, self._local_seconds)
        self.lookups = self.hits = 0
        """Look-ups in memory for sessions, and hits, since they were last counted."""

    @property
    def octets(self) -> int:
        """The octets that they take."""
        return self.memory.octets

    # ------------------------------------------------------------ verdicts

    def at_hand(self, question: Question) -> CachedVerdict | None:
        """Return the valid record that memory holds for the question, without waiting."""
        held = self.held_of(question)
        return held.record if held is not None else None

    def held_of(self, question: Question) -> Packed | None:
        """Return the same in the form of memory: what another process of the machine may remember, too."""
        return self.memory.held(self.keys.of(question), self.now())

    @property
    def entries(self) -> int:
        """How many verdicts are in memory."""
        return len(self.memory)

    def look(self) -> None:
        """Write what memory holds into the gauges, and count what happened since the last time."""
        counts, memory = BOOK.counts, self.memory
        counts[CACHE_ENTRIES.base] = len(memory)
        counts[CACHE_EVICTIONS.base] += memory.evicted
        counts[CACHE_LOOKUPS.base] += self.lookups
        counts[CACHE_HITS.base] += self.hits
        memory.evicted = self.lookups = self.hits = 0

    async def find(self, question: Question) -> CachedVerdict | None:
        """Return the valid record for the question, its family, or its domain; asks the store if necessary."""
        now = self.now()
        keys = self.keys.all_of(question)
        for key, record in zip(keys, await self._load_all(keys, question.domain), strict=True):
            if record is None or not record.fresh(now):
                continue
            if key == keys[0] or _answers_for_others(record):
                return record
        return None

    async def keep(self, question: Question, verdict: CallbackVerdict) -> CachedVerdict:
        """Store a verdict by the rules of `lives`; return the record that is valid now."""
        now = self.now()
        if verdict.reason in NEVER_KEPT:
            return CachedVerdict(verdict, now, now)
        key = self.keys.of(question)
        previous = await self._before(question, now)
        record = successor(previous, self._presentable(question, verdict), now, self.lives)
        await self._save(key, record)
        if verdict.status is Status.PASS and (family := self.keys.of_family(question)) is not None:
            await self._save(family, record)
        if record.verdict.reason in DOMAIN_REASONS:  # skipped if a doubted pass is still valid
            await self._save(self.keys.of_domain(question.domain), record)
        return record

    async def _before(self, question: Question, now: float) -> CachedVerdict | None:
        """Return the previous record: the question's own, unless its family has a valid `pass`."""
        own = await self._load(self.keys.of(question))
        family = self.keys.of_family(question)
        if family is None or (own is not None and own.fresh(now)):
            return own
        shared = await self._load(family)
        return shared if shared is not None and shared.fresh(now) else own

    def _presentable(self, question: Question, verdict: CallbackVerdict) -> CallbackVerdict:
        """Return a verdict whose text does not contain the address, if addresses are hashed."""
        if not self.keys.hashed:
            return verdict
        text = verdict.text
        for part, name in ((question.address, "<address>"), (question.local_part, "<user>")):
            # only as a separate word: the local part `a` must not break up the text
            echo = rf"(?<!\w){re.escape(printable_text(part))}(?!\w)"
            text = re.sub(echo, name, text, flags=re.IGNORECASE)
        senders = (question.sender,) if question.sender else ()
        return replace(verdict, text=unsaid_text(text, Said(question.address, senders=senders)))  # in other forms

    # ------------------------------------------------------------ facts about domains

    async def mark(self, fact: str, domain: str, seconds: float) -> None:
        """Remember one fact about a domain for `seconds`: `catchall`, `null_refused` or `no_probe`."""
        key = self.keys.of_fact(fact, domain)
        self._facts[key] = True
        await self._store.put(key, b"%.0f" % self._wall(), seconds)

    async def marked(self, fact: str, domain: str) -> bool:
        """Whether the fact is remembered about the domain."""
        key = self.keys.of_fact(fact, domain)
        marked = self._facts.get(key)
        return marked if marked is not None else self._noted(key, fact, await self._store.get(key))

    def _noted(self, key: str, fact: str, stored: Stored | None) -> bool:
        marked = self._facts[key] = self._believable(stored, FACT_SECONDS[fact])
        return marked

    def _believable(self, stored: Stored | None, seconds: float) -> bool:
        """Whether a fact exists and was not written by a clock that was ahead."""
        if stored is None:
            return False
        now, found = self._wall(), float(stored.value) if stored.value.isdigit() else 0.0
        return found <= now + AHEAD_SECONDS and stored.expires_at <= now + seconds + AHEAD_SECONDS

    # ------------------------------------------------------------ for people

    async def held(self, domain: str, local_part: str = "") -> list[CachedVerdict]:
        """Return what is kept on an address, with any sender, or on a domain itself, valid or expired.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        if local_part:
            return [
                record for prefix in self.keys.prefixes(domain, local_part) for _, record in await self._kept(prefix)
            ]
        own = self.keys.of_domain(domain)
        return [record for key, record in await self._kept(own) if key == own]

    async def _kept(self, prefix: str) -> list[tuple[str, CachedVerdict]]:
        if self._alone:
            shift = self._wall() - self.now()
            return [(key, held.record.moved(shift)) for key, held in self.memory if key.startswith(prefix)]
        found = [(key, CachedVerdict.decoded(stored.value)) for key, stored in await self._store.scan(prefix)]
        return [(key, record) for key, record in found if record is not None]

    async def facts(self, domain: str) -> list[str]:
        """Return the names of the facts that are remembered about a domain.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        prefix = self.keys.of_fact("", domain)
        return sorted(key.removeprefix(prefix) for key, _ in await self._store.scan(prefix))

    async def purge(self, local_part: str = "", domain: str = "") -> int:
        """Forget an address, a domain, or everything; return how many records went. Others follow within a minute.

        Raises:
            StoreUnavailable: the store still has them.
        """
        prefixes = self._prefixes(local_part, domain)
        went = self._forget(prefixes)
        self._facts.clear()
        if domain and not local_part:
            await self._store.delete(self.keys.of_domain(domain))
            await self._store.purge(self.keys.prefix_of_domain("f", domain))
            self.memory.drop(self.keys.of_domain(domain))
        return went + sum([await self._store.purge(prefix) for prefix in prefixes])

    def _forget(self, prefixes: tuple[str, ...]) -> int:
        """Forget what memory holds under these prefixes; return how many verdicts were nowhere else."""
        if not self._alone:
            self.memory.clear()
            return 0
        keys = [key for key, _ in self.memory if key.startswith(prefixes)]
        for key in keys:
            self.memory.drop(key)
        return len(keys)

    def _prefixes(self, local_part: str, domain: str) -> tuple[str, ...]:
        """Return what the keys begin with that a purge counts."""
        if not domain:
            return (f"{PREFIX} ",)
        return (*self.keys.prefixes(domain, local_part),) if local_part else (self.keys.prefix_of_domain("a", domain),)

    async def count(self) -> int:
        """Return how many verdicts on addresses are kept, including those kept only for their streak.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        prefix = f"{PREFIX} a "
        if self._alone:
            return sum(key.startswith(prefix) for key, _ in self.memory)
        return await self._store.count(prefix)

    # ------------------------------------------------------------ keys, memory and store

    async def _load(self, key: str) -> CachedVerdict | None:
        """Return the record of a key, valid or expired: an expired one still has its streak."""
        record = self._held_record(key)
        return record if record is not None or self._alone else self._learned(key, await self._store.get(key))

    async def _load_all(self, keys: list[str], domain: str) -> list[CachedVerdict | None]:
        """Return the records of keys, as `_load`; on the way, learn what will be asked about the domain."""
        found = [self._held_record(key) for key in keys]
        if self._alone or None not in found:
            return found
        facts = [(self.keys.of_fact(fact, domain), fact) for fact in ASKED_FIRST]
        facts = [each for each in facts if each[0] not in self._facts]
        stored = await self._store.get_all([*keys, *[key for key, _ in facts]])
        for (key, fact), each in zip(facts, stored[len(keys) :], strict=True):
            self._noted(key, fact, each)
        return [
            record if record is not None else self._learned(key, each)
            for key, record, each in zip(keys, found, stored[: len(keys)], strict=True)
        ]

    def _learned(self, key: str, stored: Stored | None) -> CachedVerdict | None:
        """Return what a store held, and remember it."""
        record = self._read(stored)
        if record is not None:
            self._hold(key, record)
        return record

    def _held_record(self, key: str) -> CachedVerdict | None:
        """Return the record that memory holds, unless another process may know more."""
        now, held = self.now(), self.memory.get(key)
        if held is None:
            return None
        believed = now < held.expires and (now < held.until or self.memory.holds_on(held, now))
        return held.record if self._alone or believed else None

    def _read(self, stored: Stored | None) -> CachedVerdict | None:
        """Return what a store held, with its times on memory's clock."""
        wall, record = self._wall(), CachedVerdict.decoded(stored.value) if stored is not None else None
        believed = record.believable(wall, self.lives) if record is not None else None
        return believed.moved(self.now() - wall) if believed is not None else None

    async def _save(self, key: str, record: CachedVerdict) -> None:
        now = self.now()
        self._hold(key, record)
        if self._alone:
            return
        spare = self.lives.transient_most if record.verdict.status is Status.TRANSIENT else 0.0
        written = record.moved(self._wall() - now)
        await self._store.put(key, written.encoded(), max(1.0, record.expires - now + spare))

    def _hold(self, key: str, record: CachedVerdict) -> None:
        self.memory.put(key, Packed.of(record, self.now() + self._local_seconds))

    def family_name_of(self, question: Question) -> str:
        """Return a name shared by all members of the question's family, or its own if it has no family."""
        return self.keys.of_family(question) or self.keys.of(question)

    def name_of(self, question: Question) -> str:
        """Return a name of the question for a lock; all workers use the same one."""
        return self.keys.of(question)

    # ------------------------------------------------------------ between two processes

    def everything(self) -> Iterator[tuple[str, Packed]]:
        """Yield what memory holds, for the process that takes over."""
        return iter(self.memory)

    async def adopt_found(self, question: Question, held: Packed) -> None:
        """Remember what a probe of another process of this machine found out, wherever `keep` would."""
        await self.adopt(self.keys.of(question), held, write=True)
        if held.status is Status.PASS and (family := self.keys.of_family(question)) is not None:
            await self.adopt(family, held, write=True)
        if held.reason in DOMAIN_REASONS:
            await self.adopt(self.keys.of_domain(question.domain), held, write=True)

    async def adopt(self, key: str, held: Packed, *, write: bool) -> None:
        """Remember what another process of this machine found out, by our rules; `write` it to the store as well."""
        now, shift = self.now(), self._wall() - self.now()
        known = self.memory.get(key)
        if known is not None and (known.found > held.found or (known.found == held.found and known.doubted)):
            return
        record = held.record.moved(shift).believable(self._wall(), self.lives)
        if record is None:
            return
        if write:
            await self._save(key, record.moved(-shift))
        elif held.expires > now:
            self.memory.put(key, Packed.of(record.moved(-shift), min(held.until, now + self._local_seconds)))


def _answers_for_others(record: CachedVerdict) -> bool:
    """Whether a record applies to other addresses too: a family's pass, or a fact about the domain."""
    return record.verdict.status is Status.PASS or record.verdict.reason in DOMAIN_REASONS
