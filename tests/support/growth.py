"""How the cost of a function grows with its input: linear code passes, code that is quadratic or worse fails.

Time is CPU time of this thread, the best of a few runs, so that a busy machine changes nothing.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

ENOUGH_SECONDS = 0.005
"""Below this a run says more about the machine than about the code."""

RUNS = (2, 5, 5)
"""The runs of each measurement. A ratio that is too large is measured again with twice the size: between two sizes the
data may have left the processor's cache, and on a busy machine caches are others'. What is quadratic stays above."""

MOST_GROWTH = 6.0
"""How much longer four times the input may take: 4 is linear, 16 is quadratic."""

SMALLEST = 16

Work = Callable[[int], Callable[[], object]]
"""Makes an input of a size, which is not timed, and returns what is timed. It is called anew before each run."""


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""


@contextmanager
def _memory_at_hand() -> Iterator[None]:
    """Let the C library keep the memory of a run for the next: page faults are the kernel's time, and not linear."""
    with suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 32 << 20)
        mallopt(_TRIM_THRESHOLD, 1 << 30)
        try:
            yield
        finally:
            mallopt(_MMAP_THRESHOLD, 128 << 10)
            mallopt(_TRIM_THRESHOLD, 128 << 10)
        return
    yield


def seconds(work: Work, size: int, runs: int = 5) -> float:
    """Return the least CPU time of several runs over an input of this size."""
    best = float("inf")
    for _ in range(runs):
        run = work(size)
        gc.disable()  # how often it runs depends on what the other tests left behind
        try:
            began = time.thread_time()
            run()
            best = min(best, time.thread_time() - began)
        finally:
            gc.enable()
    return best


@_memory_at_hand()
def assert_linear(name: str, work: Work, *, largest: int) -> None:
    """Fail if four times the input costs more than six times the CPU time. `largest` is the largest input permitted.

    The smaller size is the smallest that takes 5 ms. If the largest input takes less than that, there is nothing to
    compare: the case passes and prints the size.
    """
    size = min(SMALLEST, largest)
    while (once := seconds(work, size, 1)) < ENOUGH_SECONDS or (once := seconds(work, size, 2)) < ENOUGH_SECONDS:
        if size >= largest:
            print(f"{name}: {largest} takes {once * 1000:.2f} ms, under {ENOUGH_SECONDS * 1000:.0f} ms")  # noqa: T201 — the size is what a reader of the run wants
            return
        size = min(2 * size, largest)
    for runs in RUNS:
        small, large = seconds(work, size, runs), seconds(work, 4 * size, runs)
        growth = large / small
        told = f"{name}: {size} takes {small * 1000:.2f} ms, {4 * size} takes {large * 1000:.2f} ms: {growth:.1f} times"
        print(told)  # noqa: T201 — as above
        if growth <= MOST_GROWTH:
            return
        size = max(size, min(2 * size, largest))
    raise AssertionError(told)
