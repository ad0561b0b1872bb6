"""What the callback benchmarks share: exchangers and name server as a process, the configuration, a client."""

from __future__ import annotations

import asyncio
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.interpreter import without_collections
from tests.support.programs import Folder, Program, accepts_connections, free_port
from tests.support.ringback import Setup, environment
from tests.support.servers import SmtpSink, answers_dns

NO_LIMITS = dict.fromkeys(("probes_per_domain", "probes_per_mx", "unknown_users_per_mx", "probes_per_client"), '"0"')
NO_LIMITS |= {"client_share": "100", "wait": "25"}
"""All clients are one, and so may be their exchangers."""

CORE = ("Max_Connections_Per_Client = 0", "Max_Outbound_Connections = 200")
RECIPIENT = "u@example.com"
REMEMBERED = "u@remembered.test"
CROWD = 600
"""Probes that one exchanger may have at once."""


def allow_open_files() -> None:
    """Raise this process's own limit of open files as far as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass(frozen=True, slots=True)
class World:
    """Exchangers, all on one port, and the name server."""

    port: int
    nameserver: int


@contextmanager
def farmed(delay: float, *, ehlo: float = 0.0) -> Iterator[World]:
    """Put up exchangers that answer RCPT after `delay` seconds, and EHLO after `ehlo`."""
    world, folder = World(free_port(), free_port()), Folder("farm")
    arguments = [
        sys.executable,
        "-m",
        "bench.asking",
        "farm",
        str(world.port),
        str(world.nameserver),
        str(delay),
        str(ehlo),
    ]
    try:
        with Program(arguments, folder=folder.path, name="farm", environment=environment()) as program:
            program.wait_ready(
                lambda: accepts_connections("127.0.0.1", world.port) and answers_dns("127.0.0.1", world.nameserver)
            )
            yield world
    finally:
        folder.remove()


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowded(Setup):
    """A setup whose listener lets as many clients wait as come at once; Momentum's default of 500 drops some SYNs."""

    def _lines(self) -> list[str]:
        _, *rest = Setup._lines(self)  # noqa: SLF001 - a kind of it
        listener = f'ESMTP_Listener {{ Listen "127.0.0.1:{self.listen_port}" {{ Listen_Backlog = 1000 }} }}'
        return [listener, *rest]


def setup(world: World, sink: SmtpSink, folder: Path, callback: dict[str, str], core: Sequence[str] = ()) -> Setup:
    """Return the customer's stanzas and script, with the default store in a folder."""
    return Crowded(
        upstream_port=sink.port,
        nameserver=f"127.0.0.1:{world.nameserver}",
        exchanger_port=world.port,
        callback={"max_probes_per_mx": str(CROWD), **NO_LIMITS, **callback},
        core=(*CORE, f'State_Directory = "{folder}"', *core),
    )


class Client:
    """One client that sends short messages."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        await self._reply(b"220")
        await self._ask(b"EHLO client.test", b"250")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def send(self, sender: str) -> None:
        """Send a message.

        Raises:
            RuntimeError: it was refused.
        """
        await self._ask(f"MAIL FROM:<{sender}>".encode(), b"250")
        await self._ask(f"RCPT TO:<{RECIPIENT}>".encode(), b"250")
        await self._ask(b"DATA", b"354")
        await self._ask(b"Subject: callback\r\n\r\nhello\r\n.", b"250")

    async def _ask(self, command: bytes, wanted: bytes) -> None:
        self._writer.write(command + b"\r\n")
        await self._reply(wanted)

    async def _reply(self, wanted: bytes) -> None:
        while (line := await self._reader.readline())[3:4] == b"-":
            pass
        if not line.startswith(wanted):
            raise RuntimeError(line.decode("ascii", "replace").strip() or "closed")


def p99(latencies: Sequence[float]) -> float:
    """Return the 99th percentile of seconds, in milliseconds."""
    return statistics.quantiles(latencies, n=100)[98] * 1e3


async def latencies(client: Client, is_over: Callable[[], bool], pause: float) -> list[tuple[float, float]]:
    """Send messages with a remembered sender, one after the other; return when each began and the seconds it took."""
    found = []
    with without_collections():
        while not is_over():
            began = time.perf_counter()
            await client.send(REMEMBERED)
            found.append((began, time.perf_counter() - began))
            await asyncio.sleep(pause)
    return found


def memory(process: int, name: str = "VmHWM") -> float:
    """Return the most MiB that a process has held in memory, or that it holds now."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(rf"{name}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def group_memory(program: Program) -> tuple[int, float]:
    """Return how many processes a server has, and their memory in MiB: what they share is counted once."""
    held = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[2]) == program.process.pid:
                rollup = (stat.parent / "smaps_rollup").read_text()
                held.append(int(re.findall(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)[0]) / 1024)
    return len(held), sum(held)
