"""The legs of the relay benchmark: what stands between smtp-source and smtp-sink, each with a sink of its own."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tests.support.exchanger import Exchanger
from tests.support.programs import Folder, Program, find_program, free_port
from tests.support.ringback import Ringback, Setup
from tests.support.servers import Dnsmasq, Postfix, SmtpSink, Zone
from tests.support.waiting import eventually

SENDER, RECIPIENT = "ok@ok.test", "u@example.com"
EXCHANGER_ADDRESS = "127.0.0.11"
PROCESSES = 100
"""smtpd processes that Postfix may start: more than there are sessions."""


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
    sink: SmtpSink
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
        try:
            await eventually(lambda: self.sink.count >= before + load.messages, "every message is in the sink")
        except AssertionError:
            got = self.sink.count - before
            raise FailedRunError(f"{self.name}: {got} of {load.messages} messages came to the sink") from None
        if self.sink.count != before + load.messages:
            raise FailedRunError(f"{self.name}: the sink has {self.sink.count - before} messages of {load.messages}")
        used = self.server.processor_seconds() - used
        return Run(load.messages / elapsed, used / load.messages * 1e6)


def _send(port: int, load: Load) -> subprocess.CompletedProcess[str]:
    arguments = [
        find_program("smtp-source"),
        *(("-d",) if load.keep_open else ()),
        *("-s", str(load.sessions), "-m", str(load.messages), "-l", str(load.size)),
        *("-f", SENDER, "-t", RECIPIENT, f"127.0.0.1:{port}"),
    ]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300)


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
async def ringback(workers: int = 1) -> AsyncIterator[Leg]:
    """Ringback with the customer's stanzas and script; the sender's verdict is in each worker's cache."""
    zone = Zone(addresses={"mx.ok.test": (EXCHANGER_ADDRESS,)}, exchangers={"ok.test": ((10, "mx.ok.test"),)})
    async with AsyncExitStack() as stack:
        sink = stack.enter_context(SmtpSink())
        nameserver = stack.enter_context(Dnsmasq(zone))
        exchanger = await stack.enter_async_context(Exchanger(EXCHANGER_ADDRESS, free_port(EXCHANGER_ADDRESS)))
        folder = Folder("bench")
        stack.callback(folder.remove)
        setup = Setup(
            upstream_port=sink.port,
            nameserver=nameserver.address,
            exchanger_port=exchanger.port,
            core=(f"Workers = {workers}",),
        )
        server = Ringback(setup, folder.path).start()
        stack.push_async_callback(asyncio.to_thread, server.stop)
        name = "Ringback" if workers == 1 else f"Ringback, {workers} workers"
        leg = Leg(name, server.port, sink, server.program)
        yield leg
        if not 1 <= exchanger.count("RCPT") <= workers:
            raise FailedRunError(f"{name}: {exchanger.count('RCPT')} probes where the caches should leave {workers}")
