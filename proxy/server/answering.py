"""`Answerer`: answers the control process's questions in a worker or keeper.

Without a question it costs nothing. If the control process ends, its questions end with it, and the next one is found
at the same door.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeAlias

from proxy.base.log import get_logger
from proxy.base.tasks import TaskOwner, spawn
from proxy.control.questions import (
    MOST_ANSWER,
    MOST_OPEN,
    REMEMBER,
    STANDING,
    Answer,
    Answering,
    Ask,
    Asking,
    End,
    Failed,
    decode_asking,
)
from proxy.keeper.door import knock
from proxy.keeper.frames import encode
from proxy.keeper.link import Link
from proxy.keeper.messages import Hello

log = get_logger()

Question: TypeAlias = Callable[[Mapping[str, Any]], object]
"""Takes the arguments. What it returns may be awaited, or be an asynchronous generator: a stream. It may raise
Unanswerable."""


def through(door: socket.socket, hello: Hello) -> Callable[[], socket.socket]:
    """Return what connects through the outer side of the control process's door."""
    said = encode(hello)
    return lambda: knock(door, said)


_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
"""Between two attempts to reach the control process."""

_MOST_UNREAD = 4 << 20
"""Octets of a stream that may wait for the control process; further answers of streams are dropped."""


class Unanswerable(Exception):
    """The question cannot be answered; the text says why."""


class Answerer:
    """Answers over one connection at a time. The event loop's thread owns its state."""

    def __init__(self, connect: Callable[[], socket.socket], questions: Mapping[str, Question]) -> None:
        """`connect` returns a connection to the control process, or raises OSError. `start` calls it first."""
        self._connect = connect
        self._remembered: dict[tuple[str, str], Any] = {}
        self._questions: dict[str, Question] = {
            **questions,
            REMEMBER: self._remember,
            STANDING: lambda _given: [(*key, arguments) for key, arguments in self._remembered.items()],
        }
        self._owner = TaskOwner("answers")
        self._open: dict[int, asyncio.Task[None]] = {}
        self._link: Link[Asking] | None = None
        self._pause = _FIRST_PAUSE
        self._knocking: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self) -> None:
        """Send a connection through the door; the control process reads it now or later."""
        try:
            ours = self._connect()
        except OSError:
            self._again()
            return
        self._link = Link(decode_asking, self._heard, self._lost)
        spawn(self._link.begin(ours), name="connection to control", owner=self._owner)

    async def close(self) -> None:
        """Answer nothing any more."""
        self._closed = True
        if self._knocking is not None:
            self._knocking.cancel()
        if self._link is not None:
            self._link.close()
        await self._owner.cancel()

    def _remember(self, given: Mapping[str, Any]) -> None:
        """Remember a change for the next control process, or no longer."""
        key = (str(given["question"]), str(given["name"]))
        if given["with"] is None:
            self._remembered.pop(key, None)
        else:
            self._remembered[key] = given["with"]

    def _again(self) -> None:
        if not self._closed:
            self._knocking = asyncio.get_running_loop().call_later(self._pause, self.start)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _lost(self, _link: Link[Asking]) -> None:
        for task in self._open.values():
            task.cancel()
        self._open.clear()
        self._again()

    # ------------------------------------------------------------ questions

    def _heard(self, link: Link[Asking], messages: list[Asking]) -> None:
        self._pause = _FIRST_PAUSE
        for message in messages:
            if isinstance(message, Ask):
                self._begin(link, message)
            elif (task := self._open.pop(message.number, None)) is not None:
                task.cancel()

    def _begin(self, link: Link[Asking], ask: Ask) -> None:
        question = self._questions.get(ask.question)
        if question is None:
            link.send(Failed(ask.number, f"{ask.question} is not known here", unknown=True))
            return
        if len(self._open) >= MOST_OPEN:
            link.send(Failed(ask.number, f"{MOST_OPEN} other questions are open"))
            return
        try:
            found = question(ask.arguments)
        except Exception as error:  # noqa: BLE001 — a question never costs the process anything
            link.send(_failure(ask, error))
            return
        if not inspect.isawaitable(found) and not inspect.isasyncgen(found):
            link.send(_checked(ask, found))
            return
        work = self._answer(link, ask, found)
        self._open[ask.number] = spawn(work, name=f"question {ask.question}", owner=self._owner)

    async def _answer(self, link: Link[Asking], ask: Ask, found: Any) -> None:
        """Send an answer that has to be awaited, or a stream."""
        try:
            if inspect.isasyncgen(found):
                await self._stream(link, ask, found)
            else:
                link.send(_checked(ask, await found))
        except Exception as error:  # noqa: BLE001 — as in _begin
            link.send(_failure(ask, error))
        finally:
            self._open.pop(ask.number, None)

    async def _stream(self, link: Link[Asking], ask: Ask, answers: AsyncGenerator[Any, Any]) -> None:
        """Send answers until one cannot be sent: then the asking process asks again."""
        try:
            async with aclosing(answers):
                async for answer in answers:
                    if link.unread >= _MOST_UNREAD:
                        continue
                    checked = _checked(ask, answer)
                    link.send(checked)
                    if isinstance(checked, Failed):
                        return
        finally:
            link.send(End(ask.number))


def _failure(ask: Ask, error: Exception) -> Failed:
    """Return why there is no answer, and log it if that is our fault."""
    if isinstance(error, Unanswerable):
        return Failed(ask.number, str(error))
    log.error("question_failed", question=ask.question, exc_info=error)
    return Failed(ask.number, f"it failed: {type(error).__name__}")


def _checked(ask: Ask, answer: Any) -> Answering:
    """Return an answer that can be sent, or why it cannot."""
    try:
        octets = len(encode(answer))
    except (TypeError, UnicodeEncodeError, OverflowError, ValueError) as error:
        log.error("question_failed", question=ask.question, exc_info=error)
        return Failed(ask.number, f"it failed: {type(error).__name__}")
    if octets > MOST_ANSWER - 64:
        return Failed(ask.number, f"the answer has {octets} octets, and at most {MOST_ANSWER} are sent: ask for less")
    return Answer(ask.number, answer)
