"""How many messages a second go through, what they cost, and how long one takes: clients → a relay → a sink.

Run from the project's root: `python -m bench.relay`. The legs take turns in one run, so that what else the machine does
falls on all of them: smtp-sink alone, Postfix with smtpd_proxy_filter, Haraka with queue/smtp_proxy, a plain proxy of
aiosmtpd and aiosmtplib, the cheapest relay that Python allows (`bench.floor`), and Ringback with the customer's script
and a warm cache, as one worker and as one a core. smtp-source sends to those. Our own driver sends over STARTTLS, from
200 addresses (with XCLIENT and XFORWARD), and varied mail to a few legs with our own sink. `--against REF` adds another
commit. Quoted are medians of the rounds; compare the ratios of one run, not the figures of two. A run counts only if
every reply was right, and sink and log have every message. Then Postfix and Ringback are offered the same rate.

A full run writes docs/benchmarks.md and a line of bench/history.jsonl. Exit status 1: a bar was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from bench import against, history, interpreter, report, tables
from bench.bars import ALL, OLD, bars
from bench.driver import Plan
from bench.figures import (
    ADDRESSES,
    CROWD,
    DRIVEN,
    KEPT,
    LEARN,
    LOADS,
    NEW,
    QUICK,
    QUICK_LOADS,
    SENDERS,
    SMALL,
    Figures,
    Found,
    hastened,
)
from bench.legs import Opener, direct, driven_direct, driven_postfix, floor, haraka, naive, postfix, ringback
from bench.loads import FailedRunError, Leg, Load
from bench.steady import offer
from tests.support import calls
from tests.support.programs import MissingProgramError

SENT: dict[str, Opener] = {
    "direct": direct,
    "postfix": postfix,
    "haraka": haraka,
    "naive": naive,
    "floor": floor,
    "ringback": ringback,
    ALL: partial(ringback, "auto"),
}
"""Legs that smtp-source sends to."""

DRIVE: dict[str, Opener] = {
    "driven-direct": driven_direct,
    "driven-postfix": driven_postfix,
    "driven": partial(ringback, xclient="no", senders=SENDERS, name="Ringback, 1 worker"),
    "xclient": partial(ringback, "auto", xclient="required", name="Ringback, all cores"),
}
"""Legs that our driver sends to."""

OPENERS = SENT | DRIVE
OPTIONAL = frozenset({"haraka"})
"""Legs that are left out, with the reason, where they cannot be put up."""

QUICK_LEGS = tuple(name for name in OPENERS if name not in {"haraka", "naive"})
REFERENCE = "postfix"
STEADY = {"kept open": KEPT, "one each": NEW}
"""Modes of the open loop, and the load whose peak says what is offered."""

STEADY_SECONDS, QUICK_STEADY_SECONDS = 6.0, 2.0
ROUNDS = 3

WARM_UP = 500
"""Messages before the first round, uncounted: Postfix starts its processes, Ringback asks the sender's exchanger."""

VISITS = 5
"""The same for each of the many clients. Each worker makes a connection to the sink for each of them, and the kernel
chooses the worker: a quick round would mostly measure that."""

EX_OK, EX_MISSED, EX_USAGE, EX_UNAVAILABLE, EX_SOFTWARE = 0, 1, 64, 69, 70


async def measure(openers: Mapping[str, Opener], *, rounds: int, quick: bool) -> Found:
    """Put up the legs, warm them up and run the rounds.

    Raises:
        FailedRunError: a leg lost or refused a message, or its log dropped a line.
        MissingProgramError: a server program is not installed.
    """
    found = Found(rounds, report.machine())
    async with AsyncExitStack() as stack:
        legs = await _opened(stack, openers, found)
        found.figures = {name: Figures(leg.name) for name, leg in legs.items()}
        for name, leg in legs.items():
            await _warmed(name, leg, quick=quick)
        for _ in range(rounds):
            await _round(legs, found, quick=quick)
        if REFERENCE in legs and ALL in legs:
            await _steady(legs, found, QUICK_STEADY_SECONDS if quick else STEADY_SECONDS)
    return found


async def _opened(stack: AsyncExitStack, openers: Mapping[str, Opener], found: Found) -> dict[str, Leg]:
    """Put up the legs; an optional one that cannot be is noted."""
    legs: dict[str, Leg] = {}
    for name, opener in openers.items():
        try:
            legs[name] = await stack.enter_async_context(opener())
        except MissingProgramError as missing:
            if name not in OPTIONAL:
                raise
            found.left_out[name] = str(missing)
    return legs


async def _warmed(name: str, leg: Leg, *, quick: bool) -> None:
    if name not in DRIVE:
        await leg.run(replace(SMALL, messages=1, sessions=1))
        await leg.run(replace(SMALL, messages=WARM_UP))
        return
    await leg.run(replace(DRIVEN[next(load for load in DRIVEN if name in DRIVEN[load][1])][0], messages=100))
    if name == "driven":
        await leg.run(hastened(LEARN) if quick else LEARN)
    elif name != "driven-direct":
        await leg.run(replace(CROWD, messages=VISITS * ADDRESSES))


async def _round(legs: Mapping[str, Leg], found: Found, *, quick: bool) -> None:
    turns: list[tuple[str, Load | Plan, Sequence[str]]] = []
    undriven = [name for name in legs if name not in DRIVE]
    turns += [(title, load, undriven) for title, load in LOADS.items() if title in QUICK_LOADS or not quick]
    turns += [(title, plan, names) for title, (plan, names) in DRIVEN.items()]
    for title, load, names in turns:
        for name in names:
            if name in legs:
                run = await legs[name].run(hastened(load) if quick else load)
                found.figures[name].runs.setdefault(title, []).append(run)


async def _steady(legs: Mapping[str, Leg], found: Found, seconds: float) -> None:
    """Offer both the same: half of what the slower one can do at most."""
    for mode, load in STEADY.items():
        rate = found.offered[mode] = min(found.figures[name].rate(load) for name in (REFERENCE, ALL)) / 2
        for _ in range(found.rounds):
            for name in (REFERENCE, ALL):
                latency = await offer(legs[name], rate, seconds, SMALL.size, keep_open=mode == "kept open")
                found.figures[name].latencies.setdefault(mode, []).append(latency)


def main() -> int:
    """Read the command line, measure, print and write; return an exit status of sysexits, or 1."""
    options = _options()
    interpreter.warn()
    openers = {name: OPENERS[name] for name in options.legs or (QUICK_LEGS if options.quick else OPENERS)}
    try:
        if options.against:
            checkout = against.installed(options.against)
            openers[OLD] = partial(ringback, checkout=checkout, name=f"Ringback {options.against}, 1 worker")
        found = asyncio.run(measure(openers, rounds=1 if options.quick else options.rounds, quick=options.quick))
        found.calls = {mode: calls.run(mode).per_message for mode in ("kept", "new")}
    except against.NoSuchCommitError as unknown:
        return _failed(unknown, EX_USAGE)
    except MissingProgramError as missing:
        return _failed(missing, EX_UNAVAILABLE)
    except FailedRunError as failed:
        return _failed(failed, EX_SOFTWARE)
    return _told(found, whole=not options.quick and not options.legs)


def _failed(error: Exception, status: int) -> int:
    print(f"relay: {error}", file=sys.stderr)
    return status


def _told(found: Found, *, whole: bool) -> int:
    section, judged = tables.section(found), [bar for bar in bars(found) if bar.value is not None]
    print(section)
    if whole:
        report.write("relay", f"{section}\n![Messages a second, by relay]({report.CHART.name})")
        report.CHART.write_text(tables.drawn(found), encoding="utf-8")
        history.note({bar.name: bar.value for bar in judged})
        history.record()
    missed = [bar.name for bar in judged if not bar.met and not bar.is_goal]
    print(f"load now {os.getloadavg()[0]:.1f}; bars missed: {len(missed)} of {len(judged)}")
    return EX_MISSED if missed else EX_OK


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.relay", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"interleaved rounds (default {ROUNDS})")
    parser.add_argument(
        "--quick", action="store_true", help=f"in a minute: one round, a {QUICK}th of the messages; writes nothing"
    )
    parser.add_argument("--legs", nargs="+", choices=tuple(OPENERS), help="only these legs; writes nothing")
    parser.add_argument("--against", metavar="REF", help="another commit of this project as a further leg")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
