"""`Health`: whether the service lives and is ready, from the shared memory alone. No busy worker is asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from proxy.control.watched import Watched
from proxy.metrics.metric import Merge
from proxy.metrics.reading import is_up
from proxy.metrics.table import (
    BEAT,
    CONNECTIONS,
    LISTENS,
    PID,
    RELOAD_WORKED,
    RELOADED_AT,
    STOPS,
    STORE_UP,
    UP,
    WORKERS,
)

SILENT_SECONDS = 20.0
"""The supervisor makes a turn every 5 s; after this time without one, it does not live."""


class Health:
    """Answers at any moment."""

    def __init__(self, watched: Watched) -> None:
        """Take what is read."""
        self.watched = watched

    @property
    def silent_seconds(self) -> float:
        """How long ago the supervisor made its last turn."""
        return max(0.0, time.monotonic() - self.watched.own.counts[BEAT.base] / 1e9)

    @property
    def lives(self) -> bool:
        """Whether the supervisor makes its turns. It replaces workers that hang."""
        return self.silent_seconds < SILENT_SECONDS

    @property
    def draining(self) -> int:
        """Connections to workers of earlier configurations."""
        old = [board for board in self.watched.boards if board is not self.watched.current]
        return sum(block.counts[CONNECTIONS.base] for board in old for block in board.blocks)

    def not_ready(self) -> list[str]:
        """Return why no new client should come here; nothing if it may. An upstream that is down is not a reason."""
        counts = self.watched.own.counts
        found = [] if self.lives else [f"the supervisor has not answered for {self.silent_seconds:.0f} s"]
        if counts[STOPS.base]:
            found.append("it stops, and finishes its sessions")
        elif not counts[LISTENS.base]:
            found.append("it does not listen yet")
        elif not counts[WORKERS.base]:
            found.append("no worker serves")
        return found

    def doubts(self) -> list[str]:
        """Return what is wrong although it is ready; `strict` counts it."""
        found = [f"the next hop {name} is down" for name, up in self._upstreams() if not up]
        found += [f"the store {name} is down" for name, up in self._gauge(STORE_UP) if not up]
        if not self.watched.own.counts[RELOAD_WORKED.base]:
            found.append("the last reload was rejected; the log says why")
        missing = self.watched.workers - self.watched.own.counts[WORKERS.base]
        if missing > 0:
            found.append(f"{missing} of {self.watched.workers} workers do not serve")
        return found

    def _upstreams(self) -> Iterator[tuple[str, bool]]:
        return self._gauge(UP)

    def _gauge(self, metric: Any) -> Iterator[tuple[str, bool]]:
        assert metric.merge is Merge.UP  # noqa: S101 — a programmer's mistake
        for (name,), (cell,) in self.watched.totals().of(metric).items():
            yield name, is_up(cell)

    def answer(self, *, strict: bool) -> dict[str, Any]:
        """Return the whole answer. It has no personal data."""
        counts, current = self.watched.own.counts, self.watched.current
        problems, doubts = self.not_ready(), self.doubts()
        return {
            "ready": not problems and not (strict and doubts),
            "problems": problems,
            "doubts": doubts,
            "pid": counts[PID.base],
            "workers": {"serving": counts[WORKERS.base], "configured": self.watched.workers},
            "connections": sum(block.counts[CONNECTIONS.base] for block in current.blocks),
            "draining": self.draining,
            "upstreams": [{"name": name, "up": up} for name, up in self._upstreams()],
            "configuration": {"loaded": counts[RELOADED_AT.base], "reload_worked": bool(counts[RELOAD_WORKED.base])},
        }
