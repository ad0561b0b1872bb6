"""Ten thousand probes outstanding at once, and other mail meanwhile: `python -m bench.callback --only outstanding`.

Clients come at a fixed rate, each with a sender whose domain has an exchanger of its own, and wait for its answer; none
comes before the last of them has asked. Then all probes are outstanding, and for a while nothing else happens than the
mail of a remembered sender, whose latency is compared with the idle server's. The clients are a process of their own
(`crowd`). The service has a worker for each core, as a service with thousands of clients would.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import cast

import uvloop

from bench.world import Client, allow_open_files, farmed, group_memory, latencies, p99, setup
from tests.support.programs import Folder, Program
from tests.support.ringback import Ringback, environment
from tests.support.servers import SmtpSink
from tests.support.waiting import eventually

PROBES, RATE = 10_000, 1000
"""Clients, and how many come in a second: fresh probes a second that the service must begin."""

LATE = 1.1
"""The last may have asked after this many times the seconds in which they come, or the service begins fewer."""

SLOWER, QUIET_SECONDS = 9.0, 5.0
"""Seconds after which an exchanger answers EHLO, and again RCPT (a probe waits for 10); seconds for which all probes
are outstanding."""

PROBES_MEMORY, TIMES_IDLE, P99 = 400, 2.0, 5.0
"""MiB of all processes; times the idle p99, and milliseconds, of other mail."""

IDLE_SECONDS, PAUSE = 6.0, 0.005
"""For the idle latency, and between two messages."""


ASKED, ENDED = '"what": "asked"', '"what": "ended"'


class Asking(asyncio.Protocol):
    """One client that waits for the answer about its sender."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self._crowd = crowd
        self._steps = iter((b"EHLO client.test\r\n", b"MAIL FROM:<u@d%d.test>\r\n" % number))
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._buffer.endswith(b"\n") or self._buffer.rpartition(b"\r\n")[0].rpartition(b"\n")[2][3:4] == b"-":
            return
        reply, self._buffer = self._buffer.decode("ascii", "replace").strip(), b""
        step = next(self._steps, None) if reply[:1] == "2" else None
        if step is None:
            self._crowd.ended("accepted" if reply[:1] == "2" else reply)
            self._transport.close()
            return
        self._transport.write(step)
        if step.startswith(b"MAIL"):
            self._crowd.asked()


class Crowd:
    """All of them; it tells on standard output when the last has asked, and what became of all."""

    def __init__(self, count: int) -> None:
        self._count, self._asked, self._ended = count, 0, 0
        self._answers: Counter[str] = Counter()
        self.done = asyncio.Event()
        self._began = time.perf_counter()

    def asked(self) -> None:
        """One more waits."""
        self._asked += 1
        if self._asked == self._count:
            self._tell("asked")

    def ended(self, answer: str) -> None:
        """One more has its answer."""
        self._answers[answer] += 1
        self._ended += 1
        if self._ended == self._count:
            self._tell("ended")
            self.done.set()

    def _tell(self, what: str) -> None:
        seconds = time.perf_counter() - self._began
        told = {"what": what, "seconds": seconds, "ended": self._ended, "answers": self._answers}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


async def crowd(port: str, count: str, rate: str) -> None:
    """Let the clients come."""
    loop, everybody = asyncio.get_running_loop(), Crowd(int(count))
    began = loop.time()
    async with asyncio.TaskGroup() as connecting:
        for number in range(int(count)):
            if (ahead := began + number / float(rate) - loop.time()) > 0:
                await asyncio.sleep(ahead)
            make = partial(Asking, everybody, number)
            connecting.create_task(loop.create_connection(make, "127.0.0.1", int(port)))
    await everybody.done.wait()


async def outstanding(probes: int = PROBES) -> tuple[dict[str, float], bool]:
    """Measure and print; return the figures, and whether all bars were met."""
    folder = Folder("outstanding")
    try:
        with farmed(SLOWER, ehlo=SLOWER) as world, SmtpSink() as sink:
            given = setup(world, sink, folder.path, {"max_probes": str(probes)}, ("Workers = auto",))
            server = Ringback(given, folder.path).start()
            try:
                found = await _measured(server, folder.path, probes)
                verdicts = Counter(
                    f"{each['status']} {each['reason']}" for each in server.log if each["event"] == "probe"
                )
            finally:
                await asyncio.to_thread(server.stop)
    finally:
        folder.remove()
    print(f"{probes} senders, {RATE} a second; exchangers answer after {2 * SLOWER:g} s; a worker for each core")
    print(f"  {dict(verdicts)}")
    return _shown(found | {"passed": verdicts["pass accepted"] - 1}, probes)


async def _measured(server: Ringback, folder: Path, probes: int) -> dict[str, float]:
    async with Client(server.port) as client:
        for _ in range(20):
            await client.send("u@remembered.test")
        end = time.perf_counter() + IDLE_SECONDS
        idle = await latencies(client, lambda: time.perf_counter() > end, PAUSE)
        arguments = [sys.executable, "-m", "bench.outstanding", str(server.port), str(probes), str(RATE)]
        with Program(arguments, folder=folder, name="crowd", environment=environment()) as program:
            coming = await latencies(client, lambda: ASKED in program.printed() or not program.is_running, PAUSE)
            end = time.perf_counter() + QUIET_SECONDS
            waiting = await latencies(client, lambda: time.perf_counter() > end, PAUSE)
            _, held = group_memory(server.program)
            all_out = ENDED not in program.stdout.read_text()
            answering = await latencies(client, lambda: ENDED in program.printed() or not program.is_running, PAUSE)
            await eventually(lambda: not program.is_running, "the crowd has gone")
            asked, ended = (json.loads(line) for line in program.stdout.read_text().splitlines())
    return {
        "idle": p99([took for _, took in idle]),
        "coming": p99([took for _, took in coming]),
        "waiting": p99([took for _, took in waiting]),
        "answering": p99([took for _, took in answering]) if len(answering) > 1 else 0.0,
        "rate": probes / asked["seconds"],
        "answered early": asked["ended"] if all_out else probes,
        "accepted": ended["answers"].get("accepted", 0),
        "seconds": ended["seconds"],
        "held": held,
    }


def _shown(found: dict[str, float], probes: int) -> tuple[dict[str, float], bool]:
    print(
        f"  {found['accepted']:.0f} accepted after {found['seconds']:.1f} s; the last asked after"
        f" {probes / found['rate']:.1f} s, {found['rate']:.0f} a second (target {RATE / LATE:.0f}),"
        f" when {found['answered early']:.0f} had their answer (target 0);"
        f" {found['held']:.0f} MiB (target {PROBES_MEMORY})"
    )
    print(
        f"  p99 of other mail: idle {found['idle']:.1f} ms; while they come {found['coming']:.1f} ms; all outstanding"
        f" {found['waiting']:.1f} ms ({found['waiting'] / found['idle']:.1f}x; target {TIMES_IDLE:g}x and {P99:g} ms);"
        f" while they are answered {found['answering']:.1f} ms"
    )
    met = (
        found["accepted"] == probes
        and found["passed"] >= probes
        and found["answered early"] == 0
        and found["rate"] * LATE >= RATE
        and found["held"] <= PROBES_MEMORY
        and found["waiting"] <= min(P99, TIMES_IDLE * found["idle"])
    )
    return found, met


if __name__ == "__main__":
    allow_open_files()
    uvloop.run(crowd(*sys.argv[1:]))
