"""Latency under a constant offered rate: an open loop, so that a slow server cannot slow the load that it is given.

Every message has its time on a fixed schedule, whatever became of those before it. Its latency counts from that time to
the answer to its dot, so that what waited behind a stall shows the stall (a closed loop leaves that out). A message
takes a connection that is free, or a new one; by choice each has a new one and the connection is part of its latency.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import cast

from bench.interpreter import without_collections
from bench.loads import RECIPIENT, SENDER, FailedRunError, Leg

LINE = b"X" * 62 + b"\r\n"
SETTLE_SECONDS = 0.5
"""The beginning of a run, uncounted: processes start, connections are made."""

MOST_CONNECTIONS = 100
"""That are kept open: as many as the closed loads have sessions, and fewer than Postfix has processes, each of which
serves one at a time. What is due beyond them waits."""

LAST_SECONDS = 30.0
"""For the last message to be answered."""


@dataclass(frozen=True, slots=True)
class Latency:
    """What one run showed, in milliseconds."""

    median: float
    p99: float
    rare: float
    """The slowest of a thousand messages."""


class Client(asyncio.Protocol):
    """One connection: it says the next command when the last is answered, and is given a message at a time."""

    def __init__(self, run: Steady) -> None:
        self._run = run
        self._steps: deque[bytes] = deque()
        self._due = 0.0
        self._buffer = b""

    def begin(self, due: float) -> None:
        """Send a message that was due at this time of the loop's clock; the connection is idle."""
        self._due = due
        self._steps.extend(self._run.steps)
        self._next()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connect_for(self, due: float) -> None:
        """Send a message over this connection as soon as the server has greeted."""
        self._due = due
        self._steps.extend((b"EHLO client.test\r\n", *self._run.steps))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._buffer.endswith(b"\n") or self._buffer.rpartition(b"\r\n")[0].rpartition(b"\n")[2][3:4] == b"-":
            return
        refused, self._buffer = self._buffer[:1] not in b"23", b""
        if refused:
            self._run.fail(f"an answer was {data!r}")
        elif self._steps:
            self._next()
        else:
            self._run.answered(self, self._due)

    def connection_lost(self, error: Exception | None) -> None:
        if self._steps:
            self._run.fail(f"a connection was lost: {error}")

    def _next(self) -> None:
        self.transport.write(self._steps.popleft())


class Steady:
    """One run at one server."""

    def __init__(self, port: int, rate: float, seconds: float, size: int, *, keep_open: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._port, self._rate, self._keep_open = port, rate, keep_open
        self._wanted = round(rate * seconds)
        self._failed: str | None = None
        self._idle: list[Client] = []
        self._connections = 0
        self._waiting: deque[float] = deque()
        self._done = asyncio.Event()
        self._taken: list[tuple[float, float]] = []
        head = b"From: <%b>\r\nSubject: steady\r\n\r\n" % SENDER.encode()
        content = head + LINE * ((size - len(head)) // len(LINE)) + b".\r\n"
        self.steps = (
            b"MAIL FROM:<%b>\r\n" % SENDER.encode(),
            b"RCPT TO:<%b>\r\n" % RECIPIENT.encode(),
            b"DATA\r\n",
            content,
        )

    async def run(self) -> Latency:
        """Offer the messages and return their latencies. Raises FailedRunError if one was not accepted."""
        start = self._loop.time()
        async with asyncio.TaskGroup() as connecting:
            for number in range(self._wanted):
                due = start + number / self._rate
                if (ahead := due - self._loop.time()) > 0:
                    await asyncio.sleep(ahead)
                self._waiting.append(due)
                if self._idle:
                    self._idle.pop().begin(self._waiting.popleft())
                elif not self._keep_open or self._connections < MOST_CONNECTIONS:
                    self._connections += 1
                    connecting.create_task(self._connect(self._waiting.popleft()))
        try:
            async with asyncio.timeout(LAST_SECONDS):
                await self._done.wait()
        except TimeoutError:
            self.fail(f"{len(self._taken)} of {self._wanted} messages were answered")
        for client in self._idle:
            client.transport.close()
        if self._failed is not None:
            raise FailedRunError(self._failed)
        counted = sorted(took for due, took in self._taken if due >= start + SETTLE_SECONDS)
        median, p99, rare = (counted[int(len(counted) * share)] * 1e3 for share in (0.5, 0.99, 0.999))
        return Latency(median, p99, rare)

    async def _connect(self, due: float) -> None:
        try:
            await self._loop.create_connection(lambda: self._client(due), "127.0.0.1", self._port)
        except OSError as error:
            self.fail(str(error))

    def _client(self, due: float) -> Client:
        client = Client(self)
        client.connect_for(due)
        return client

    def answered(self, client: Client, due: float) -> None:
        """Take the answer to a dot."""
        self._taken.append((due, self._loop.time() - due))
        if not self._keep_open:
            client.transport.write(b"QUIT\r\n")
            client.transport.close()
        elif self._waiting:
            client.begin(self._waiting.popleft())
        else:
            self._idle.append(client)
        if len(self._taken) == self._wanted:
            self._done.set()

    def fail(self, reason: str) -> None:
        """Note what makes the run worthless; the first reason is told."""
        self._failed = self._failed or reason
        self._done.set()


async def offer(leg: Leg, rate: float, seconds: float, size: int, *, keep_open: bool) -> Latency:
    """Offer messages of `size` octets at `rate` a second for some seconds. Raises FailedRunError."""
    before = leg.sink.count
    try:
        with without_collections():
            found = await Steady(leg.port, rate, seconds, size, keep_open=keep_open).run()
    except FailedRunError as failed:
        raise FailedRunError(f"{leg.name}: {failed}") from None
    await leg.arrived(before + round(rate * seconds))
    return found
