"""`ControlService`: the parts of the control process, started in order and stopped in reverse.

If a part fails, only that part is lost: the others continue, and mail needs none of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from proxy.base.log import get_logger

log = get_logger()

START_SECONDS = 10.0
"""Longest start of a part; the supervisor gives the whole process 30 s."""

STOP_SECONDS = 5.0
"""Longest stop of a part; the service manager waits for it."""


class Part(Protocol):
    """Something that the control process serves, such as the metrics' page."""

    @property
    def name(self) -> str:
        """A word for the log."""
        ...

    async def start(self) -> None:
        """Begin to serve."""
        ...

    async def stop(self) -> None:
        """End, and keep what must not be lost."""
        ...


class ControlService:
    """Runs the parts. A part comes after those that it gives something to, so that it is stopped before them."""

    def __init__(self, parts: Sequence[Part]) -> None:
        """Nothing runs before `start`."""
        self._parts = parts
        self._running: list[Part] = []

    async def start(self) -> None:
        """Start the parts in order."""
        for part in self._parts:
            try:
                async with asyncio.timeout(START_SECONDS):
                    await part.start()
            except Exception as error:
                log.error("control_part_failed", part=part.name, step="start", exc_info=error)
            else:
                self._running.append(part)

    async def stop(self) -> None:
        """Stop the running parts in reverse order, each within its time."""
        while self._running:
            part = self._running.pop()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await part.stop()
            except Exception as error:
                log.error("control_part_failed", part=part.name, step="stop", exc_info=error)
