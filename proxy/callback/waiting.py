"""Callers that wait for a verdict: from the probe in flight, or from one that is started for them.

Thousands may wait at once. So each caller is an object with a callback: a task, a time limit of the event loop and
`asyncio.wait` took 3 KB more for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from config.base.deadlines import end_after
from proxy.callback.observer import NOBODY, Observer
from proxy.callback.question import Question
from proxy.callback.verdict import CallbackVerdict
from proxy.callback.withheld import PENDING

Told = Callable[[CallbackVerdict], None]


@dataclass(frozen=True, slots=True)
class Asker:
    """On whose behalf a question is asked: whose budget pays, which session the log names, who watches."""

    client: str = ""
    session: str = ""
    observer: Observer = NOBODY


@dataclass(frozen=True, slots=True)
class Asking:
    """A probe in flight, and the client network that it was started for."""

    task: asyncio.Task[CallbackVerdict]
    client: str


class Waiting:
    """One who waits for a verdict. If the probe was started for another client that was throttled, it asks itself."""

    __slots__ = ("_ask", "_asker", "_ends", "_question", "_told")

    def __init__(
        self, question: Question, asker: Asker, ask: Callable[[Question, Asker], Asking], seconds: float, told: Told
    ) -> None:
        """Call `told` once, with PENDING after `seconds`. `ask` returns the probe in flight, or starts one."""
        self._question, self._asker, self._ask = question, asker, ask
        self._told: Told | None = told
        self._ends = end_after(seconds, self)
        self._join()

    def leave(self) -> None:
        """Wait no longer."""
        self._told = None
        self._ends.discard(self)

    def end(self) -> None:
        """The time is up."""
        self._tell(PENDING)

    def _join(self) -> None:
        asking = self._ask(self._question, self._asker)
        asking.task.add_done_callback(self._landed if asking.client == self._asker.client else self._others_landed)

    def _others_landed(self, probe: asyncio.Task[CallbackVerdict]) -> None:
        if self._told is not None and _verdict_of(probe).reason == "client_throttled":
            self._join()
        else:
            self._landed(probe)

    def _landed(self, probe: asyncio.Task[CallbackVerdict]) -> None:
        self._tell(_verdict_of(probe))

    def _tell(self, verdict: CallbackVerdict) -> None:
        told = self._told
        if told is not None:
            self.leave()
            told(verdict)


def _verdict_of(probe: asyncio.Task[CallbackVerdict]) -> CallbackVerdict:
    """Return what a probe found; its owner logs its failure."""
    return PENDING if probe.cancelled() or probe.exception() is not None else probe.result()
