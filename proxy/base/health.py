"""`HealthChecks`: how many connections were health checks, which have no events of their own."""

from __future__ import annotations

import asyncio

from proxy.base.log import get_logger

log = get_logger()

TELL_SECONDS = 60.0
"""How often the number is logged, if there were any."""


class HealthChecks:
    """The checks since they were logged last. The worker's event loop owns it."""

    __slots__ = ("_count", "_timer")

    def __init__(self) -> None:
        """Start with none."""
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def count(self) -> None:
        """Count one, and log the number within a minute."""
        self._count += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TELL_SECONDS, self.tell)

    def tell(self) -> None:
        """Log the number, if there were any."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._count:
            log.info("health_checks", checks=self._count)
            self._count = 0
