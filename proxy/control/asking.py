"""`Processes`: the workers and keepers that the control process can ask, and the questions that are open.

Every question has a deadline. A process that does not answer delays only the process that asked.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from proxy.base.tasks import TaskOwner, spawn
from proxy.control.questions import (
    REMEMBER,
    STANDING,
    Answer,
    Answering,
    Ask,
    Failed,
    Stop,
    decode_answering,
)
from proxy.keeper.link import Link
from proxy.keeper.messages import Hello

ANSWER_SECONDS = 2.0
"""How long a question waits, unless it says otherwise."""

AGAIN_SECONDS = 1.0
"""After this time, a process is asked again for a stream that has failed."""


@dataclass(frozen=True, slots=True)
class Told:
    """A process's answer, or the reason why there is no answer."""

    process: Process
    answer: Any = None
    error: str = ""


@dataclass(slots=True, eq=False)
class Process:
    """A process that answers."""

    hello: Hello
    pid: int
    link: Link[Answering]
    waiting: dict[int, Callable[[Answering], None]] = field(default_factory=dict)
    """Number of a question → what takes its answers."""

    @property
    def name(self) -> str:
        """The process, for people."""
        return {0: "keeper", -1: "control"}.get(self.hello.slot, f"worker {self.hello.slot}")

    @property
    def is_worker(self) -> bool:
        """Whether it serves clients."""
        return self.hello.slot > 0


@dataclass(slots=True, eq=False)
class _Stream:
    """A question that every process answers with a stream, also those that come later.

    Ten viewers cost a process no more than one: it sends its answers once.
    """

    question: str
    arguments: Mapping[str, Any]
    numbers: dict[Process, int] = field(default_factory=dict)
    listeners: list[Subscription] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Subscription:
    """A listener to a stream, until `Processes.unsubscribe`."""

    stream: _Stream
    heard: Callable[[Process, Any], None]


class Processes:
    """Knows who answers. The event loop's thread owns it."""

    def __init__(self, generation: int = 1) -> None:
        """Start without a process: they come through the door. `generation` is the number of our configuration."""
        self._generation = generation
        self._known: list[Process] = []
        self._streams: list[_Stream] = []
        self._standing: dict[tuple[str, str], dict[str, Any]] = {}
        """Question and name → arguments: what processes that come later are asked as well."""
        self._numbers = count(1)
        self._owner = TaskOwner("asking")

    # ------------------------------------------------------------ connections

    def meet(self, hello: Hello, connection: socket.socket) -> None:
        """Take a connection of a process that answers; tell it what was set before it came."""
        found: list[Process] = []
        link: Link[Answering] = Link(
            decode_answering,
            lambda _link, messages: self._heard(found[0], messages),
            lambda _link: self._lost(found[0]),
            worker=hello.slot,
        )
        process = Process(hello, _pid(connection), link)
        found.append(process)
        self._known.append(process)
        spawn(link.begin(connection), name="connection of a process", owner=self._owner)
        if hello.generation == self._generation:
            for (question, name), arguments in self._standing.items():
                self._tell(process, question, name, arguments)
            self._ask(process, STANDING, {}, self._adopt)
        for each in self._streams:
            self._join(each, process)

    def _lost(self, process: Process) -> None:
        if process not in self._known:
            return
        self._known.remove(process)
        for number, take in tuple(process.waiting.items()):
            take(Failed(number, "the process has ended"))
        for each in self._streams:
            each.numbers.pop(process, None)

    def _heard(self, process: Process, messages: list[Answering]) -> None:
        for message in messages:
            take = process.waiting.get(message.number)
            if take is None:
                continue
            if take in {_not_heard, self._adopt}:
                del process.waiting[message.number]
            take(message)

    @property
    def known(self) -> list[Process]:
        """Those that are connected: the keeper first, the present configuration before earlier ones."""
        return sorted(self._known, key=lambda each: (-each.hello.generation, each.hello.slot))

    @property
    def newest(self) -> int:
        """The number of the present configuration."""
        return max((each.hello.generation for each in self._known), default=0)

    async def close(self) -> None:
        """Stop asking."""
        for process in tuple(self._known):
            process.link.abort()
        await self._owner.cancel()

    # ------------------------------------------------------------ questions

    async def ask(
        self,
        question: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        to: int | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> list[Told]:
        """Ask all processes, or the ones in one slot; return their answers. A process without the room is left out.

        A process that does not answer in time has an error instead.
        """
        asked = [each for each in self.known if to is None or each.hello.slot == to]
        found = await asyncio.gather(*(self._asked(each, question, arguments or {}, seconds) for each in asked))
        return [each for each in found if each is not None]

    async def _asked(
        self, process: Process, question: str, arguments: Mapping[str, Any], seconds: float
    ) -> Told | None:
        answered: asyncio.Future[Answering] = asyncio.get_running_loop().create_future()

        def take(message: Answering) -> None:
            process.waiting.pop(number, None)
            if not answered.done():
                answered.set_result(message)

        number = self._ask(process, question, arguments, take)
        try:
            async with asyncio.timeout(seconds):
                message = await answered
        except TimeoutError:
            return Told(process, error=f"no answer within {seconds:g} s")
        finally:
            if process.waiting.pop(number, None) is not None:  # too late, or the caller has left
                process.link.send(Stop(number))
        if isinstance(message, Answer):
            return Told(process, message.answer)
        if isinstance(message, Failed) and message.unknown:
            return None
        return Told(process, error=message.error if isinstance(message, Failed) else "no answer")

    def _ask(
        self, process: Process, question: str, arguments: Mapping[str, Any], take: Callable[[Answering], None]
    ) -> int:
        number = next(self._numbers)
        process.waiting[number] = take
        process.link.send(Ask(number, question, dict(arguments)))
        return number

    # ------------------------------------------------------------ what stays

    async def keep(self, name: str, question: str, arguments: Mapping[str, Any] | None) -> None:
        """Ask every process that comes later as well, until `name` is kept with None, or until a reload.

        Every process remembers it, so that it also outlives the control process.
        """
        if arguments is None:
            self._standing.pop((question, name), None)
        else:
            self._standing[question, name] = dict(arguments)
        told = {"question": question, "name": name, "with": arguments}
        own = [each for each in self._known if each.hello.generation == self._generation]
        await asyncio.gather(*(self._asked(each, REMEMBER, told, ANSWER_SECONDS) for each in own))

    @property
    def kept(self) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """What is kept, by question and name."""
        return self._standing

    def _tell(self, process: Process, question: str, name: str, arguments: dict[str, Any]) -> None:
        """Ask a process that has just come what the others were asked before."""
        self._ask(process, question, arguments, _not_heard)
        self._ask(process, REMEMBER, {"question": question, "name": name, "with": arguments}, _not_heard)

    def _adopt(self, message: Answering) -> None:
        """Keep what an earlier control process told a process to remember, and tell the others."""
        if not isinstance(message, Answer):
            return
        for question, name, arguments in message.answer:
            if (question, name) not in self._standing:
                self._standing[question, name] = arguments
                for process in self._known:
                    self._tell(process, question, name, arguments)

    def subscribe(
        self, question: str, arguments: Mapping[str, Any], heard: Callable[[Process, Any], None]
    ) -> Subscription:
        """Ask every process, also those that come later, for a stream; `heard` gets each answer from now on."""
        known = [each for each in self._streams if (each.question, each.arguments) == (question, arguments)]
        stream = known[0] if known else None
        if stream is None:
            stream = _Stream(question, arguments)
            self._streams.append(stream)
            for process in self._known:
                self._join(stream, process)
        made = Subscription(stream, heard)
        stream.listeners.append(made)
        return made

    def _join(self, stream: _Stream, process: Process) -> None:
        take = partial(self._streamed, stream, process)
        stream.numbers[process] = self._ask(process, stream.question, stream.arguments, take)

    def _streamed(self, stream: _Stream, process: Process, message: Answering) -> None:
        if isinstance(message, Answer):
            for each in tuple(stream.listeners):
                each.heard(process, message.answer)
            return
        process.waiting.pop(message.number, None)
        stream.numbers.pop(process, None)
        if isinstance(message, Failed) and not message.unknown:  # such as: too many other questions were open
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._join_again, stream, process)

    def _join_again(self, stream: _Stream, process: Process) -> None:
        if stream in self._streams and process in self._known and process not in stream.numbers:
            self._join(stream, process)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop listening; the last one ends the streams."""
        stream = subscription.stream
        with suppress(ValueError):
            stream.listeners.remove(subscription)
        if stream.listeners or stream not in self._streams:
            return
        self._streams.remove(stream)
        for process, number in stream.numbers.items():
            process.waiting.pop(number, None)
            process.link.send(Stop(number))
        stream.numbers.clear()


def _not_heard(_message: Answering) -> None:
    """Whether it is done is not reported."""


def _pid(connection: socket.socket) -> int:
    """Return the process that made the connection (unix(7), SO_PEERCRED)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    return pid
