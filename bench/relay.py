"""How many messages a second go through, and how long one takes: smtp-source → a relay → smtp-sink, on loopback.

Run from the project's root: `python -m bench.relay`. The legs take turns in one run, so that what else the machine does
falls on all of them: smtp-sink alone, Postfix with smtpd_proxy_filter, Haraka with queue/smtp_proxy, a plain proxy of
aiosmtpd and aiosmtplib, and Ringback with the customer's script and a warm cache, as one worker and as one a core, and
with XCLIENT to a sink that knows it. Quoted are medians of the rounds; compare the ratios of one run, not the figures
of two. A run counts only if smtp-source ended with status 0 and the sink has got every message. Then Postfix and
Ringback are offered the same rate, and the latencies are compared. The whole goes to docs/benchmarks.md, unless it was
a quick run or one of some legs only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from bench import report
from bench.legs import FailedRunError, Leg, Load, Run, direct, haraka, naive, postfix, ringback
from bench.steady import Latency, offer
from tests.support.programs import MissingProgramError

OPENERS: dict[str, Callable[[], AbstractAsyncContextManager[Leg]]] = {
    "direct": direct,
    "postfix": postfix,
    "haraka": haraka,
    "naive": naive,
    "ringback": ringback,
    "ringback-all": partial(ringback, "auto"),
    "xclient-off": partial(ringback, "auto", xclient="no"),
    "xclient-on": partial(ringback, "auto", xclient="required"),
}
OPTIONAL = frozenset({"haraka"})
"""Legs that are left out, with the reason, where they cannot be put up."""

REFERENCE, ALL_CORES = "postfix", "ringback-all"
"""The leg that the others are compared with, and the one whose latency is compared with its."""

KIBI = 1024
SMALL = Load(messages=3000, size=4 * KIBI, sessions=20, keep_open=True)
LARGE = Load(messages=100, size=KIBI * KIBI, sessions=20, keep_open=True)
KEPT_OPEN, ONE_EACH = "4 KiB, 20 sessions, kept open", "4 KiB, 20 sessions, one each"
LOADS = {
    KEPT_OPEN: SMALL,
    ONE_EACH: replace(SMALL, keep_open=False),
    "4 KiB, 100 sessions, kept open": replace(SMALL, sessions=100),
    "4 KiB, 100 sessions, one each": replace(SMALL, sessions=100, keep_open=False),
    "1 MiB, 20 sessions, kept open": LARGE,
    "1 MiB, 20 sessions, one each": replace(LARGE, keep_open=False),
}
"""Many messages a connection (`-d`), or a new connection for each."""

CHARTED = (KEPT_OPEN, ONE_EACH, "1 MiB, 20 sessions, kept open")
STEADY = {"kept open": KEPT_OPEN, "one each": ONE_EACH}
"""Modes of the open loop, and the load whose peak says what is offered."""

STEADY_SECONDS, QUICK_STEADY_SECONDS = 6.0, 3.0
ROUNDS = 3
QUICK = 5
"""How many times fewer messages a quick run sends, once."""

WARM_UP = 500
"""Messages before the first round, uncounted: Postfix starts its processes, Ringback asks the sender's exchanger."""

EX_OK, EX_UNAVAILABLE, EX_SOFTWARE = 0, 69, 70


@dataclass(slots=True)
class Figures:
    """The runs of one leg, by load, and its latencies, by mode."""

    leg: str
    runs: dict[str, list[Run]] = field(default_factory=dict)
    latencies: dict[str, list[Latency]] = field(default_factory=dict)

    def rate(self, load: str) -> float:
        """Return the median of messages a second."""
        return statistics.median(run.rate for run in self.runs[load])

    def processor(self, load: str) -> float:
        """Return the median of microseconds of processor time a message."""
        return statistics.median(run.processor for run in self.runs[load])


@dataclass(slots=True)
class Found:
    """All of it."""

    rounds: int
    machine: str
    figures: dict[str, Figures] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Leg → why it did not run."""
    offered: dict[str, float] = field(default_factory=dict)
    """Mode → messages a second that were offered to both."""


async def measure(names: Sequence[str], *, rounds: int, quick: bool) -> Found:
    """Put up the legs, warm them up and run the rounds.

    Raises:
        FailedRunError: a leg lost or refused a message.
        MissingProgramError: a server program is not installed.
    """
    found = Found(rounds, report.machine())
    loads = {name: replace(load, messages=load.messages // (QUICK if quick else 1)) for name, load in LOADS.items()}
    async with AsyncExitStack() as stack:
        legs = await _opened(stack, names, found)
        found.figures = {name: Figures(leg.name) for name, leg in legs.items()}
        for leg in legs.values():
            await leg.run(replace(SMALL, messages=1, sessions=1))
            await leg.run(replace(SMALL, messages=WARM_UP))
        for _ in range(rounds):
            for title, load in loads.items():
                for name, leg in legs.items():
                    found.figures[name].runs.setdefault(title, []).append(await leg.run(load))
        if REFERENCE in legs and ALL_CORES in legs:
            await _steady(legs, found, QUICK_STEADY_SECONDS if quick else STEADY_SECONDS)
    return found


async def _opened(stack: AsyncExitStack, names: Sequence[str], found: Found) -> dict[str, Leg]:
    """Put up the legs; an optional one that cannot be is noted."""
    legs: dict[str, Leg] = {}
    for name in names:
        try:
            legs[name] = await stack.enter_async_context(OPENERS[name]())
        except MissingProgramError as missing:
            if name not in OPTIONAL:
                raise
            found.left_out[name] = str(missing)
    return legs


async def _steady(legs: dict[str, Leg], found: Found, seconds: float) -> None:
    """Offer both the same: half of what the slower one can do at most."""
    for mode, load in STEADY.items():
        rate = found.offered[mode] = min(found.figures[name].rate(load) for name in (REFERENCE, ALL_CORES)) / 2
        for _ in range(found.rounds):
            for name in (REFERENCE, ALL_CORES):
                latency = await offer(legs[name], rate, seconds, SMALL.size, keep_open=mode == "kept open")
                found.figures[name].latencies.setdefault(mode, []).append(latency)


# ---------------------------------------------------------------- what is shown


def section(found: Found) -> str:
    """Return the page's section."""
    parts = [f"{found.machine} Medians of {found.rounds} rounds.\n"]
    reference = found.figures.get(REFERENCE)
    for titles in (tuple(LOADS)[:2], tuple(LOADS)[2:4], tuple(LOADS)[4:]):
        heads = [
            f"{title.rpartition(', ')[2]}: {unit}" for title in titles for unit in ("messages/s", "ratio", "CPU µs")
        ]
        rows = [[figures.leg, *_cells(figures, titles, reference)] for figures in found.figures.values()]
        rows += [[name, f"not run: {why}", *[""] * (len(heads) - 1)] for name, why in found.left_out.items()]
        parts.append(
            f"{titles[0].rpartition(', ')[0]}; ratio: of rates, to Postfix\n\n{report.markdown(['', *heads], rows)}"
        )
    if found.offered:
        parts.append(f"{_offered(found)}\n\n{_latencies(found)}")
    return "\n".join(parts)


def _cells(figures: Figures, titles: Sequence[str], reference: Figures | None) -> list[str]:
    cells = []
    for title in titles:
        rate = figures.rate(title)
        ratio = "" if reference is None else f"{rate / reference.rate(title):.2f}"
        cells += [f"{rate:,.0f}", ratio, f"{figures.processor(title):,.0f}"]
    return cells


def _offered(found: Found) -> str:
    rates = " and ".join(f"{rate:,.0f} messages/s ({mode})" for mode, rate in found.offered.items())
    return f"Latency of 4 KiB under the same offered rate, half of the slower one's peak: {rates}; ms, open loop"


def _latencies(found: Found) -> str:
    heads = [f"{mode}: {each}" for mode in found.offered for each in ("p50", "p99")]
    rows = []
    for name in (REFERENCE, ALL_CORES):
        figures, row = found.figures[name], [found.figures[name].leg]
        for mode in found.offered:
            runs = figures.latencies[mode]
            row += [f"{statistics.median(values):.1f}" for values in ([r.median for r in runs], [r.p99 for r in runs])]
        rows.append(row)
    return report.markdown(["", *heads], rows)


def drawn(found: Found) -> str:
    """Return the chart: messages a second of the loads that are charted."""
    return report.chart({
        f"{title}: messages a second": {figures.leg: figures.rate(title) for figures in found.figures.values()}
        for title in CHARTED
    })  # fmt: skip


def main() -> int:
    """Read the command line, measure, print and write; return an exit status of sysexits."""
    options = _options()
    rounds = 1 if options.quick else options.rounds
    try:
        found = asyncio.run(measure(options.legs, rounds=rounds, quick=options.quick))
    except MissingProgramError as missing:
        print(f"relay: {missing}", file=sys.stderr)
        return EX_UNAVAILABLE
    except FailedRunError as failed:
        print(f"relay: {failed}", file=sys.stderr)
        return EX_SOFTWARE
    print(section(found))
    if not options.quick and set(options.legs) == set(OPENERS):
        report.write(f"{section(found)}\n![Messages a second, by relay]({report.CHART.name})", drawn(found))
    print(f"load now {os.getloadavg()[0]:.1f}")
    return EX_OK


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.relay", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"interleaved rounds (default {ROUNDS})")
    parser.add_argument(
        "--quick", action="store_true", help=f"one round of a {QUICK}th of the messages; writes nothing"
    )
    parser.add_argument(
        "--legs", nargs="+", choices=tuple(OPENERS), default=tuple(OPENERS), help="only these legs (default: all)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
