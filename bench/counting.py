"""What one question of counting costs: in memory, to the keeper over its socket, and to Redis through it.

`python -m bench.counting [redis://host:port/db]`. Questions of one turn of the loop travel together, so each is asked
alone, and again with fifteen others. The keeper is a process of its own; processor time is of both, without Redis.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable

import uvloop

from proxy.counting.base import Counting, answered
from proxy.counting.local import Meanwhile
from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import Window
from proxy.counting.redis import RedisCounting
from proxy.counting.sharing import SharedCounting
from proxy.keeper.counters import Owning
from proxy.keeper.counting import KeptCounting
from proxy.keeper.door import Door
from proxy.keeper.messages import Hello
from proxy.keeper.service import KeeperService
from proxy.options.store import parse_store_url

QUESTIONS = 16_000
TOGETHER = 16


def question(number: int) -> Window:
    """Return an operation as a script's check is one."""
    return Window("bench", b"client %d" % (number % 1000), 100, 60.0, 1)


async def took(counting: Counting, together: int, keeper: int | None) -> dict[str, float]:
    """Ask, and return the microseconds of time and of processor time that a question took, at the median."""
    rounds = []
    for _ in range(5):
        began, used = time.perf_counter(), time.process_time() + _used(keeper)
        for at in range(0, QUESTIONS // 5, together):
            await asyncio.gather(*[answered(counting, question(at + each)) for each in range(together)])
        count = QUESTIONS // 5
        processor = time.process_time() + _used(keeper) - used
        rounds.append(((time.perf_counter() - began) / count * 1e6, processor / count * 1e6))
    seconds, processor = sorted(rounds)[2]
    return {"us": round(seconds, 1), "processor_us": round(processor, 1)}


def _used(pid: int | None) -> float:
    """Return the processor time of another process, in seconds."""
    if pid is None:
        return 0.0
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - as the kernel names it
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def keep(door: Door, make: Callable[[], Owning]) -> int:
    """Fork a keeper, and return its process id."""
    pid = os.fork()
    if pid:
        return pid

    async def serve() -> None:
        counting = make()
        await counting.start()
        KeeperService(None, [door.inside], 1, counting).open()
        await asyncio.Event().wait()

    uvloop.run(serve())
    os._exit(0)


async def kept(door: Door, pid: int) -> list[dict[str, float]]:
    """Ask a keeper."""
    counting = KeptCounting(door.outside, Hello(1, 1, counts=True), Meanwhile(name="keeper", defers=False))
    found = [await took(counting, together, pid) for together in (1, TOGETHER)]
    await counting.close()
    return found


async def in_memory() -> list[dict[str, float]]:
    """Ask the only worker's own memory."""
    return [await took(MemoryCounting(), together, None) for together in (1, TOGETHER)]


def shared(url: str) -> SharedCounting:
    """Return what a keeper counts with if machines share a Redis."""
    return SharedCounting(RedisCounting(parse_store_url(url), "bench", "bench"), Meanwhile(name=url, defers=False))


def main() -> None:
    """Print each result as JSON."""
    print(json.dumps({"memory": uvloop.run(in_memory())}))
    makers: dict[str, Callable[[], Owning]] = {"keeper": MemoryCounting}
    if len(sys.argv) > 1:
        makers["redis"] = lambda: shared(sys.argv[1])
    for name, make in makers.items():
        door = Door()
        pid = keep(door, make)
        try:
            print(json.dumps({name: uvloop.run(kept(door, pid))}))
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            door.close()


if __name__ == "__main__":
    main()
