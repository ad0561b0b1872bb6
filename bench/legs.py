"""The legs of the relay benchmark: what stands between clients and sink, each with a sink of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import trustme

from bench.haraka import Haraka
from bench.loads import FailedRunError, Journal, Leg
from bench.sink import XclientSink
from bench.world import farmed
from proxy.app import SCHEMA
from tests.support.programs import Folder, Program, accepts_connections, free_port
from tests.support.ringback import HERE, Checkout, Ringback, Setup, environment
from tests.support.servers import MAIL_DOMAIN, Postfix, SmtpSink

PROCESSES = 120
"""smtpd processes that Postfix may start: more than there are sessions."""

NAMES = {"1": "1 worker", "auto": "all cores"}
"""Values of the option Workers, and how the tables call them."""

XCLIENT = {"no": "XCLIENT off", "required": "XCLIENT on"}
"""Likewise of the option XCLIENT."""

FILTER = {"smtpd_recipient_restrictions": "permit_auth_destination, reject"}
PATIENT = {"smtpd_error_sleep_time": "0", "smtpd_soft_error_limit": "1000", "smtpd_hard_error_limit": "1000"}
"""Postfix slows a session down after ten refused recipients, and ends it after twenty."""

MANY_CLIENTS = 500
"""Connections to the next hop and identities among them; the driver has 200 addresses."""

Opener = Callable[[], AbstractAsyncContextManager[Leg]]


@asynccontextmanager
async def direct() -> AsyncIterator[Leg]:
    """smtp-source straight to smtp-sink: what the two cost themselves."""
    with SmtpSink() as sink:
        yield Leg("smtp-sink", sink.port, sink, sink.running)


@asynccontextmanager
async def driven_direct() -> AsyncIterator[Leg]:
    """The driver straight to our own sink."""
    with XclientSink() as sink:
        yield Leg("our sink", sink.port, sink, sink.running)


@asynccontextmanager
async def postfix() -> AsyncIterator[Leg]:
    """Postfix before the sink by smtpd_proxy_filter: it relays live and without a queue, as Ringback does."""
    with SmtpSink() as sink:
        service = (f"smtpd_proxy_filter=inet:{sink.address}",)
        with Postfix(service=service, processes=PROCESSES, options=FILTER) as server:
            yield Leg("Postfix", server.port, sink, server.running)


@asynccontextmanager
async def driven_postfix() -> AsyncIterator[Leg]:
    """The same before our own sink, which it tells each client by XFORWARD, and with STARTTLS."""
    folder = Folder("postfix-tls")
    try:
        certificate(folder.path)
        tls = {
            "smtpd_tls_security_level": "may",
            "smtpd_tls_chain_files": f"{folder.path}/key.pem, {folder.path}/cert.pem",
        }
        with XclientSink() as sink:
            service = (f"smtpd_proxy_filter=inet:{sink.address}",)
            with Postfix(service=service, processes=PROCESSES, options=FILTER | PATIENT | tls) as server:
                yield Leg("Postfix", server.port, sink, server.running, certificate=f"{folder.path}/authority.pem")
    finally:
        folder.remove()


@asynccontextmanager
async def haraka() -> AsyncIterator[Leg]:
    """Haraka before the sink by queue/smtp_proxy, a process a core. Raises MissingProgramError where npm has it not."""
    with SmtpSink() as sink, Haraka(sink.port, MAIL_DOMAIN) as server:
        yield Leg("Haraka", server.port, sink, server.running)


@asynccontextmanager
async def naive() -> AsyncIterator[Leg]:
    """`bench.naive` before the sink: plain aiosmtpd and aiosmtplib, one process."""
    async with _program("naive", "aiosmtpd + aiosmtplib") as leg:
        yield leg


@asynccontextmanager
async def floor() -> AsyncIterator[Leg]:
    """`bench.floor` before the sink: a relay that does nothing else, one process."""
    async with _program("floor", "the floor") as leg:
        yield leg


@asynccontextmanager
async def _program(module: str, name: str) -> AsyncIterator[Leg]:
    port, folder = free_port(), Folder(module)
    try:
        with SmtpSink() as sink:
            arguments = [sys.executable, "-m", f"bench.{module}", str(port), str(sink.port)]
            with Program(arguments, folder=folder.path, name=module, environment=environment()) as program:
                program.wait_ready(lambda: accepts_connections("127.0.0.1", port))
                yield Leg(name, port, sink, program)
    finally:
        folder.remove()


@asynccontextmanager
async def ringback(
    workers: str = "1",
    *,
    xclient: str | None = None,
    senders: int = 1,
    checkout: Checkout = HERE,
    name: str | None = None,
) -> AsyncIterator[Leg]:
    """Ringback with the customer's stanzas and script. The verdicts on that number of senders are remembered.

    With a value for the option XCLIENT, our own sink is the next hop, and STARTTLS is offered; a connection that has
    told the next hop a client serves that client only.
    """
    async with AsyncExitStack() as stack:
        sink: SmtpSink | XclientSink = SmtpSink() if xclient is None else XclientSink()
        stack.enter_context(sink)
        world = stack.enter_context(farmed(0.0))
        folder = Folder("bench")
        stack.callback(folder.remove)
        core = [f"Workers = {workers}", f'State_Directory = "{folder.path}"']
        if xclient is not None:
            certificate(folder.path)
            core += [
                f'TLS_Certificate = "{folder.path}/cert.pem"',
                f'TLS_Key = "{folder.path}/key.pem"',
                f'XCLIENT = "{xclient}"',
                f"Max_Outbound_Connections = {MANY_CLIENTS}",
            ]
            if "xclient_port" in SCHEMA.core.model_fields:
                core.append("XCLIENT_Port = false")
        setup = Setup(
            upstream_port=sink.port,
            nameserver=f"127.0.0.1:{world.nameserver}",
            exchanger_port=world.port,
            core=core,
        )
        server = Ringback(setup, folder.path, checkout=checkout).start()
        stack.push_async_callback(asyncio.to_thread, server.stop)
        name = name or ", ".join(("Ringback", NAMES[workers], *((XCLIENT[xclient],) if xclient else ())))
        journal = Journal(server.program.stderr)
        yield Leg(name, server.port, sink, server.program, journal, f"{folder.path}/authority.pem" if xclient else "")
        probes, most = journal.count("probe"), (senders + 1) * (1 if workers == "1" else os.cpu_count() or 1)
        if not 1 <= probes <= most:
            raise FailedRunError(f"{name}: {probes} probes where the caches should leave {most}")


def certificate(folder: Path) -> None:
    """Write a certificate, its key and its authority: what Postfix and Ringback show."""
    authority = trustme.CA()
    issued = authority.issue_cert("ringback.test")
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "key.pem").chmod(0o600)
