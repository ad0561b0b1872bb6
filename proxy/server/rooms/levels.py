"""Questions about a process's log: its levels, and its last errors and warnings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from proxy.base import log
from proxy.base.log import LEVELS, Levels, printable
from proxy.options.levels import ROOMS
from proxy.server.answering import Question, Unanswerable


class LogLevels:
    """Sets levels, and sets them back. Each process has one."""

    def __init__(self) -> None:
        """Start with the configured levels."""
        self._configured: Levels | None = None
        self._back: asyncio.TimerHandle | None = None

    def questions(self) -> dict[str, Question]:
        """Return the questions about the log."""
        return {"log_level": self._set, "paniclog": lambda _given: _kept()}

    def _set(self, given: Mapping[str, Any]) -> str:
        room, level, seconds = str(given.get("room", "")), str(given["level"]), float(given.get("seconds") or 0)
        if level not in LEVELS:
            raise Unanswerable(f'"{printable(level)}" is not a level: write {", ".join(LEVELS)}')
        if room and room not in ROOMS:
            raise Unanswerable(
                f'"{printable(room)}" is not a part of Ringback: write one of {", ".join(sorted(ROOMS))}'
            )
        before = log.levels()
        self._configured = self._configured or before
        new = (
            Levels(before.least, {**before.rooms, room: LEVELS[level]}) if room else Levels(LEVELS[level], before.rooms)
        )
        log.set_levels(new)
        if self._back is not None:
            self._back.cancel()
            self._back = None
        if seconds:
            self._back = asyncio.get_running_loop().call_later(seconds, self._reset)
        return level

    def _reset(self) -> None:
        if self._configured is not None:
            log.set_levels(self._configured)


def _kept() -> list[str]:
    return [line.decode("ascii").rstrip("\n") for lines in log.kept.values() for line in lines]
