"""The clock of counting: seconds since the epoch that never go back, while a process runs and over a reload."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


class SteadyEpoch:
    """Begins with the time of day and goes on with the monotonic clock, which all processes of a machine share."""

    __slots__ = ("_monotonic", "offset")

    def __init__(self) -> None:
        self._monotonic = time.monotonic
        self.offset = time.time() - time.monotonic()
        """Between the two clocks."""

    def __call__(self) -> float:
        """Return the time."""
        return self.offset + self._monotonic()

    def follow(self, offset: float) -> None:
        """Be no earlier than the clock of the process before, whose counts this one takes.

        If the time of day was set back meanwhile, its buckets would not be filled, nor its windows end, until then.
        """
        self.offset = max(self.offset, offset)
