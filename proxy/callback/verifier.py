"""The verifier: the cached verdict, else the probe already in flight, else a new probe within the limits.

A caller waits at most `wait` seconds and then gets `transient (pending)`. The probe goes on and its verdict is cached,
so the client's retry finds it. What needs no waiting is answered without waiting. The worker's event loop owns the
mutable state (probes in flight, places in line).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from cachetools import TTLCache

from config.base.ip import any_holds
from config.schema.values import DomainPatterns, Network
from proxy.base.log import get_logger, printable
from proxy.base.tasks import TaskOwner, spawn
from proxy.callback.cache import CallbackCache
from proxy.callback.limits.budgets import Breakers, Neighbour, Storms
from proxy.callback.limits.gate import ProbeLimiter, Visitor, turned_us_away
from proxy.callback.lives import CATCHALL_SECONDS, NO_PROBE_SECONDS, NULL_REFUSED_SECONDS
from proxy.callback.manner import ProbeSettings
from proxy.callback.observer import NOBODY, Observer
from proxy.callback.pace import ProbePacer
from proxy.callback.probe import ask
from proxy.callback.question import Question
from proxy.callback.resolve import ExchangerFinder, ExchangerHost, NoCandidate, ascii_domain
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.mail.address import BadParameter, BadPath, path_of
from proxy.mail.session import Path
from proxy.store.base import Store

log = get_logger()

POLL_SECONDS = 0.25
"""How often to check whether another machine's probe has finished."""

_MOST_REFRESHED = 16_384

TURNED_AWAY_MOST = 3
"""After this many breakers opened in a row, a domain is not probed for a day."""


@dataclass(frozen=True, slots=True)
class CallbackLimits:
    """Waiting times in seconds, and how many probes may run."""

    timeout: float
    """For a whole probe."""
    wait: float
    """For the caller."""
    most_probes: int
    most_probes_per_exchanger: int


@dataclass(frozen=True, slots=True)
class Spared:
    """Domains, exchangers and networks that the operator exempts from probes."""

    domains: DomainPatterns = field(default_factory=DomainPatterns)
    exchangers: DomainPatterns = field(default_factory=DomainPatterns)
    networks: tuple[Network, ...] = ()

    def holds(self, host: ExchangerHost) -> bool:
        """Whether an exchanger is exempt."""
        return self.exchangers.matches(host.name) or any(
            any_holds(self.networks, address) for address in host.addresses
        )


@dataclass(frozen=True, slots=True)
class Around:
    """What the verifier works with."""

    finder: ExchangerFinder
    manner: ProbeSettings
    cache: CallbackCache
    store: Store
    neighbour: Neighbour
    breakers: Breakers
    storms: Storms
    spared: Spared = field(default_factory=Spared)


@dataclass(frozen=True, slots=True)
class _Asking:
    """A probe in flight, and the client network that it was started for."""

    task: asyncio.Task[CallbackVerdict]
    client: str


_NO_ADDRESS = CallbackVerdict(Status.ERROR, "syntax", "not a mail address")


def _withheld(reason: str, text: str, status: Status = Status.TRANSIENT) -> CallbackVerdict:
    """Return the verdict if no exchanger was asked."""
    return CallbackVerdict(status, reason, f"not asked: {text}")


_PENDING = CallbackVerdict(Status.TRANSIENT, "pending", "the mail exchanger has not answered yet")
_THROTTLED = _withheld("throttled", "the domain's probe budget is used up for now")
_CLIENT_THROTTLED = _withheld("client_throttled", "this client's network has used up its probe budget for now")
_STORM = _withheld("storm", "the domain is being forged by many clients")
_SPARED = _withheld("no_probe", "the operator exempts this domain", Status.ERROR)
_BUSY_HERE = _withheld("busy_here", "too many other probes were running")
_TOO_SLOW = CallbackVerdict(Status.TRANSIENT, "timeout", "the mail exchangers did not answer in time")
_NOT_SERVED = {"busy_here": _BUSY_HERE, "client_throttled": _CLIENT_THROTTLED}
_GIVEN_UP = _withheld("no_probe", "its exchangers rejected us three times in a row", Status.ERROR)


_CATCHALL = CallbackVerdict(Status.PASS, "catchall", "the domain accepts any recipient", catchall=True, cached=True)


def mailbox_of(text: str) -> Path | None:
    """Parse an address by SMTP's grammar; None if it is invalid, since nothing else may be sent to an exchanger."""
    try:
        path = path_of(text)
    except (BadPath, BadParameter, UnicodeEncodeError):
        return None
    return path if path.domain and not text.startswith("@") else None


def _said(sender: str) -> str | None:
    """Return a sender as a probe says it, empty for the null sender; None if it is no address."""
    if not sender:
        return ""
    path = mailbox_of(sender)
    return None if path is None else f"{path.spoken.rpartition('@')[0]}@{path.domain}"


class CallbackVerifier:
    """Answers whether an address exists. One per worker."""

    def __init__(self, around: Around, limits: CallbackLimits, *, sender: str = "") -> None:
        """`sender` is used in MAIL FROM unless a call names another; empty means the null sender."""
        self._around, self._limits, self._sender = around, limits, _said(sender)
        self._in_flight: dict[Question, _Asking] = {}
        self._refreshed: TTLCache[str, None] = TTLCache(
            _MOST_REFRESHED, around.cache.lives.transient, timer=around.cache.now
        )
        """Passes probed again recently. If that gave no result, the next hit must not probe again."""
        self._owner = TaskOwner("callback")
        self._doorkeeper = ProbeLimiter(
            around.manner,
            around.neighbour,
            around.breakers,
            most=limits.most_probes,
            most_per_exchanger=limits.most_probes_per_exchanger,
        )
        self._pace = ProbePacer()

    @property
    def most_probes(self) -> int:
        """How many conversations may run at once."""
        return self._limits.most_probes

    @property
    def store(self) -> Store:
        """The store for budgets and verdicts."""
        return self._around.store

    @property
    def cache(self) -> CallbackCache:
        """The cache of verdicts."""
        return self._around.cache

    def known(self, mailbox: Path | None, sender: str | None = None, *, client: str = "") -> CallbackVerdict | None:
        """Return the verdict that is at hand without waiting; None if `verify` has to find it.

        At hand is what memory holds, and that there is nothing to ask: no mailbox, or a domain that cannot exist.
        """
        question = self._question(mailbox, sender)
        return question if isinstance(question, CallbackVerdict) else self._remembered(question, client)

    async def verify(
        self, address: str, sender: str | None = None, *, client: str = "", observer: Observer = NOBODY
    ) -> CallbackVerdict:
        """Return the verdict on an address. It never raises because of an exchanger or DNS.

        Concurrent equal questions share one probe, and it goes on if a caller leaves. `client` is the network whose
        budget pays. `observer` sees how the answer is found, if this call looks for it.
        """
        question = self._question(mailbox_of(address), sender)
        if isinstance(question, CallbackVerdict):
            return question
        verdict = self._remembered(question, client)
        if verdict is not None:
            return verdict
        try:
            async with asyncio.timeout(self._limits.wait):
                return await self._joined(question, client, observer)
        except TimeoutError:
            return _PENDING

    async def _joined(self, question: Question, client: str, observer: Observer) -> CallbackVerdict:
        """Wait for the probe in flight, or start one. If another client was throttled, this one tries for itself."""
        while (asking := self._in_flight.get(question)) is not None and asking.client != client:
            await asyncio.wait((asking.task,))
            if asking.task.cancelled():
                return _PENDING
            verdict = asking.task.result()
            if verdict.reason != "client_throttled":
                return verdict
        probe = asking.task if asking is not None else self._begin(question, client, observer)
        await asyncio.wait((probe,))
        return probe.result() if not probe.cancelled() else _PENDING

    def _question(self, mailbox: Path | None, sender: str | None) -> Question | CallbackVerdict:
        """Return what to ask, or the verdict if there is nothing to ask."""
        said = self._sender if sender is None else _said(sender)
        if mailbox is None or said is None or not mailbox.domain:
            return _NO_ADDRESS
        domain = mailbox.domain
        if not domain.isascii():  # a path has its domain in A-labels, if there are any
            try:
                domain = ascii_domain(domain)
            except NoCandidate as none:
                return none.verdict
        return Question(mailbox.local_part, domain, said, mailbox.raw)

    def _remembered(self, question: Question, client: str) -> CallbackVerdict | None:
        """Return what memory holds; a pass that is due is probed again in the background."""
        cache = self._around.cache
        record = cache.at_hand(question)
        if record is None:
            return None
        now = cache.now()
        if record.due(now):
            self._refresh(question, client)
        return record.answer(now)

    def _begin(self, question: Question, client: str, observer: Observer) -> asyncio.Task[CallbackVerdict]:
        work = self._answer(question, client, observer)
        probe = spawn(work, name=f"probe {printable(question.address, 64)}", owner=self._owner)
        self._in_flight[question] = _Asking(probe, client)
        return probe

    def _refresh(self, question: Question, client: str) -> None:
        """Probe an ageing pass again in the background; the caller already has the cached answer."""
        name = self._around.cache.family_name_of(question)
        if name not in self._refreshed:
            self._refreshed[name] = None
            work = self._guarded(question, self._found_again(question, client))
            spawn(work, name=f"refresh {printable(question.address, 64)}", owner=self._owner)

    # ------------------------------------------------------------ one question

    async def _answer(self, question: Question, client: str, observer: Observer) -> CallbackVerdict:
        """Find the answer and cache it."""
        try:
            return await self._guarded(question, self._remembered_or_found(question, client, observer))
        finally:
            del self._in_flight[question]

    async def _guarded(self, question: Question, work: Coroutine[Any, Any, CallbackVerdict]) -> CallbackVerdict:
        """Bound the work; an unexpected failure becomes an `error` verdict, which is not cached."""
        try:
            async with asyncio.timeout(self._limits.timeout + 1.0):
                return await work
        except TimeoutError:
            return _PENDING
        except Exception as error:
            log.error("probe_failed", address=printable(question.address), exc_info=error)
            return CallbackVerdict(Status.ERROR, "internal", "internal error")

    async def _remembered_or_found(self, question: Question, client: str, observer: Observer) -> CallbackVerdict:
        cache = self._around.cache
        record = await cache.find(question)
        if record is not None:
            if record.due(cache.now()):
                self._refresh(question, client)
            return record.answer(cache.now())
        await self._pace.turn()
        return await self._withheld(question, client) or await self._found(question, client, observer)

    async def _found_again(self, question: Question, client: str) -> CallbackVerdict:
        verdict = await self._withheld(question, client) or await self._found(question, client, NOBODY, refreshing=True)
        if verdict.reason == "client_throttled":  # the next hit, for another client, may probe
            self._refreshed.pop(self._around.cache.family_name_of(question), None)
        return verdict

    async def _found(
        self, question: Question, client: str, observer: Observer, *, refreshing: bool = False
    ) -> CallbackVerdict:
        """Probe, unless another worker or machine is asking the same now: then wait for its verdict."""
        around = self._around
        key = f"cbv probe {around.cache.name_of(question)}"
        token = await around.store.acquire(key, self._limits.timeout)
        waited = token is None
        while token is None:
            if refreshing:
                return _PENDING
            await asyncio.sleep(POLL_SECONDS)
            record = await around.cache.find(question)
            if record is not None:
                return record.answer(around.cache.now())
            token = await around.store.acquire(key, self._limits.timeout)
        try:
            record = await around.cache.find(question) if waited else None
            if record is not None:  # it arrived before we got the lock
                return record.answer(around.cache.now())
            verdict = await self._probe(question, client, observer)
            return (await around.cache.keep(question, verdict)).said(verdict, around.cache.now())
        finally:
            await around.store.release(key, token)

    async def _withheld(self, question: Question, client: str) -> CallbackVerdict | None:
        """Return why no exchanger may be asked, before any packet is sent; None if one may be."""
        around, domain = self._around, question.domain
        if around.spared.domains.matches(domain):
            return _SPARED
        if await around.cache.marked("no_probe", domain):
            return _GIVEN_UP
        if await around.cache.marked("catchall", domain):
            return _CATCHALL
        if around.storms.rages(domain):
            return _STORM
        refusal = await around.neighbour.may_ask(client, domain)
        return None if refusal is None else _THROTTLED if refusal == "throttled" else _CLIENT_THROTTLED

    async def _probe(self, question: Question, client: str, observer: Observer) -> CallbackVerdict:
        began = time.monotonic()
        verdict = await self._within_deadline(question, client, observer)
        verdict = replace(verdict, seconds=round(time.monotonic() - began, 3))
        if verdict.status is Status.FAIL and verdict.stage == "rcpt":
            self._around.storms.note(question.domain, question.local_part, client)
        await self._learn(question, verdict)
        log.info(
            "probe",
            address=printable(question.address),
            sender=printable(question.sender),
            status=verdict.status.value,
            reason=verdict.reason,
            stage=verdict.stage,
            code=verdict.code,
            text=printable(verdict.text),
            exchanger=printable(verdict.exchanger),
            ip=verdict.address,
            tls=verdict.tls,
            seconds=verdict.seconds,
        )
        return verdict

    async def _within_deadline(self, question: Question, client: str, observer: Observer) -> CallbackVerdict:
        around = self._around
        visitor = Visitor(self._doorkeeper, client)
        try:
            async with asyncio.timeout(self._limits.timeout):
                async with visitor.look_up():
                    hosts = await around.finder.find(question.domain, observer)
                if not around.finder.is_routed(question.domain):
                    hosts = self._not_spared(hosts, observer)
                if not hosts:
                    return _SPARED
                manner = around.manner
                if not question.sender and manner.fallback and await self._refuses_null_sender(question.domain):
                    question = replace(question, sender=manner.fallback)
                return await ask(question, manner, hosts, visitor, observer)
        except NoCandidate as none:
            return none.verdict
        except TimeoutError:
            return _NOT_SERVED.get(visitor.waited_for, _TOO_SLOW)

    def _not_spared(self, hosts: list[ExchangerHost], observer: Observer) -> list[ExchangerHost]:
        spared = [each for each in hosts if self._around.spared.holds(each)]
        for each in spared:
            observer.note("passed_over", host=each.name, address="", why="exempted by the operator")
        return [each for each in hosts if each not in spared]

    async def _refuses_null_sender(self, domain: str) -> bool:
        return await self._around.cache.marked("null_refused", domain)

    async def _learn(self, question: Question, verdict: CallbackVerdict) -> None:
        """Remember what a verdict says about the whole domain."""
        cache, domain = self._around.cache, question.domain
        if verdict.catchall:
            await cache.mark("catchall", domain, CATCHALL_SECONDS)
        if verdict.null_refused:
            await cache.mark("null_refused", domain, NULL_REFUSED_SECONDS)
        if self._around.breakers.times(verdict.address) >= TURNED_AWAY_MOST and turned_us_away(verdict):
            log.warning("domain_not_probed", domain=printable(domain), seconds=NO_PROBE_SECONDS)
            await cache.mark("no_probe", domain, NO_PROBE_SECONDS)

    async def close(self) -> None:
        """Cancel the probes in flight: no caller waits for them any more."""
        await self._owner.cancel()
