"""A worker's verifier, if there is a keeper: a cache of verdicts, and behind it the keeper.

A worker never probes by itself. If the keeper does not answer, the verdict is `transient (keeper)` and is not
remembered, unless memory has a verdict that is still valid. Questions that a dead keeper leaves are asked again of its
replacement, so a short outage does not even cause a 451.
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass
from itertools import count

from config.base.deadlines import Within
from proxy.base.log import get_logger
from proxy.callback.memory import VerdictMemory
from proxy.callback.observer import NOBODY, Observer
from proxy.callback.question import CacheKeys, Question, question_of
from proxy.callback.verdict import CallbackVerdict
from proxy.callback.withheld import SILENT
from proxy.keeper.messages import Answer, Ask, Asked, Hello, decode_answers
from proxy.keeper.reaching import Reach
from proxy.mail.address import mailbox_of, said_by
from proxy.mail.session import Path
from proxy.store.clocks import Clock

log = get_logger()

GRACE_SECONDS = 2.0
"""How much longer than the keeper's own limit a worker waits for its answer."""

MOST_WAITING = 20_000
"""Questions that may wait for answers; further ones get `transient (keeper)`."""

LOCAL_SECONDS = 60.0
"""How long a worker believes a verdict without asking the keeper again."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """What a worker needs to know of the module's options."""

    wait: float
    """How long the keeper lets a caller wait."""
    sender: str = ""
    """Who asks, unless a call names another."""
    most: int = 100_000
    """Verdicts in memory."""
    secret: bytes = b""


@dataclass(slots=True)
class _Waiting:
    ask: Ask
    answer: asyncio.Future[CallbackVerdict | None]
    key: str


class KeeperClient:
    """Answers whether an address exists, as a `CallbackVerifier` does. The event loop's thread owns its state."""

    most_probes = 0
    """No socket of this process goes to an exchanger."""

    def __init__(
        self, options: ClientOptions, outside: socket.socket, hello: Hello, *, clock: Clock = time.monotonic
    ) -> None:
        """Connect through a door; the loop must run."""
        self._wait, self._clock = options.wait, clock
        self._said = said_by(options.sender)
        self._keys, self._memory = CacheKeys(options.secret), VerdictMemory(options.most)
        self._numbers = count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._silent = 0
        self._loop = asyncio.get_running_loop()
        self._reach: Reach[Answer] = Reach(
            outside,
            hello,
            decode_answers,
            heard=self._answered,
            welcomed=self._welcomed,
            gave_up=self._fail_all,
        )

    @property
    def remembered(self) -> int:
        """How many verdicts are in front of the keeper."""
        return len(self._memory)

    def forget(self) -> None:
        """Ask the keeper about everything again."""
        self._memory.clear()

    def known(self, mailbox: Path | None, sender: str | None = None, *, client: str = "") -> CallbackVerdict | None:  # noqa: ARG002 - the keeper pays for nothing here
        """Return the verdict that is at hand without waiting; None if `verify` has to ask."""
        question = self._question(mailbox, sender)
        return question if isinstance(question, CallbackVerdict) else self._remembered(self._keys.of(question))

    def peek(self, mailbox: Path | None, sender: str | None = None) -> CallbackVerdict | None:
        """Return the same, and leave it as recently used as it was."""
        question = self._question(mailbox, sender)
        if isinstance(question, CallbackVerdict):
            return question
        return self._memory.peek(self._keys.of(question), self._clock())

    async def verify(
        self,
        address: str,
        sender: str | None = None,
        *,
        client: str = "",
        session: str = "",
        observer: Observer = NOBODY,  # noqa: ARG002 - only the process that asks could tell it anything
    ) -> CallbackVerdict:
        """Return the verdict on an address, from memory or from the keeper. Never raises."""
        question = self._question(mailbox_of(address), sender)
        if isinstance(question, CallbackVerdict):
            return question
        key = self._keys.of(question)
        known = self._remembered(key)
        if known is not None:
            return known
        return await self._asked(key, Ask(next(self._numbers), Asked.of(question), client, session)) or self._last(key)

    async def close(self) -> None:
        """Disconnect. Open questions get no answer."""
        await self._reach.close()
        self._fail_all()

    # ------------------------------------------------------------ questions

    async def _asked(self, key: str, ask: Ask) -> CallbackVerdict | None:
        """Return the keeper's answer; None if it does not come in time."""
        if self._reach.given_up or len(self._waiting) >= MOST_WAITING:
            self._note_silence()
            return None
        waiting = self._waiting[ask.number] = _Waiting(ask, self._loop.create_future(), key)
        self._reach.send(ask)
        try:
            with Within(self._wait + GRACE_SECONDS):
                return await waiting.answer
        except TimeoutError:
            self._note_silence()
            return None
        finally:
            del self._waiting[ask.number]

    def _question(self, mailbox: Path | None, sender: str | None) -> Question | CallbackVerdict:
        return question_of(mailbox, self._said if sender is None else said_by(sender))

    def _remembered(self, key: str) -> CallbackVerdict | None:
        now = self._clock()
        held = self._memory.held(key, now)
        return None if held is None else held.answer(now)

    def _last(self, key: str) -> CallbackVerdict:
        """Return the remembered verdict if it has not expired, otherwise `transient (keeper)`."""
        held, now = self._memory.get(key), self._clock()
        return held.answer(now) if held is not None and now < held.expires else SILENT

    def _answered(self, answer: Answer) -> None:
        if self._silent:
            log.info("keeper_answers", unanswered=self._silent)
            self._silent = 0
        waiting = self._waiting.get(answer.number)
        if waiting is None:
            return  # the caller has left
        now, held = self._clock(), answer.held
        if held is not None:
            held.until = min(held.until, now + LOCAL_SECONDS)
            self._memory.put(waiting.key, held)
        if not waiting.answer.done():
            waiting.answer.set_result(_verdict(answer, now))

    # ------------------------------------------------------------ the connection

    def _welcomed(self) -> None:
        """Ask what waits for an answer, maybe again."""
        for each in self._waiting.values():
            self._reach.send(each.ask)

    def _fail_all(self) -> None:
        for each in self._waiting.values():
            if not each.answer.done():
                each.answer.set_result(None)
                self._note_silence()

    def _note_silence(self) -> None:
        if not self._silent:
            log.warning("keeper_silent", waiting=len(self._waiting))
        self._silent += 1


def _verdict(answer: Answer, now: float) -> CallbackVerdict | None:
    if answer.told is not None:
        return answer.told.as_it_was
    return answer.held.answer(now) if answer.held is not None else None
