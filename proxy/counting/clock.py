"""The clock of counting: seconds since the epoch that never go back while a process runs."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


def steady_epoch() -> Clock:
    """Return a clock that begins with the time of day and goes on with the monotonic one."""
    offset = time.time() - time.monotonic()
    monotonic = time.monotonic
    return lambda: offset + monotonic()
