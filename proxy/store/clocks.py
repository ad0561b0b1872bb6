"""The clocks of stored entries, and how far machines' clocks may differ."""

from __future__ import annotations

import time
from collections.abc import Callable

AHEAD_SECONDS = 300.0
"""How far in the future a stored time may be: machines' clocks differ, and clocks are set."""

Clock = Callable[[], float]


def steady(clock: Clock) -> Clock:
    """Return the clock for waiting times in memory: the monotonic one, if `clock` is the time of day.

    A test's own clock serves both purposes.
    """
    return time.monotonic if clock is time.time else clock
