"""The demo's mail servers: MailHost, used for the exchangers and the next hop, and AcceptedMessage.

They support just enough SMTP for a probe and a relay, and record every line. They have no TLS and no limits except a
deadline and a line length. Never expose them to a network.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.demo.timeline import PeerRole, Timeline

IDLE = 60.0
"""Seconds that a mail server of the demonstration waits for the next line."""

EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 10485760")


UNREADABLE = (asyncio.IncompleteReadError, asyncio.LimitOverrunError)
"""Raised by reading a line if the peer is gone or never ends the line."""

ROUTINE = frozenset({"EHLO", "HELO", "QUIT"})
"""Commands that look alike in every conversation."""

PLAIN_REPLIES = {
    "HELO": "250 Ok",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": "503 5.5.1 Need MAIL first",
    "DATA": "503 5.5.1 Need a recipient first",
    "RSET": "250 2.0.0 Ok",
    "NOOP": "250 2.0.0 Ok",
    "QUIT": "221 2.0.0 Bye",
}


@dataclass(frozen=True, slots=True)
class AcceptedMessage:
    """One message that a mail server accepted: its envelope, and the content with dots unstuffed."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


@dataclass(slots=True)
class OpenEnvelope:
    """The envelope of the transaction that is open."""

    sender: str | None = None
    recipients: list[str] = field(default_factory=list)


class MailHost:
    """A mail server with a name and a verdict on recipients. It remembers what it was asked.

    A `silent` one accepts connections and never sends anything.
    """

    def __init__(
        self, name: str, role: PeerRole, timeline: Timeline, *, verdict: Callable[[str], str], silent: bool = False
    ) -> None:
        """`verdict` maps a recipient to its reply line. Call `start` to listen."""
        self.name = name
        self.asked: list[str] = []
        self.deliveries: list[AcceptedMessage] = []
        self.connections = 0
        self.connected = asyncio.Event()
        self.on_delivery: Callable[[AcceptedMessage], None] | None = None
        self._role, self._timeline, self._verdict, self._silent = role, timeline, verdict, silent
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()

    async def start(self, address: str, port: int = 0) -> int:
        """Listen, and return the port.

        Raises:
            OSError: the address or port is not available.
        """
        self._server = await asyncio.start_server(self._serve, address, port)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Stop listening and end the running sessions."""
        if self._server is None:
            return
        self._server.close()
        for each in self._conversations:
            each.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)
        await self._server.wait_closed()

    def forget(self) -> None:
        """Start counting anew."""
        self.asked.clear()
        self.deliveries.clear()
        self.connections = 0
        self.connected.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one session. It ends if the peer leaves or is too slow."""
        task = asyncio.current_task()
        if task is not None:
            self._conversations.add(task)
            task.add_done_callback(self._conversations.discard)
        self.connections += 1
        self.connected.set()
        try:
            # The demo is closing: asyncio.streams would report the cancelled session as an error.
            with contextlib.suppress(OSError, *UNREADABLE, asyncio.CancelledError):
                if self._silent:
                    await self._say_nothing(reader)
                else:
                    await self._converse(reader, writer)
        finally:
            await hang_up(writer)

    async def _say_nothing(self, reader: asyncio.StreamReader) -> None:
        self._timeline.remark(self._role, self.name, "connects, and waits for a greeting that never comes")
        async with asyncio.timeout(IDLE):
            await reader.read(1)
        self._timeline.remark(self._role, self.name, "has waited long enough, and hangs up")

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transaction = OpenEnvelope()
        self._say(writer, f"220 {self.name} ESMTP", routine=True)
        while True:
            async with asyncio.timeout(IDLE):
                line = await self._hear(reader)
            verb = line[:4].upper()
            if verb == "DATA" and transaction.recipients:
                self._say(writer, "354 End data with <CR><LF>.<CR><LF>")
                async with asyncio.timeout(IDLE):
                    self._say(writer, self._deliver(transaction, await _content(reader)))
                transaction = OpenEnvelope()
            else:
                self._say(writer, *self._reply(verb, line, transaction), routine=verb in ROUTINE)
            await writer.drain()
            if verb == "QUIT":
                return

    def _reply(self, verb: str, line: str, transaction: OpenEnvelope) -> tuple[str, ...]:
        """Return the reply lines to a command that needs no more input."""
        if verb == "EHLO":
            *lines, last = (self.name, *EXTENSIONS)
            return (*(f"250-{each}" for each in lines), f"250 {last}")
        if verb == "RCPT" and transaction.sender is not None:
            return (self._recipient(_path(line), transaction),)
        if verb in {"MAIL", "RSET"}:
            transaction.sender = _path(line) if verb == "MAIL" else None
            transaction.recipients.clear()
        return (PLAIN_REPLIES.get(verb, "502 5.5.1 Command not implemented"),)

    def _recipient(self, address: str, transaction: OpenEnvelope) -> str:
        self.asked.append(address)
        reply = self._verdict(address)
        if reply.startswith("2"):
            transaction.recipients.append(address)
        return reply

    def _deliver(self, transaction: OpenEnvelope, content: bytes) -> str:
        delivery = AcceptedMessage(transaction.sender or "", tuple(transaction.recipients), content)
        self._timeline.remark(self._role, self.name, f"sends the message, {len(content)} bytes, and the final dot")
        self.deliveries.append(delivery)
        if self.on_delivery is not None:
            self.on_delivery(delivery)
        return f"250 2.0.0 Ok: queued as DEMO{next(self._numbers):04}"

    async def _hear(self, reader: asyncio.StreamReader) -> str:
        line = (await reader.readuntil(b"\r\n")).decode("utf-8", "backslashreplace").rstrip("\r\n")
        self._timeline.line(self._role, self.name, line, to_peer=True, routine=line[:4].upper() in ROUTINE)
        return line

    def _say(self, writer: asyncio.StreamWriter, *lines: str, routine: bool = False) -> None:
        writer.write("".join(f"{line}\r\n" for line in lines).encode())
        self._timeline.line(self._role, self.name, one_line(lines), to_peer=False, routine=routine)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Drop a connection, whatever state it is in; an aborted transport is closed in the loop's next turn."""
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def one_line(reply: tuple[str, ...] | list[str]) -> str:
    """Return a reply as one line: a multi-line reply's further lines follow in brackets."""
    first, *more = reply
    if not more:
        return first
    return f"{first[:3]} {first[4:]} [{', '.join(line[4:] for line in more)}]"


def _path(line: str) -> str:
    """Return the path of MAIL or RCPT without its angle brackets."""
    return line.partition("<")[2].partition(">")[0]


async def _content(reader: asyncio.StreamReader) -> bytes:
    """Read up to the line that holds only a dot; return the content with leading dots unstuffed."""
    lines = []
    while (line := await reader.readuntil(b"\r\n")) != b".\r\n":
        lines.append(line.removeprefix(b"."))
    return b"".join(lines)
