"""The keeper's side: it answers the questions of all workers with one verifier, and hands over to its successor."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from proxy.base.log import get_logger
from proxy.base.tasks import TaskOwner, spawn
from proxy.callback.around import Asker
from proxy.callback.question import Question
from proxy.callback.verdict import CallbackVerdict
from proxy.callback.verifier import CallbackVerifier
from proxy.keeper.door import knocked
from proxy.keeper.frames import Malformed
from proxy.keeper.handover import Predecessor
from proxy.keeper.link import Link
from proxy.keeper.messages import Answer, Ask, Told, Welcome, decode_asks, decode_hello

log = get_logger()

SUCCESSOR = 0
"""The slot that the keeper of a new configuration gives in its hello."""


class KeeperService:
    """Answers at the doors of its own and of older configurations. The event loop's thread owns its state."""

    def __init__(self, verifier: CallbackVerifier, doors: Sequence[socket.socket], generation: int = 1) -> None:
        """`doors` are the inner sides; nothing is read before `open`."""
        self._verifier, self._doors, self._generation = verifier, doors, generation
        self._owner = TaskOwner("keeper")
        self._links: set[Link[Ask]] = set()
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

    async def leave(self) -> None:
        """Take no more questions. If a successor has taken over, finish the probes in flight for it."""
        self._shut()
        if self._predecessor is not None:
            await self._predecessor.finished()
        await self._owner.cancel()
        if self._predecessor is not None:
            self._predecessor.close()

    def _shut(self) -> None:
        """Send the workers away: they come again, and the successor reads the doors then."""
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
            self._predecessor = Predecessor(self._verifier, self._shut, self._resume)
            link = self._predecessor.link
        else:
            link = Link(decode_asks, self._heard, self._gone, worker=hello.slot)
            self._links.add(link)
            self.deserted.clear()
            link.send(Welcome())
        spawn(link.begin(connection), name="connection of a worker", owner=self._owner)

    def _gone(self, link: Link[Ask]) -> None:
        self._links.discard(link)
        if not self._links:
            self.deserted.set()

    def _resume(self) -> None:
        """The successor has ended, and no other keeper has taken over."""
        self._predecessor = None
        if not self._open:
            log.warning("keeper_resumed")
            self.open()

    # ------------------------------------------------------------ questions

    def _heard(self, link: Link[Ask], asks: list[Ask]) -> None:
        for ask in asks:
            question = ask.asked.question
            verdict = self._verifier.remembered(question, ask.client, ask.session)
            if verdict is not None:
                self._answer(link, ask, question, verdict)
            else:
                spawn(self._find(link, ask, question), name=f"question {ask.number}", owner=self._owner)

    async def _find(self, link: Link[Ask], ask: Ask, question: Question) -> None:
        verdict = await self._verifier.find(question, Asker(ask.client, ask.session))
        self._answer(link, ask, question, verdict)

    def _answer(self, link: Link[Ask], ask: Ask, question: Question, verdict: CallbackVerdict) -> None:
        held = self._verifier.cache.held_of(question)
        link.send(Answer(ask.number, held, None if held is not None and verdict.cached else Told.of(verdict)))
