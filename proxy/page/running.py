"""`Running`: the sessions that run now, as the workers answer, and below them the latest that have ended.

The workers are asked only while a page is open, and only for the newest sessions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from proxy.page.live import Live, LiveSession

MOST = 60
"""Sessions that are asked for of each worker, and that are shown."""

_PHASES = {
    "awaiting ehlo/helo": "connect", "awaiting mailfrom": "ehlo", "awaiting rcptto": "mailfrom",
    "awaiting rcptto or data": "rcptto", "reading body": "data", "sending body response": "data",
}  # fmt: skip
"""What a session waits for → the phase that it is in."""


Ask: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[Sequence[Any]]]
"""Asks all workers: `proxy.control.asking.Processes.ask`."""


@dataclass(slots=True)
class Running:
    """The event loop's thread owns it."""

    ask: Ask
    latest: Live
    number: int = 0
    """How often the answer has changed."""
    open: int = 0
    """How many sessions run."""
    _running: dict[str, LiveSession] = field(default_factory=dict)

    async def look(self) -> None:
        """Ask the workers."""
        told = [each for each in await self.ask("sessions", {"latest": MOST}) if not each.error]
        rows = [(each.process.hello.slot, row) for each in told for row in each.answer["rows"]]
        found = {row["id"]: _shown(worker, row) for worker, row in rows}
        self.open = len(rows) + sum(each.answer["left_out"] for each in told)
        if found != self._running:
            self._running = found
            self.number += 1

    async def one(self, session: str) -> dict[str, Any] | None:
        """Return everything about a session that runs; None if it does not."""
        told = await self.ask("session", {"id": session})
        return next((each.answer for each in told if not each.error and each.answer is not None), None)

    def sessions(self) -> list[LiveSession]:
        """Return the newest sessions that run, then the latest that have ended."""
        known = {each.id: each for each in self.latest.sessions()}
        running = [_with(row, known.get(name)) for name, row in list(self._running.items())[::-1]]
        ended = [each for name, each in known.items() if name not in self._running]
        return [*running[:MOST], *ended[: max(0, MOST - len(running))]]


def _shown(worker: int, row: Mapping[str, Any]) -> LiveSession:
    count = row["recipients"]
    return LiveSession(
        row["id"], row["client"].rpartition(":")[0], row["helo"],
        phase=_PHASES.get(row["phase"], "wait"), state=row["phase"], sender=row["sender"],
        recipient=f"{count} recipient{'' if count == 1 else 's'}" if count else "", runs=True,
        at=f"worker {worker}" if worker else "", messages=row["messages"],
    )  # fmt: skip


def _with(row: LiveSession, events: LiveSession | None) -> LiveSession:
    """Return a session with what the latest events tell of it."""
    if events is not None:
        row.fate, row.reply, row.callback = events.fate, events.reply, events.callback
    return row
