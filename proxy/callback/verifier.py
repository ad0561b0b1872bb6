"""The verifier: cache, then the probe that is already in flight, then a new probe under the limits.

All of it stands within one deadline. Its mutable state (the cache, the probes in flight, the places in line) is owned
by the worker's event loop; what can be decided without waiting is decided without waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from cachetools import TLRUCache

from proxy.callback.probe import Question, ask
from proxy.callback.resolve import ExchangerFinder, NoCandidate, ascii_domain
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.log import get_logger, printable
from proxy.smtp.address import BadParameter, BadPath, parse_argument
from proxy.tasks import TaskOwner, spawn

log = get_logger()

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class CallbackLimits:
    """How long verdicts live and how many probes run; times in seconds."""

    timeout: float
    most_probes: int
    most_probes_per_exchanger: int
    lives: dict[Status, float]
    most_remembered: int


_NO_ADDRESS = CallbackVerdict(Status.ERROR, "syntax", "not a mail address")


def _is_mailbox(text: str) -> bool:
    """Whether a text is an address by the grammar of SMTP; nothing else may reach a command, whoever wrote it."""
    try:
        path, parameters = parse_argument(b"TO:<%b>" % text.encode("utf-8", "surrogateescape"), b"TO:")
    except (BadPath, BadParameter):
        return False
    return bool(path.domain) and not parameters and path.text == text


class CallbackVerifier:
    """Answers whether an address exists. One a worker."""

    def __init__(
        self,
        finder: ExchangerFinder,
        limits: CallbackLimits,
        *,
        helo: str,
        port: int,
        sender: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`sender` is asked with unless a call names another; empty is the null sender."""
        self._finder, self._limits = finder, limits
        self._helo, self._port, self._sender = helo, port, sender
        self._cache: TLRUCache[Key, CallbackVerdict] = TLRUCache(limits.most_remembered, self._expiry, timer=clock)
        self._in_flight: dict[Key, asyncio.Task[CallbackVerdict]] = {}
        self._owner = TaskOwner("callback")
        self._probes = asyncio.Semaphore(limits.most_probes)
        self._lines: dict[str, _Line] = {}

    def _expiry(self, _key: Key, verdict: CallbackVerdict, now: float) -> float:
        return now + self._limits.lives[verdict.status]

    @property
    def most_probes(self) -> int:
        """How many conversations there may be at once."""
        return self._limits.most_probes

    def remembered(self, address: str, sender: str | None = None) -> CallbackVerdict | None:
        """Return the cached verdict, without waiting."""
        return self._cache.get(self._key(address, sender))

    async def verify(self, address: str, sender: str | None = None) -> CallbackVerdict:
        """Return the verdict on an address; it never raises for what an exchanger or DNS does.

        Many who ask the same at once share one probe; a caller who leaves does not end it.
        """
        key = self._key(address, sender)
        known = self._cache.get(key)
        if known is not None:
            return known
        if not (_is_mailbox(address) and (not key[1] or _is_mailbox(key[1]))):
            return _NO_ADDRESS
        probe = self._in_flight.get(key)
        if probe is None:
            probe = spawn(self._probe(key), name=f"probe {printable(address, 64)}", owner=self._owner)
            self._in_flight[key] = probe
        return await asyncio.shield(probe)

    def _key(self, address: str, sender: str | None) -> Key:
        local_part, _, domain = address.rpartition("@")
        return f"{local_part}@{domain.lower()}", self._sender if sender is None else sender

    async def _probe(self, key: Key) -> CallbackVerdict:
        """Probe, remember and log; whatever goes wrong inside is an `error` verdict, which is not remembered."""
        address, sender = key
        began = time.monotonic()
        try:
            verdict = await self._within_deadline(address, sender)
            verdict = replace(verdict, seconds=round(time.monotonic() - began, 3))
            self._cache[key] = verdict.from_cache()
        except Exception as error:
            log.error("probe_failed", address=printable(address), exc_info=error)
            verdict = CallbackVerdict(Status.ERROR, "internal", "internal error")
        finally:
            del self._in_flight[key]
        log.info(
            "probe",
            address=printable(address),
            sender=printable(sender),
            status=verdict.status.value,
            reason=verdict.reason,
            stage=verdict.stage,
            code=verdict.code,
            text=printable(verdict.text),
            exchanger=printable(verdict.exchanger),
            ip=verdict.address,
            seconds=verdict.seconds,
        )
        return verdict

    async def _within_deadline(self, address: str, sender: str) -> CallbackVerdict:
        local_part, _, domain = address.rpartition("@")
        try:
            name = ascii_domain(domain)  # an IDN domain needs no SMTPUTF8: it is asked about in A-labels
            async with asyncio.timeout(self._limits.timeout):
                candidates = await self._finder.find(name)
                question = Question(f"{local_part}@{name}", sender, self._helo, self._port)
                return await ask(question, candidates, self._place)
        except NoCandidate as none:
            return none.verdict
        except TimeoutError:
            return CallbackVerdict(Status.TRANSIENT, "timeout", "the mail exchangers did not answer in time")

    @asynccontextmanager
    async def _place(self, address: str) -> AsyncIterator[None]:
        """Wait in line at one address, and only then for a place among all: a slow exchanger blocks no other."""
        line = self._lines.get(address)
        if line is None:
            line = self._lines[address] = _Line(asyncio.Semaphore(self._limits.most_probes_per_exchanger))
        line.users += 1
        try:
            async with line.places, self._probes:
                yield
        finally:
            line.users -= 1
            if not line.users:
                del self._lines[address]

    async def close(self) -> None:
        """End the probes in flight; nobody waits for them any more."""
        await self._owner.cancel()


@dataclass(slots=True)
class _Line:
    """Who is at one address, or waits for it."""

    places: asyncio.Semaphore
    users: int = 0
