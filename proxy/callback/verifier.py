"""The verifier: the cached verdict, else the probe already in flight, else a new probe within the limits.

A caller waits at most `wait` seconds and then gets `transient (pending)`. The probe goes on and its verdict is cached,
so the client's retry finds it. If the answer is at hand, it is returned without waiting. The worker's event loop owns
the mutable state (probes in flight, places in line).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from cachetools import TTLCache

from config.base.deadlines import Within
from proxy.base.log import get_logger, is_observed, printable
from proxy.base.tasks import TaskOwner, spawn
from proxy.callback.around import Around, CallbackLimits
from proxy.callback.cache import CallbackCache
from proxy.callback.limits.gate import ProbeLimiter, Visitor, turned_us_away
from proxy.callback.lives import CATCHALL_SECONDS, NO_PROBE_SECONDS, NULL_REFUSED_SECONDS
from proxy.callback.memory import Packed, is_due
from proxy.callback.observer import NOBODY, Observer, Recorder
from proxy.callback.pace import ProbePacer
from proxy.callback.probe import ask
from proxy.callback.question import NoCandidate, Question, question_of
from proxy.callback.resolve import ExchangerHost
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.callback.waiting import Asker, Asking, Told, Waiting
from proxy.callback.withheld import (
    CATCHALL,
    CLIENT_THROTTLED,
    GIVEN_UP,
    NOT_SERVED,
    PENDING,
    SPARED,
    STORM,
    THROTTLED,
    TOO_SLOW,
)
from proxy.mail.address import mailbox_of, said_by
from proxy.mail.session import Path
from proxy.metrics.book import BOOK, observe
from proxy.metrics.table import BREAKERS, CALLBACK_TIME, IN_FLIGHT

log = get_logger()

POLL_SECONDS = 0.25
"""How often to check whether another machine's probe has finished."""

_TIMES = CALLBACK_TIME.table()
_MOST_REFRESHED = 16_384

TURNED_AWAY_MOST = 3
"""After this many breakers opened in a row, a domain is not probed for a day."""


Finding = Callable[[Question, str, CallbackVerdict], None]
"""Is told the verdict of each probe that was in flight, and the client network that it was started for."""

Work = Callable[[], Coroutine[Any, Any, CallbackVerdict]]
"""Finds an answer. A coroutine in its place would never be awaited if its task is cancelled before it begins."""


class CallbackVerifier:
    """Answers whether an address exists. One per worker."""

    def __init__(self, around: Around, limits: CallbackLimits, *, sender: str = "") -> None:
        """`sender` is used in MAIL FROM unless a call names another; empty means the null sender."""
        self._around, self._limits, self._sender = around, limits, said_by(sender)
        self._in_flight: dict[Question, Asking] = {}
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
        self.finding: Finding | None = None
        BOOK.sample(self._look)

    def _look(self) -> None:
        counts, around = BOOK.counts, self._around
        counts[IN_FLIGHT.base] = len(self._in_flight)
        counts[BREAKERS.base] = around.breakers.open_now
        around.cache.look()

    @property
    def most_probes(self) -> int:
        """The limit on concurrent conversations."""
        return self._limits.most_probes

    @property
    def cache(self) -> CallbackCache:
        """The cache of verdicts."""
        return self._around.cache

    def known(self, mailbox: Path | None, sender: str | None = None, *, client: str = "") -> CallbackVerdict | None:
        """Return the verdict that is at hand without waiting; None if `verify` has to find it.

        At hand is what memory holds, and that there is nothing to ask: no mailbox, or a domain that cannot exist.
        """
        question = question_of(mailbox, self._sender if sender is None else said_by(sender))
        return question if isinstance(question, CallbackVerdict) else self.remembered(question, client)

    def peek(self, mailbox: Path | None, sender: str | None = None) -> CallbackVerdict | None:
        """Return the same; count nothing, and start no probe."""
        question = question_of(mailbox, self._sender if sender is None else said_by(sender))
        if isinstance(question, CallbackVerdict):
            return question
        cache = self._around.cache
        return cache.memory.peek(cache.keys.of(question), cache.now())

    @property
    def around(self) -> Around:
        """What it works with."""
        return self._around

    @property
    def in_flight(self) -> Mapping[Question, str]:
        """The questions whose probes are in flight, each with the client network that it was started for."""
        return {question: asking.client for question, asking in self._in_flight.items()}

    async def verify(
        self,
        address: str,
        sender: str | None = None,
        *,
        client: str = "",
        session: str = "",
        observer: Observer = NOBODY,
    ) -> CallbackVerdict:
        """Return the verdict on an address. It never raises because of an exchanger or DNS.

        Concurrent equal questions share one probe, which continues if a caller leaves. `client` is the network whose
        budget pays; `session` is named in the log. `observer` sees how the answer is found, if this call looks for it.
        """
        question = question_of(mailbox_of(address), self._sender if sender is None else said_by(sender))
        if isinstance(question, CallbackVerdict):
            return question
        asker = Asker(client, session, observer)
        return self.remembered(question, client, session) or await self.find(question, asker)

    def remembered(self, question: Question, client: str, session: str = "") -> CallbackVerdict | None:
        """Return what memory holds; a pass that is due is probed again in the background."""
        cache = self._around.cache
        now = cache.now()
        held = cache.memory.held(cache.keys.of(question), now)
        cache.lookups += 1
        if held is None:
            return None
        cache.hits += 1
        if held.status is Status.PASS and is_due(held, now):
            self._refresh(question, Asker(client, session))
        return held.answer(now)

    async def find(self, question: Question, asker: Asker) -> CallbackVerdict:
        """Return the verdict on a question that memory does not answer, or `pending` after the longest wait."""
        answer: asyncio.Future[CallbackVerdict] = asyncio.get_running_loop().create_future()
        waiting = self.wait(question, asker, lambda verdict: None if answer.done() else answer.set_result(verdict))
        try:
            return await answer
        finally:
            waiting.leave()

    def wait(self, question: Question, asker: Asker, told: Told) -> Waiting:
        """Call `told` with what `find` would return, once."""
        return Waiting(question, asker, self._asking, self._limits.wait, told)

    def _asking(self, question: Question, asker: Asker) -> Asking:
        """Return the probe in flight, or start one."""
        return self._in_flight.get(question) or self._begin(question, asker)

    def _begin(self, question: Question, asker: Asker) -> Asking:
        return self._fly(question, asker.client, partial(self._remembered_or_found, question, asker))

    def _fly(self, question: Question, client: str, work: Work) -> Asking:
        answering = self._answer(question, client, work)
        probe = spawn(answering, name=f"probe {printable(question.address, 64)}", owner=self._owner)
        asking = self._in_flight[question] = Asking(probe, client)
        return asking

    def _refresh(self, question: Question, asker: Asker) -> None:
        """Probe an ageing pass again in the background; the caller already has the cached answer."""
        name = self._around.cache.family_name_of(question)
        if name not in self._refreshed:
            self._refreshed[name] = None
            work = self._guarded(question, partial(self._found_again, question, asker))
            spawn(work, name=f"refresh {printable(question.address, 64)}", owner=self._owner)

    # ------------------------------------------------------------ one question

    async def _answer(self, question: Question, client: str, work: Work) -> CallbackVerdict:
        """Find the answer and cache it."""
        try:
            verdict = await self._guarded(question, work)
            if self.finding is not None:
                self.finding(question, client, verdict)
            return verdict
        finally:
            del self._in_flight[question]

    async def _guarded(self, question: Question, work: Work) -> CallbackVerdict:
        """Bound the work; an unexpected failure becomes an `error` verdict, which is not cached."""
        try:
            with Within(self._limits.timeout + 1.0):
                return await work()
        except TimeoutError:
            return PENDING
        except Exception as error:
            log.error("probe_failed", address=printable(question.address), exc_info=error)
            return CallbackVerdict(Status.ERROR, "internal", "internal error")

    async def _remembered_or_found(self, question: Question, asker: Asker) -> CallbackVerdict:
        cache = self._around.cache
        record = await cache.find(question)
        if record is not None:
            if record.verdict.status is Status.PASS and is_due(record, cache.now()):
                self._refresh(question, asker)
            return record.answer(cache.now())
        await self._pace.turn()
        return await self._withheld(question, asker.client) or await self._found(question, asker)

    async def _found_again(self, question: Question, asker: Asker) -> CallbackVerdict:
        own = Asker(asker.client, asker.session)  # without the first asker's observer
        verdict = await self._withheld(question, own.client) or await self._found(question, own, refreshing=True)
        if verdict.reason == "client_throttled":  # the next hit, for another client, may probe
            self._refreshed.pop(self._around.cache.family_name_of(question), None)
        return verdict

    async def _found(self, question: Question, asker: Asker, *, refreshing: bool = False) -> CallbackVerdict:
        """Probe, unless another process or machine is asking the same now: then wait for its verdict."""
        around = self._around
        if not around.leases:
            return await self._probed(question, asker)
        key = f"cbv probe {around.cache.name_of(question)}"
        token = await around.store.acquire(key, self._limits.timeout)
        waited = token is None
        while token is None:
            if refreshing:
                return PENDING
            await asyncio.sleep(POLL_SECONDS)
            record = await around.cache.find(question)
            if record is not None:
                return record.answer(around.cache.now())
            token = await around.store.acquire(key, self._limits.timeout)
        try:
            record = await around.cache.find(question) if waited else None
            if record is not None:  # it arrived before we got the lock
                return record.answer(around.cache.now())
            return await self._probed(question, asker)
        finally:
            await around.store.release(key, token)

    async def _probed(self, question: Question, asker: Asker) -> CallbackVerdict:
        cache = self._around.cache
        verdict = await self._probe(question, asker)
        return (await cache.keep(question, verdict)).said(verdict, cache.now())

    async def _withheld(self, question: Question, client: str) -> CallbackVerdict | None:
        """Return why no exchanger may be asked, before any packet is sent; None if one may be."""
        around, domain = self._around, question.domain
        if around.spared.domains.matches(domain):
            return SPARED
        if await around.cache.marked("no_probe", domain):
            return GIVEN_UP
        if await around.cache.marked("catchall", domain):
            return CATCHALL
        if around.storms.rages(domain):
            return STORM
        refusal = await around.neighbour.may_ask(client, domain)
        return None if refusal is None else THROTTLED if refusal == "throttled" else CLIENT_THROTTLED

    async def _probe(self, question: Question, asker: Asker) -> CallbackVerdict:
        began = time.monotonic()
        recorder = Recorder() if asker.observer is NOBODY and is_observed("probe_dialogue") else None
        verdict = await self._within_deadline(question, asker.client, recorder or asker.observer)
        verdict = _timed(verdict, round(time.monotonic() - began, 3))
        observe(CALLBACK_TIME, _TIMES[verdict.status.value], verdict.seconds)
        self._note(question, verdict, asker.client)
        await self._learn(question, verdict)
        named = {"session": asker.session} if asker.session else {}
        log.info(
            "probe",
            **named,
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
        if recorder is not None and recorder.conversation:
            log.debug(
                "probe_dialogue", **named, address=printable(question.address), conversation=recorder.conversation
            )
        return verdict

    async def _within_deadline(self, question: Question, client: str, observer: Observer) -> CallbackVerdict:
        around = self._around
        visitor = Visitor(self._doorkeeper, client)
        try:
            with Within(self._limits.timeout):
                async with visitor.look_up():
                    hosts = await around.finder.find(question.domain, observer)
                if not around.finder.is_routed(question.domain):
                    hosts = self._not_spared(hosts, observer)
                if not hosts:
                    return SPARED
                manner = around.manner
                if not question.sender and manner.fallback and await self._refuses_null_sender(question.domain):
                    question = replace(question, sender=manner.fallback)
                return await ask(question, manner, hosts, visitor, observer)
        except NoCandidate as none:
            return none.verdict
        except TimeoutError:
            return NOT_SERVED.get(visitor.waited_for, TOO_SLOW)

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

    def _note(self, question: Question, verdict: CallbackVerdict, client: str) -> None:
        if verdict.status is Status.FAIL and verdict.stage == "rcpt":
            self._around.storms.note(question.domain, question.local_part, client)

    # ------------------------------------------------------------ what another process is finding out

    def expect(self, question: Question, client: str, outcome: asyncio.Future[CallbackVerdict | None]) -> None:
        """Let those who ask wait for another process's probe; if it comes to nothing, find the answer here."""
        if question not in self._in_flight:
            self._fly(question, client, partial(self._expected, question, client, outcome))

    async def _expected(
        self, question: Question, client: str, outcome: asyncio.Future[CallbackVerdict | None]
    ) -> CallbackVerdict:
        return await outcome or await self._remembered_or_found(question, Asker(client))

    async def told(self, question: Question, client: str, verdict: CallbackVerdict, held: Packed | None) -> None:
        """Learn from another process's probe as from one of our own."""
        self._doorkeeper.judge(verdict)
        self._note(question, verdict, client)
        await self._learn(question, verdict)
        if held is not None:
            await self._around.cache.adopt_found(question, held)

    async def landed(self) -> None:
        """Return when the probes that are in flight now have ended."""
        probes = [asking.task for asking in self._in_flight.values()]
        if probes:
            await asyncio.wait(probes, timeout=self._limits.timeout + 2.0)

    async def close(self) -> None:
        """Cancel the probes in flight: no caller waits for them any more."""
        await self._owner.cancel()


def _timed(verdict: CallbackVerdict, seconds: float) -> CallbackVerdict:
    """Return a fresh verdict with the seconds that it took: it may be one that all share."""
    v = verdict
    return CallbackVerdict(
        v.status, v.reason, v.text, v.stage, v.code, v.exchanger, v.address,
        seconds, v.tls, v.catchall, v.null_refused, v.listed,
    )  # fmt: skip
