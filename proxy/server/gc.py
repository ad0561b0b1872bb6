"""Makes Python's garbage collection rare, because it stops the worker while it runs; returns unused memory once.

By default, Python runs a full collection whenever the heap grows by a quarter. With ten thousand probes in flight, that
stopped all mail for 0.1 to 0.5 s, thirty times in half a minute. Reference counts free everything that a session leaves
(tests/proxy/smtp/test_garbage.py), and nearly everything of a probe. Young collections, and a full one every ten
minutes, free the rest.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from contextlib import suppress

FULL_LOOK_SECONDS = 600.0

_YOUNG, _MIDDLE, _FULL = 20_000, 50, 1_000_000
"""gc thresholds for generations 0, 1, 2."""


def collect_seldom(loop: asyncio.AbstractEventLoop) -> None:
    """Exclude everything made at startup from collection, then run a full collection at fixed times on `loop`."""
    gc.collect()
    gc.freeze()
    _give_back()
    gc.set_threshold(_YOUNG, _MIDDLE, _FULL)
    loop.call_later(FULL_LOOK_SECONDS, _look, loop)


def _look(loop: asyncio.AbstractEventLoop) -> None:
    gc.collect()
    loop.call_later(FULL_LOOK_SECONDS, _look, loop)


def _give_back() -> None:
    """Return free memory to the system: the words of exchangers take 7 MB while they are compiled for `re2`."""
    with suppress(AttributeError):  # another libc than GNU's
        ctypes.CDLL(None).malloc_trim(0)
