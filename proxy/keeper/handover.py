"""How the keeper of a new configuration takes over from the present one, both sides.

The new keeper knocks at the old one's door. The old one sends the verdicts in its memory while it continues to answer.
Then it accepts no more questions, disconnects its workers, and sends the state of the limits and which probes are in
flight. It finishes those, because an SMTP conversation cannot be moved, and sends each verdict. From then on the new
keeper reads all doors, so the workers of the old configuration find it there. If it ends before they do, the old keeper
continues with what it has.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from proxy.base.log import get_logger
from proxy.base.tasks import TaskOwner, spawn
from proxy.callback.memory import Packed
from proxy.callback.question import Question
from proxy.callback.verdict import CallbackVerdict
from proxy.callback.verifier import CallbackVerifier
from proxy.counting.leases import ALONE
from proxy.counting.memory import MemoryCounting
from proxy.counting.tables import adopt, tables_of
from proxy.keeper.door import knock
from proxy.keeper.frames import encode
from proxy.keeper.link import Link
from proxy.keeper.messages import (
    Ask,
    Asked,
    Counts,
    Found,
    HandedOver,
    Hello,
    InFlight,
    Limits,
    Remembered,
    Told,
    ToSuccessor,
    decode_asks,
    decode_handover,
)
from proxy.store.base import decoded, encoded
from proxy.store.memory import MemoryStore

log = get_logger()

E = TypeVar("E")

HANDOVER_SECONDS = 10.0
"""How long a new keeper waits for the old one, which may hang. Then it begins with what the store has. To tell 100,000
verdicts takes a second."""

CHUNK = 250
"""Entries of one message: some milliseconds of work between two turns of the loop."""


class Predecessor:
    """The old keeper, from the moment that its successor knocks."""

    def __init__(
        self,
        verifier: CallbackVerifier | None,
        counting: MemoryCounting,
        shut: Callable[[], None],
        lost: Callable[[], None],
        *,
        alone: str = ALONE,
    ) -> None:
        """`shut` stops the questions; `lost` is called if the successor ends while this keeper is still there.

        `alone` is the name under which the successor knows this process as an owner of places, if it has any itself.
        """
        self._verifier, self._counting, self._shut, self._on_loss = verifier, counting, shut, lost
        self._alone = alone
        self._owner = TaskOwner("handover")
        self.link: Link[Ask] = Link(decode_asks, lambda link, _asks: link.abort(), self._lost)
        if verifier is not None:
            verifier.finding = self._found
        self._leaving = self._gone = False
        spawn(self._tell(), name="handover", owner=self._owner)

    def retire(self) -> None:
        """Do not continue, even if the successor ends."""
        self._leaving = True

    async def finished(self) -> None:
        """Return when no probe is in flight any more, or the successor has gone."""
        self._leaving = True
        if self._verifier is not None:
            await self._verifier.landed()
        await self._owner.wait(HANDOVER_SECONDS)

    def close(self) -> None:
        """Close the connection after everything was sent, and tell nothing more."""
        self._leaving = self._gone = True
        self.link.close()

    async def _tell(self) -> None:
        """Tell the verdicts while questions are still answered, then the rest at one moment."""
        link, verifier = self.link, self._verifier
        for message in self._verdicts(verifier) if verifier is not None else ():
            if not await self._sent(message):
                return  # the doors stay open
        self._shut()
        for message in self._state(verifier) if verifier is not None else ():
            link.send(message)
        for tables in tables_of(self._counting, self._alone):  # nothing is counted any more
            if not await self._sent(Counts(tables)):
                return  # here, it is counted again
        link.send(HandedOver())
        log.info("keeper_handed_over", probes=len(verifier.in_flight) if verifier is not None else 0)

    async def _sent(self, message: ToSuccessor) -> bool:
        """Send a message, and give others their turn. Return whether the successor is still there after that."""
        self.link.send(message)
        await asyncio.sleep(0)  # it leaves
        await self.link.drained()
        return not self._gone

    @staticmethod
    def _verdicts(verifier: CallbackVerifier) -> Iterator[ToSuccessor]:
        for held in _chunks(verifier.cache.everything()):
            yield Remembered(verifier.cache.keys.mark, [(encoded(key), each) for key, each in held])

    @staticmethod
    def _state(verifier: CallbackVerifier) -> Iterator[ToSuccessor]:
        around = verifier.around
        for probes in _chunks(verifier.in_flight.items()):
            yield InFlight([(Asked.of(question), client) for question, client in probes])
        for breakers in _chunks(around.breakers.states()):
            yield Limits(breakers=breakers)
        for storms in _chunks(around.storms.states()):
            yield Limits(storms=storms)
        if isinstance(around.store, MemoryStore):  # otherwise they are in the store
            all_entries, all_buckets = around.store.states()
            for entries in _chunks(all_entries):
                yield Limits(entries=entries)
            for buckets in _chunks(all_buckets):
                yield Limits(buckets=buckets)

    def _found(self, question: Question, client: str, verdict: CallbackVerdict) -> None:
        held = self._verifier.cache.held_of(question) if self._verifier is not None else None
        self.link.send(Found(Asked.of(question), client, Told.of(verdict), held))

    def _lost(self, _link: Link[Ask]) -> None:
        if self._verifier is not None and self._verifier.finding == self._found:  # another successor's may follow
            self._verifier.finding = None
        self._gone = True
        if not self._leaving:
            self._on_loss()


class Successor:
    """The new keeper, while it takes over and until the old one's probes have ended."""

    def __init__(self, verifier: CallbackVerifier | None, counting: MemoryCounting | None = None) -> None:
        """Without callbacks, there is no verifier."""
        self._verifier, self._counting = verifier, counting or MemoryCounting()
        self._owner = TaskOwner("handover")
        self._expected: dict[Question, asyncio.Future[CallbackVerdict | None]] = {}
        self._loop = asyncio.get_running_loop()
        self._complete: asyncio.Future[bool] = self._loop.create_future()
        self._in_order: asyncio.Queue[ToSuccessor | None] = asyncio.Queue()
        self._verdicts = 0
        self._link: Link[ToSuccessor] | None = None

    async def take_over(self, outside: socket.socket, hello: Hello) -> None:
        """Return when the old keeper has sent everything, or after HANDOVER_SECONDS. Never raises."""
        try:
            ours = knock(outside, encode(hello))
        except OSError as error:
            log.warning("keeper_not_handed_over", reason=str(error))
            return
        link = self._link = Link(decode_handover, self._heard, self._lost)
        spawn(self._take_all(), name="take over", owner=self._owner)
        await link.begin(ours)
        try:
            async with asyncio.timeout(HANDOVER_SECONDS):
                complete = await asyncio.shield(self._complete)
        except TimeoutError:
            complete = False
        if complete:
            log.info("keeper_took_over", verdicts=self._verdicts, probes=len(self._expected))
        else:
            log.warning("keeper_not_handed_over", reason="the old keeper did not answer")

    async def close(self) -> None:
        """Learn nothing more from the old keeper. If it still exists, it continues."""
        await self._owner.cancel()
        if self._link is not None:
            self._link.abort()

    def _heard(self, _link: Link[ToSuccessor], messages: list[ToSuccessor]) -> None:
        for each in messages:
            self._in_order.put_nowait(each)

    def _lost(self, _link: Link[ToSuccessor]) -> None:
        self._in_order.put_nowait(None)

    async def _take_all(self) -> None:
        """Take one message after the other: a verdict that is found replaces what memory held."""
        while (message := await self._in_order.get()) is not None:
            await self._take(message)
        if not self._complete.done():
            self._complete.set_result(False)
        for outcome in self._expected.values():  # the old keeper has ended: waiting workers ask again
            if not outcome.done():
                outcome.set_result(None)

    async def _take(self, message: ToSuccessor) -> None:
        match message:
            case Counts(tables):
                adopt(self._counting, tables)
            case HandedOver():
                if not self._complete.done():
                    self._complete.set_result(True)
            case _ if self._verifier is not None:
                await self._take_finding(self._verifier, message)

    async def _take_finding(self, verifier: CallbackVerifier, message: ToSuccessor) -> None:
        match message:
            case Remembered(mark, entries) if mark == verifier.cache.keys.mark:
                for key, held in entries:
                    await verifier.cache.adopt(decoded(key), held, write=False)
                self._verdicts += len(entries)
            case Limits():
                _adopt(verifier, message)
            case InFlight(probes):
                for asked, client in probes:
                    outcome = self._expected[asked.question] = self._loop.create_future()
                    verifier.expect(asked.question, client, outcome)
            case Found(asked, client, told, held_now):
                await self._found(verifier, asked.question, client, told.as_it_was, held_now)

    async def _found(
        self, verifier: CallbackVerifier, question: Question, client: str, verdict: CallbackVerdict, held: Packed | None
    ) -> None:
        await verifier.told(question, client, verdict, held)
        outcome = self._expected.pop(question, None)
        if outcome is not None and not outcome.done():
            outcome.set_result(verdict)


def _adopt(verifier: CallbackVerifier, limits: Limits) -> None:
    around = verifier.around
    around.breakers.adopt(limits.breakers)
    around.storms.adopt(limits.storms)
    if isinstance(around.store, MemoryStore):
        around.store.adopt(limits.entries, limits.buckets)


def _chunks(entries: Iterable[E]) -> Iterator[list[E]]:
    rest = iter(entries)
    while part := list(islice(rest, CHUNK)):
        yield part
