"""A client that ends its side of TLS: in TLS 1.3 it gets its answers as in the clear, in 1.2 its session is over."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

import pytest
import trustme
from structlog.testing import capture_logs

from tests.support.exchanger import Exchanger, Step, says
from tests.support.waiting import BOUND, eventually
from tests.support.worker import ALICE, BOB, WorkerStage, serving

ACCEPTED = b"250 2.0.0 Ok: queued as 000001\r\n"
BYE = b"221 2.0.0 Bye\r\n"
MESSAGE = b"Subject: x\r\n\r\ntext\r\n.\r\n"


@pytest.fixture
def options(tmp_path: Path) -> dict[str, object]:
    trustme.CA().issue_cert("mx.test").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "certificate.pem"))
    return {"TLS_Certificate": f'"{tmp_path}/certificate.pem"', "Implicit_TLS": "true"}


class Client:
    """TLS by hand over a TCP connection: each side ends when the test says so."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: ssl.TLSVersion) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self._reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int, version: ssl.TLSVersion) -> Self:
        client = cls(*await asyncio.open_connection("127.0.0.1", port), version)
        async with asyncio.timeout(BOUND):
            while True:
                try:
                    client._tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    client.flush()
                    client._incoming.write(await client._reader.read(65536))
        client.flush()
        return client

    def flush(self) -> None:
        self.writer.write(self._outgoing.read())

    def put(self, octets: bytes) -> None:
        """Encrypt octets; they leave with the next `flush`."""
        self._tls.write(octets)

    def notify(self) -> None:
        """Encrypt a close_notify."""
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()

    async def until(self, end: bytes) -> bytes:
        """Return what comes up to `end`."""
        found = b""
        async with asyncio.timeout(BOUND):
            while not found.endswith(end):
                found += await self._some()
        return found

    async def rest(self) -> tuple[bytes, bool]:
        """Return what comes until the server closes, and whether it said so within TLS."""
        found = b""
        async with asyncio.timeout(BOUND):
            while some := await self._some():
                found += some
        return found, not self._cut

    _cut = False

    async def _some(self) -> bytes:
        while True:
            try:
                return self._tls.read(65536)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                received = await self._reader.read(65536)
                if not received:
                    self._cut = True
                    return b""
                self._incoming.write(received)

    async def envelope(self) -> None:
        await self.until(b"\r\n")
        for line in (b"EHLO client.test", f"MAIL FROM:<{ALICE}>".encode(), f"RCPT TO:<{BOB}>".encode(), b"DATA"):
            self.put(line + b"\r\n")
            self.flush()
            while True:
                answer = await self.until(b"\r\n")
                if answer.split(b"\r\n")[-2][3:4] == b" ":
                    break


@asynccontextmanager
async def in_data(stage: WorkerStage, version: ssl.TLSVersion) -> AsyncIterator[Client]:
    client = await Client.open(stage.port, version)
    try:
        await client.envelope()
        yield client
    finally:
        client.writer.close()


@pytest.mark.parametrize("fin", [False, True], ids=["close_notify", "close_notify-and-fin"])
@pytest.mark.parametrize("pieces", [1, 2, 3], ids=lambda pieces: f"{pieces}-pieces")
async def test_in_tls_1_3_content_dot_quit_and_close_notify_get_their_answers(
    options: dict[str, object],
    fin: bool,  # noqa: FBT001 — a case
    pieces: int,
) -> None:
    async with Exchanger() as upstream, serving(upstream, **options) as stage:
        async with in_data(stage, ssl.TLSVersion.TLSv1_3) as client:
            client.put(MESSAGE)
            if pieces > 2:
                client.flush()
            client.put(b"QUIT\r\n")
            if pieces > 1:
                client.flush()
            client.notify()
            client.flush()
            if fin:
                client.writer.write_eof()
            assert await client.rest() == (ACCEPTED + BYE, True)
        assert [each.content[-8:] for each in upstream.messages] == [b"\r\ntext\r\n"]


async def test_in_tls_1_3_a_message_larger_than_every_buffer_gets_its_answer(options: dict[str, object]) -> None:
    async with Exchanger() as upstream, serving(upstream, **options) as stage:
        async with in_data(stage, ssl.TLSVersion.TLSv1_3) as client:
            for _ in range(64):
                client.put(b"x" * 70 + b"\r\n" * 1)
                client.put((b"x" * 70 + b"\r\n") * 200)
                client.flush()
            client.put(b".\r\nQUIT\r\n")
            client.notify()
            client.flush()
            client.writer.write_eof()
            assert await client.rest() == (ACCEPTED + BYE, True)
        assert len(upstream.messages) == 1


async def test_in_tls_1_3_a_client_that_ends_without_a_dot_leaves_no_message(options: dict[str, object]) -> None:
    async with Exchanger() as upstream, serving(upstream, **options) as stage:
        async with in_data(stage, ssl.TLSVersion.TLSv1_3) as client:
            client.put(b"Subject: x\r\n\r\n")
            client.notify()
            client.flush()
            assert (await client.rest())[0] == b""
        await stage.ended()
        assert upstream.messages == []


async def test_in_tls_1_3_a_fin_without_close_notify_ends_the_session(options: dict[str, object]) -> None:
    async with Exchanger() as upstream, serving(upstream, **options) as stage:
        async with in_data(stage, ssl.TLSVersion.TLSv1_3) as client:
            client.put(b"Subject: x\r\n\r\ntext")
            client.flush()
            client.writer.write_eof()
            assert (await client.rest())[0] == b""
        await stage.ended()
        assert upstream.messages == []


async def test_in_tls_1_2_close_notify_ends_the_session(options: dict[str, object]) -> None:
    async with Exchanger() as upstream, serving(upstream, **options) as stage:
        async with in_data(stage, ssl.TLSVersion.TLSv1_2) as client:
            client.put(b"Subject: x\r\n\r\ntext")
            client.notify()
            client.flush()
            assert (await client.rest())[0] == b""
        await stage.ended()
        assert upstream.messages == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_a_verdict_after_our_dot_is_awaited_and_logged(
    options: dict[str, object], version: ssl.TLSVersion
) -> None:
    verdict = asyncio.Event()
    acts = {Step.DOT: says("250 2.0.0 Ok: queued as 000001", until=verdict)}
    with capture_logs() as log:
        async with Exchanger(script=acts) as upstream, serving(upstream, **options) as stage:
            async with in_data(stage, version) as client:
                client.put(MESSAGE)
                client.flush()
                await upstream.until(lambda: bool(upstream.held), "our dot is there")
                client.notify()
                client.flush()
                if version is ssl.TLSVersion.TLSv1_2:
                    (session,) = stage.worker.front.live
                    await eventually(lambda: session.connection.lost, "the connection is over")
                verdict.set()
                await client.rest()
            await stage.ended()
    (message,) = (each for each in log if each["event"] == "message")
    assert message["reply"] == "250 2.0.0 Ok: queued as 000001"
