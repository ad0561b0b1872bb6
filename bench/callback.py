"""What callbacks cost: many clients at a slow exchanger, ten thousand probes at once, fresh ones, remembered verdicts.

Run from the project's root: `python -m bench.callback`. Exchangers and name server are one process, the clients
another; all share the machine with the server. Exit status 1: a target was missed, or a message.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import uvloop

from bench import history, interpreter
from bench.outstanding import outstanding
from bench.world import CROWD as CLIENTS
from bench.world import Client, allow_open_files, farmed, group_memory, memory, setup
from tests.support.programs import Folder, Program
from tests.support.ringback import Ringback, environment
from tests.support.servers import Postfix, SmtpSink

SLOW = 3.0
"""Seconds after which the exchanger answers. Each client has a sender of its own, and asks this one exchanger."""

ROUNDS = 3
IN_TIME, CLIENTS_MEMORY = 3.5, 100
"""Seconds until the last is done, and MiB of the server's memory."""

FRESH, FRESH_RATE = 6000, 1000
HIT = 50e-6


@dataclass(slots=True)
class Outcome:
    """What became of many clients at once."""

    seconds: float = 0.0
    accepted: int = 0
    refused: str = ""
    """What one of the others heard."""


async def at_once(port: int, count: int) -> Outcome:
    """Let `count` clients send a message at once, each with a sender of its own."""
    outcome = Outcome()

    async def one(number: int) -> None:
        try:
            async with Client(port) as client:
                await client.send(f"u{number}@slow.test")
            outcome.accepted += 1
        except (RuntimeError, OSError) as error:
            outcome.refused = str(error)

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(count)))
    outcome.seconds = time.perf_counter() - began
    return outcome


# ---------------------------------------------------------------- what is measured


async def clients() -> bool:
    """Six hundred clients at an exchanger that answers after three seconds: the median round."""
    rounds = sorted([await one_round() for _ in range(ROUNDS)], key=lambda each: each[0].seconds)
    outcome, held = rounds[ROUNDS // 2]
    print(f"{CLIENTS} clients, the exchanger answers after {SLOW:g} s: {_told(outcome)}; 1 process, {held:.0f} MiB")
    print(f"  target: within {IN_TIME:g} s, at most {CLIENTS_MEMORY} MiB")
    history.note({f"{CLIENTS} clients, seconds": outcome.seconds})
    return outcome.accepted == CLIENTS and outcome.seconds <= IN_TIME and held <= CLIENTS_MEMORY


async def one_round() -> tuple[Outcome, float]:
    """Return what became of the clients of a server that has just started, and the MiB that it held at the most."""
    folder = Folder("callback")
    try:
        with farmed(SLOW) as world, SmtpSink() as sink:
            server = Ringback(setup(world, sink, folder.path, {}), folder.path).start()
            try:
                outcome = await at_once(server.port, CLIENTS)
                held = memory(server.workers[0])
            finally:
                await asyncio.to_thread(server.stop)
    finally:
        folder.remove()
    return outcome, held


def _told(outcome: Outcome) -> str:
    rest = f", others heard {outcome.refused}" if outcome.refused else ""
    return f"{outcome.accepted} accepted within {outcome.seconds:.2f} s{rest}"


def fresh(store: str) -> bool:
    """Fresh probes on one core, and remembered verdicts."""
    folder = Folder("callback")
    try:
        with farmed(0.0) as world:
            url = store.format(folder.path)
            arguments = ["fresh", str(world.port), str(world.nameserver), url, str(FRESH)]
            program = Program(
                [sys.executable, "-m", "bench.asking", *arguments],
                folder=folder.path,
                name="fresh",
                environment=environment(),
            )
            status = program.wait(within=300)
            if status:
                raise RuntimeError(program.printed()[-3000:])
            found = json.loads(program.stdout.read_text())
    finally:
        folder.remove()
    rate = FRESH / found["seconds"]
    each = found["processor"] / FRESH * 1e6
    print(
        f"{FRESH} fresh probes on one core, {store.partition(':')[0]}: {rate:.0f}/s,"
        f" {each:.0f} us of processor time each"
    )
    print(f"  target: {FRESH_RATE}/s; {found['verdicts']}")
    history.note({f"fresh probes/s, {store.partition(':')[0]}": rate})
    print(f"  a remembered verdict: {found['hit'] * 1e6:.1f} us; target: {HIT * 1e6:.0f} us")
    return rate >= FRESH_RATE and found["hit"] <= HIT and found["verdicts"] == {"pass accepted": FRESH}


async def postfix() -> bool:
    """The same clients before Postfix with reject_unverified_sender; nothing is asked of it."""
    with farmed(SLOW) as world, SmtpSink() as sink:
        options = {
            "smtpd_sender_restrictions": "reject_unverified_sender",
            "address_verify_transport_maps": f"static:smtp:[127.0.0.11]:{world.port}",
            "virtual_transport": f"smtp:[127.0.0.1]:{sink.port}",
            "default_destination_concurrency_limit": "1000",
            "smtp_destination_concurrency_limit": "1000",
            "initial_destination_concurrency": "1000",
            "default_process_limit": "1000",
        }
        with Postfix(processes=1000, options=options) as server:
            outcome = await at_once(server.port, CLIENTS)
            count, held = group_memory(server.running)
    print(f"Postfix, the same: {_told(outcome)}; {count} processes, {held:.0f} MiB (Pss)")
    return True


STORES = ("sqlite://{}/fresh.db", "memory")
KINDS = ("clients", "outstanding", "fresh", "postfix")


async def measure(kinds: Sequence[str]) -> bool:
    """Measure and print; tell whether every target was met."""
    met = True
    if "clients" in kinds:
        met &= await clients()
    if "postfix" in kinds:
        met &= await postfix()
    if "outstanding" in kinds:
        found, all_met = await outstanding()
        met &= all_met
        history.note({f"outstanding, p99 of other mail, {when}, ms": found[when] for when in ("idle", "waiting")})
    if "fresh" in kinds:
        for store in STORES:
            met &= await asyncio.to_thread(fresh, store)
    return met


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.callback", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="only these (default: all)")
    options = parser.parse_args()
    interpreter.warn()
    allow_open_files()
    met = uvloop.run(measure(options.only))
    if tuple(options.only) == KINDS:
        history.record()
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
