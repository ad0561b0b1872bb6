"""What a client's octets cost the front grows with their number and no faster, in CPU time of this thread."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from proxy.base.log import printable
from proxy.mail.message import Message
from proxy.mail.replies import Reply, reply
from proxy.mail.session import Path, Recipient, Session
from proxy.mail.stuffing import stuffed, unstuffed
from proxy.smtp.authentication import ExchangeFailed, credentials_of
from proxy.smtp.chunks import Chunk, ChunkReader, chunk_of
from proxy.smtp.commands.mail import sender_of
from proxy.smtp.commands.rcpt import recipient_of
from proxy.smtp.commands.verbs import VERBS
from proxy.smtp.connection import LONGEST_COMMAND, ClientGone, Connection, LineTooLong
from proxy.smtp.data import DataReader
from proxy.smtp.forwarded import BadProxyHeader, introduction_of, proxy_header
from proxy.smtp.pace import Pace
from proxy.smtp.pipeline import PhasePipeline
from proxy.smtp.plan import Plan
from proxy.smtp.ports import Front, Outbox, Relay
from proxy.smtp.reception import Reception
from proxy.smtp.running import Sessions
from proxy.smtp.syntax import parse
from tests.support.growth import MOST_GROWTH, assert_linear, seconds
from tests.support.worker import core

MIB = 1024 * 1024
Timed = Callable[[], object]


class Nowhere(asyncio.Transport):
    """A transport that takes everything and keeps nothing."""

    def write(self, data: Any) -> None:
        """Take it."""

    def pause_reading(self) -> None:
        """The test goes on feeding."""

    def resume_reading(self) -> None:
        """The test never stopped."""

    def is_closing(self) -> bool:
        return False


class Swallowing:
    """A relay that takes everything, and an outbox that has nothing."""

    upstream = "nowhere"

    async def recipients(self, _transaction: object, paths: list[Path]) -> list[Reply]:
        return [reply(250, "2.1.5", "Ok") for _ in paths]

    async def begin(self) -> None:
        """Nothing to say."""

    async def content(self, _block: bytes) -> None:
        """Taken."""

    async def finish(self, _block: bytes) -> Reply:
        return reply(250, "2.0.0", "Ok")

    def abort(self) -> None:
        """Nothing was begun."""

    async def hold(self, _session: Session) -> None:
        """Nothing to keep."""

    async def release(self, _session: Session) -> None:
        """Nothing to deliver."""

    def drop(self, _session: Session) -> None:
        """Nothing was kept."""


class Given:
    """A reader that has the message in blocks of one size."""

    bare_line_break = False

    def __init__(self, message: bytes, octets: int) -> None:
        self._blocks = iter([message[at : at + octets] for at in range(0, len(message), octets)] or [b""])
        self._next: bytes | None = next(self._blocks)
        self.size = 0
        self.finished = False

    async def block(self) -> bytes:
        found = self._next or b""
        self._next = next(self._blocks, None)
        self.finished = self._next is None
        self.size += len(found)
        return found

    async def drain(self, most: int) -> bool:
        del most
        while not self.finished:
            await self.block()
        return True


def front() -> Front:
    return Front(
        verbs=VERBS,
        settings=core(),
        pipeline=PhasePipeline([]),
        open_relay=lambda _session: cast(Relay, Swallowing()),
        capabilities=frozenset,
        session_ended=lambda _session: None,
        authenticator=cast(Any, None),
        sessions=Sessions(),
        outbox=cast(Outbox, Swallowing()),
    )


def received(message: bytes, octets: int) -> Timed:
    """Return a reception of the message in blocks of this size."""

    async def receive() -> Reply:
        session = Session(asyncio.get_running_loop(), ("192.0.2.1", 1), ("192.0.2.2", 25), core())
        session.transaction.add(Recipient(Path(b"bob@example.com", "bob", "example.com")))
        relay = cast(Relay, Swallowing())
        shared = front()
        plan = Plan(session.options, shared.pipeline)
        return await Reception(shared, plan, session, cast(Any, Given(message, octets)), relay, lambda: None).run()

    return lambda: asyncio.run(receive())


def streamed(read: Callable[[Connection], Any], wire: bytes, octets: int) -> Timed:
    """Return a reading of what a client sends in segments of this size."""

    async def both() -> None:
        stream = Connection(asyncio.get_running_loop(), Nowhere(), lambda: None)

        async def feed() -> None:
            for at in range(0, len(wire), octets):
                stream.received(wire[at : at + octets])
                await asyncio.sleep(0)
            stream.end()

        async with asyncio.TaskGroup() as group:
            group.create_task(feed())
            group.create_task(read(stream))

    return lambda: asyncio.run(both())


async def read_data(stream: Connection) -> None:
    reader = DataReader(stream, Pace(stream, 10.0, 0))
    while not reader.finished:
        await reader.block()


async def read_chunks(stream: Connection) -> None:
    async def following(_chunk: Chunk) -> Chunk:
        line = await stream.line(10.0)
        found = chunk_of(line[5:-2])
        assert found is not None
        return found

    first = await following(Chunk(0, last=False))
    reader = ChunkReader(stream, first, following, Pace(stream, 10.0, 0))
    while not reader.finished:
        await reader.block()


async def read_line(stream: Connection) -> None:
    with contextlib.suppress(LineTooLong, ClientGone):
        await stream.line(10.0)


async def no_challenge(_challenge: Reply) -> bytes:
    return b"*\r\n"


def logged_in(argument: bytes) -> Timed:
    def run() -> None:
        exchange = credentials_of(argument, no_challenge)
        try:
            exchange.send(None)
        except (StopIteration, ExchangeFailed):
            pass
        finally:
            exchange.close()

    return run


def parsed(line: bytes) -> Timed:
    options = core()
    return lambda: parse(line, options)


def growing(pieces: bytes) -> Timed:
    """Return the reading of a PROXY header that comes octet by octet."""

    def run() -> None:
        buffer = bytearray()
        for octet in pieces:
            buffer.append(octet)
            try:
                if proxy_header(buffer) is not None:
                    return  # as the server does; what follows is not read as a header again
            except BadProxyHeader:
                return

    return run


V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11"


def offered() -> frozenset[str]:
    return frozenset({"DSN", "AUTH", "SIZE", "SMTPUTF8"})


Case = tuple[int, Callable[[int], Timed]]


def message_cases() -> Iterator[tuple[str, Case]]:
    """Cases of a message's octets; sizes are octets, or lines, of the header section of 1 MiB that is permitted."""
    yield "chunks-of-one-octet", (MIB, lambda n: received(b"X: " + b"y" * n, 1))
    yield "chunks-of-one-octet-that-are-lines", (MIB // 5, lambda n: received(b"X:y\r\n" * n, 1))
    yield "chunks-of-one-octet-of-body", (64 * 1024, lambda n: received(b"\r\n" + b"y" * n, 1))
    yield "first-line-of-one-octet-chunks", (MIB, lambda n: received(b">" * n, 1))
    yield "chunks-of-one-octet-that-are-blanks", (MIB, lambda n: received(b"X" + b" " * n, 1))
    yield "mailbox-lines", (MIB // 7, lambda n: received(b"From \r\n" * n, 4096))
    yield "received-fields", (MIB // 12, lambda n: received(b"Received:x\r\n" * n, 4096))
    yield "folded-lines", (MIB // 4, lambda n: lambda: Message(b"X: y\r\n" + b" z\r\n" * n).header("x"))
    yield "fields", (MIB // 4, lambda n: lambda: Message(b"X:\r\n" * n).header("x"))
    yield "blanks-before-a-colon", (MIB, lambda n: lambda: Message(b"X" + b" " * n + b"\r\n").header("x"))
    yield "bare-cr-in-a-field", (MIB, lambda n: lambda: Message(b"X: " + b"\r" * n + b"y\r\n").header("x"))
    yield "field-of-words-written", (MIB // 2, lambda n: lambda: Message(b"").add_header("X", "a " * n))
    yield "field-of-blanks-written", (MIB, lambda n: lambda: Message(b"").add_header("X", "a" + " " * n + "b"))
    yield "blanks-at-the-end-written", (MIB, lambda n: lambda: Message(b"").add_header("X", "a" * 900 + " " * n))
    yield "blanks-alone-written", (MIB, lambda n: lambda: Message(b"").add_header("X", " \t" * n))
    yield "deleted-fields", (MIB // 4, lambda n: lambda: Message(b"X:\r\n" * n).delete_header("x"))
    yield "stuffing", (MIB, lambda n: lambda: unstuffed(stuffed(b"\r\n." * n)))
    yield "line-breaks-of-a-body", (MIB, lambda n: lambda: Message(b"").replace_body(b"\r\n\r" * n))


def stream_cases() -> Iterator[tuple[str, Case]]:
    """Cases of a session's octets, before anybody knows what they are."""
    yield "data-by-the-octet", (MIB, lambda n: streamed(read_data, b"y" * n + b"\r\n.\r\n", 1))
    yield "data-of-almost-ends", (MIB, lambda n: streamed(read_data, b"\r\n.\r" * n + b"\r\n.\r\n", 4096))
    yield "data-of-lines", (MIB, lambda n: streamed(read_data, b"y\r\n" * n + b".\r\n", 65536))
    yield "chunks-read", (240_000, lambda n: streamed(read_chunks, b"BDAT 1\r\ny" * n + b"BDAT 0 LAST\r\n", 65536))
    yield (
        "chunks-read-by-the-octet",
        (
            240_000,
            lambda n: streamed(read_chunks, b"BDAT 1\r\ny" * n + b"BDAT 0 LAST\r\n", 1),
        ),
    )
    yield "one-chunk-of-dots", (MIB, lambda n: streamed(read_chunks, b"BDAT %d LAST\r\n" % (3 * n) + b"\r\n." * n, 7))
    yield "endless-line", (128 * 1024, lambda n: streamed(read_line, b"y" * n, 1))
    yield "proxy-header-of-65551-octets", (65_536, lambda n: growing(V2 + (min(n, 65535)).to_bytes(2) + bytes(n)))
    yield "proxy-line", (107, lambda n: growing(b"PROXY TCP4 " + b"1" * n))


def command_cases() -> Iterator[tuple[str, Case]]:
    """Cases of one command line, which LONGEST_COMMAND bounds."""
    options, most = core(), LONGEST_COMMAND
    for name, octets in {
        "letters": b"a", "blanks": b" ", "tabs": b"\t", "blank-and-tab": b" \t", "colons": b":", "less": b"<",
        "dots": b".", "hyphens": b"-", "quotes": b'"', "backslashes": b"\\", "quoted-pairs": b'\\"', "at": b"@",
        "comma": b"@a,", "equals": b"=", "parameters": b" A=B", "sizes": b" SIZE=1", "plus": b"+41", "brackets": b"[",
        "literal": b"[IPv6:", "utf8": "\u00e9".encode(), "combining": "e\u0301".encode(), "labels": b"a.",
        "no-utf8": b"\xc3", "greater": b">",
    }.items():  # fmt: skip

        def of(n: int, octets: bytes = octets) -> bytes:
            return (octets * n)[:n]

        yield f"mail-local-part-{name}", (
            most, lambda n, of=of: lambda: sender_of(b"FROM:<" + of(n) + b"@s.test>", options, offered),
        )  # fmt: skip
        yield f"mail-quoted-{name}", (
            most, lambda n, of=of: lambda: sender_of(b'FROM:<"' + of(n) + b'"@s.test>', options, offered),
        )  # fmt: skip
        yield f"mail-domain-{name}", (
            most, lambda n, of=of: lambda: sender_of(b"FROM:<a@" + of(n) + b"> SMTPUTF8", options, offered),
        )  # fmt: skip
        yield f"mail-parameters-{name}", (
            most, lambda n, of=of: lambda: sender_of(b"FROM:<a@s.test> " + of(n), options, offered),
        )  # fmt: skip
        yield f"rcpt-{name}", (
            most, lambda n, of=of: lambda: recipient_of(b"TO:" + of(n), options, offered, utf8=True),
        )  # fmt: skip
        yield f"rcpt-orcpt-{name}", (
            most,
            lambda n, of=of: lambda: recipient_of(b"TO:<> ORCPT=rfc822;" + of(n), options, offered, utf8=True),
        )  # fmt: skip
        yield f"line-{name}", (most, lambda n, of=of: parsed(of(n) + b"\r\n"))
        yield f"command-{name}", (most, lambda n, of=of: parsed(b"NOOP " + of(n) + b"x\r\n"))
        yield f"verb-{name}", (most, lambda n, of=of: parsed(b"NOOP" + of(n) + b"\r\n"))
        yield f"verb-{name}-tab", (most, lambda n, of=of: parsed(b"NOOP " + of(n) + b"\t\r\n"))
        yield f"xclient-{name}", (most, lambda n, of=of: lambda: introduction_of(b"NAME=" + of(n)))
        yield f"log-{name}", (most, lambda n, of=of: lambda: printable(of(n), n))
        yield f"auth-{name}", (most, lambda n, of=of: logged_in(b"PLAIN " + of(n)))
        yield f"auth-decoded-{name}", (most, lambda n, of=of: logged_in(b"PLAIN " + base64.b64encode(of(n))))
    yield "auth-nul", (most, lambda n: logged_in(b"PLAIN " + base64.b64encode(b"\0" * n)))
    yield "xclient-words", (most, lambda n: lambda: introduction_of(b"NAME=a " * n))
    yield "bdat", (most, lambda n: lambda: chunk_of(b"1" * n))


CASES = {**dict(message_cases()), **dict(stream_cases()), **dict(command_cases())}


@pytest.mark.parametrize("name", CASES)
def test_four_times_the_octets_cost_no_more_than_six_times_the_time(name: str) -> None:
    largest, make = CASES[name]
    assert_linear(name, make, largest=largest)


def test_what_is_quadratic_is_found() -> None:
    def make(size: int) -> Timed:
        def run() -> None:
            text = b""
            for _ in range(size):
                text = b"x" + text

        return run

    assert seconds(make, 200_000, 2) / seconds(make, 50_000, 2) > MOST_GROWTH
