"""How many messages a second go through: smtp-source → a relay → smtp-sink, on loopback.

Run from the project's root: `python -m bench.relay`. The legs take turns, so that what else the machine does falls on
all of them: smtp-sink alone, Postfix with smtpd_proxy_filter, and Ringback with the customer's script and a warm cache,
as one worker and as one a core. Each is driven with connections kept open (`-d`) and with a new connection for every
message. Quoted are medians of the rounds; compare the ratios of one run, not the figures of two. A run counts only if
smtp-source ended with status 0 and the sink has got every message. On a machine that is busy otherwise a relay of many
processes gets a larger share of it than one of one process; the processor time that a message costs is shown beside
the rates for that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from rich.console import Console
from rich.table import Table

from bench.legs import FailedRunError, Leg, Load, Run, direct, postfix, ringback
from tests.support.programs import MissingProgramError

OPENERS: dict[str, Callable[[], AbstractAsyncContextManager[Leg]]] = {
    "direct": direct,
    "postfix": postfix,
    "ringback": ringback,
    "ringback-all": partial(ringback, os.cpu_count() or 1),
}
REFERENCE = "postfix"
"""The leg that the others are compared with."""

SESSIONS, SIZE = 50, 4096
MESSAGES, QUICK_MESSAGES = 6000, 1000
ROUNDS = 3
WARM_UP = 500
"""Messages before the first round, uncounted: Postfix starts its processes, Ringback asks the sender's exchanger."""

MODES = {"kept open": True, "one each": False}
"""How connections are used, and whether that is `-d`: one for many messages, or a new one for every message."""

EX_OK, EX_UNAVAILABLE, EX_SOFTWARE = 0, 69, 70


@dataclass(slots=True)
class Figures:
    """The runs of one leg, by mode."""

    leg: str
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def rate(self, mode: str) -> float:
        """Return the median of messages a second."""
        return statistics.median(run.rate for run in self.runs[mode])

    def processor(self, mode: str) -> float:
        """Return the median of microseconds of processor time a message."""
        return statistics.median(run.processor for run in self.runs[mode])


async def measure(names: Sequence[str], load: Load, rounds: int) -> dict[str, Figures]:
    """Put up the legs, warm them up and run the rounds.

    Raises:
        FailedRunError: a leg lost or refused a message.
        MissingProgramError: a server program is not installed.
    """
    async with AsyncExitStack() as stack:
        legs: dict[str, Leg] = {name: await stack.enter_async_context(OPENERS[name]()) for name in names}
        figures = {name: Figures(leg.name) for name, leg in legs.items()}
        for leg in legs.values():
            await leg.run(replace(load, messages=1, sessions=1))
            await leg.run(replace(load, messages=WARM_UP))
        for _ in range(rounds):
            for mode, keep_open in MODES.items():
                for name, leg in legs.items():
                    run = await leg.run(replace(load, keep_open=keep_open))
                    figures[name].runs.setdefault(mode, []).append(run)
    return figures


def table(figures: dict[str, Figures], load: Load, rounds: int) -> Table:
    """Lay the medians out, each rate with its ratio to the reference leg where that ran."""
    reference = figures.get(REFERENCE)
    shown = Table(
        title=f"{load.messages} messages of {load.size} bytes, {load.sessions} sessions, median of {rounds}",
        caption=None if reference is None else f"ratio: of rates, to {reference.leg}",
    )
    shown.add_column("", no_wrap=True)
    for mode in MODES:
        shown.add_column(f"{mode}\nmsg/s", justify="right", no_wrap=True)
        shown.add_column("\nratio", justify="right", no_wrap=True)
        shown.add_column("\nCPU µs", justify="right", no_wrap=True)
    for each in figures.values():
        cells = [each.leg]
        for mode in MODES:
            ratio = "-" if reference is None else f"{each.rate(mode) / reference.rate(mode):.2f}"
            cells += [f"{each.rate(mode):.0f}", ratio, f"{each.processor(mode):.0f}"]
        shown.add_row(*cells)
    return shown


def as_json(figures: dict[str, Figures], load: Load, rounds: int) -> str:
    """Return every figure, for a program to read."""
    legs = {
        name: {
            mode: {
                "messages_per_second": each.rate(mode),
                "processor_microseconds_per_message": each.processor(mode),
                "rounds": [asdict(run) for run in each.runs[mode]],
            }
            for mode in MODES
        }
        for name, each in figures.items()
    }
    setting = {"messages": load.messages, "bytes": load.size, "sessions": load.sessions, "rounds": rounds}
    return json.dumps({"setting": setting, "legs": legs}, indent=2)


def main() -> int:
    """Read the command line, measure, print; return an exit status of sysexits."""
    options = _options()
    load = Load(messages=options.messages, size=SIZE, sessions=options.sessions, keep_open=True)
    rounds = 1 if options.quick else options.rounds
    if options.quick:
        load = replace(load, messages=min(load.messages, QUICK_MESSAGES))
    try:
        figures = asyncio.run(measure(options.legs, load, rounds))
    except MissingProgramError as missing:
        print(f"relay: {missing}", file=sys.stderr)
        return EX_UNAVAILABLE
    except FailedRunError as failed:
        print(f"relay: {failed}", file=sys.stderr)
        return EX_SOFTWARE
    if options.json:
        print(as_json(figures, load, rounds))
    else:
        Console().print(table(figures, load, rounds))
    return EX_OK


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.relay", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"interleaved rounds (default {ROUNDS})")
    parser.add_argument("--messages", type=int, default=MESSAGES, help=f"messages a run (default {MESSAGES})")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help=f"sessions at once (default {SESSIONS})")
    parser.add_argument("--quick", action="store_true", help=f"one round of at most {QUICK_MESSAGES} messages")
    parser.add_argument("--json", action="store_true", help="print every round's figures as JSON")
    parser.add_argument(
        "--legs", nargs="+", choices=tuple(OPENERS), default=tuple(OPENERS), help="only these legs (default: all)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
