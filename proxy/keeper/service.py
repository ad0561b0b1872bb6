"""The keeper's side: it answers the questions of all workers with one verifier, and hands over to its successor."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from functools import partial
from typing import Any

from proxy.base.log import get_logger
from proxy.base.tasks import TaskOwner, spawn
from proxy.callback.question import Question
from proxy.callback.verdict import CallbackVerdict
from proxy.callback.verifier import CallbackVerifier
from proxy.callback.waiting import Asker
from proxy.callback.withheld import SILENT
from proxy.counting.memory import MemoryCounting
from proxy.keeper.counters import Counters, Owning
from proxy.keeper.door import NobodyOutside, knocked
from proxy.keeper.frames import Malformed
from proxy.keeper.handover import Predecessor
from proxy.keeper.link import Link
from proxy.keeper.messages import Answer, Ask, Hello, Told, Welcome, decode_asks, decode_hello

log = get_logger()

SUCCESSOR = 0
"""The slot that the keeper of a new configuration gives in its hello."""

ONLY_WORKER = 1
"""The slot of a worker that has no neighbours."""


class KeeperService:
    """Answers at the doors of its own and of older configurations. The event loop's thread owns its state."""

    def __init__(
        self,
        verifier: CallbackVerifier | None,
        doors: Sequence[socket.socket],
        generation: int = 1,
        counting: Owning | None = None,
    ) -> None:
        """`doors` are the inner sides; nothing is read before `open`. Without callbacks, there is no verifier."""
        self._verifier, self._doors, self._generation = verifier, doors, generation
        self._counters = Counters(counting or MemoryCounting())
        self._owner = TaskOwner("keeper")
        self._links: set[Link[Any]] = set()
        self.deserted = asyncio.Event()
        """Set while no worker is connected."""
        self.deserted.set()
        self._predecessor: Predecessor | None = None
        self._loop = asyncio.get_running_loop()
        self._open = False

    def open(self) -> None:
        """Take the connections that wait before the doors, and all that come."""
        self._open = True
        for inside in self._doors:
            self._loop.add_reader(inside.fileno(), self._knocked, inside)

    def retire(self) -> None:
        """Leave the doors to others, even if the successor ends."""
        if self._predecessor is not None:
            self._predecessor.retire()

    async def leave(self) -> None:
        """Take no more questions. If a successor has taken over, finish the probes in flight for it."""
        self._close_doors()
        if self._predecessor is not None:
            await self._predecessor.finished()
        await self._owner.cancel()
        await self._counters.close()
        if self._predecessor is not None:
            self._predecessor.close()

    def _shut(self) -> None:
        """Send the workers away: they come again, and the successor reads the doors then."""
        self._close_doors()
        self._counters.shut()

    def _close_doors(self) -> None:
        self._open = False
        for inside in self._doors:
            self._loop.remove_reader(inside.fileno())
        for link in tuple(self._links):
            link.close()

    # ------------------------------------------------------------ the doors

    def _knocked(self, inside: socket.socket) -> None:
        try:
            while self._open and (found := knocked(inside)) is not None:
                self._let_in(*found)
        except NobodyOutside:  # the processes of that configuration have ended
            self._loop.remove_reader(inside.fileno())
        except OSError as error:  # the supervisor has died; the workers will end, too
            log.error("keeper_door_failed", reason=str(error))
            self._loop.remove_reader(inside.fileno())

    def _let_in(self, octets: bytes, connection: socket.socket) -> None:
        try:
            hello = decode_hello(octets)
        except Malformed as error:
            log.error("keeper_link_malformed", reason=str(error))
            connection.close()
            return
        if hello.slot == SUCCESSOR and hello.generation <= self._generation:
            connection.close()  # our own, from when the keeper before us did not answer
            return
        if hello.slot == SUCCESSOR:
            if self._predecessor is not None:
                self._predecessor.close()
            counting, alone = self._counters.counting.local, f"{self._generation}:{ONLY_WORKER}"
            self._predecessor = Predecessor(self._verifier, counting, self._shut, self._resume, alone=alone)
            spawn(self._predecessor.link.begin(connection), name="connection of a successor", owner=self._owner)
        else:
            link = self._link_of(hello)
            self._links.add(link)
            self.deserted.clear()
            spawn(link.begin(connection), name="connection of a worker", owner=self._owner)

    def _link_of(self, hello: Hello) -> Link[Any]:
        if hello.counts:
            return self._counters.link(hello.generation, hello.slot, self._gone)
        link = Link(decode_asks, self._heard, self._gone, worker=hello.slot)
        link.send(Welcome())
        return link

    def _gone(self, link: Link[Any]) -> None:
        self._links.discard(link)
        if not self._links:
            self.deserted.set()

    def _resume(self) -> None:
        """The successor has ended, and no other keeper has taken over."""
        self._predecessor = None
        if not self._open:
            log.warning("keeper_resumed")
            self._counters.resume()
            self.open()

    # ------------------------------------------------------------ questions

    def _heard(self, link: Link[Ask], asks: list[Ask]) -> None:
        verifier = self._verifier
        for ask in asks:
            if verifier is None:  # a worker of an older configuration asks, and the present one has no callbacks
                link.send(Answer(ask.number, None, Told.of(SILENT)))
                continue
            question = ask.asked.question
            verdict = verifier.remembered(question, ask.client, ask.session)
            if verdict is not None:
                self._answer(verifier, link, ask.number, question, verdict)
            else:
                told = partial(self._answer, verifier, link, ask.number, question)
                verifier.wait(question, Asker(ask.client, ask.session), told)

    @staticmethod
    def _answer(
        verifier: CallbackVerifier, link: Link[Ask], number: int, question: Question, verdict: CallbackVerdict
    ) -> None:
        held = verifier.cache.held_of(question)
        link.send(Answer(number, held, None if held is not None and verdict.cached else Told.of(verdict)))
