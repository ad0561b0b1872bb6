"""Function calls of a probe, and the octets that it takes while its exchanger is silent: `python -m bench.probes`.

Both are the same on every machine, busy or not; `tests/test_benches.py` holds them. `python -m bench.callback` measures
what becomes of them. With `--lines`, it also prints where the octets were allocated.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import pstats
import sys
import tempfile
import tracemalloc

import uvloop

from bench.asking import callbacks_at
from bench.world import World, allow_open_files, farmed
from proxy.base import log_output
from proxy.base.tasks import TaskOwner, spawn, waits_in
from proxy.callback.verifier import CallbackVerifier
from tests.support.waiting import eventually

PROBES = 300
WARM = 30
"""Probes before, which load and open what all share."""

SILENT = 600.0
STEPS = {"EHLO": "_Greeter.introduce", "RCPT": "_Visit._rcpt"}
"""Commands whose reply does not come, and the function that waits for it."""


async def calls(world: World, store: str) -> float:
    """Return the calls of a probe that finds a sender: DNS, budgets, conversation, verdict, log.

    Each is asked alone: how many share a trip to the store depends on the machine.
    """
    callbacks = callbacks_at(str(world.port), str(world.nameserver), store)

    async def ask(numbers: range) -> None:
        for number in numbers:
            found = await callbacks.verifier.verify(f"u@d{number}.test")
            assert found.reason == "accepted"

    await ask(range(WARM))
    profile = cProfile.Profile()
    with profile:
        await ask(range(WARM, WARM + PROBES))
    await callbacks.close()
    return pstats.Stats(profile).total_calls / PROBES  # type: ignore[attr-defined,no-any-return]  # typeshed lacks it


async def octets(world: World, step: str, lines: int) -> float:
    """Return the octets of a probe that waits in a function, with the one who waits for its verdict."""
    callbacks, clients = callbacks_at(str(world.port), str(world.nameserver), "memory"), TaskOwner("clients")
    await waiting(callbacks.verifier, clients, range(WARM), step)
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    await waiting(callbacks.verifier, clients, range(WARM, WARM + PROBES), step)
    taken, _ = tracemalloc.get_traced_memory()
    for each in tracemalloc.take_snapshot().compare_to(before, "lineno")[:lines]:
        print(f"{each.size_diff / PROBES:8.0f} {each.count_diff / PROBES:6.1f} {each.traceback}")
    tracemalloc.stop()
    await clients.cancel()
    await callbacks.close()
    return taken / PROBES


async def waiting(verifier: CallbackVerifier, clients: TaskOwner, numbers: range, step: str) -> None:
    """Ask, and return when all probes wait in the function."""
    for number in numbers:
        spawn(verifier.verify(f"u@d{number}.test"), name=f"client {number}", owner=clients)

    def all_wait() -> bool:
        probes = [each.task.get_coro() for each in verifier._in_flight.values()]  # noqa: SLF001 - no other may ask
        return sum(step in waits_in(each) for each in probes) == numbers.stop

    await eventually(all_wait, f"{numbers.stop} probes wait")
    gc.collect()


def main() -> None:
    """Measure, and print a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.probes", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--lines", type=int, default=0, help="print this number of lines, those that allocate the most")
    options = parser.parse_args()
    allow_open_files()
    log_output.configure()
    found: dict[str, float] = {}
    with farmed(0.0) as world, tempfile.TemporaryDirectory() as folder:
        for store in ("memory", f"sqlite://{folder}/probes.db"):
            found[f"calls, {store.partition(':')[0]}"] = uvloop.run(calls(world, store))
    for command, step in STEPS.items():
        with farmed(SILENT, ehlo=SILENT if command == "EHLO" else 0.0) as world:
            found[f"octets, {command}"] = uvloop.run(octets(world, step, options.lines))
    print(json.dumps({name: round(value) for name, value in found.items()}))


if __name__ == "__main__":
    sys.exit(main())
