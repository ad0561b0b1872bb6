"""Validators of one phase that do not depend on each other are asked at once, so a client waits only for the slowest.

The order of the configuration still decides: the first validator that decides wins, whichever ended first. One that
asks third parties is not asked before all earlier ones have passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from proxy.base.tasks import TaskOwner, spawn
from proxy.mail.validator import DeclaresUses, Uses, UsesByPhase, Validator
from proxy.mail.verdict import Verdict
from sieve.phases import Phase

Order = tuple[frozenset[int], ...]
"""For each validator of a phase: the numbers of the earlier ones that it must wait for."""

_UNWIND_SECONDS = 5.0
"""How long to wait until a cancelled validator has ended."""


def order_of(validators: Sequence[Validator], phase: Phase) -> Order | None:
    """Return the order of a phase; None if each validator must wait for all before it."""
    used = [_used(each, phase) for each in validators]
    order = tuple(
        frozenset(at for at in range(number) if _depends(used[number], used[at])) for number in range(len(used))
    )
    return None if all(len(before) == number for number, before in enumerate(order)) else order


def _used(validator: Validator, phase: Phase) -> Uses | None:
    """Return what a validator uses in a phase; None if that may be everything."""
    if isinstance(validator, UsesByPhase) and phase in validator.uses_at:
        return validator.uses_at[phase]
    return validator.uses if isinstance(validator, DeclaresUses) else None


def _depends(later: Uses | None, earlier: Uses | None) -> bool:
    return later is None or earlier is None or later.depends_on(earlier)


Said = Verdict | Awaitable[Verdict]


class Round:
    """One phase of one session while its validators run."""

    __slots__ = ("_ask", "_asked", "_decide", "_decided", "_order", "_owner", "_running")

    def __init__(
        self,
        owner: TaskOwner,
        order: Order,
        ask: Callable[[int], Said],
        decide: Callable[[int, Said], Coroutine[Any, Any, Verdict | None]],
    ) -> None:
        """`ask` asks one validator; `decide` waits for what it said and returns None if it does not decide."""
        self._owner, self._order, self._ask, self._decide = owner, order, ask, decide
        self._decided: dict[int, Verdict | None] = {}
        """What each that has ended decided."""
        self._asked: set[int] = set()
        self._running: dict[asyncio.Task[Verdict | None], int] = {}

    async def result(self, first: int, said: Awaitable[Verdict]) -> Verdict | None:
        """Return what the first validator that decides says, or None. Those before `first` have passed."""
        self._decided = dict.fromkeys(range(first))
        self._asked = set(range(first))
        self._begin(first, said)
        try:
            while True:
                await self._ask_the_ready()
                needed = [task for task, at in self._running.items() if at < self._end]
                if not needed:
                    return self._decided.get(self._end)
                done, _ = await asyncio.wait(needed, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._decided[self._running.pop(task)] = task.result()
        finally:
            await self._unwind()

    @property
    def _end(self) -> int:
        """The number of the first that decided: those after it no longer matter."""
        return min((at for at, decided in self._decided.items() if decided is not None), default=len(self._order))

    async def _ask_the_ready(self) -> None:
        """Ask those that need not wait, in order. One that answers at once may make others ready."""
        while (at := self._next()) is not None:
            said = self._ask(at)
            if isinstance(said, Verdict):
                self._asked.add(at)
                self._decided[at] = await self._decide(at, said)
            else:
                self._begin(at, said)

    def _next(self) -> int | None:
        passed = {at for at, decided in self._decided.items() if decided is None}
        for at in range(self._end):
            if at not in self._asked and self._order[at] <= passed:
                return at
        return None

    def _begin(self, at: int, said: Awaitable[Verdict]) -> None:
        self._asked.add(at)
        self._running[spawn(self._decide(at, said), name=f"validator {at}", owner=self._owner)] = at

    async def _unwind(self) -> None:
        """End what no longer matters."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=_UNWIND_SECONDS)
