"""Questions that are answered with a stream: a process's events, and the dialogue lines of its sessions.

Nothing is gathered without a viewer. If a viewer is too slow, events are dropped and counted, so memory is bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Protocol

from proxy.base import log_output
from proxy.base.log import printable
from proxy.control.questions import MOST_ANSWER
from proxy.mail.session import Session
from proxy.metrics.book import BOOK
from proxy.metrics.table import TRACE_DROPPED
from proxy.server.answering import Question
from proxy.smtp.ports import Front
from proxy.smtp.said import lines_of

MOST_WAITING = 5000
"""Events, or lines, that wait for the control process."""

MOST_TOGETHER = 500
"""In one answer."""

MOST_OCTETS = MOST_ANSWER // 4
"""Octets of rows in one answer after which no further row is put into it. A row that is longer is lost."""

GATHER_SECONDS = 0.1
"""How long events are gathered for one answer."""


class _Gathered:
    """Lines that wait to be sent to one viewer. Any thread may add to it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Any] = deque()
        self._dropped = 0
        self._woken = asyncio.Event()
        self._wakes = False

    def put(self, items: Iterable[Any]) -> None:
        """Keep items, or count them if too many wait."""
        for item in items:
            if len(self._waiting) >= MOST_WAITING:
                self._dropped += 1
            else:
                self._waiting.append(item)
        if not self._wakes:
            self._wakes = True
            self._loop.call_soon_threadsafe(self._woken.set)

    async def batches(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what has come, and how many rows were lost."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            self._wakes = False
            while self._waiting:
                rows = self._next()
                dropped, self._dropped = self._dropped, 0
                BOOK.counts[TRACE_DROPPED.base] += dropped  # here: one thread writes the counts
                yield {"rows": rows, "dropped": dropped}
            await asyncio.sleep(GATHER_SECONDS)

    def _next(self) -> list[Any]:
        """Return what fits into one answer: a stranger may choose how long the rows are."""
        rows: list[Any] = []
        octets = 0
        while self._waiting and len(rows) < MOST_TOGETHER and octets < MOST_OCTETS:
            row = self._waiting.popleft()
            length = _octets(row)
            if length > MOST_OCTETS:
                self._dropped += 1
                continue
            octets += length
            rows.append(row)
        return rows


class Events:
    """The events of this process. Its viewers share one tap on the log."""

    def __init__(self) -> None:
        """Start without a viewer."""
        self._viewers: set[_Gathered] = set()

    def questions(self) -> dict[str, Question]:
        """Return the stream's question."""
        return {"events": lambda _given: self._stream()}

    async def _stream(self) -> AsyncIterator[dict[str, Any]]:
        gathered = _Gathered()
        self._viewers.add(gathered)
        log_output.tap(self._take)
        try:
            async for batch in gathered.batches():
                yield batch
        finally:
            self._viewers.discard(gathered)
            if not self._viewers:
                log_output.tap(None)

    def show(self, lines: Sequence[bytes]) -> None:
        """Show lines of another process, which has no viewers of its own."""
        self._take(lines)

    def _take(self, lines: Sequence[bytes]) -> None:
        """Take lines in the log's thread."""
        texts = [line.decode("ascii", "backslashreplace") for line in lines]
        for viewer in tuple(self._viewers):
            viewer.put(texts)


class Overheard(Protocol):
    """The pools: what sessions and next hops say to each other can be heard there."""

    tell: Callable[[Session, str, str], None] | None


class Dialogues:
    """The dialogue lines of a worker's sessions."""

    def __init__(self, front: Front, pools: Overheard) -> None:
        """Trace nothing."""
        self._front, self._pools = front, pools
        self._viewers: set[_Gathered] = set()

    def questions(self) -> dict[str, Question]:
        """Return the stream's question."""
        return {"dialogues": lambda _given: self._stream()}

    async def _stream(self) -> AsyncIterator[dict[str, Any]]:
        gathered = _Gathered()
        self._viewers.add(gathered)
        self._show_to(self._take)
        try:
            async for batch in gathered.batches():
                yield batch
        finally:
            self._viewers.discard(gathered)
            if not self._viewers:
                self._show_to(None)

    def _show_to(self, trace: Callable[[Session, bytes, bytes], None] | None) -> None:
        for each in self._front.in_use:
            each.trace = trace
        self._pools.tell = None if trace is None else self._take_upstream

    def _take(self, session: Session, who: bytes, octets: bytes) -> None:
        rows = [_row(session, "client", line[:1], line[3:]) for line in lines_of(who + octets)]
        for viewer in self._viewers:
            viewer.put(rows)

    def _take_upstream(self, session: Session, who: str, line: str) -> None:
        for viewer in self._viewers:
            viewer.put([_row(session, "next hop", who, line)])


def _octets(row: str | dict[str, str]) -> int:
    """Return the length of an event, or of what is foreign in a line of a dialogue. Both are ASCII."""
    return len(row) if isinstance(row, str) else len(row["line"]) + len(row["sender"])


def _row(session: Session, other: str, who: str, line: str) -> dict[str, str]:
    """Return a line of the dialogue with the client or the next hop. It is safe to show already.

    `who` is C for the client's side of the connection, S for the server's.
    """
    return {
        "session": session.id,
        "client": session.client_ip,
        "sender": printable(session.transaction.reverse_path.text),
        "party": other,
        "who": who,
        "line": line,
    }
