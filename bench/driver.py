"""Clients that smtp-source cannot be: over TLS, from many addresses, with many senders and recipients, pipelining.

`python -m bench.driver` reads a `Plan` as JSON from standard input, sends it, and prints an `Outcome` as JSON. It is
one process with plain sockets and epoll, so that it costs less than what it measures: 30 to 90 µs a message in the
clear.
It is a closed loop, as smtp-source is: each session says its next command when the last is answered. Every reply is
looked at; the first that should not be ends the run.
"""

from __future__ import annotations

import json
import random
import select
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

IP_BIND_ADDRESS_NO_PORT = 24
"""From linux/in.h: the port is chosen at connect(2), so that each address has all of them."""

SILENCE_SECONDS = 30
"""The run is given up if no reply comes for this time."""

RECIPIENTS = ((80, 1, 1), (15, 2, 5), (4, 6, 20), (1, 50, 50))
"""Of a hundred messages, how many have how many recipients, from and to: 2.3 on average."""

MOST_REFUSED, LEAVES = 11, 8
"""Refused recipients of a message, and of a session before it leaves: Ringback ends it after twenty errors."""

SPARE = 0.41
"""Share of those refused among recipients that are not a message's first: a fifth of all. Half are refused by us (no
relaying), half by the next hop."""

LINE = b"X" * 62 + b"\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is sent, and how."""

    port: int
    messages: int
    size: int = 4096
    sessions: int = 20
    per_connection: int = 1
    """Messages before QUIT."""
    addresses: int = 1
    """Clients' addresses, in turn: 127.0.1.1, 127.0.1.2, …"""
    senders: int = 1
    domains: int = 1
    varied: bool = False
    """Many recipients, some of which are refused, and commands pipelined as Postfix's client does."""
    every_sender: bool = False
    """Each sender in turn, to have all of them remembered."""
    certificate: str = ""
    """The authority's, in a file: STARTTLS before the first message. Sessions are never resumed."""
    seed: int = 1


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    seconds: float = 0.0
    messages: int = 0
    recipients: int = 0
    refused: int = 0
    processor: float = 0.0
    """Seconds of processor time of the driver itself."""
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """Octets to send, and the first digits of the replies that they must have."""

    octets: bytes
    wanted: str


class Mail:
    """The messages of a plan, in a fixed order."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._random = plan, random.Random(plan.seed)
        head = b"From: <ok@ok.test>\r\nSubject: driven\r\n\r\n"
        self._content = Step(head + LINE * ((plan.size - len(head)) // len(LINE)) + b".\r\n", "2")
        self._number = 0
        self._plain = self._lockstep()

    def steps(self) -> tuple[Step, ...]:
        """Return the next message's."""
        if not (self._plan.varied or self._plan.every_sender):
            return self._plain
        sender = self._number if self._plan.every_sender else self._random.randrange(self._plan.senders)
        self._number += 1
        return self._pipelined(self._sender(sender % self._plan.senders))

    def _sender(self, number: int) -> bytes:
        return b"u%d@d%d.test" % (number, number % self._plan.domains) if self._plan.senders > 1 else b"ok@ok.test"

    def _lockstep(self) -> tuple[Step, ...]:
        sender = Step(b"MAIL FROM:<%b>\r\n" % self._sender(0), "2")
        return sender, Step(b"RCPT TO:<u@example.com>\r\n", "2"), Step(b"DATA\r\n", "3"), self._content

    def _pipelined(self, sender: bytes) -> tuple[Step, ...]:
        lines, wanted = [b"MAIL FROM:<%b>\r\nRCPT TO:<u@example.com>\r\n" % sender], "22"
        refused = 0
        for number in range(1, self._count() if self._plan.varied else 1):
            is_refused = refused < MOST_REFUSED and self._random.random() < SPARE
            refused += is_refused
            lines.append(self._recipient(number, is_refused=is_refused))
            wanted += "5" if is_refused else "2"
        return Step(b"".join((*lines, b"DATA\r\n")), wanted + "3"), self._content

    def _count(self) -> int:
        drawn = self._random.randrange(100)
        for share, least, most in RECIPIENTS:
            if drawn < share:
                return self._random.randint(least, most)
            drawn -= share
        raise AssertionError

    def _recipient(self, number: int, *, is_refused: bool) -> bytes:
        if not is_refused:
            return b"RCPT TO:<u%d@example.com>\r\n" % number
        if number % 2:
            return b"RCPT TO:<u%d@elsewhere.invalid>\r\n" % number
        return b"RCPT TO:<nobody%d@example.com>\r\n" % number


EHLO, QUIT, STARTTLS = Step(b"EHLO client.test\r\n", "2"), Step(b"QUIT\r\n", "2"), Step(b"STARTTLS\r\n", "2")
GREETING = Step(b"", "2")
HANDSHAKE = Step(b"", "")


class UnexpectedReplyError(RuntimeError):
    """A reply that makes the run worthless."""


class Session:
    """One connection: its steps, and what it waits for."""

    __slots__ = ("buffer", "context", "expected", "socket", "steps")

    def __init__(self, driver: Driver, address: str) -> None:
        self.buffer, self.expected, self.context = b"", GREETING.wanted, driver.context
        self.steps = driver.dialogue(self)
        next(self.steps)  # the greeting
        self.socket = socket.socket()
        if driver.plan.addresses > 1:
            self.socket.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            self.socket.bind((address, 0))
        self.socket.settimeout(SILENCE_SECONDS)
        self.socket.connect(("127.0.0.1", driver.plan.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def send(self, octets: bytes) -> None:
        """Send it all; what the kernel does not take at once is waited for."""
        try:
            sent = self.socket.send(octets)
        except (BlockingIOError, ssl.SSLWantWriteError):
            sent = 0
        if sent < len(octets):
            self.socket.settimeout(SILENCE_SECONDS)
            self.socket.sendall(octets[sent:])
            self.socket.setblocking(False)

    def wrap(self) -> None:
        """Begin TLS; the handshake is still to be made."""
        assert self.context is not None
        self.socket = self.context.wrap_socket(
            self.socket, server_hostname="ringback.test", do_handshake_on_connect=False
        )


class Driver:
    """Sends a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.outcome = plan, Outcome()
        self._mail, self._left, self._opened = Mail(plan), plan.messages, 0
        self._epoll = select.epoll()
        self._sessions: dict[int, Session] = {}
        self.context = ssl.create_default_context(cafile=plan.certificate) if plan.certificate else None

    def run(self) -> Outcome:
        """Send it all."""
        began, used = time.perf_counter(), time.process_time()
        try:
            for _ in range(min(self.plan.sessions, self.plan.messages)):
                self._open()
            while self._sessions:
                self._turn()
        except (UnexpectedReplyError, OSError) as error:
            self.outcome.failed = str(error) or type(error).__name__
        self.outcome.seconds, self.outcome.processor = time.perf_counter() - began, time.process_time() - used
        return self.outcome

    def _turn(self) -> None:
        events = self._epoll.poll(SILENCE_SECONDS)
        if not events:
            raise UnexpectedReplyError(f"no reply for {SILENCE_SECONDS} s")
        for descriptor, _ in events:
            self._read(self._sessions[descriptor])

    def dialogue(self, session: Session) -> Iterator[Step]:
        """Yield what a session says; its answer is there when the next step is asked for."""
        yield GREETING
        yield EHLO
        if self.context is not None:
            yield STARTTLS
            session.wrap()
            yield HANDSHAKE
            yield EHLO
        refused = 0
        for _ in range(self.plan.per_connection):
            if self._left <= 0:
                break
            self._left -= 1
            steps = self._mail.steps()
            yield from steps
            refused += (here := steps[0].wanted.count("5"))
            self.outcome.messages += 1
            self.outcome.recipients += max(1, len(steps[0].wanted) - 2)
            self.outcome.refused += here
            if refused > LEAVES:
                break
        yield QUIT

    def _open(self) -> None:
        spread = self._opened % self.plan.addresses
        self._opened += 1
        session = Session(self, f"127.0.{1 + spread // 250}.{1 + spread % 250}")
        self._sessions[session.socket.fileno()] = session
        self._epoll.register(session.socket, select.EPOLLIN)

    def _close(self, session: Session) -> None:
        self._epoll.unregister(session.socket)
        del self._sessions[session.socket.fileno()]
        session.socket.close()
        if self._left > 0:
            self._open()

    def _read(self, session: Session) -> None:
        if not session.expected:
            self._shake(session)
            return
        while True:
            try:
                octets = session.socket.recv(16384)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            if not octets:
                raise UnexpectedReplyError(f"closed before a reply: {session.buffer!r}")
            if self._is_complete(session, octets):
                self._next(session)
                return  # the server has nothing to say before the next step

    def _is_complete(self, session: Session, octets: bytes) -> bool:
        """Tell whether all the step's replies are there.

        Raises:
            UnexpectedReplyError: one is not as it should be.
        """
        buffer = session.buffer = session.buffer + octets if session.buffer else octets
        if buffer[-1:] != b"\n":
            return False
        replies = [line for line in buffer.split(b"\n")[:-1] if line[3:4] != b"-"]
        if len(replies) < len(session.expected):
            return False
        for reply, wanted in zip(replies, session.expected, strict=True):
            if chr(reply[0]) != wanted:
                raise UnexpectedReplyError(f"{reply!r} where {wanted} was expected")
        session.buffer = b""
        return True

    def _next(self, session: Session) -> None:
        step = next(session.steps, None)
        if step is None:
            self._close(session)
            return
        session.expected = step.wanted
        if step is HANDSHAKE:
            self._shake(session)
        else:
            session.send(step.octets)

    def _shake(self, session: Session) -> None:
        assert isinstance(session.socket, ssl.SSLSocket)
        try:
            session.socket.do_handshake()
        except ssl.SSLWantReadError:
            return
        self._next(session)


def main() -> None:
    """Read a plan, send it, print what came of it."""
    outcome = Driver(Plan(**json.load(sys.stdin))).run()
    sys.stdout.write(json.dumps(asdict(outcome)) + "\n")


if __name__ == "__main__":
    main()
