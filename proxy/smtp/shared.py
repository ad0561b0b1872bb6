"""Limits of clients that several workers, or several machines, count together.

With one worker and no shared store, `admission`, `plan` and `guesses` count in this process instead. What one
phase asks leaves in one turn of the loop, so it travels together. A client that was refused is refused for a second
without asking, so a client that keeps trying costs the others nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from typing import Any, NamedTuple, Protocol, TypeVar

from cachetools import LRUCache

from proxy.base.tasks import TaskOwner, spawn
from proxy.counting.base import Counting, CountingUnavailable, answered
from proxy.counting.operations import (
    Forget,
    Get,
    Lease,
    Leased,
    Operation,
    Places,
    Put,
    Return,
    Show,
    Take,
    Taken,
)
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.options.throttle import Throttle
from proxy.smtp.pending import Answer, Pending

REFUSED_SECONDS = 1.0
"""How long a client that is over a limit is refused without asking again."""

MOST_REFUSED = 65_536
"""Refusals that are remembered. Beyond this, the oldest are asked about again."""

ROOM, LOGINS = "limits", "logins"
"""Where buckets of clients are counted, and where networks are remembered that logged in."""

HERE = f"{ROOM}\0"
"""How keys of buckets begin in a process that counts for itself: as in the tables that it hands over on a reload."""

NOT_COUNTED = "on_store_error"
"""The answer instead of an option's name: counting is not possible now, and the configuration says to defer."""

A = TypeVar("A")


class Started(Protocol):
    """Begins an operation, whose answer comes later."""

    def __call__(self, operation: Operation[A], /) -> asyncio.Future[A]:
        """Raises CountingUnavailable."""
        ...


class Claim(NamedTuple):
    """A place among those that an option allows, such as one connection of a client."""

    option: str
    whose: str
    """What the option counts for: a client's network, a listener, or nothing for the whole service."""
    most: int

    @property
    def key(self) -> bytes:
        """Under which name it is leased."""
        return f"{self.option} {self.whose}".encode()


class Rate(NamedTuple):
    """An event of those that an option allows a client in a time, such as one message."""

    what: str
    network: str
    throttle: Throttle

    @property
    def key(self) -> bytes:
        """Under which name it is counted: the client first, so that an operator finds all of a client's."""
        return f"{self.network} {self.what}".encode()


class SharedLimits:
    """Asks for places and events. The event loop's thread owns what it remembers."""

    def __init__(self, counting: Counting, clock: Callable[[], float] = time.monotonic) -> None:
        """Count with `counting`."""
        self._counting, self._clock = counting, clock
        self._refused: LRUCache[tuple[str, bytes], float] = LRUCache(MOST_REFUSED)
        self._owner = TaskOwner("limits")

    async def enter(self, client: str, claims: Sequence[Claim], rates: Sequence[Rate]) -> str:
        """Take all these places and events, or none. Return the option or event that has none left, or nothing.

        A caller that stops waiting has taken nothing.
        """
        limits = [*[(each.option, each.key) for each in claims], *[(each.what, each.key) for each in rates]]
        for name, key in limits:
            if self._is_refused(client, key):
                return name
        asked = _Asked(claims, rates)
        entered = False
        try:
            asked.begin(self._started)
            at = await asked.full()
            entered = at is None
        except CountingUnavailable:
            return NOT_COUNTED
        finally:
            if not entered:
                asked.undo(self)
        if at is None:
            return ""
        name, key = limits[at]
        return self._refuse(client, key, name)

    async def count(self, rate: Rate) -> str:
        """Take one event. Return its name if the client has none left, or nothing.

        A caller that stops waiting may have taken it.
        """
        network, throttle, key = rate.network, rate.throttle, rate.key
        if self._is_refused(network, key):
            return rate.what
        try:
            taken = await answered(self._counting, Take(ROOM, key, throttle.count, throttle.seconds))
        except CountingUnavailable:
            return NOT_COUNTED
        return "" if taken.allowed else self._refuse(network, key, rate.what)

    def _is_refused(self, client: str, key: bytes) -> bool:
        until = self._refused.get((client, key))
        return until is not None and until > self._clock()

    def _refuse(self, client: str, key: bytes, name: str) -> str:
        self._refused[(client, key)] = self._clock() + REFUSED_SECONDS
        return name

    def leave(self, claims: Sequence[Claim]) -> None:
        """Give places back."""
        self._counting.tell(Return([each.key for each in claims]))

    def have(self, claims: Sequence[Claim]) -> None:
        """Tell that these places are taken, whatever their limit is."""
        if claims:
            self._counting.tell(Lease([(each.key, 0) for each in claims]))

    def give_back(self, rates: Sequence[Rate]) -> None:
        """Give back events that did not happen."""
        for each in rates:
            self._counting.tell(_take(each, -1))

    async def places(self, claim: Claim) -> int:
        """Return how many places are taken; 0 if counting is not possible now."""
        try:
            return await answered(self._counting, Places(claim.key))
        except CountingUnavailable:
            return 0

    async def left(self, rate: Rate) -> float:
        """Return how many events a client has left, without taking one."""
        throttle = rate.throttle
        try:
            shown = await answered(self._counting, Show("bucket", ROOM, rate.key))  # `Take` would make a bucket
        except CountingUnavailable:
            return 0.0
        for each in shown:
            left, count, seconds = each.numbers
            if (each.key, count, seconds) == (rate.key, throttle.count, throttle.seconds):
                return left
        return float(throttle.count)

    async def rates_of(self, network: str) -> list[tuple[str, Throttle, float]]:
        """Return what is counted for a client: the event, its limit, and how many are left.

        Raises:
            CountingUnavailable: counting is not possible now.
        """
        shown = await answered(self._counting, Show("bucket", ROOM, f"{network} ".encode()))
        found: list[tuple[str, Throttle, float]] = []
        for each in shown:
            what = each.key.decode().partition(" ")[2]
            left, count, seconds = each.numbers
            if " " not in what:  # otherwise it is a network's guesses for one user
                found.append((what, Throttle(int(count), int(seconds)), left))
        return found

    async def forgive(self, network: str) -> int:
        """Forget what is counted for a client; return how many counts there were.

        Raises:
            CountingUnavailable: counting is not possible now.
        """
        self.hear_again(network)
        return await answered(self._counting, Forget("bucket", ROOM, f"{network} ".encode()))

    def hear_again(self, network: str) -> None:
        """Forget which refusals the client has had."""
        for client, key in tuple(self._refused):
            if client == network:
                del self._refused[(client, key)]

    async def has_logged_in(self, network: str) -> bool:
        """Whether a client of the network has logged in lately, wherever it was. Without an answer, it has not."""
        try:
            return await self._started(Get(LOGINS, network.encode())) is not None
        except CountingUnavailable:
            return False

    def note_login(self, network: str, seconds: float) -> None:
        """Remember for this time that a client of the network has logged in."""
        self._counting.tell(Put(LOGINS, network.encode(), b"1", seconds))

    async def close(self) -> None:
        """Wait for nothing any more."""
        await self._owner.cancel()

    def _started(self, operation: Operation[A]) -> asyncio.Future[A]:
        """Begin an operation in this turn of the loop. It continues even if its caller leaves.

        Raises:
            CountingUnavailable: counting is not possible now.
        """
        answer = self._counting.ask(operation)
        if isinstance(answer, asyncio.Future):
            return answer
        later: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        if isawaitable(answer):
            spawn(_hear(answer, later), name="limit", owner=self._owner)
        else:
            later.set_result(answer)
        return later


class _Asked:
    """What one client asks in one turn: a place of each claim, and each event."""

    __slots__ = ("_claims", "_lease", "_rates", "_takes")

    def __init__(self, claims: Sequence[Claim], rates: Sequence[Rate]) -> None:
        self._claims, self._rates = claims, rates
        self._lease: asyncio.Future[Leased] | None = None
        self._takes: list[asyncio.Future[Taken]] = []

    def begin(self, started: Started) -> None:
        """Ask. Raises CountingUnavailable."""
        if self._claims:
            self._lease = started(Lease([(each.key, each.most) for each in self._claims]))
        for each in self._rates:
            self._takes.append(started(_take(each)))

    async def full(self) -> int | None:
        """Return which limit is reached, counted through claims and events; None if none is.

        Raises:
            CountingUnavailable: counting is not possible now.
        """
        asked: list[asyncio.Future[Any]] = [*self._takes, *([] if self._lease is None else [self._lease])]
        await asyncio.wait(asked)  # it cancels none of them
        if self._lease is not None and self._lease.result().full >= 0:
            return self._lease.result().full
        for at, take in enumerate(self._takes, len(self._claims)):
            if not take.result().allowed:
                return at
        return None

    def undo(self, limits: SharedLimits) -> None:
        """Give back what was granted, or will be."""

        def leave(leased: Leased) -> None:
            if leased.full < 0:
                limits.leave(self._claims)

        def give_back(rate: Rate, taken: Taken) -> None:
            if taken.allowed:
                limits.give_back((rate,))

        if self._lease is not None:
            _when_done(self._lease, leave)
        for rate, take in zip(self._rates, self._takes, strict=False):
            _when_done(take, partial(give_back, rate))


class Waits(Protocol):
    """What a command has to wait for before it may continue."""

    def before(self, go_on: Callable[[], Answer]) -> Coroutine[Any, Any, Reply | None]:
        """Wait, and continue with the command; or return the reply if it may not."""
        ...


@dataclass(frozen=True, slots=True)
class SharedRate:
    """A command's rate that others count, too."""

    shared: SharedLimits
    rate: Rate
    refusal: Reply

    async def before(self, go_on: Callable[[], Answer]) -> Reply | None:
        """Count the command. Continue with it, or return the reply if it is one too many."""
        refused = await self.shared.count(self.rate)
        if refused:
            return replies.INTERNAL.decided_by(refused) if refused == NOT_COUNTED else self.refusal
        answer = go_on()
        return await answer.work if type(answer) is Pending else answer


def waits_for(limited: Reply | Waits, go_on: Callable[[], Answer]) -> Answer:
    """Return what a limit says: the refusal, or a wait, after which the command continues."""
    return limited if isinstance(limited, Reply) else Pending(limited.before(go_on))


async def _hear(answer: Awaitable[A], later: asyncio.Future[A]) -> None:
    try:
        later.set_result(await answer)
    except CountingUnavailable as error:
        later.set_exception(error)


def _take(rate: Rate, tokens: int = 1) -> Take:
    return Take(ROOM, rate.key, rate.throttle.count, rate.throttle.seconds, tokens)


def _when_done(future: asyncio.Future[Any], then: Callable[[Any], None]) -> None:
    """Call `then` with an operation's answer, if there is one."""

    def done(ended: asyncio.Future[Any]) -> None:
        if not ended.cancelled() and ended.exception() is None:
            then(ended.result())

    if future.done():
        done(future)
    else:
        future.add_done_callback(done)
