"""Messages a second and MiB a second beside plain aiosmtpd, on loopback, each leg taking turns in one run.

Run from the project's root: `python -m bench.front`. Behind both stands an smtp-sink of their own. Ringback is one
worker without policy. aiosmtpd is a server on the same event loop kind (uvloop), without its Controller, whose handler
relays each message as aiosmtpd's own `Proxy` does: a new smtplib conversation with the sink after the dot, in a thread,
so that it serves other clients meanwhile. Exit status 1: less than twice its messages, or five times its data rate.
"""

from __future__ import annotations

import argparse
import asyncio
import smtplib
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from bench.loads import Leg, Load
from tests.support.house import House
from tests.support.programs import Folder, Program, accepts_connections, free_port
from tests.support.ringback import Ringback, environment
from tests.support.servers import SmtpSink

SMALL = Load(messages=3000, size=4096, sessions=50, keep_open=True)
LARGE = Load(messages=20, size=10 << 20, sessions=4, keep_open=True)
ROUNDS = 3
FASTER, MORE = 2.0, 5.0
"""How many times aiosmtpd's messages a second and data rate are asked for."""


class Relaying:
    """An aiosmtpd handler that hands each message on; the reply is the sink's."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: ARG002, N802 - aiosmtpd's names
        await asyncio.to_thread(self._deliver, envelope)
        return "250 OK"

    def _deliver(self, envelope: Any) -> None:
        with smtplib.SMTP("127.0.0.1", self._port, "front.test") as client:
            client.sendmail(envelope.mail_from, envelope.rcpt_tos, envelope.content)


async def serve_aiosmtpd(port: int, sink: int) -> None:
    """Serve with plain aiosmtpd for ever."""
    from aiosmtpd.smtp import SMTP  # noqa: PLC0415 - only in the leg's own process

    def make() -> SMTP:
        return SMTP(Relaying(sink), hostname="front.test", data_size_limit=64 << 20, loop=asyncio.get_running_loop())

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


@asynccontextmanager
async def aiosmtpd() -> AsyncIterator[Leg]:
    """Plain aiosmtpd in a process of its own."""
    port, folder = free_port(), Folder("aiosmtpd")
    try:
        with SmtpSink() as sink:
            arguments = [sys.executable, "-m", "bench.front", "--serve", str(port), str(sink.port)]
            with Program(arguments, folder=folder.path, name="aiosmtpd", environment=environment()) as program:
                program.wait_ready(lambda: accepts_connections("127.0.0.1", port))
                yield Leg("aiosmtpd", port, sink, program)
    finally:
        folder.remove()


@asynccontextmanager
async def ringback() -> AsyncIterator[Leg]:
    """One Ringback worker without policy."""
    folder = Folder("front")
    try:
        with SmtpSink() as sink:
            server = Ringback(House(listen_port=free_port(), upstream_port=sink.port), folder.path).start()
            try:
                yield Leg("Ringback", server.port, sink, server.program)
            finally:
                await asyncio.to_thread(server.stop)
    finally:
        folder.remove()


async def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Return the median rate of each leg, in messages a second, by load."""
    loads = {"kept open": SMALL, "one each": replace(SMALL, keep_open=False), "large": LARGE}
    rates: dict[str, dict[str, list[float]]] = {}
    async with AsyncExitStack() as stack:
        legs = [await stack.enter_async_context(each()) for each in (aiosmtpd, ringback)]
        for leg in legs:
            await leg.run(replace(SMALL, messages=200))
        for _ in range(rounds):
            for name, load in loads.items():
                for leg in legs:
                    run = await leg.run(load)
                    rates.setdefault(name, {}).setdefault(leg.name, []).append(run.rate)
    return {name: {leg: statistics.median(runs) for leg, runs in by.items()} for name, by in rates.items()}


def shown(rates: dict[str, dict[str, float]]) -> bool:
    """Print the rates and their ratios; tell whether both targets were met."""
    met = True
    for name, by in rates.items():
        ratio = by["Ringback"] / by["aiosmtpd"]
        target = MORE if name == "large" else FASTER
        unit, factor = ("MiB/s", LARGE.size / (1 << 20)) if name == "large" else ("messages/s", 1.0)
        figures = ", ".join(f"{leg} {rate * factor:.0f}" for leg, rate in by.items())
        print(f"{name}: {figures} {unit}; ratio {ratio:.1f}, target {target:.0f}")
        met &= ratio >= target
    return met


def main() -> int:
    """Measure and print, or be the aiosmtpd leg."""
    parser = argparse.ArgumentParser(prog="python -m bench.front", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"interleaved rounds (default {ROUNDS})")
    parser.add_argument("--serve", nargs=2, type=int, metavar=("PORT", "SINK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        import uvloop  # noqa: PLC0415 - only in the leg's own process

        uvloop.run(serve_aiosmtpd(*options.serve))
        return 0
    return 0 if shown(asyncio.run(measure(options.rounds))) else 1


if __name__ == "__main__":
    sys.exit(main())
