"""A worker's counting, if it has neighbours: the keeper performs its operations. `counters` is the keeper's side.

A worker's operations of one turn of the loop travel in one frame, and are performed in order. Those that a dead keeper
leaves unanswered are sent to its replacement: what the dead one had counted is gone, so nothing counts twice. A
worker whose keeper does not answer for DEADLINE_SECONDS counts alone, until one does.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar, cast

import msgspec

from proxy.counting.base import CountingUnavailable
from proxy.counting.leases import ALONE
from proxy.counting.local import Meanwhile
from proxy.counting.operations import Hold, Lease, Leased, Operation, Return
from proxy.keeper.messages import Count, Done, Hello, decode_done
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


@dataclass(slots=True, eq=False)
class _Sent:
    count: Count
    answer: asyncio.Future[Any] | None
    """None if nobody waits for it."""
    until: float


class KeptCounting:
    """A worker's counting: the keeper performs its operations. The event loop's thread owns its state."""

    def __init__(self, outside: socket.socket, hello: Hello, meanwhile: Meanwhile) -> None:
        """Connect through a door; the loop must run. `meanwhile` counts if the keeper does not answer."""
        self._meanwhile = meanwhile
        self._loop = asyncio.get_running_loop()
        self._numbers = count(1)
        self._sent: dict[int, _Sent] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._silent = False
        self._reach: Reach[Done] = Reach(
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
        answer: asyncio.Future[A] = self._loop.create_future()
        self._send(operation, answer)
        return answer

    def tell(self, operation: Operation[A]) -> None:
        """Let the keeper perform it, and do not wait."""
        if isinstance(operation, Return):
            self._meanwhile.note(operation, None, ALONE)
        elif isinstance(operation, Lease):  # of places without a limit: nobody looks whether it succeeds
            self._meanwhile.note(operation, Leased(-1, ()), ALONE)
        if not self._alone():
            self._send(operation, None)
        elif not isinstance(operation, Return | Lease):
            self._here(operation)

    async def close(self) -> None:
        """Disconnect. The keeper takes this worker's places back."""
        if self._watch is not None:
            self._watch.cancel()
        await self._reach.close()
        self._fail_all()

    # ------------------------------------------------------------ operations

    def _alone(self) -> bool:
        if len(self._sent) >= MOST_WAITING:
            self._begin_again()
        return self._silent or self._reach.given_up

    def _send(self, operation: Operation[Any], answer: asyncio.Future[Any] | None) -> None:
        number = next(self._numbers)
        sent = Count(number, cast(Any, operation))
        self._sent[number] = _Sent(sent, answer, self._loop.time() + DEADLINE_SECONDS)
        if self._watch is None:
            self._watch = self._loop.call_later(DEADLINE_SECONDS, self._look)
        self._reach.send(sent)

    def _done(self, done: Done) -> None:
        self._silent = False
        self._meanwhile.over()
        sent = self._sent.pop(done.number, None)
        if sent is None:
            return
        operation, waiting = sent.count.operation, sent.answer
        if done.failed:
            if waiting is not None and not waiting.done():
                waiting.set_exception(CountingUnavailable())
            return
        if waiting is None:
            return
        answer = _decoder(type(operation))(done.answer)
        if not waiting.done():
            self._meanwhile.note(operation, answer, ALONE)
            waiting.set_result(answer)
        elif isinstance(operation, Lease) and answer.full < 0:
            self._send(Return([key for key, _ in operation.places]), None)  # whoever wanted them has left

    def _look(self) -> None:
        """Count here what the keeper has not answered in time, and wait for it no longer."""
        self._watch = None
        if self._is_late():
            # This loop may have been held up itself: then the answers are there, and are read first.
            self._watch = self._loop.call_later(GRACE_SECONDS, self._look_again)
        elif self._sent:
            self._watch = self._loop.call_at(min(each.until for each in self._sent.values()), self._look)

    def _look_again(self) -> None:
        self._watch = None
        if self._is_late():
            self._begin_again()
        elif self._sent:
            self._look()

    def _is_late(self) -> bool:
        now = self._loop.time()
        return any(each.until <= now for each in self._sent.values())

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
        for each in sent.values():
            if each.answer is None:
                if not isinstance(each.count.operation, Return | Lease | Hold):
                    self._here(each.count.operation)
            elif not each.answer.done():
                operation: Operation[Any] = each.count.operation
                try:
                    each.answer.set_result(self._meanwhile.ask(operation, SILENT))
                except CountingUnavailable as error:
                    each.answer.set_exception(error)

    def _here(self, operation: Operation[Any]) -> None:
        try:
            self._meanwhile.ask(operation, SILENT)
        except CountingUnavailable:
            return  # nobody waits for it

    def _welcomed(self) -> None:
        """Say which places this worker has, then send what waits for an answer, maybe again."""
        self._silent = False
        waiting, self._sent = list(self._sent.values()), {}
        self._send(Hold(held=self._meanwhile.counting.leases.held_by(ALONE)), None)
        for each in waiting:
            if each.answer is None and isinstance(each.count.operation, Lease | Return | Hold):
                continue  # what was told of places is in what this worker holds
            self._sent[each.count.number] = each
            self._reach.send(each.count)


def _decoder(operation: type[Operation[Any]]) -> Callable[[bytes], Any]:
    decoder = _DECODERS.get(operation)
    if decoder is None:
        decoder = _DECODERS[operation] = msgspec.msgpack.Decoder(operation.answer).decode
    return decoder
