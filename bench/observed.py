"""What log and history cost, whether half load loses a row, and what a control process that is killed costs.

Run from the project's root: `python -m bench.observed [ROUNDS]`. Ringbacks with the customer's script take turns: one
with its log and history, one with its log only, and one that logs errors only. Then the first is offered half of
the slowest one's peak, and the same again while its control process is killed every two seconds. Rows are counted
against the sink.

Exit status 1: a bar was missed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvloop

from bench.figures import PLAIN
from bench.loads import Leg, Run
from bench.sink import XclientSink
from bench.steady import Latency, offer
from bench.world import farmed
from proxy.base.tasks import TaskOwner, spawn
from proxy.history.files import files_in
from tests.support.programs import Folder
from tests.support.ringback import Ringback, Setup
from tests.support.waiting import eventually

LEAST_SHARE = 0.95
"""Of the messages a second without log and history."""

MOST_LATER = 50.0
"""Milliseconds that killing the control process may add to the slowest of a thousand messages."""

KILL_SECONDS, OFFER_SECONDS = 2.0, 20.0
LOAD = replace(PLAIN, per_connection=PLAIN.messages // PLAIN.sessions)


@dataclass(frozen=True, slots=True)
class Observed:
    """One Ringback, and where its history is."""

    ringback: Ringback
    leg: Leg
    state: Path
    place: list[int] = field(default_factory=lambda: [0, 0])
    """How far the log was read, and the control process that it told of last."""

    def rows(self) -> tuple[int, int]:
        """Return how many messages and recipients the history has."""
        counts = [0, 0]
        for each in files_in(self.state):
            with closing(sqlite3.connect(each.path)) as connection:
                for at, table in enumerate(("transactions", "recipients")):
                    counts[at] += connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return counts[0], counts[1]

    def control(self) -> int:
        """Return the control process's id. Only what is new in the log is read, or the clients would be held up."""
        with self.ringback.program.stderr.open("rb") as log:
            log.seek(self.place[0])
            new = log.read()
        self.place[0] += len(new)
        found = new.rfind(b'"control_started"')
        if found >= 0:
            self.place[1] = int(new[found:].partition(b'"pid":')[2].partition(b"\n")[0].rstrip(b"}"))
        return self.place[1]

    def gaps(self) -> int:
        """Return how many gaps it tells."""
        return sum(1 for each in self.ringback.log if each["event"] == "history_gap")


@asynccontextmanager
async def observed(name: str, *lines: str) -> AsyncIterator[Observed]:
    """Put up a Ringback with one worker before our own sink."""
    async with AsyncExitStack() as stack:
        sink, world, folder = stack.enter_context(XclientSink()), stack.enter_context(farmed(0.0)), Folder(name)
        stack.callback(folder.remove)
        core = ["Workers = 1", f'State_Directory = "{folder.path}"', *lines]
        setup = Setup(
            upstream_port=sink.port, nameserver=f"127.0.0.1:{world.nameserver}", exchanger_port=world.port, core=core
        )
        ringback = Ringback(setup, folder.path).start()
        stack.push_async_callback(asyncio.to_thread, ringback.stop)
        yield Observed(ringback, Leg(name, ringback.port, sink, ringback.program), folder.path)


async def measure(rounds: int) -> list[str]:
    """Run everything, print the figures, and return the bars that were missed."""
    missed: list[str] = []
    async with (
        observed("observed") as on,
        observed("logged", "History = false") as logged,
        observed("silent", "History = false", 'Log_Level = "error"') as off,
    ):
        legs = {"log and history": on, "log only": logged, "neither": off}
        for each in legs.values():
            await each.leg.run(replace(LOAD, messages=500, per_connection=25))
        runs: dict[str, list[Run]] = {name: [] for name in legs}
        for _ in range(rounds):
            for name, each in legs.items():
                runs[name].append(await each.leg.run(LOAD))
        peak = {name: statistics.median(run.rate for run in each) for name, each in runs.items()}
        for name, each in runs.items():
            used = statistics.median(run.processor for run in each)
            print(f"full load, {name}: {peak[name]:.0f} messages/s, {used:.0f} us of processor time a message")
        share = peak["log and history"] / peak["neither"]
        print(f"log and history / neither: {share:.3f}")
        if share < LEAST_SHARE:
            missed.append("messages a second")
        await _complete(on, "after the full load", [])  # details of accepted mail may be missing here
        half = min(peak.values()) / 2
        quiet = await offer(on.leg, half, OFFER_SECONDS, LOAD.size, keep_open=True)
        await _complete(on, f"at {half:.0f} messages/s", missed)
        killed = await _killed(on, half)
        await _complete(on, "with kills", missed)
        later = killed.rare - quiet.rare
        print(f"p99.9 {quiet.rare:.1f} ms, with kills {killed.rare:.1f} ms")
        if later > MOST_LATER:
            missed.append("p99.9 with kills")
    return missed


async def _complete(on: Observed, when: str, missed: list[str]) -> None:
    """Compare the history with the sink."""
    before = on.leg.sink.count
    try:
        await eventually(lambda: on.rows()[0] >= before, "every message has a row")
    except AssertionError:
        missed.append(f"rows {when}")
    messages, recipients = on.rows()
    print(f"{when}: the sink has {before} messages, the history {messages}, {recipients} recipients; {on.gaps()} gaps")


async def _killed(on: Observed, rate: float) -> Latency:
    owner = TaskOwner("kills")

    async def kill() -> None:
        while True:
            await asyncio.sleep(KILL_SECONDS)
            os.kill(on.control(), signal.SIGKILL)

    async def kills() -> None:
        while True:
            try:
                await kill()
            except ProcessLookupError:  # it has not started again yet
                continue

    on.control()
    spawn(kills(), name="kills", owner=owner)
    try:
        return await offer(on.leg, rate, OFFER_SECONDS, LOAD.size, keep_open=True)
    finally:
        await owner.cancel()


def main() -> None:
    """Measure; exit 1 if a bar was missed."""
    missed = uvloop.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
    print("missed: " + ", ".join(missed) if missed else "all bars are met")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
