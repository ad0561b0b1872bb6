"""The threads that scripts' work runs in: pools of their own, so that a script that waits holds up nothing else.

asyncio's common executor is also where passwords are checked and configurations are read. A script's file on a dead
mount, or a long body, must not take those threads. A thread cannot be stopped: what runs here is bounded by its input,
and the process does not wait for it when it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import cache
from typing import TypeVar

_T = TypeVar("_T")


class Pool(Enum):
    """A pool, by what its threads do, and how many it has."""

    CONTENT = 2
    """Taking messages apart: processor time, which a few threads use up."""
    FILES = 4
    """Scripts' files: include files, log files."""


@cache
def _threads(pool: Pool) -> ThreadPoolExecutor:
    """Return the pool's threads, made when they are first needed: after the process was forked."""
    return ThreadPoolExecutor(pool.value, f"script-{pool.name.lower()}")


async def in_thread(pool: Pool, work: Callable[[], _T]) -> _T:
    """Return what `work` gives, done by a thread of the pool. It raises what `work` raises."""
    return await asyncio.get_running_loop().run_in_executor(_threads(pool), work)
