"""What two greedy clients cost the others: `python -m bench.fairness` from the project's root.

One pipelines 1 MiB of RCPT again and again, as fast as the server takes it, and reads the replies; another does so with
NOOP and RCPT in turn, which the server may end at the first NOOP (RFC 2920 section 3.1). A third never reads: what the
server holds for it is bounded. Meanwhile a client sends mail with a remembered sender, and the p99 is measured. One
worker; the greedy clients are a process of their own (`greedy`). Then 20 at once never read, of one kind after the
other (`MUTE`): commands, long lines, a message without an end, TLS. Exit status 1: a bar was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import ssl
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trustme
import uvloop

from bench import history, interpreter
from bench.world import Client, World, farmed, latencies, p99, setup
from tests.support.programs import Folder, Program
from tests.support.ringback import Ringback, environment
from tests.support.servers import SmtpSink
from tests.support.waiting import eventually

P99 = 5.0
"""Milliseconds, of the others' mail."""

HELD = 256
"""KiB that the worker may grow by for each of the greedy."""

MUTES = 20
"""Clients that never read, in the second half: enough of them to show what each one costs."""

SECONDS, PAUSE = 4.0, 0.003
RECIPIENTS = b"RCPT TO:<u@example.com>\r\n"


def greed(line: bytes) -> bytes:
    """Return 1 MiB of it after a sender."""
    return b"MAIL FROM:<ok@ok.test>\r\n" + line * ((1 << 20) // len(line))


DIFFERENT = b"MAIL FROM:<ok@ok.test>\r\n" + b"".join(
    [b"RCPT TO:<u%d@example.com>\r\n" % each for each in range(40_000)]
)
GREED = {
    "reads": greed(RECIPIENTS),
    "mixed": greed(b"NOOP\r\n" + RECIPIENTS),
    "mute": greed(RECIPIENTS),
    "recipients": DIFFERENT,
    "NOOP": b"NOOP\r\n" * 170_000,
    "EHLO": b"EHLO mute.test\r\n" * 65_000,
    "lines": (b"NOOP " + b"x" * 1990 + b"\r\n") * 500,
    "message": b"MAIL FROM:<ok@ok.test>\r\n" + RECIPIENTS + b"DATA\r\n" + (b"x" * 70 + b"\r\n") * 14_000,
    "TLS": greed(RECIPIENTS),
}
MUTE = {
    "mute": "RCPT, always the same",
    "recipients": "RCPT, always another",
    "NOOP": "NOOP",
    "EHLO": "EHLO",
    "lines": "lines of 2,000 octets",
    "message": "a message without an end",
    "TLS": "RCPT within TLS",
}


KINDS = (
    ("reads", "that pipelines RCPT"),
    ("mixed", "that pipelines NOOP and RCPT"),
    ("mute", "that pipelines RCPT and never reads"),
)


async def greedy(port: str, kind: str, count: str) -> None:
    """Be such clients for ever; one that is turned away comes again."""
    sys.stdout.write("here\n")
    sys.stdout.flush()
    act = _mute_in_tls if kind == "TLS" else _mute if kind in MUTE else _reads
    await asyncio.gather(*(act(int(port), GREED[kind]) for _ in range(int(count))))


async def _reads(port: int, octets: bytes) -> None:
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await reader.readline()  # one that talks before the greeting is turned away
            writer.write(b"EHLO greedy.test\r\n")
            while (await reader.readline())[3:4] == b"-":
                pass
            writer.write(octets + b"QUIT\r\n")
            while await reader.read(1 << 16):
                pass
        except OSError:
            pass
        writer.close()


async def _mute(port: int, octets: bytes) -> None:
    """Never read after EHLO: the kernel's buffers are small, so that the server's own fill at once."""
    loop = asyncio.get_running_loop()
    while True:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        try:
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_recv(client, 4096)
            await loop.sock_sendall(client, b"EHLO mute.test\r\n")
            await loop.sock_recv(client, 4096)
            await loop.sock_sendall(client, octets)
            await asyncio.sleep(3600)
        except OSError:
            pass
        finally:
            client.close()


async def _mute_in_tls(port: int, octets: bytes) -> None:
    await asyncio.to_thread(_mutely_in_tls, port, octets)
    await asyncio.sleep(3600)


def _mutely_in_tls(port: int, octets: bytes) -> None:
    """Write until the server takes no more. The socket stays open: its object is kept."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    for line in (b"", b"EHLO mute.test\r\n", b"STARTTLS\r\n"):
        client.sendall(line)
        client.recv(4096)
    secure = context.wrap_socket(client)
    _OPEN.append(secure)
    secure.sendall(b"EHLO mute.test\r\n")
    secure.recv(4096)
    secure.settimeout(1.0)
    with suppress(OSError):
        secure.sendall(octets)


_OPEN: list[ssl.SSLSocket] = []


def certified(folder: Path) -> tuple[str, str]:
    """Return the options of a certificate that is made in the folder."""
    issued = trustme.CA().issue_cert("ringback.test")
    issued.cert_chain_pems[0].write_to_path(str(folder / "certificate.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    return f'TLS_Certificate = "{folder}/certificate.pem"', f'TLS_Key = "{folder}/key.pem"'


async def measure(seconds: float) -> bool:
    """Measure and print; tell whether all bars were met."""
    met = True
    with farmed(0.0) as world, SmtpSink() as sink:
        async with _serving(world, sink) as (server, folder), Client(server.port) as client:
            met &= await _measured(server, client, folder, seconds)
        for kind, what in MUTE.items():
            for options, how in (((), ""), (("History = false",), ", without the history")):
                held = await _held(world, sink, kind, options, seconds)
                print(f"  {MUTES} that never read, {what}{how}: {held:.0f} KiB each (target {HELD})")
                history.note({f"fairness, one that never reads, {what}{how}, KiB": held})
                met &= held <= HELD
    return met


async def _held(world: World, sink: SmtpSink, kind: str, options: tuple[str, ...], seconds: float) -> float:
    """Return the KiB for each of many mute clients, of a server of their own: what one kind left would serve another.

    The history's queue is one for all clients, and bounded: what is in it is also what the control process has not
    taken yet.
    """
    async with _serving(world, sink, *options) as (server, folder), Client(server.port) as client:
        await _mail(client, seconds)
        _, held = await _beside(server, client, folder, (kind, MUTES), seconds)
    return held / MUTES


@asynccontextmanager
async def _serving(world: World, sink: SmtpSink, *options: str) -> AsyncIterator[tuple[Ringback, Path]]:
    folder = Folder("fairness")
    try:
        server = Ringback(setup(world, sink, folder.path, {}, (*certified(folder.path), *options)), folder.path).start()
        try:
            yield server, folder.path
        finally:
            await asyncio.to_thread(server.stop)
    finally:
        folder.remove()


async def _measured(server: Ringback, client: Client, folder: Path, seconds: float) -> bool:
    met = True
    for _ in range(20):
        await client.send("u@remembered.test")
    idle = await _mail(client, seconds)
    print(f"p99 of mail with a remembered sender, without other clients: {idle:.1f} ms")
    for kind, what in KINDS:
        found, held = await _beside(server, client, folder, (kind, 1), seconds)
        print(f"  beside one {what}: {found:.1f} ms (target {P99:g}); the worker grew by {held:.0f} KiB")
        history.note({f"fairness, p99 beside one {what}, ms": found})
        met &= found <= P99
    return met


async def _beside(
    server: Ringback, client: Client, folder: Path, greed: tuple[str, int], seconds: float
) -> tuple[float, float]:
    """Return the p99 of mail beside greedy clients of a kind, in ms, and the KiB that the worker grew by."""
    kind, count = greed
    before = _resident(server)
    arguments = [sys.executable, "-m", "bench.fairness", "--greedy", str(server.port), kind, str(count)]
    with Program(arguments, folder=folder, name=kind, environment=environment()) as program:
        await eventually(lambda: "here" in program.printed(), "the greedy are there")
        found = await _mail(client, seconds)
        held = _resident(server) - before
        if not program.is_running:
            raise RuntimeError(program.printed()[-3000:])
    return found, max(0.0, held)


async def _mail(client: Client, seconds: float) -> float:
    end = time.perf_counter() + seconds
    return p99([took for _, took in await latencies(client, lambda: time.perf_counter() > end, PAUSE)])


def _resident(server: Ringback) -> float:
    """Return the KiB that the worker holds now, the median of a few looks."""
    (worker,) = server.workers
    looks = []
    for _ in range(5):
        status = Path(f"/proc/{worker}/status").read_text()
        looks.append(int(status.partition("VmRSS:")[2].split()[0]))
        time.sleep(0.02)
    return statistics.median(looks)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of each part (default {SECONDS:g})")
    parser.add_argument("--greedy", nargs=3, metavar=("PORT", "KIND", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.greedy:
        uvloop.run(greedy(*options.greedy))
        return 0
    interpreter.warn()
    met = uvloop.run(measure(options.seconds))
    if options.seconds >= SECONDS:
        history.record()
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
