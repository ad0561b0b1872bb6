"""Function calls of a worker for a message, counted by cProfile: a figure that does not depend on the machine.

A real worker with the customer's stanzas and script runs on uvloop in this process; a second process is everything
around it: clients, the sink, the sender's exchanger and the name server, all on loopback. The first half of the
messages is not counted: it fills caches and pools. cProfile watches the loop's thread; a plain counter watches the
others (the log's, the store's), so that work moved into a thread is not lost. Nothing of this is in the server.

With limits that workers share, the second process is their keeper, too: each message asks it about MAIL and RCPT.

`python -m tests.support.calls kept` (or `new`, `kept-shared`, `new-shared`) prints the calls a message; `bench.calls`
shows which they are.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import pstats
import socket
import subprocess
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, cast

import uvloop

from proxy.app import load
from proxy.base import log_output
from proxy.base.tasks import TaskOwner, spawn
from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import Delivered
from proxy.keeper.door import Calling, Door
from proxy.keeper.service import KeeperService
from proxy.keeper.verifying import VerifierMaker
from proxy.server.gc import collect_seldom
from proxy.server.worker import Worker
from tests.support.farm import Farm, Habit
from tests.support.names import Known
from tests.support.programs import Folder, free_port
from tests.support.ringback import PRINTED_STANZAS, Setup, environment
from tests.support.servers import MAIL_DOMAIN
from tests.support.start_policy import stanzas, write_scripts

MESSAGES, SESSIONS, SIZE = 2000, 20, 4096
"""Messages, octets of each, and sessions; the second half is counted."""

BARS = {"kept": 450.0, "new": 700.0, "kept-shared": 600.0, "new-shared": 1000.0, "kept-policy": 1020.0}
"""Calls a message at most: one of many on a connection, and one on a connection of its own, all of it counted. The same
if the keeper counts connections, messages and recipients, and with the policy that ships."""

SHARED = (
    "Max_Connections_Per_Client = 1000",
    'Connection_Rate_Per_Client = "1000000/1"',
    'Message_Rate_Per_Client = "1000000/1"',
    'Recipient_Rate_Per_Client = "1000000/1"',
)

_CORE = {"shared": SHARED, "policy": ("Workers = 2",)}
"""Lines of the configuration. With several workers, what a script will ask at RCPT TO leaves at MAIL FROM."""

EXCHANGER = "127.0.0.11"
SENDER, RECIPIENT = b"ok@ok.test", f"u@{MAIL_DOMAIN}".encode()
PATIENCE = 120.0
"""Seconds for all messages."""

LINE = b"X" * 62 + b"\r\n"
HEAD = (
    b"From: <%b>\r\nTo: <%b>\r\nDate: Sat, 28 Nov 2026 12:00:00 +0000\r\nMessage-Id: <1234.5678@client.test>\r\n\r\n"
) % (SENDER, RECIPIENT)
CONTENT = HEAD + LINE * ((SIZE - len(HEAD)) // len(LINE)) + b".\r\n"
MESSAGE = (b"MAIL FROM:<%b>\r\n" % SENDER, b"RCPT TO:<%b>\r\n" % RECIPIENT, b"DATA\r\n", CONTENT)
"""As smtp-source sends them: one command at a time."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What the second half of the messages took."""

    messages: int
    loop: int
    """Calls on the loop's thread: functions, coroutines resumed, and builtins."""
    threads: int
    """Calls on all other threads."""
    stats: pstats.Stats

    @property
    def per_message(self) -> float:
        """Calls a message, all threads together."""
        return (self.loop + self.threads) / self.messages


# ---------------------------------------------------------------- the worker


async def counted(folder: Path, mode: str, messages: int = MESSAGES) -> Counted:
    """Serve a load, and return the calls of its second half."""
    threads, profile = _OtherThreads(), cProfile.Profile()

    @contextmanager
    def both() -> Iterator[None]:
        with threads.counting(), profile:
            yield

    threading.setprofile(threads)  # before the first of them starts
    try:
        await serve(folder, mode, messages, both())
    finally:
        threading.setprofile(None)  # type: ignore[arg-type]  # typeshed
    stats = pstats.Stats(profile)
    return Counted(messages // 2, stats.total_calls, threads.calls, stats)  # type: ignore[attr-defined]  # typeshed lacks it


async def serve(folder: Path, mode: str, messages: int, watching: AbstractContextManager[None]) -> None:
    """Serve with the log in a file, and let the peer send the messages, the second half of them `watching`."""
    way, _, shared = mode.partition("-")
    log_output.configure((folder / "log").open("w"))
    sink, exchanger, nameserver = free_port(), free_port(EXCHANGER), free_port()
    setup = Setup(
        upstream_port=sink,
        nameserver=f"127.0.0.1:{nameserver}",
        exchanger_port=exchanger,
        core=(f'State_Directory = "{folder}"', *_CORE.get(shared, ())),
        stanzas=stanzas() if shared == "policy" else PRINTED_STANZAS,
    )
    write_scripts(folder)
    configuration, door = setup.write(folder), Door()
    worker = Worker(load(configuration)[0], Calling(door.outside, 1, 1) if shared else None)
    kept = (str(configuration), str(door.inside.fileno())) if shared else ()
    ports = (str(each) for each in (setup.listen_port, sink, exchanger, nameserver))
    peer = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.calls", "peer", way, *ports, *kept),
        pass_fds=[door.inside.fileno()],
        stdin=PIPE,
        stdout=PIPE,
        env=environment(),
    )
    half = messages // 2
    try:
        async with asyncio.timeout(PATIENCE):
            await _heard(peer, b"ready")
            await worker.start()
            collect_seldom(asyncio.get_running_loop())
            await _asked(peer, half)
            with watching:
                await _asked(peer, half)
    finally:
        peer.kill()
        await peer.wait()
        await worker.stop(now=True)
        log_output.close()


class _OtherThreads:
    """A profile function for threads that start from now on. From 3.12 on cProfile sees them itself."""

    def __init__(self) -> None:
        self.calls = 0
        self._active = False

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what happens in this block."""
        self._active = sys.version_info < (3, 12)
        yield
        self._active = False

    def __call__(self, _frame: object, event: str, _argument: object) -> None:
        if self._active and event in ("call", "c_call"):
            self.calls += 1


async def _asked(peer: Process, messages: int) -> None:
    assert peer.stdin is not None
    peer.stdin.write(b"%d\n" % messages)
    await _heard(peer, b"sent")


async def _heard(peer: Process, wanted: bytes) -> None:
    assert peer.stdout is not None
    if (line := await peer.stdout.readline()).strip() != wanted:
        raise RuntimeError(f"the peer said {line!r}")


def run(mode: str, messages: int = MESSAGES) -> Counted:
    """Count in a process of its own, so that log and threads are not shared.

    Raises:
        RuntimeError: it failed, or the log lacks messages.
    """
    folder = Folder("calls")
    try:
        arguments = ["count", mode, str(messages), str(folder.path)]
        command = [sys.executable, "-m", "tests.support.calls", *arguments]
        done = subprocess.run(command, env={**os.environ, **environment()}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        lines = (folder.path / "log").read_text().count("\n")
        if lines < messages:
            raise RuntimeError(f"{lines} lines in the log for {messages} messages")
        stats = pstats.Stats(str(folder.path / "profile"))
        found: dict[str, int] = json.loads(done.stdout)
        return Counted(found["messages"], found["loop"], found["threads"], stats)
    finally:
        folder.remove()


def count(mode: str, messages: str, folder: str) -> None:
    """Be that process."""
    found = uvloop.run(counted(Path(folder), mode, int(messages)))
    found.stats.dump_stats(f"{folder}/profile")
    _say(json.dumps({"messages": found.messages, "loop": found.loop, "threads": found.threads}))


# ---------------------------------------------------------------- the peer


class Sink(asyncio.Protocol):
    """A next hop that takes everything."""

    ANSWERS: ClassVar = {
        b"EHLO": b"250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
        b"DATA": b"354 go ahead\r\n",
        b"QUIT": b"221 2.0.0 Bye\r\n",
    }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._rest, self._in_message = cast(asyncio.Transport, transport), b"", False
        self._transport.write(b"220 sink.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        answers = []
        for line in lines:
            if self._in_message:
                if line == b".":
                    self._in_message = False
                    answers.append(b"250 2.0.0 Ok\r\n")
            else:
                verb = line[:4].upper()
                self._in_message = verb == b"DATA"
                answers.append(self.ANSWERS.get(verb, b"250 2.0.0 Ok\r\n"))
        self._transport.write(b"".join(answers))


class Clients:
    """Sessions that send their share of the messages, one command at a time."""

    def __init__(self, port: int, *, keep_open: bool) -> None:
        self._port, self.keep_open = port, keep_open
        self._idle: list[Client] = []
        self._left = 0
        self._connecting = TaskOwner("clients")

    async def send(self, messages: int) -> None:
        """Send `count` messages; return when each has its answer."""
        self._left, self._running, self._done = messages, min(SESSIONS, messages), asyncio.Event()
        kept, self._idle = self._idle, []
        for client in kept:
            self.turn(client)
        for _ in range(self._running - len(kept)):
            self._left -= 1
            await self._connect()
        await self._done.wait()

    async def _connect(self) -> None:
        await asyncio.get_running_loop().create_connection(partial(Client, self), "127.0.0.1", self._port)

    def turn(self, client: Client) -> None:
        """Give a client that has sent a message the next one."""
        if self._left and self.keep_open:
            self._left -= 1
            client.begin(MESSAGE)
        elif self._left:
            self._left -= 1
            spawn(self._connect(), name="connect", owner=self._connecting)
        else:
            if self.keep_open:
                self._idle.append(client)
            self._running -= 1
            if not self._running:
                self._done.set()


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, clients: Clients) -> None:
        self._clients, self._buffer = clients, b""
        last = () if clients.keep_open else (b"QUIT\r\n",)
        self._steps: Iterator[bytes] = iter((b"EHLO client.test\r\n", *MESSAGE, *last))

    def begin(self, steps: tuple[bytes, ...]) -> None:
        """Send these on an idle connection."""
        self._steps = iter(steps)
        self._transport.write(next(self._steps))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._buffer.endswith(b"\n") or self._buffer.rpartition(b"\r\n")[0].rpartition(b"\n")[2][3:4] == b"-":
            return
        if self._buffer[:1] not in b"23":
            sys.exit(f"an answer was {self._buffer!r}")
        self._buffer = b""
        if (step := next(self._steps, None)) is not None:
            self._transport.write(step)
            return
        if not self._clients.keep_open:
            self._transport.close()
        self._clients.turn(self)


def _known(name: str) -> Known:
    return Known(addresses=(EXCHANGER,)) if name.startswith("mx.") else Known(exchangers=((10, f"mx.{name}"),))


def keep(configuration: str, inside: str) -> None:
    """Be the keeper as well."""
    log_output.configure(sys.stderr)  # standard output is for answers
    assembly, _ = load(Path(configuration))
    maker = next(each for each in assembly.prepared if isinstance(each, VerifierMaker))
    verifier = maker.verifying(assembly.core).verifier
    counting = MemoryCounting()
    counting.ask(Delivered("greylist start", b"127.0.0.0/24", 10, 1e6))  # the policy knows the client
    KeeperService(verifier, [socket.socket(fileno=int(inside))], 1, counting).open()


async def peer(mode: str, listener: str, sink: str, exchanger: str, nameserver: str, *kept: str) -> None:
    """Be everything around the worker; send as many messages as each line of standard input says."""
    if kept:
        keep(*kept)
    loop = asyncio.get_running_loop()
    await Farm(_known, {EXCHANGER: Habit()}).start(int(exchanger), ("127.0.0.1", int(nameserver)))
    await loop.create_server(Sink, "127.0.0.1", int(sink), backlog=1024)
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    clients = Clients(int(listener), keep_open=mode == "kept")
    _say("ready")
    while line := await orders.readline():
        await clients.send(int(line))
        _say("sent")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(name: str, *arguments: str) -> None:
    """Be the peer, the worker, or count and print."""
    if name == "peer":
        uvloop.run(peer(*arguments))
    elif name == "count":
        count(*arguments)
    else:
        _say(f"{run(name).per_message:.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
