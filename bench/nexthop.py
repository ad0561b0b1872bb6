"""A next hop for `bench.same` that records each transaction and misbehaves once, at the step it is told.

It can misbehave in every way of tests/spec/relay/faults.txt that takes no time. Nothing here waits.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from tests.support.faulty import Event
from tests.support.ringback import ROOT

FAULTS = ROOT / "tests" / "spec" / "relay" / "faults.txt"
SLOW = ("is silent", "is slow", "refuses")
"""What an event does then that takes time, or happens before there is a connection."""

FRIENDLY = {
    "BANNER": b"220 next.test ESMTP\r\n",
    "EHLO": b"250-next.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250-CHUNKING\r\n"
    b"250-BINARYMIME\r\n250-ENHANCEDSTATUSCODES\r\n"
    b"250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR\r\n250 SIZE 10000000\r\n",
    "XCLI": b"220 next.test ESMTP\r\n",
    "MAIL": b"250 2.1.0 Ok\r\n",
    "RCPT": b"250 2.1.5 Ok\r\n",
    "DATA": b"354 go ahead\r\n",
    "DOT": b"250 2.0.0 Ok: queued\r\n",
    "BDAT": b"250 2.0.0 Ok: chunk\r\n",
    "QUIT": b"221 2.0.0 Bye\r\n",
}
OK, BAD_SEQUENCE = b"250 2.0.0 Ok\r\n", b"503 5.5.1 Bad sequence of commands\r\n"
UNKNOWN = b"550 5.1.1 no such user\r\n"
PROXY = b"\r\n\r\n\x00\r\nQUIT\n"
"""The first octets of a PROXY header, version 2; four more say how long it is."""

STEPS = ("BANNER", "EHLO", "MAIL", "RCPT", "DATA", "DOT")


def events() -> list[Event]:
    """Return the ways of the table that take no time."""
    section, found = "", []
    for line in FAULTS.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line
        elif section == "[events]" and line and not line.startswith("#"):
            name, written, *then = re.split(r"\s{2,}", line.strip())
            event = Event(name, "" if written == "-" else written, *then)
            if event.then not in SLOW:
                found.append(event)
    return found


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to misbehave, at the nth time that a step comes in a session."""

    step: str
    event: Event
    nth: int = 1


@dataclass(slots=True)
class Transaction:
    """What was said of one message."""

    sender: bytes
    recipients: list[bytes] = field(default_factory=list)
    content: bytes = b""
    is_committed: bool = False
    """Whether its dot came."""


class NextHop:
    """All connections of one Ringback."""

    def __init__(self) -> None:
        self.transactions: list[Transaction] = []
        self._fault: Fault | None = None
        self._seen: dict[str, int] = {}

    async def start(self, port: int) -> None:
        """Listen."""
        await asyncio.get_running_loop().create_server(partial(Connection, self), "127.0.0.1", port, backlog=1024)

    def begin(self, fault: Fault | None) -> None:
        """Forget what was recorded, and misbehave so from now on."""
        self.transactions, self._fault, self._seen = [], fault, {}

    def event_at(self, step: str) -> Event | None:
        """Return how to misbehave at this step now, if at all."""
        self._seen[step] = count = self._seen.get(step, 0) + 1
        fault = self._fault
        return fault.event if fault is not None and fault.step == step and fault.nth == count else None


class Connection(asyncio.Protocol):
    """One connection, which answers commands in their order."""

    def __init__(self, hop: NextHop) -> None:
        self._hop = hop
        self._buffer = b""
        self._transaction: Transaction | None = None
        self._state = "command"
        self._chunk, self._is_last = 0, False
        self._is_mute = False
        """Whether our side of the connection is closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._say("BANNER", FRIENDLY["BANNER"])

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._buffer.startswith(PROXY) and len(self._buffer) >= len(PROXY) + 4:
            self._buffer = self._buffer[len(PROXY) + 4 + int.from_bytes(self._buffer[14:16]) :]
        while self._buffer and not self._transport.is_closing() and self._step():
            pass

    def _step(self) -> bool:
        """Take one command, message or chunk; tell whether one was there."""
        if self._state == "content":
            return self._content()
        if self._state == "chunk":
            return self._take_chunk()
        line, found, rest = self._buffer.partition(b"\r\n")
        if not found:
            return False
        self._buffer = rest
        self._command(line)
        return True

    def _content(self) -> bool:
        whole, found, rest = (b"\r\n" + self._buffer).partition(b"\r\n.\r\n")
        if not found:
            return False
        self._buffer, self._state = rest, "command"
        self._commit(whole[2:] + b"\r\n")
        self._say("DOT", FRIENDLY["DOT"])
        return True

    def _take_chunk(self) -> bool:
        if len(self._buffer) < self._chunk:
            return False
        octets, self._buffer = self._buffer[: self._chunk], self._buffer[self._chunk :]
        self._state = "command"
        if self._transaction is not None:
            self._transaction.content += octets
        if self._is_last:
            self._commit(b"")
        self._say("DOT" if self._is_last else "BDAT", FRIENDLY["DOT" if self._is_last else "BDAT"])
        return True

    def _commit(self, content: bytes) -> None:
        if self._transaction is not None:
            self._transaction.content += content
            self._transaction.is_committed = True
        self._transaction = None

    def _command(self, line: bytes) -> None:
        verb = line[:4].upper().decode("latin-1")
        if verb == "MAIL":
            self._transaction = Transaction(line)
            self._hop.transactions.append(self._transaction)
            if not self._say("MAIL", FRIENDLY["MAIL"]).startswith(b"2"):
                self._transaction = None
        elif verb == "RCPT":
            self._recipient(line)
        elif verb in ("DATA", "BDAT"):
            self._message(verb, line)
        else:
            if verb == "RSET":
                self._transaction = None
            self._say(verb, FRIENDLY.get(verb, OK))
            if verb == "QUIT":
                self._transport.close()

    def _message(self, verb: str, line: bytes) -> None:
        if verb == "DATA":
            has_recipients = self._transaction is not None and bool(self._transaction.recipients)
            if self._say("DATA", FRIENDLY["DATA"] if has_recipients else BAD_SEQUENCE).startswith(b"354"):
                self._state = "content"
        else:
            _, size, *last = line.split()
            self._state, self._chunk, self._is_last = "chunk", int(size), bool(last)

    def _recipient(self, line: bytes) -> None:
        if self._transaction is None:
            self._say("RCPT", BAD_SEQUENCE)
            return
        unknown = line.upper().startswith(b"RCPT TO:<UNKNOWN")
        if self._say("RCPT", UNKNOWN if unknown else FRIENDLY["RCPT"]).startswith(b"2"):
            self._transaction.recipients.append(line)

    def _say(self, step: str, friendly: bytes) -> bytes:
        """Answer, or misbehave; return what was said."""
        event = self._hop.event_at(step)
        if self._is_mute:
            return b""
        if event is None:
            self._transport.write(friendly)
            return friendly
        said = event.reply(friendly)
        if said:
            self._transport.write(said)
        if event.then == "closes":
            self._transport.close()
        elif event.then == "half-closes":
            self._transport.write_eof()
            self._is_mute = True
        elif event.then == "resets":
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        return said
