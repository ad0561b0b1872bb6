"""When Python looks for garbage in cycles: seldom, since it stops the worker for as long as it looks.

By default a full look comes as often as the heap grows by a quarter: with ten thousand probes in flight it stopped all
mail for 0.1 to 0.5 s, thirty times in half a minute. Nearly all that a session or a probe leaves goes by its reference
count; what does not is found in the younger generations, or by the full look that comes every ten minutes.
"""

from __future__ import annotations

import asyncio
import gc

FULL_LOOK_SECONDS = 600.0

_YOUNG, _MIDDLE, _FULL = 20_000, 50, 1_000_000
"""Objects more than before until the youngest are looked at; such looks until a middle one; those until a full one."""


def collect_seldom(loop: asyncio.AbstractEventLoop) -> None:
    """Leave what the start has made out of every look to come, and look by the clock, until the loop ends."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _FULL)
    loop.call_later(FULL_LOOK_SECONDS, _look, loop)


def _look(loop: asyncio.AbstractEventLoop) -> None:
    gc.collect()
    loop.call_later(FULL_LOOK_SECONDS, _look, loop)
