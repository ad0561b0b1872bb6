"""A worker's counting, if there are other workers: the keeper performs its operations. `counters` is the keeper's side.

A worker's operations of one turn of the loop travel in one frame, and are performed in order. Those that a dead keeper
leaves unanswered are sent to its replacement: what the dead one had counted is gone, so nothing counts twice. A
worker whose keeper does not answer for DEADLINE_SECONDS counts alone, until one does.

An operation that is only told (`tell`) gets no answer of its own, which would wake both processes once more for each
message. A later answer, or a `Performed`, says how far the keeper has come.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, TypeVar

import msgspec

from proxy.base.waiting import fail
from proxy.counting.base import CountingUnavailable
from proxy.counting.leases import ALONE
from proxy.counting.local import Meanwhile
from proxy.counting.operations import Hold, Lease, Leased, Operation, Return
from proxy.keeper.messages import Count, DoneUnread, Hello, Performed, decode_done
from proxy.keeper.reaching import Reach

DEADLINE_SECONDS = 1.0
"""How long an operation waits for the keeper. A replacement for a dead one usually takes less."""

GRACE_SECONDS = 0.05
"""How much longer, because this process may have been late itself."""

MOST_WAITING = 20_000
"""Operations without an answer. Further ones are counted here."""

SILENT = "the keeper does not answer"

A = TypeVar("A")
_DECODERS: dict[type[Operation[Any]], Callable[[bytes], Any]] = {}


class _Sent:
    """An operation that a caller waits for."""

    __slots__ = ("answer", "count", "until")

    def __init__(self, count: Count, answer: asyncio.Future[Any], until: float) -> None:
        self.count, self.answer, self.until = count, answer, until


class KeptCounting:
    """A worker's counting: the keeper performs its operations. The event loop's thread owns its state."""

    def __init__(self, outside: socket.socket, hello: Hello, meanwhile: Meanwhile) -> None:
        """Connect through a door; the loop must run. `meanwhile` counts if the keeper does not answer."""
        self._meanwhile = meanwhile
        self._loop = asyncio.get_running_loop()
        self._numbers = count(1)
        self._sent: dict[int, _Sent] = {}
        """By number, the oldest first."""
        self._told: deque[tuple[Count, float]] = deque()
        """Operations that get no answer, and when the keeper must have confirmed each."""
        self._watch: asyncio.TimerHandle | None = None
        self._silent = False
        self._reach: Reach[DoneUnread | Performed] = Reach(
            outside, hello, decode_done, heard=self._done, welcomed=self._welcomed, gave_up=self._fail_all
        )

    async def start(self) -> None:
        """There is nothing to read: the keeper has it."""

    def ask(self, operation: Operation[A]) -> A | Awaitable[A]:
        """Let the keeper perform it.

        Raises:
            CountingUnavailable: it does not answer, and `on_store_error = defer`.
        """
        if self._alone():
            return self._meanwhile.ask(operation, SILENT)
        return self._send(operation)

    def tell(self, operation: Operation[A]) -> None:
        """Let the keeper perform it, and do not wait."""
        if isinstance(operation, Return):
            self._meanwhile.note(operation, None, ALONE)
        elif isinstance(operation, Lease):  # of places without a limit: the result does not matter
            self._meanwhile.note(operation, Leased(-1, ()), ALONE)
        if not self._alone():
            self._say(operation)
        elif not isinstance(operation, Return | Lease):
            self._here(operation)

    async def close(self) -> None:
        """Disconnect. The keeper takes this worker's places back."""
        if self._watch is not None:
            self._watch.cancel()
        self._told.clear()  # the keeper has them, or gets them now: it need not say so
        self._reach.finish()
        await self._reach.close()
        self._fail_all()

    @property
    def waiting(self) -> int:
        """How many operations the keeper has not taken yet, as far as this worker knows."""
        return len(self._sent) + len(self._told)

    # ------------------------------------------------------------ operations

    def _alone(self) -> bool:
        if len(self._sent) + len(self._told) >= MOST_WAITING:
            self._begin_again()
        return self._silent or self._reach.given_up

    def _send(self, operation: Operation[A]) -> asyncio.Future[A]:
        """Send what a caller waits for."""
        number = next(self._numbers)
        sent: Count = Count(number, operation)  # type: ignore[arg-type]  # every operation is one of AnyOperation
        answer: asyncio.Future[A] = self._loop.create_future()
        self._sent[number] = _Sent(sent, answer, self._until())
        self._reach.send(sent)
        return answer

    def _say(self, operation: Operation[Any]) -> None:
        """Send an operation that needs no answer."""
        sent: Count = Count(next(self._numbers), operation, told=True)  # type: ignore[arg-type]  # as above
        self._told.append((sent, self._until()))
        self._reach.send(sent)

    def _until(self) -> float:
        """Return when the keeper is late with what is sent now, and look then."""
        until = self._loop.time() + DEADLINE_SECONDS
        if self._watch is None:
            self._watch = self._loop.call_at(until, self._look)
        return until

    def _done(self, done: DoneUnread | Performed) -> None:
        if self._silent:
            self._silent = False
        told, number = self._told, done.number
        while told and told[0][0].number <= number:
            told.popleft()
        self._meanwhile.over()
        if done.__class__ is DoneUnread:
            self._answered(done)

    def _answered(self, done: DoneUnread) -> None:
        sent = self._sent.pop(done.number, None)
        if sent is None:
            return
        operation, waiting = sent.count.operation, sent.answer
        if done.failed:
            if not waiting.done():
                fail(waiting, CountingUnavailable())
            return
        kind = operation.__class__
        answer = (_DECODERS.get(kind) or _decoder(kind))(done.answer)
        if not waiting.done():
            if kind in _OF_PLACES:
                self._meanwhile.note(operation, answer, ALONE)
            waiting.set_result(answer)
        elif isinstance(operation, Lease) and answer.full < 0:
            self._say(Return([key for key, _ in operation.places]))  # the caller has left

    def _look(self) -> None:
        """Count here what the keeper has not answered in time, and wait for it no longer."""
        self._watch = None
        if self._is_late():
            # This loop may have been held up itself: then the answers are there, and are read first.
            self._watch = self._loop.call_later(GRACE_SECONDS, self._look_again)
        elif (until := self._late_at()) is not None:
            self._watch = self._loop.call_at(until, self._look)

    def _look_again(self) -> None:
        self._watch = None
        if self._is_late():
            self._begin_again()
        else:
            self._look()

    def _is_late(self) -> bool:
        until = self._late_at()
        return until is not None and until <= self._loop.time()

    def _late_at(self) -> float | None:
        """Return when the keeper is late with the oldest of what was sent; None if it has taken everything."""
        told = self._told[0][1] if self._told else None
        if not self._sent:
            return told
        asked = next(iter(self._sent.values())).until
        return asked if told is None else min(asked, told)

    def _begin_again(self) -> None:
        """Count here until a keeper welcomes this worker.

        The one that did not answer may still perform what it was sent, though its answers come too late. So there is
        another connection, which begins with the places that this worker has.
        """
        self._silent = True
        self._reach.begin_again()
        self._fail_all()

    def _fail_all(self) -> None:
        sent, self._sent = self._sent, {}
        told, self._told = self._told, deque()
        for said, _ in told:
            if not isinstance(said.operation, _OF_PLACES):
                self._here(said.operation)
        for each in sent.values():
            if not each.answer.done():
                operation: Operation[Any] = each.count.operation
                try:
                    each.answer.set_result(self._meanwhile.ask(operation, SILENT))
                except CountingUnavailable as error:
                    fail(each.answer, error)

    def _here(self, operation: Operation[Any]) -> None:
        try:
            self._meanwhile.ask(operation, SILENT)
        except CountingUnavailable:
            return  # no caller waits for it

    def _welcomed(self) -> None:
        """Report which places this worker has, then send (or send again) the requests that wait for an answer."""
        self._silent = False
        told = [each for each in self._told if not isinstance(each[0].operation, _OF_PLACES)]
        self._told.clear()  # `Hold` has the changes of places that were told
        self._say(Hold(held=self._meanwhile.counting.leases.held_by(ALONE)))
        sent, self._sent = self._sent, {}
        again = [*[each for each, _ in told], *[each.count for each in sent.values()]]
        waiting = {id(each.count): each for each in sent.values()}
        for each in sorted(again, key=_number):
            each.number = next(self._numbers)  # they come after `Hold`
            if id(each) in waiting:
                self._sent[each.number] = waiting[id(each)]
            self._reach.send(each)
        self._told.extend(told)


_OF_PLACES = (Lease, Return, Hold)
"""Operations that change the places that a worker has."""


def _number(each: Count) -> int:
    return each.number


def _decoder(operation: type[Operation[Any]]) -> Callable[[bytes], Any]:
    decoder = _DECODERS[operation] = msgspec.msgpack.Decoder(operation.answer).decode
    return decoder
