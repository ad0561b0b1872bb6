"""What log and history cost, whether half load loses a row, and what a control process that is killed costs.

Run from the project's root: `python -m bench.observed [ROUNDS]`. Ringbacks with the customer's script take turns: one
with its log and history, one with its log only, and one that logs errors only. Then the first has full load for half a
minute, with a client among the others whose commands are refused. Then it is offered half of the slowest one's peak,
and the same again while its control process is killed every two seconds. Rows and counters are compared with the sink.
With ROUNDS, nothing is written.

Exit status 1: a bar was missed.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import statistics
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import report
from bench.figures import PLAIN
from bench.finding import conclude
from bench.loads import Leg, Run
from bench.sink import XclientSink
from bench.steady import Latency, offer
from bench.world import farmed
from proxy.base.tasks import TaskOwner, spawn
from proxy.history.files import files_in
from tests.support.programs import Folder, free_port
from tests.support.ringback import Ringback, Setup
from tests.support.waiting import eventually

LEAST_SHARE = 0.95
"""Of the messages a second without log and history."""

MOST_SHED = 0.2
"""Share of the rows about accepted mail that may be left out at full load. No row about a refusal may."""

SUSTAINED_SECONDS = 30.0
REFUSED_TOGETHER = 15
"""Commands of a session that are refused; Ringback ends it after twenty."""

MOST_LATER = 50.0
"""Milliseconds that killing the control process may add to the slowest of a thousand messages."""

FULL, NEITHER, HALF, KILLS = "log and history", "neither", "half load", "half load, control killed every 2 s"
ROUNDS = 7
KILL_SECONDS, OFFER_SECONDS = 2.0, 20.0
CATCH_UP_SECONDS = 60.0
"""After many deaths, the supervisor waits some seconds before it starts the control process again."""

LOAD = replace(PLAIN, per_connection=PLAIN.messages // PLAIN.sessions)


@dataclass(frozen=True, slots=True)
class Observed:
    """One Ringback, and where its history is."""

    ringback: Ringback
    leg: Leg
    state: Path
    page: int
    """The port of its metrics."""

    def rows(self) -> tuple[int, int]:
        """Return how many messages and recipients the history has."""
        counts = [0, 0]
        for each in files_in(self.state):
            with closing(sqlite3.connect(each.path)) as connection:
                messages, only = connection.execute("SELECT count(*), count(address) FROM transactions").fetchone()
                counts[0] += messages
                counts[1] += only + connection.execute("SELECT count(*) FROM recipients").fetchone()[0]
        return counts[0], counts[1]

    def shed(self) -> tuple[int, int]:
        """Return how many events of accepted mail and how many refusals are missing, as the gaps say."""
        sums = [0, 0]
        for each in files_in(self.state):
            with closing(sqlite3.connect(each.path)) as connection:
                statement = "SELECT coalesce(sum(details + accepted), 0), coalesce(sum(refusals), 0) FROM gaps"
                accepted, refusals = connection.execute(statement).fetchone()
                sums[0] += accepted
                sums[1] += refusals
        return sums[0], sums[1]

    def refused(self) -> int:
        """Return how many refused commands the history has."""
        count = 0
        for each in files_in(self.state):
            with closing(sqlite3.connect(each.path)) as connection:
                statement = "SELECT count(*) FROM notes, words WHERE notes.event = words.id AND words.text = 'refused'"
                count += connection.execute(statement).fetchone()[0]
        return count

    def control(self) -> int | None:
        """Return the control process's id, if there is one now: it alone is nicer than its supervisor.

        The log would tell, too, but reading it would hold the clients up.
        """
        supervisor = self.ringback.program.process.pid
        usual = os.getpriority(os.PRIO_PROCESS, supervisor)
        for each in map(int, Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()):
            with suppress(ProcessLookupError):
                if os.getpriority(os.PRIO_PROCESS, each) > usual:
                    return each
        return None

    async def counted(self) -> int:
        """Return how many messages /metrics tells of."""
        page = await asyncio.to_thread(_page, f"http://127.0.0.1:{self.page}/metrics")
        return sum(int(float(each)) for each in _MESSAGES.findall(page))


_MESSAGES = re.compile(r"^ringback_messages_total\{[^}]*\} (\S+)", re.MULTILINE)


def _page(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:  # it starts again
        return ""


@asynccontextmanager
async def observed(name: str, *lines: str) -> AsyncIterator[Observed]:
    """Put up a Ringback with one worker before our own sink."""
    async with AsyncExitStack() as stack:
        sink, world, folder = stack.enter_context(XclientSink()), stack.enter_context(farmed(0.0)), Folder(name)
        stack.callback(folder.remove)
        page = free_port()
        core = [
            "Workers = 1", f'State_Directory = "{folder.path}"', f"Metrics_Listener = ( 127.0.0.1:{page} )", *lines
        ]  # fmt: skip
        setup = Setup(
            upstream_port=sink.port, nameserver=f"127.0.0.1:{world.nameserver}", exchanger_port=world.port, core=core
        )
        ringback = Ringback(setup, folder.path).start()
        stack.push_async_callback(asyncio.to_thread, ringback.stop)
        yield Observed(ringback, Leg(name, ringback.port, sink, ringback.program), folder.path, page)


@dataclass(slots=True)
class Found:
    """What was measured."""

    rates: Mapping[str, float]
    """Leg → messages a second at full load."""
    used: Mapping[str, float]
    """Leg → microseconds of processor time a message."""
    half: float
    quiet: float = 0.0
    killed: float = 0.0
    """The slowest of a thousand messages at half load, in milliseconds."""
    missing: dict[str, int] = field(default_factory=dict)
    """When → messages that the sink has, and the history has not."""
    uncounted: int = 0
    shed: float = 0.0
    """Of the events of accepted mail under sustained full load, the share that the history left out."""
    refused: int = 0
    """Commands that were refused meanwhile, and how many of these the history has."""
    refused_kept: int = 0

    @property
    def share(self) -> float:
        """The rate with log and history, of the rate without."""
        return self.rates[FULL] / self.rates[NEITHER]

    def missed(self) -> list[str]:
        """Return the bars that were missed."""
        bars = {
            "messages a second": self.share >= LEAST_SHARE,
            "accepted mail at full load": self.shed <= MOST_SHED,
            "refusals at full load": self.refused_kept >= self.refused,
            "rows at half load": not self.missing[HALF],
            "rows with kills": not self.missing[KILLS],
            "p99.9 with kills": self.killed - self.quiet <= MOST_LATER,
            "counters after kills": not self.uncounted,
        }
        return [name for name, met in bars.items() if not met]

    @property
    def figures(self) -> dict[str, float]:
        """What the history of benchmarks keeps."""
        return {f"messages/s, {FULL} / {NEITHER}": self.share, "p99.9 with kills of control, ms": self.killed}

    def section(self) -> str:
        """Return the page's table."""
        rows = [
            (f"full load, {name}: messages, and processor time of each", f"{rate:,.0f}/s, {self.used[name]:.0f} µs")
            for name, rate in self.rates.items()
        ]
        rows += [
            (f"full load, {FULL} / {NEITHER}; at least {LEAST_SHARE}", f"{self.share:.3f}"),
            (
                f"full load for {SUSTAINED_SECONDS:.0f} s: share of accepted mail without rows; at most {MOST_SHED}",
                f"{self.shed:.3f}",
            ),
            ("refusals meanwhile, and those in the history", f"{self.refused}, {self.refused_kept}"),
            *((f"{when}: messages without a row", str(count)) for when, count in self.missing.items()),
            (f"{HALF}, {self.half:,.0f}/s: p99.9", f"{self.quiet:.1f} ms"),
            (f"{KILLS}: p99.9; at most {MOST_LATER:.0f} ms more", f"{self.killed:.1f} ms"),
            (f"{KILLS}: messages that /metrics does not count afterwards", str(self.uncounted)),
        ]
        return f"{report.machine()}\n\n{report.markdown(['one worker, 4 KiB', ''], rows)}"


async def measure(rounds: int) -> Found:
    """Run everything."""
    async with (
        observed("observed") as on,
        observed("logged", "History = false") as logged,
        observed("silent", "History = false", 'Log_Level = "error"') as off,
    ):
        legs = {FULL: on, "log only": logged, NEITHER: off}
        for each in legs.values():
            await each.leg.run(replace(LOAD, messages=500, per_connection=25))
        runs: dict[str, list[Run]] = {name: [] for name in legs}
        for _ in range(rounds):
            for name, each in legs.items():
                runs[name].append(await each.leg.run(LOAD))
        rates = {name: statistics.median(run.rate for run in each) for name, each in runs.items()}
        used = {name: statistics.median(run.processor for run in each) for name, each in runs.items()}
        found = Found(rates, used, min(rates.values()) / 2)
        found.missing["full load"] = await _missing(on)  # details of accepted mail may be missing here
        await _at_full_load(on, found)
        await _at_half_load(on, found)
    return found


async def _at_full_load(on: Observed, found: Found) -> None:
    """Send as much as goes through for a while, and find out what the history has left out."""
    each = int(found.rates[FULL] * SUSTAINED_SECONDS) // LOAD.sessions
    before, known, owner = on.shed()[0], on.refused(), TaskOwner("refused")
    spawn(_be_refused(on, found), name="refused", owner=owner)
    try:
        await on.leg.run(replace(LOAD, messages=each * LOAD.sessions, per_connection=each))
    finally:
        await owner.cancel()
    await _missing(on)
    with suppress(AssertionError):
        await eventually(
            lambda: on.refused() - known >= found.refused, "every refusal has a row", within=CATCH_UP_SECONDS
        )
    found.shed = (on.shed()[0] - before) / (each * LOAD.sessions)  # a message's row has its only recipient
    found.refused_kept = on.refused() - known


async def _be_refused(on: Observed, found: Found) -> None:
    while True:
        async with await on.ringback.conversation() as client:
            await client.ask("EHLO refused.test")
            for _ in range(REFUSED_TOGETHER):
                await client.ask("MAIL FROM:<a@@b>")
                found.refused += 1
                await asyncio.sleep(0.02)
            await client.quit()


async def _at_half_load(on: Observed, found: Found) -> None:
    """Offer half of the peak without kills and with them, in turns, and take the better of two runs."""
    quiet, killed = [], []
    found.missing |= {HALF: 0, KILLS: 0}
    for _ in range(2):
        quiet.append((await offer(on.leg, found.half, OFFER_SECONDS, LOAD.size, keep_open=True)).rare)
        found.missing[HALF] += await _missing(on)
        killed.append((await _killed(on, found.half)).rare)
        found.missing[KILLS] += await _missing(on)
    found.quiet, found.killed = min(quiet), min(killed)
    found.uncounted = on.leg.sink.count - await on.counted()


async def _missing(on: Observed) -> int:
    """Return how many messages of the sink the history has not, when it has had time to catch up."""
    before = on.leg.sink.count
    with suppress(AssertionError):
        await eventually(lambda: on.rows()[0] >= before, "every message has a row", within=CATCH_UP_SECONDS)
    return before - on.rows()[0]


async def _killed(on: Observed, rate: float) -> Latency:
    owner = TaskOwner("kills")

    async def kills() -> None:
        while True:
            await asyncio.sleep(KILL_SECONDS)
            control = on.control()
            if control is not None:
                os.kill(control, signal.SIGKILL)

    spawn(kills(), name="kills", owner=owner)
    try:
        return await offer(on.leg, rate, OFFER_SECONDS, LOAD.size, keep_open=True)
    finally:
        await owner.cancel()


if __name__ == "__main__":
    conclude("observed", measure, ROUNDS)
