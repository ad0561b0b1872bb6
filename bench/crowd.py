"""All checks of senders for 500 sessions at once, beside a name server that never answers.

Run from the project's root: `python -m bench.crowd`. Ten of the sessions send a signed message of 25 MB. Measured are
the lag of the worker's event loop, every 5 ms, the processor time that one turn of the loop takes, the memory, and how
long the slowest session took. The next hop is Postfix's smtp-sink. Exit status 1: a target was missed.

A busy machine adds to the lag, but hardly to the processor time of a turn.
"""

from __future__ import annotations

import asyncio
import os
import runpy
import socket
import statistics
import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import uvloop

from bench.world import allow_open_files, memory
from proxy.mail.stuffing import stuffed
from tests.support.conversation import Conversation
from tests.support.house import House
from tests.support.programs import Folder, Program, accepts_connections, free_port
from tests.support.ringback import Ringback, environment
from tests.support.servers import SmtpSink
from tests.support.signing import signed

SESSIONS, LARGE, LARGE_OCTETS = 500, 10, 25_000_000
TICK_SECONDS = 0.005
AT_ONCE = 50
"""Sessions that are opened at the same time."""

LAG_TARGET, GROWTH_TARGET, SECONDS_TARGET = 50.0, 10.0, 35.0
"""Milliseconds of the 99th percentile; MiB that the second crowd needs more than the first; seconds of the slowest
session: the modules' time limits at MAIL (spf_v1 10 s), RCPT (dnsbl 5 s, reverse names 5 s) and at the message (dkim
and arc 10 s, then dmarc 5 s)."""

PLAIN = b"From: Alice <alice@sender.test>\r\nSubject: hi\r\n\r\nsee http://www.link.test/\r\n"
MODULES = """
iprev { }
spf_v1 "spf_v1" { }
dkim_validate "dkim_validate" { }
arc { }
dnsbl {
  zones = [
    bl.test = [ checks = ( client helo ptr sender ) ]
    uri.test = [ checks = ( url header ) ]
    allow.test = [ allow = yes ]
  ]
}
dmarc { action = enforce }
""".strip()


# ---------------------------------------------------------------- in the server's processes


def _watch(folder: Path) -> None:
    """Have each worker write how late its loop is, and the processor time of each tick, to a file of its own."""
    from proxy.server import process  # noqa: PLC0415 - only the server's processes

    look_along = process._look_along  # noqa: SLF001 - the one place in which a worker looks at itself

    def look_closely(loop: asyncio.AbstractEventLoop, role: str) -> None:
        look_along(loop, role)
        if role != "worker":
            return
        found = array("d")
        file = (folder / f"lag.{os.getpid()}").open("wb", buffering=0)

        def tick(due: float, used: float) -> None:
            now = time.thread_time()
            found.extend((loop.time() - due, now - used))
            if len(found) >= 200:
                found.tofile(file)
                del found[:]
            due = loop.time() + TICK_SECONDS
            loop.call_at(due, tick, due, time.thread_time())

        tick(loop.time(), time.thread_time())

    process._look_along = look_closely  # noqa: SLF001 - as above


class Watched(Ringback):
    """A server whose workers are watched."""

    def start(self) -> Self:
        """Start it."""
        arguments = [sys.executable, "-m", "bench.crowd", str(self.folder), "serve", "-c", str(self.configuration)]
        self._program = program = Program(arguments, folder=self.folder, name="serve", environment=environment())
        program.wait_ready(lambda: accepts_connections("127.0.0.1", self.port))
        return self

    def ticks(self) -> tuple[list[float], list[float]]:
        """Return the seconds of lag, and of processor time, of all ticks so far."""
        (worker,) = self.workers
        found = array("d")
        found.frombytes((self.folder / f"lag.{worker}").read_bytes())
        return list(found[::2]), list(found[1::2])


# ---------------------------------------------------------------- the load


@contextmanager
def silent_name_server() -> Iterator[str]:
    """Yield the address of a name server that hears everything and says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{mute.getsockname()[1]}"


async def _opened(server: Ringback) -> Conversation:
    client = await server.conversation()
    await client.ehlo()
    return client


async def _sent(client: Conversation, content: bytes, sender: str) -> float:
    """Send a message; return the seconds from MAIL to the reply to the dot."""
    began = time.perf_counter()
    async with client:
        for line, code in ((f"MAIL FROM:<{sender}>", "250"), ("RCPT TO:<bob@example.com>", "250"), ("DATA", "354")):
            await client.send(line)
            await _expect(client, code)
        await client.send_raw(content + b".\r\n")
        await _expect(client, "250")
        return time.perf_counter() - began


async def _expect(client: Conversation, code: str) -> None:
    reply = await client.reply(within=300)
    if not reply.startswith(code):
        raise RuntimeError(reply)


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured of one crowd."""

    slowest: float
    """Seconds."""
    lag: float
    turn: float
    """Milliseconds of processor time between two ticks: the 99th percentile, as `lag`."""
    longest: float
    most: float
    """MiB that the worker held at most."""


async def measured(server: Watched, content: bytes) -> Found:
    """Send everything at once."""
    (worker,) = server.workers
    clients: list[Conversation] = []
    while len(clients) < SESSIONS:
        clients += await asyncio.gather(*[_opened(server) for _ in range(AT_ONCE)])
    skipped = len(server.ticks()[0])
    _forget_most(worker)
    sending = [
        _sent(client, content if at < LARGE else PLAIN, f"a{at}@d{at}.test") for at, client in enumerate(clients)
    ]
    taken = await asyncio.gather(*sending)
    lags, turns = [each[skipped:] for each in server.ticks()]
    return Found(max(taken), _p99(lags), _p99(turns), max(turns) * 1e3, memory(worker))


def _forget_most(process: int) -> None:
    """Let the most memory begin again at what is held now (proc(5))."""
    Path(f"/proc/{process}/clear_refs").write_text("5")


async def crowds(server: Watched) -> list[Found]:
    """Send a first message, and two crowds."""
    await _sent(await _opened(server), PLAIN, "first@d.test")
    body = b"x" * 76 + b"\r\n" + (b"y" * 76 + b"\r\n") * (LARGE_OCTETS // 78)
    content = stuffed(signed(PLAIN + body))
    return [await measured(server, content) for _ in range(2)]


def _p99(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98] * 1e3


def _told(first: Found, second: Found) -> int:
    """Print the table; return 1 if a target was missed."""
    met = True
    print(f"{'':<40}{'first':>10}{'second':>10}")
    for name, values, target in (
        ("the slowest session, s", (first.slowest, second.slowest), SECONDS_TARGET),
        ("lag of the event loop, p99, ms", (first.lag, second.lag), LAG_TARGET),
        ("processor time of a turn, p99, ms", (first.turn, second.turn), LAG_TARGET),
        ("processor time of the longest turn, ms", (first.longest, second.longest), float("inf")),
        ("most memory, MiB", (first.most, second.most), first.most + GROWTH_TARGET),
    ):
        missed = max(values) > target
        met &= not missed
        print(f"{name:<40}{values[0]:>10.1f}{values[1]:>10.1f}{'   MISSED' if missed else ''}")
    return 0 if met else 1


def main() -> int:
    """Measure one crowd."""
    allow_open_files()
    folder = Folder("crowd")
    lines = ("Max_Connections_Per_Client = 0", "Max_Message_Size = 40M", "Max_Outbound_Connections = 600",
             *MODULES.splitlines())  # fmt: skip
    try:
        with SmtpSink(sessions=SESSIONS + 10) as sink, silent_name_server() as nameserver:
            house = House(listen_port=free_port(), upstream_port=sink.port, nameserver=nameserver, lines=lines)
            server = Watched(house, folder.path).start()
            try:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    found = runner.run(crowds(server))
            finally:
                server.stop()
    finally:
        folder.remove()
    return _told(*found)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _watch(Path(sys.argv[1]))
        sys.argv[:] = ["ringback", *sys.argv[2:]]
        runpy.run_module("proxy.cli", run_name="__main__")
    else:
        sys.exit(main())
