"""Callback results: in the worker's memory, and behind it in a store that may be shared.

A hit in memory awaits nothing. Memory trusts results from a shared store for `LOCAL_SECONDS` at most, so a purge or
another worker's verdict soon takes effect. Addresses are personal data: nothing outlives its lifetime, and if a secret
is set, only keyed hashes of addresses are kept.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import replace

from cachetools import LRUCache, TTLCache

from proxy.callback.echo import Said, unsaid_text
from proxy.callback.families import families_about, family_of
from proxy.callback.lives import DOMAIN_REASONS, FACT_SECONDS, NEVER_KEPT, CachedVerdict, Lives, successor
from proxy.callback.question import Question
from proxy.callback.verdict import CallbackVerdict, Status, printable_text
from proxy.store.base import AHEAD_SECONDS, Clock, Store, Stored, steady

LOCAL_SECONDS = 60.0
"""How long this worker may still believe what another one has corrected or purged."""

FACT_LOCAL_SECONDS = 10.0
"""How long memory trusts a fact about a domain, or its absence: mail from one domain comes in bursts."""

_PREFIX = "cbv"
_FAMILY = "family:"


class CallbackCache:
    """Verdicts by question, and facts by domain. One worker owns it; the store behind it may be shared."""

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
        self._wall, self._clock = clock, ticking or steady(clock)
        self._local_seconds = LOCAL_SECONDS if shared else lives.longest
        self._secret = secret
        self._facts: TTLCache[str, bool] = TTLCache(most, FACT_LOCAL_SECONDS, timer=self._clock)
        self._local: LRUCache[str, tuple[CachedVerdict, float]] = LRUCache(most)

    # ------------------------------------------------------------ verdicts

    def now(self) -> float:
        """Return the time by which verdicts age in memory. It is not a time of day."""
        return self._clock()

    def at_hand(self, question: Question) -> CachedVerdict | None:
        """Return the valid record that memory holds for the question, without waiting."""
        held = self._local.get(self._key(question))
        if held is None:
            return None
        record, until = held
        now = self._clock()
        return record if now < until and record.fresh(now) else None

    async def find(self, question: Question) -> CachedVerdict | None:
        """Return the valid record for the question, its family, or its domain; asks the store if necessary."""
        now = self._clock()
        for key in self._keys(question):
            record = await self._load(key)
            if record is None or not record.fresh(now):
                continue
            if key != self._key(question) and not _answers_for_others(record):
                continue
            return record
        return None

    async def keep(self, question: Question, verdict: CallbackVerdict) -> CachedVerdict:
        """Store a verdict by the rules of `lives`; return the record that is valid now."""
        now = self._clock()
        if verdict.reason in NEVER_KEPT:
            return CachedVerdict(verdict, now, now)
        key = self._key(question)
        previous = await self._before(question, now)
        record = successor(previous, self._presentable(question, verdict), now, self.lives)
        await self._save(key, record)
        if verdict.status is Status.PASS and (family := self._family_key(question)) is not None:
            await self._save(family, record)
        if record.verdict.reason in DOMAIN_REASONS:  # skipped if a doubted pass is still valid
            await self._save(self._domain_key(question.domain), record)
        return record

    async def _before(self, question: Question, now: float) -> CachedVerdict | None:
        """Return the previous record: the question's own, unless its family has a valid `pass`."""
        own = await self._load(self._key(question))
        family = self._family_key(question)
        if family is None or (own is not None and own.fresh(now)):
            return own
        shared = await self._load(family)
        return shared if shared is not None and shared.fresh(now) else own

    def _presentable(self, question: Question, verdict: CallbackVerdict) -> CallbackVerdict:
        """Return a verdict whose text does not contain the address, if addresses are hashed."""
        if not self._secret:
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
        key = self._fact_key(fact, domain)
        self._facts[key] = True
        await self._store.put(key, b"%.0f" % self._wall(), seconds)

    async def marked(self, fact: str, domain: str) -> bool:
        """Whether the fact is remembered about the domain."""
        key = self._fact_key(fact, domain)
        marked = self._facts.get(key)
        if marked is None:
            marked = self._facts[key] = self._believable(await self._store.get(key), FACT_SECONDS[fact])
        return marked

    def _believable(self, stored: Stored | None, seconds: float) -> bool:
        """Whether a fact exists and was not written by a clock that was ahead."""
        if stored is None:
            return False
        now, found = self._wall(), float(stored.value) if stored.value.isdigit() else 0.0
        return found <= now + AHEAD_SECONDS and stored.expires_at <= now + seconds + AHEAD_SECONDS

    # ------------------------------------------------------------ for people

    async def held(self, domain: str, local_part: str = "") -> list[CachedVerdict]:
        """Return what the store holds on an address, with any sender, or on a domain itself, valid or expired.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        if local_part:
            found = [each for prefix in self._prefixes(domain, local_part) for each in await self._store.scan(prefix)]
        else:
            own = self._domain_key(domain)
            found = [each for each in await self._store.scan(own) if each[0] == own]
        records = (CachedVerdict.decoded(stored.value) for _, stored in found)
        return [each for each in records if each is not None]

    async def facts(self, domain: str) -> list[str]:
        """Return the names of the facts that are remembered about a domain.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        prefix = self._fact_key("", domain)
        return sorted(key.removeprefix(prefix) for key, _ in await self._store.scan(prefix))

    async def purge(self, local_part: str = "", domain: str = "") -> int:
        """Forget an address, a domain, or everything; return how many records went. Others follow within a minute.

        Raises:
            StoreUnavailable: the store still has them.
        """
        self._local.clear()
        self._facts.clear()
        if not domain:
            return await self._store.purge(f"{_PREFIX} ")
        if not local_part:
            await self._store.delete(self._domain_key(domain))
            await self._store.purge(f"{_PREFIX} f {self._hashed(domain)} ")
            return await self._store.purge(f"{_PREFIX} a {self._hashed(domain)} ")
        return sum([await self._store.purge(prefix) for prefix in self._prefixes(domain, local_part)])

    def _prefixes(self, domain: str, local_part: str) -> list[str]:
        """Return the key prefixes of an address and its families, for any sender."""
        names = [local_part, *(_FAMILY + each for each in families_about(local_part))]
        return [f"{_PREFIX} a {self._hashed(domain)} {self._hashed(name)} " for name in names]

    async def count(self) -> int:
        """Return how many verdicts on addresses the store holds, including those kept only for their streak.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        return await self._store.count(f"{_PREFIX} a ")

    # ------------------------------------------------------------ keys, memory and store

    async def _load(self, key: str) -> CachedVerdict | None:
        """Return the record of a key, valid or expired: an expired one still tells its streak."""
        now = self._clock()
        held = self._local.get(key)
        if held is not None and now < held[1] and held[0].fresh(now):  # else another worker may know more
            return held[0]
        stored = await self._store.get(key)
        record = self._read(stored)
        if record is not None:
            self._local[key] = (record, now + self._local_seconds)
        return record

    def _read(self, stored: Stored | None) -> CachedVerdict | None:
        """Return what a store held, with its times on memory's clock."""
        wall, record = self._wall(), CachedVerdict.decoded(stored.value) if stored is not None else None
        believed = record.believable(wall, self.lives) if record is not None else None
        return believed.moved(self._clock() - wall) if believed is not None else None

    async def _save(self, key: str, record: CachedVerdict) -> None:
        now = self._clock()
        self._local[key] = (record, now + self._local_seconds)
        spare = self.lives.transient_most if record.verdict.status is Status.TRANSIENT else 0.0
        written = record.moved(self._wall() - now)
        await self._store.put(key, written.encoded(), max(1.0, record.expires - now + spare))

    def family_name_of(self, question: Question) -> str:
        """Return a name shared by all members of the question's family, or its own if it has no family."""
        return self._family_key(question) or self._key(question)

    def name_of(self, question: Question) -> str:
        """Return a name of the question for a lock; all workers use the same one."""
        return self._key(question)

    def _keys(self, question: Question) -> list[str]:
        family = self._family_key(question)
        own = [self._key(question), *([family] if family is not None else [])]
        return [*own, self._domain_key(question.domain)]

    def _key(self, question: Question) -> str:
        if not self._secret:  # on every message's path
            return f"{_PREFIX} a {question.domain} {question.local_part} {question.sender}"
        hashed = self._hashed
        return f"{_PREFIX} a {hashed(question.domain)} {hashed(question.local_part)} {hashed(question.sender)}"

    def _family_key(self, question: Question) -> str | None:
        family = family_of(question.local_part)
        if family is None:
            return None
        hashed = self._hashed
        return f"{_PREFIX} a {hashed(question.domain)} {hashed(_FAMILY + family)} {hashed(question.sender)}"

    def _domain_key(self, domain: str) -> str:
        return f"{_PREFIX} d {self._hashed(domain)}"

    def _fact_key(self, fact: str, domain: str) -> str:
        return f"{_PREFIX} f {self._hashed(domain)} {fact}"

    def _hashed(self, part: str) -> str:
        """Return a part of a key: unchanged, or as a keyed hash if a secret is set."""
        if not self._secret:
            return part
        octets = part.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(octets, key=self._secret, digest_size=16).hexdigest()


def _answers_for_others(record: CachedVerdict) -> bool:
    """Whether a record applies to other addresses too: a family's pass, or a fact about the domain."""
    return record.verdict.status is Status.PASS or record.verdict.reason in DOMAIN_REASONS
