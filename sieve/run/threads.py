"""Thread pools for the work of scripts, so that slow scripts do not block anything else.

asyncio's default executor also checks passwords and reads configurations. A script's file on a dead mount, or a long
body, must not occupy those threads. A thread cannot be stopped: its work is limited by its input, and the process does
not wait for it at exit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import cache
from typing import TypeVar

_T = TypeVar("_T")


class ThreadPool(Enum):
    """A pool and its number of threads."""

    CONTENT = 2
    """Parse messages. This is CPU-bound, so a few threads are enough."""
    FILES = 4
    """Read include files and write log files."""


@cache
def _threads(pool: ThreadPool) -> ThreadPoolExecutor:
    """Return the pool's executor, created on first use: after the process has forked."""
    return ThreadPoolExecutor(pool.value, f"script-{pool.name.lower()}")


def queued(pool: ThreadPool) -> int:
    """Return how many jobs wait for a thread of the pool."""
    return _threads(pool)._work_queue.qsize()  # noqa: SLF001 — the executor does not tell


async def in_thread(pool: ThreadPool, work: Callable[[], _T]) -> _T:
    """Run `work` in a thread of the pool. Return its result or raise its exception."""
    return await asyncio.get_running_loop().run_in_executor(_threads(pool), work)
