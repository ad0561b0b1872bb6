"""Time limits that share timers, because thousands run at once and few are ever reached.

A timer of the event loop takes 0.6 KB, and 5 µs to create and cancel. A probe and the session that waits for it need
five at a time, and eight in total. Here, all limits that end within the same 1/16 s share one timer, and a limit is an
entry in a set. So a limit may end up to 1/16 s late, never early.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Protocol

EACH_SECOND = 16
"""Timers that may be set for a second."""


class Ending(Protocol):
    """What has a time limit."""

    def end(self) -> None:
        """Its time is up."""
        ...


class _Deadlines:
    """The limits of one event loop, which owns them."""

    __slots__ = ("_ends", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._ends: dict[int, set[Ending]] = {}

    def add(self, each: Ending, seconds: float) -> set[Ending]:
        number = int((self.loop.time() + seconds) * EACH_SECOND) + 1
        ends = self._ends.get(number)
        if ends is None:
            ends = self._ends[number] = set()
            self.loop.call_at(number / EACH_SECOND, self._end, number)
        ends.add(each)
        return ends

    def _end(self, number: int) -> None:
        self._end_all(self._ends.pop(number))

    def _end_all(self, ends: set[Ending]) -> None:
        try:
            while ends:
                ends.pop().end()
        finally:
            if ends:  # one of them failed, which the loop reports; the others end nevertheless
                self.loop.call_soon(self._end_all, ends)


class _Newest:
    """The limits of the loop that used them last: a process has one loop at a time."""

    deadlines: _Deadlines | None = None


def end_after(seconds: float, each: Ending) -> set[Ending]:
    """Call `each.end` after `seconds`, once, unless it is discarded from the returned set before."""
    return _of(asyncio.get_running_loop()).add(each, seconds)


def _of(loop: asyncio.AbstractEventLoop) -> _Deadlines:
    deadlines = _Newest.deadlines
    if deadlines is None or deadlines.loop is not loop:
        deadlines = _Newest.deadlines = _Deadlines(loop)
    return deadlines


class Within:
    """`with Within(seconds):` is `async with asyncio.timeout(seconds):` for a limit of this kind."""

    __slots__ = ("_cancelling", "_ends", "_has_ended", "_seconds", "_task")

    def __init__(self, seconds: float) -> None:
        """Begin when entered."""
        self._seconds, self._has_ended = seconds, False

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a time limit needs a task that it can end")
        self._task, self._cancelling = task, task.cancelling()
        self._ends = _of(loop).add(self, self._seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the limit.

        Raises:
            TimeoutError: its time was up, and the task was not cancelled by others.
        """
        self._ends.discard(self)
        task = self._task
        del self._task  # it may hold us, in its frames
        if self._has_ended and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end(self) -> None:
        """Cancel the task, as asyncio's limits do."""
        self._has_ended = True
        self._task.cancel()
