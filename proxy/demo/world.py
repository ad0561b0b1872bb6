"""The demo's world: name server, exchangers, next hop, and Ringback between them.

Everything listens on loopback on ports of the system's choosing. Ringback runs the configuration that ships; a small
file in a temporary folder includes it and changes only addresses and the probe's patience.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import proxy
from proxy.demo import errors
from proxy.demo.mailhost import MailHost
from proxy.demo.nameserver import DemoNameserver, MailDomain
from proxy.demo.samples import CAUTIOUS, KNOWN_USERS, SILENT, STAFF
from proxy.demo.timeline import PeerRole, Timeline

PROBE_PATIENCE = 2
"""Seconds for a whole probe: short, so that the sample with the silent exchanger does not take long."""

SHUTDOWN = 10.0
"""Seconds for Ringback to end its sessions when the demonstration closes."""

LOOPBACK = "127.0.0.1"

DOMAINS = (
    MailDomain(STAFF, f"mx.{STAFF}", "127.0.0.2"),
    MailDomain(CAUTIOUS, f"mx.{CAUTIOUS}", "127.0.0.3"),
    MailDomain(SILENT, f"mx.{SILENT}", "127.0.0.4"),
)
"""One address each, since a probe knows one port for all exchangers."""

PAGE_PORT = 9026

PORT_ATTEMPTS = 20
"""Ports that are tried until one is free on every exchanger's address."""


class Unavailable(Exception):
    """The system lacks something that the demonstration needs; the message says what."""


class Server(Protocol):
    """Ringback, as this world runs it."""

    @property
    def addresses(self) -> Sequence[tuple[str, int]]:
        """The addresses that it listens on."""
        ...

    def link(self) -> str:
        """Return a link to its page, for a browser."""
        ...

    async def start(self) -> None:
        """Bind and serve."""
        ...

    async def stop(self, *, now: bool) -> None:
        """End the sessions; with `now`, immediately."""
        ...


Load = Callable[[Path], Server]
"""Loads a configuration. Raises ConfigurationRejected."""


@dataclass(slots=True)
class DemoWorld:
    """Everything that runs, and where a client finds Ringback."""

    timeline: Timeline
    upstream: MailHost
    exchangers: Mapping[str, MailHost]
    nameserver_port: int = 0
    exchanger_port: int = 0
    upstream_port: int = 0
    address: tuple[str, int] = field(default=(LOOPBACK, 0))
    configuration: Path = field(default_factory=Path)
    link: Callable[[], str] = str
    """Makes a link to Ringback's page."""

    def calls(self) -> tuple[str, ...]:
        """Return the name of an exchanger for each connection that it took since `forget`."""
        return tuple(host.name for host in self.exchangers.values() for _ in range(host.connections))

    def asked(self) -> tuple[str, ...]:
        """Return the addresses that exchangers were asked about since `forget`."""
        return tuple(address for host in self.exchangers.values() for address in host.asked)

    def forget(self) -> None:
        """Let every mail server start counting anew."""
        for host in (self.upstream, *self.exchangers.values()):
            host.forget()


def shipped_configuration() -> Path:
    """Return the ecelerity.conf that ships: inside an installed package, else in the checkout.

    Raises:
        Unavailable: neither place has it.
    """
    package = Path(proxy.__file__).parent
    places = (package / "etc" / "ecelerity.conf", package.parent / "etc" / "ecelerity.conf")
    for place in places:
        if place.is_file():
            return place
    raise Unavailable(errors.no_configuration(" and ".join(map(str, places))))


def wrapper(world: DemoWorld, shipped: Path, state: Path) -> str:
    """Return a configuration that includes the shipped one and moves it to this world's addresses and this folder."""
    quoted = str(shipped).replace('"', '\\"')
    return f"""\
# The configuration that ships, moved to the addresses of this demonstration.
include "{quoted}"

ESMTP_Listener = ( {LOOPBACK}:0 )
Web_Listener = ( {LOOPBACK}:{_free_port()} )
State_Directory = "{state}"
Nameservers = ( "{LOOPBACK}:{world.nameserver_port}" )
Gateway = "{LOOPBACK}"
Remote_SMTP_Port = {world.upstream_port}

# What ships begins in shadow mode; here senders are refused. The exchangers of this
# world live on loopback, where no real probe may go.
smtp_cbv "smtp_cbv" {{
  enforce = true
  port = {world.exchanger_port}
  timeout = {PROBE_PATIENCE}
  allow_networks = ( 127.0.0.0/8 )
}}
"""


def _free_port() -> int:
    """Return the page's usual port, or another one that is free now."""
    for port in (PAGE_PORT, 0):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                trial.bind((LOOPBACK, port))
                return int(trial.getsockname()[1])
    return PAGE_PORT


@asynccontextmanager
async def open_world(timeline: Timeline, load: Load) -> AsyncIterator[DemoWorld]:
    """Start everything, Ringback as `load` gives it, and end it in the opposite order.

    Raises:
        Unavailable: an address of 127.0.0.0/8 cannot be used, or the shipped configuration is missing.
        ConfigurationRejected: the shipped configuration does not load.
    """
    shipped = shipped_configuration()
    world = DemoWorld(timeline, _upstream(timeline), _exchangers(timeline))
    async with AsyncExitStack() as stack:
        world.nameserver_port = await _start_nameserver(timeline, stack)
        world.exchanger_port = await _start_exchangers(world.exchangers, stack)
        stack.push_async_callback(world.upstream.stop)
        world.upstream_port = await world.upstream.start(LOOPBACK)
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="ringback-demo-")))
        world.configuration = folder / "ecelerity.conf"
        state = folder / "state"
        state.mkdir(mode=0o700)
        world.configuration.write_text(wrapper(world, shipped, state), encoding="utf-8")
        server = load(world.configuration)
        await server.start()
        stack.push_async_callback(_bounded_stop, server)
        world.address, world.link = server.addresses[0], server.link
        yield world


async def _bounded_stop(server: Server) -> None:
    async with asyncio.timeout(SHUTDOWN):
        await server.stop(now=True)


def _upstream(timeline: Timeline) -> MailHost:
    return MailHost("upstream", PeerRole.UPSTREAM, timeline, verdict=lambda _: "250 2.1.5 Ok")


def _exchangers(timeline: Timeline) -> dict[str, MailHost]:
    """Return the three exchangers, each with its own manners, by the domain they serve."""

    def knows_its_users(address: str) -> str:
        return "250 2.1.5 Ok" if address in KNOWN_USERS else f"550 5.1.1 <{address}>: no such user here"

    def puts_off(_address: str) -> str:
        return "451 4.7.1 Greylisted, please try again later"

    manners = {STAFF: knows_its_users, CAUTIOUS: puts_off, SILENT: puts_off}
    return {
        each.domain: MailHost(
            each.exchanger,
            PeerRole.EXCHANGER,
            timeline,
            verdict=manners[each.domain],
            silent=each.domain == SILENT,
        )
        for each in DOMAINS
    }


async def _start_nameserver(timeline: Timeline, stack: AsyncExitStack) -> int:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: DemoNameserver(DOMAINS, timeline), local_addr=(LOOPBACK, 0)
    )
    stack.callback(transport.close)
    port: int = transport.get_extra_info("sockname")[1]
    return port


async def _start_exchangers(exchangers: Mapping[str, MailHost], stack: AsyncExitStack) -> int:
    """Start all exchangers on one port, each on its own address; return the port.

    Raises:
        Unavailable: an address is not there.
    """
    for host in exchangers.values():
        stack.push_async_callback(host.stop)
    for _ in range(PORT_ATTEMPTS):
        port = 0
        try:
            for each in DOMAINS:
                address = each.address
                port = await exchangers[each.domain].start(address, port)
        except OSError as refused:
            for host in exchangers.values():
                await host.stop()
            if refused.errno != errno.EADDRINUSE:
                raise Unavailable(errors.no_loopback_addresses(address, refused.strerror or str(refused))) from None
        else:
            return port
    raise Unavailable(errors.no_common_port(PORT_ATTEMPTS))
