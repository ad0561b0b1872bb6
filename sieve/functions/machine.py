"""The machine that Ringback runs on."""

from __future__ import annotations

from sieve.library import sieve_function
from sieve.run.runtime import Frame
from sieve.run.threads import ThreadPool, queued

_POOLS = {"cpu": ThreadPool.CONTENT, "io": ThreadPool.FILES}


@sieve_function()
async def ec_spool_space(frame: Frame) -> tuple[str, ...]:
    """Return the size of the partition with Spool_Directory in MB, how much of it is free, and the percentage in use.

    Momentum's example calls the third number free, but its manual says used.
    """
    total, available, used = await frame.host.control.spool_space()
    return str(total), str(available), str(used)


@sieve_function()
def ec_thread_pool_get_queue_size(jobclass: str) -> int:
    """Return how many jobs are waiting for a thread pool: `CPU` reads messages, `IO` reads and writes scripts' files.

    Momentum's other pools (`SWAPIN`, `SWAPOUT`, `CLOSE`) do not exist here: their queues are empty.
    """
    pool = _POOLS.get(jobclass.lower())
    return 0 if pool is None else queued(pool)
