"""After a failure, a server is not asked for 1, 2, 4 … 30 seconds. Then one query tries it, while others still fail."""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST_SECONDS, MOST_SECONDS = 1.0, 30.0


class Breaker:
    """One server's."""

    __slots__ = ("_clock", "_until", "_wait", "reason")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with a server that works."""
        self._clock, self._until, self._wait = clock, 0.0, 0.0
        self.reason = ""

    @property
    def is_open(self) -> bool:
        """Whether the server failed last."""
        return self._wait > 0

    def admits(self, trial: float) -> bool:
        """Whether to ask the server now. A trial holds others off for `trial` seconds at most."""
        if not self._wait:
            return True
        if self._clock() < self._until:
            return False
        self._until = self._clock() + trial
        return True

    def failed(self, reason: str) -> bool:
        """Note a failure; return whether it is the first."""
        first = not self._wait
        self._wait = min(max(FIRST_SECONDS, 2 * self._wait), MOST_SECONDS)
        self._until = self._clock() + self._wait
        self.reason = reason
        return first

    def worked(self) -> bool:
        """Note an answer; return whether the server had failed before."""
        before, self._wait = self._wait, 0.0
        return before > 0
