"""What callbacks cost: many clients at a slow exchanger, ten thousand probes at once, fresh ones, remembered verdicts.

Run from the project's root: `python -m bench.callback`. Exchangers and name server are one process, the clients
another; all share the machine with the server. Exit status 1: a target was missed, or a message.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import uvloop

from bench.memory import allow_open_files
from proxy.base.tasks import TaskOwner, spawn
from tests.support.programs import Folder, Program, accepts_connections, free_port
from tests.support.ringback import Ringback, Setup, environment
from tests.support.servers import Postfix, SmtpSink, answers_dns
from tests.support.waiting import eventually

CLIENTS, SLOW = 600, 3.0
"""Clients at once, each with a sender of its own, and the seconds after which their exchanger answers."""

ROUNDS = 3
IN_TIME, CLIENTS_MEMORY = 1.25, 100
"""Times `SLOW` until the last is done, and MiB of the server's memory."""

PROBES, SLOWER = 10_000, 5.0
PROBES_MEMORY, LATER = 400, 2.0
"""MiB, and times the idle p99 of other mail."""

IDLE_SECONDS, PAUSE = 6.0, 0.005
"""For the idle latency, and between two messages."""

FRESH, FRESH_RATE = 6000, 700
HIT = 50e-6

NO_LIMITS = dict.fromkeys(("probes_per_domain", "probes_per_mx", "unknown_users_per_mx", "probes_per_client"), '"0"')
CORE = ("Max_Connections_Per_Client = 0", "Max_Outbound_Connections = 200")
RECIPIENT = "u@example.com"


@dataclass(frozen=True, slots=True)
class World:
    """Exchangers, all on one port, and the name server."""

    port: int
    nameserver: int


@contextmanager
def farmed(delay: float) -> Iterator[World]:
    """Put up exchangers that answer RCPT after so many seconds."""
    world, folder = World(free_port(), free_port()), Folder("farm")
    arguments = [sys.executable, "-m", "bench.asking", "farm", str(world.port), str(world.nameserver), str(delay)]
    try:
        with Program(arguments, folder=folder.path, name="farm", environment=environment()) as program:
            program.wait_ready(
                lambda: accepts_connections("127.0.0.1", world.port) and answers_dns("127.0.0.1", world.nameserver)
            )
            yield world
    finally:
        folder.remove()


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowded(Setup):
    """A setup whose listener lets as many clients wait as come at once; Momentum's default of 500 drops some SYNs."""

    def _lines(self) -> list[str]:
        _, *rest = Setup._lines(self)  # noqa: SLF001 - a kind of it
        listener = f'ESMTP_Listener {{ Listen "127.0.0.1:{self.listen_port}" {{ Listen_Backlog = 1000 }} }}'
        return [listener, *rest]


def setup(world: World, sink: SmtpSink, folder: Path, callback: dict[str, str]) -> Setup:
    """Return the customer's stanzas and script, with the default store in a folder."""
    return Crowded(
        upstream_port=sink.port,
        nameserver=f"127.0.0.1:{world.nameserver}",
        exchanger_port=world.port,
        callback={"max_probes_per_mx": str(CLIENTS), **NO_LIMITS, **callback},
        core=(*CORE, f'State_Directory = "{folder}"'),
    )


# ---------------------------------------------------------------- clients


class Client:
    """One client that sends short messages."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        await self._reply(b"220")
        await self._ask(b"EHLO client.test", b"250")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def send(self, sender: str) -> None:
        """Send a message.

        Raises:
            RuntimeError: it was refused.
        """
        await self._ask(f"MAIL FROM:<{sender}>".encode(), b"250")
        await self._ask(f"RCPT TO:<{RECIPIENT}>".encode(), b"250")
        await self._ask(b"DATA", b"354")
        await self._ask(b"Subject: callback\r\n\r\nhello\r\n.", b"250")

    async def _ask(self, command: bytes, wanted: bytes) -> None:
        self._writer.write(command + b"\r\n")
        await self._reply(wanted)

    async def _reply(self, wanted: bytes) -> None:
        while (line := await self._reader.readline())[3:4] == b"-":
            pass
        if not line.startswith(wanted):
            raise RuntimeError(line.decode("ascii", "replace").strip() or "closed")


@dataclass(slots=True)
class Outcome:
    """What became of many clients at once."""

    seconds: float = 0.0
    accepted: int = 0
    refused: str = ""
    """What one of the others heard."""


async def at_once(port: int, count: int) -> Outcome:
    """Let so many clients send a message at once, each with a sender of its own."""
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


def memory(process: int, name: str = "VmHWM") -> float:
    """Return the most MiB that a process has held in memory, or that it holds now."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(rf"{name}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


# ---------------------------------------------------------------- what is measured


async def clients() -> bool:
    """Six hundred clients at an exchanger that answers after three seconds: the median round."""
    rounds = sorted([await one_round() for _ in range(ROUNDS)], key=lambda each: each[0].seconds)
    outcome, held = rounds[ROUNDS // 2]
    print(f"{CLIENTS} clients, the exchanger answers after {SLOW:g} s: {_told(outcome)}; 1 process, {held:.0f} MiB")
    print(f"  target: within {SLOW * IN_TIME:g} s, at most {CLIENTS_MEMORY} MiB")
    return outcome.accepted == CLIENTS and outcome.seconds <= SLOW * IN_TIME and held <= CLIENTS_MEMORY


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


async def outstanding() -> bool:
    """Ten thousand probes at once, and other mail meanwhile."""
    folder, owner = Folder("callback"), TaskOwner("latencies")
    try:
        with farmed(SLOWER) as world, SmtpSink() as sink:
            given = setup(world, sink, folder.path, {"max_probes": str(PROBES)})
            arguments = [sys.executable, "-m", "bench.asking", "worker", str(given.write(folder.path)), str(PROBES)]
            with Program(arguments, folder=folder.path, name="worker", environment=environment()) as program:
                program.wait_ready(lambda: accepts_connections("127.0.0.1", given.listen_port))
                async with Client(given.listen_port) as client:
                    await client.send("u@remembered.test")
                    idle = await latencies(client, spawn(asyncio.sleep(IDLE_SECONDS), name="idle", owner=owner))
                    program.process.send_signal(signal.SIGUSR1)
                    printed = eventually(program.stdout.read_text, "the probes are done", within=90)
                    busy = await latencies(client, spawn(printed, name="busy", owner=owner))
                done, held = json.loads(program.stdout.read_text()), memory(program.process.pid)
    finally:
        folder.remove()
    p99 = [statistics.quantiles(each, n=100)[98] * 1e3 for each in (idle, busy)]
    print(f"{PROBES} probes wanted at once, exchangers answer after {SLOWER:g} s: {done['verdicts']}")
    print(
        f"  {done['most']} in flight at the most, all done after {done['seconds']:.1f} s, {held:.0f} MiB"
        f" (target {PROBES_MEMORY})"
    )
    print(
        f"  p99 of other mail: idle {p99[0]:.1f} ms, meanwhile {p99[1]:.1f} ms"
        f" ({p99[1] / p99[0]:.1f}x; target {LATER:g}x)"
    )
    met = done["verdicts"] == {"pass accepted": PROBES} and held <= PROBES_MEMORY
    return met and p99[1] <= LATER * p99[0]


async def latencies(client: Client, until: asyncio.Task[Any]) -> list[float]:
    """Send messages with a remembered sender, one after the other, and return the seconds that each took."""
    found = []
    while not until.done():
        began = time.perf_counter()
        await client.send("u@remembered.test")
        found.append(time.perf_counter() - began)
        await asyncio.sleep(PAUSE)
    await until
    return found


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


def group_memory(program: Program) -> tuple[int, float]:
    """Return how many processes a server has, and their memory in MiB: what they share is counted once."""
    held = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[2]) == program.process.pid:
                rollup = (stat.parent / "smaps_rollup").read_text()
                held.append(int(re.findall(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)[0]) / 1024)
    return len(held), sum(held)


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
        met &= await outstanding()
    if "fresh" in kinds:
        for store in STORES:
            met &= await asyncio.to_thread(fresh, store)
    return met


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.callback", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="only these (default: all)")
    allow_open_files()
    return 0 if uvloop.run(measure(parser.parse_args().only)) else 1


if __name__ == "__main__":
    sys.exit(main())
