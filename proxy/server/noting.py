"""`Notes`: what the supervisor reports about itself and its processes, for metrics, health and the service manager."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from proxy.control.watched import Watched
from proxy.metrics.board import Board
from proxy.metrics.book import BOOK
from proxy.metrics.metric import UP as WORKS
from proxy.metrics.reading import Totals
from proxy.metrics.table import (
    BEAT,
    CONNECTIONS,
    CPU,
    DIFFERS,
    LISTENS,
    RELOAD_WORKED,
    RELOADED_AT,
    STOPS,
    UP,
    WORKER,
    WORKER_UP,
    WORKERS,
)
from proxy.server import events
from proxy.server.generation import Child, Generation
from proxy.server.notify import notify, watchdog_seconds

BEAT_SECONDS = 5.0
"""The supervisor makes a turn at least this often, so that its own silence can be noticed."""

STATUS_SECONDS = 5.0


class Notes:
    """Writes into the supervisor's block. No other process does."""

    def __init__(self) -> None:
        """Begin to count in this process."""
        self._board = Board(1, {})
        self._board.blocks[0].begin(BOOK)
        self._past = Totals()
        self._status, self._told = "", 0.0
        self._watchdog = watchdog_seconds()
        self._fed = 0.0
        self.reloaded()

    def due(self) -> float:
        """Return until when the supervisor must make a turn."""
        return time.monotonic() + min(BEAT_SECONDS, self._watchdog or BEAT_SECONDS)

    def turn(self, children: Iterable[Child], current: Generation[Any], *, ready: bool, stops: int) -> None:
        """Note what the processes do now."""
        counts = BOOK.counts
        now = time.monotonic()
        serving = [each for each in children if each.is_worker and each.serves and each.asked is None]
        ours = {each.number for each in serving if each.generation is current}
        counts[BEAT.base] = int(now * 1e9)
        counts[LISTENS.base] = ready
        counts[STOPS.base] = bool(stops)
        counts[WORKERS.base] = len(ours)
        counts[CPU.at("supervisor")] = time.process_time_ns() // 1000
        for number in range(1, min(current.sockets.workers, WORKER.size - 1) + 1):
            counts[WORKER_UP.base + number] = number in ours
        if self._watchdog and (ours or not ready or stops) and now - self._fed >= self._watchdog:
            self._fed = now
            notify("WATCHDOG=1")
        if ready:
            self._tell(now, current, len(ours))

    def _tell(self, now: float, current: Generation[Any], serving: int) -> None:
        """Tell the service manager in one line, if it is another one."""
        if now - self._told < STATUS_SECONDS:
            return
        self._told = now
        line = status(current, serving)
        if line != self._status:
            self._status = line
            notify(f"STATUS={line}")

    def reloaded(self) -> None:
        """A configuration has taken effect."""
        BOOK.counts[RELOADED_AT.base] = int(time.time())
        BOOK.counts[RELOAD_WORKED.base] = 1
        BOOK.counts[DIFFERS.base] = 0

    def rejected(self) -> None:
        """A configuration was rejected."""
        BOOK.counts[RELOAD_WORKED.base] = 0

    def ended(self, child: Child) -> None:
        """A process has ended: nothing is true of this moment any more."""
        child.generation.block(child.number).zero_gauges()

    def forget(self, generation: Generation[Any]) -> None:
        """Keep what the processes of a generation have counted; all have ended."""
        self._past.add(generation.board, gauges=False)

    def watched(self, generations: Sequence[Generation[Any]], current: Generation[Any]) -> Watched:
        """Return what a control process reads that is forked now."""
        return Watched(self._board, [each.board for each in generations], current.board, self._past)


def status(current: Generation[Any], serving: int) -> str:
    """Return the state in one line."""
    board = current.board
    sessions = sum(block.counts[CONNECTIONS.base] for block in board.blocks)
    hops = []
    for number, name in enumerate(list(board.configured.get("upstream", ()))[: UP.labels[0].size - 1]):
        cells = {block.counts[UP.at(number)] for block in board.blocks}
        hops.append(f"{name} {'up' if WORKS in cells else 'down' if any(cells) else 'not tried'}")
    return f"{serving} of {current.sockets.workers} workers, {sessions} sessions; next hops: {', '.join(hops[:5])}"


def differs(settings: int) -> None:
    """Set how many console settings are in use."""
    events.differs(settings)
    BOOK.counts[DIFFERS.base] = settings
