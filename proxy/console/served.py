"""`Served`: the objects that commands use, and what they have in common: asking all processes, and adding up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from config.diagnostics import Diagnostic
from proxy.console.errors import Refused, nothing_to_ask
from proxy.console.results import Result
from proxy.control.asking import Processes, Told
from proxy.control.health import Health
from proxy.control.watched import Watched
from proxy.lists.operators import OperatorLists
from proxy.options.core import CoreOptions


@runtime_checkable
class TriesScripts(Protocol):
    """A module's stanza that compiles scripts for the console."""

    @property
    def tried(self) -> Callable[[str, str], Sequence[Diagnostic]]:
        """Compiles a text for a phase that is named; returns what is wrong with it."""
        ...


@dataclass(slots=True)
class Served:
    """The server as the console sees it. The control process owns it."""

    processes: Processes
    core: CoreOptions
    watched: Watched
    health: Health
    scripts: Sequence[TriesScripts] = ()
    """The stanzas that compile scripts."""
    operators: OperatorLists | None = None
    """The lists that operators fill."""
    supervisor: int = field(default_factory=os.getppid)
    """Its process id."""
    began: float = field(default_factory=time.time)

    async def ask(self, question: str, arguments: Mapping[str, Any] | None = None, **how: Any) -> list[Told]:
        """Ask everybody.

        Raises:
            Refused: no process has an answer; the text is the first one's reason.
        """
        found = await self.processes.ask(question, arguments, **how)
        if not found:
            raise nothing_to_ask(runs=bool(self.processes.known))
        if all(each.error for each in found):
            raise Refused(found[0].error)
        return found

    async def change(self, name: str, question: str, arguments: Mapping[str, Any], *, keeps: bool = True) -> list[Told]:
        """Ask everybody to change something, and processes that are started later as well, until the next reload."""
        found = await self.ask(question, arguments)
        await self.processes.keep(name, question, arguments if keeps else None)
        return found


def silent(told: Iterable[Told]) -> list[str]:
    """Return who did not answer, for the end of an answer."""
    return [f"{each.process.name} (pid {each.process.pid}): {each.error}" for each in told if each.error]


def done(told: Sequence[Told], text: str, **value: Any) -> Result:
    """Return what a change came to, and who did not answer."""
    missing = silent(told)
    return Result({**value, "silent": missing}, "\n".join([text, *missing]))


def answers(told: Iterable[Told]) -> list[Told]:
    """Return those that answered."""
    return [each for each in told if not each.error]


def sum_of(told: Iterable[Told]) -> int:
    """Add up answers that are numbers."""
    return sum([each.answer for each in answers(told)])


def added(told: Iterable[Told]) -> dict[str, int]:
    """Add up answers of several numbers, by name."""
    sums: dict[str, int] = {}
    for each in answers(told):
        for name, number in each.answer.items():
            if isinstance(number, int):
                sums[name] = sums.get(name, 0) + number
    return sums
