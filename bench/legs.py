"""The legs of the relay benchmark: what stands between smtp-source and smtp-sink, each with a sink of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from bench.haraka import Haraka
from bench.sink import XclientSink
from tests.support.exchanger import Exchanger
from tests.support.programs import Folder, Program, accepts_connections, find_program, free_port
from tests.support.ringback import Ringback, Setup, environment
from tests.support.servers import MAIL_DOMAIN, Dnsmasq, Postfix, SmtpSink, Zone
from tests.support.waiting import eventually

SENDER, RECIPIENT = "ok@ok.test", f"u@{MAIL_DOMAIN}"
EXCHANGER_ADDRESS = "127.0.0.11"
PROCESSES = 120
"""smtpd processes that Postfix may start: more than there are sessions."""

NAMES = {"1": "1 worker", "auto": "all cores"}
"""Values of the option Workers, and how the tables call them."""

XCLIENT = {"no": "XCLIENT off", "required": "XCLIENT on"}
"""Likewise of the option XCLIENT."""

SLOWEST_RUN = 300.0
"""Seconds after which a run is given up."""


class FailedRunError(RuntimeError):
    """A run whose rate would mean nothing: smtp-source stopped, or messages are missing in the sink."""


@dataclass(frozen=True, slots=True)
class Load:
    """What smtp-source sends."""

    messages: int
    size: int
    """Bytes a message."""
    sessions: int
    keep_open: bool
    """Many messages a connection (`-d`), or a new connection for each."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one load took."""

    rate: float
    """Messages a second."""
    processor: float
    """Microseconds of processor time that the server used for a message; sink and source are not counted."""


@dataclass(frozen=True, slots=True)
class Leg:
    """A server to send to, and the sink behind it."""

    name: str
    port: int
    sink: SmtpSink | XclientSink
    server: Program

    async def run(self, load: Load) -> Run:
        """Send a load through and return how fast it went.

        Raises:
            FailedRunError: smtp-source failed, or the sink has not got every message.
        """
        before, used = self.sink.count, self.server.processor_seconds()
        started = time.perf_counter()
        done = await asyncio.to_thread(_send, self.port, load)
        elapsed = time.perf_counter() - started
        if done.returncode != 0:
            raise FailedRunError(f"{self.name}: smtp-source ended with {done.returncode}: {done.stderr.strip()}")
        await self.arrived(before + load.messages)
        used = self.server.processor_seconds() - used
        return Run(load.messages / elapsed, used / load.messages * 1e6)

    async def arrived(self, wanted: int) -> None:
        """Wait until so many messages are in the sink.

        Raises:
            FailedRunError: there are fewer after a while, or more.
        """
        with suppress(AssertionError):  # told below
            await eventually(lambda: self.sink.count >= wanted, "every message is in the sink")
        if (got := self.sink.count) != wanted:
            raise FailedRunError(f"{self.name}: the sink has {got} messages and not {wanted}")


def _send(port: int, load: Load) -> subprocess.CompletedProcess[str]:
    arguments = [
        find_program("smtp-source"),
        *(("-d",) if load.keep_open else ()),
        *("-s", str(load.sessions), "-m", str(load.messages), "-l", str(load.size)),
        *("-f", SENDER, "-t", RECIPIENT, f"127.0.0.1:{port}"),
    ]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=SLOWEST_RUN)


@asynccontextmanager
async def direct() -> AsyncIterator[Leg]:
    """smtp-source straight to smtp-sink: what the two cost themselves."""
    with SmtpSink() as sink:
        yield Leg("smtp-sink", sink.port, sink, sink.running)


@asynccontextmanager
async def postfix() -> AsyncIterator[Leg]:
    """Postfix before the sink by smtpd_proxy_filter: it relays live and without a queue, as Ringback does."""
    with SmtpSink() as sink:
        service = (f"smtpd_proxy_filter=inet:{sink.address}",)
        options = {"smtpd_recipient_restrictions": "permit_auth_destination, reject"}
        with Postfix(service=service, processes=PROCESSES, options=options) as server:
            yield Leg("Postfix", server.port, sink, server.running)


@asynccontextmanager
async def haraka() -> AsyncIterator[Leg]:
    """Haraka before the sink by queue/smtp_proxy, a process a core. Raises MissingProgramError where npm has it not."""
    with SmtpSink() as sink, Haraka(sink.port, MAIL_DOMAIN) as server:
        yield Leg("Haraka", server.port, sink, server.running)


@asynccontextmanager
async def naive() -> AsyncIterator[Leg]:
    """`bench.naive` before the sink: plain aiosmtpd and aiosmtplib, one process."""
    port, folder = free_port(), Folder("naive")
    try:
        with SmtpSink() as sink:
            arguments = [sys.executable, "-m", "bench.naive", str(port), str(sink.port)]
            with Program(arguments, folder=folder.path, name="naive", environment=environment()) as program:
                program.wait_ready(lambda: accepts_connections("127.0.0.1", port))
                yield Leg("aiosmtpd + aiosmtplib", port, sink, program)
    finally:
        folder.remove()


@asynccontextmanager
async def ringback(workers: str = "1", *, xclient: str | None = None) -> AsyncIterator[Leg]:
    """Ringback with the customer's stanzas and script; the sender's verdict is in each worker's cache.

    With a value for the option XCLIENT there stands a sink behind it that knows the command. Where the upstream is told
    each client, a connection to it serves one session only.
    """
    zone = Zone(addresses={"mx.ok.test": (EXCHANGER_ADDRESS,)}, exchangers={"ok.test": ((10, "mx.ok.test"),)})
    async with AsyncExitStack() as stack:
        sink = stack.enter_context(SmtpSink() if xclient is None else XclientSink())
        nameserver = stack.enter_context(Dnsmasq(zone))
        exchanger = await stack.enter_async_context(Exchanger(EXCHANGER_ADDRESS, free_port(EXCHANGER_ADDRESS)))
        folder = Folder("bench")
        stack.callback(folder.remove)
        setup = Setup(
            upstream_port=sink.port,
            nameserver=nameserver.address,
            exchanger_port=exchanger.port,
            core=(f"Workers = {workers}", *((f'XCLIENT = "{xclient}"',) if xclient else ())),
        )
        server = Ringback(setup, folder.path).start()
        stack.push_async_callback(asyncio.to_thread, server.stop)
        name = ", ".join(("Ringback", NAMES[workers], *((XCLIENT[xclient],) if xclient else ())))
        yield Leg(name, server.port, sink, server.program)
        probes, most = exchanger.count("RCPT"), 1 if workers == "1" else os.cpu_count() or 1
        if not 1 <= probes <= most:
            raise FailedRunError(f"{name}: {probes} probes where the caches should leave {most}")
