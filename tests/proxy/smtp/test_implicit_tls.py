"""Listeners that speak TLS from the first byte, over real handshakes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from proxy.base.rejected import ConfigurationRejected
from proxy.smtp import dialogue
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.waiting import BOUND, eventually
from tests.support.worker import ALICE, BOB, LETTER, WorkerStage, assembly, serving

BANNER = "220 ringback.test ESMTP Ringback"
HEADER = b"PROXY TCP4 198.51.100.7 192.0.2.1 40025 465\r\n"
REFUSED_HEADER = b"PROXY UNKNOWN\r\n"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def write_certificate(authority: trustme.CA, folder: Path, name: str) -> None:
    issued = authority.issue_cert(name)
    issued.cert_chain_pems[0].write_to_path(str(folder / "certificate.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))


@pytest.fixture
def options(authority: trustme.CA, tmp_path: Path) -> dict[str, object]:
    write_certificate(authority, tmp_path, "mx.test")
    files = {"TLS_Certificate": f'"{tmp_path}/certificate.pem"', "TLS_Key": f'"{tmp_path}/key.pem"'}
    return {**files, "Implicit_TLS": "true"}


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@asynccontextmanager
async def encrypted(
    stage: WorkerStage, trusting: ssl.SSLContext, name: str = "mx.test"
) -> AsyncIterator[tuple[Conversation, asyncio.StreamWriter]]:
    """Connect, shake hands, and see to it that the connection is closed."""
    async with asyncio.timeout(BOUND):
        reader, writer = await asyncio.open_connection(stage.address, stage.port, ssl=trusting, server_hostname=name)
    client = Conversation(reader, writer)
    try:
        yield client, writer
    finally:
        await client.close()


async def test_the_handshake_comes_first_and_starttls_is_not_offered(
    options: dict[str, object], trusting: ssl.SSLContext
) -> None:
    async with Exchanger() as upstream, serving(upstream, **options) as stage:
        async with encrypted(stage, trusting) as (client, _):
            assert await client.reply() == BANNER
            assert "STARTTLS" not in await client.ehlo()
            assert await client.ask("STARTTLS") == "554 5.5.1 TLS already active"
            assert (await client.deliver(ALICE, [BOB], LETTER)).startswith("250")
            assert await client.ask("QUIT") == "221 2.0.0 Bye"
        assert b"with ESMTPS" in upstream.messages[0].content


async def test_a_renewed_certificate_is_in_force_for_the_next_handshake(
    options: dict[str, object], trusting: ssl.SSLContext, authority: trustme.CA, tmp_path: Path
) -> None:
    async with serving(**options) as stage:
        for name in ("mx.test", "renewed.test"):
            write_certificate(authority, tmp_path, name)
            async with encrypted(stage, trusting, name) as (client, writer):
                assert await client.reply() == BANNER
                assert writer.get_extra_info("peercert")["subjectAltName"] == (("DNS", name),)


async def test_a_client_that_speaks_in_the_clear_is_cut_off_and_nobody_else(
    options: dict[str, object], trusting: ssl.SSLContext
) -> None:
    async with serving(**options) as stage:
        with capture_logs() as log:
            client = await stage.connection()
            await client.send("EHLO client.test")
            assert b"220" not in await client.rest()
            await stage.ended()
        (failed,) = (each for each in log if each["event"] == "tls_failed")
        assert failed["client"] == "127.0.0.1"
        assert [each["event"] for each in log if each["log_level"] == "error"] == []
        async with encrypted(stage, trusting) as (good, _):
            assert await good.reply() == BANNER


async def test_a_client_that_leaves_before_its_handshake_costs_one_line(options: dict[str, object]) -> None:
    async with serving(**options) as stage:
        with capture_logs() as log:
            client = await stage.connection()
            await eventually(lambda: stage.sessions == 1, "the session has begun")
            await client.close()
            await stage.ended()
        assert [each["event"] for each in log] == ["tls_failed", "session"]


async def test_a_handshake_has_a_deadline(options: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogue, "HANDSHAKE_SECONDS", 0.05)
    async with serving(**options) as stage:
        assert await (await stage.connection()).rest() == b""


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_handshake_under_way_does_not_hold_up_the_end_nor_fail_it(
    options: dict[str, object], *, leaves: bool
) -> None:
    async with serving(**options) as stage:
        with capture_logs() as log:
            client = await stage.connection()
            await eventually(lambda: len(stage.worker.front.live) == 1, "the session has begun")
            if leaves:
                client.abort()
            await stage.worker.stop(now=True)
        assert [each["event"] for each in log] == ["stopping", "session", "stopped"]


def test_a_listener_without_a_certificate_is_a_mistake() -> None:
    with pytest.raises(ConfigurationRejected) as rejected:
        assembly(Implicit_TLS="true")
    (found,) = rejected.value.diagnostics
    assert found.message == "Implicit_TLS needs a certificate"
    assert found.span is not None


# ---------------------------------------------------------------- behind a load balancer


class Handshake:
    """The client's side of TLS as bytes, so that a test decides what travels together."""

    def __init__(self, trusting: ssl.SSLContext) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = trusting.wrap_bio(self._in, self._out, server_hostname="mx.test")

    def hello(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._out.read()

    async def read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Finish the handshake and return the first bytes that the server says within it."""
        done = False
        while True:
            try:
                if not done:
                    self._tls.do_handshake()
                    done = True
                    writer.write(self._out.read())
                return self._tls.read(1000)
            except ssl.SSLWantReadError:
                writer.write(self._out.read())
                received = await reader.read(4096)
                assert received, "the server closed"
                self._in.write(received)


@pytest.mark.parametrize("together", [0, 1, 5, 100, 10_000])
async def test_a_hello_that_travels_with_the_header_is_not_lost(
    options: dict[str, object], trusting: ssl.SSLContext, together: int
) -> None:
    networks = {"Proxy_Protocol_Networks": "( 127.0.0.1 )"}
    async with serving(**options, **networks) as stage:
        with capture_logs() as log:
            reader, writer = await asyncio.open_connection(stage.address, stage.port)
            shaken = Handshake(trusting)
            hello = shaken.hello()
            async with asyncio.timeout(BOUND):
                writer.write(HEADER + hello[:together])
                await writer.drain()
                await eventually(
                    lambda: "198.51.100.7" in stage.worker.front.clients, "the header and what came with it was read"
                )
                writer.write(hello[together:])
                assert await shaken.read(reader, writer) == BANNER.encode() + b"\r\n"
            writer.transport.abort()
            await stage.ended()
        (summary,) = (each for each in log if each["event"] == "session")
        assert (summary["client"], summary["via"]) == ("198.51.100.7", "127.0.0.1")


async def test_a_refused_header_is_answered_by_nothing_that_tls_would_misread(options: dict[str, object]) -> None:
    async with serving(**options, Proxy_Protocol_Networks="( 127.0.0.1 )") as stage:
        client = await stage.connection()
        await client.send_raw(REFUSED_HEADER)
        assert await client.rest() == b""


async def test_garbage_behind_the_header_fails_as_a_handshake(options: dict[str, object]) -> None:
    async with serving(**options, Proxy_Protocol_Networks="( 127.0.0.1 )") as stage:
        with capture_logs() as log:
            client = await stage.connection()
            await client.send_raw(HEADER + b"EHLO client.test\r\n")
            await client.rest()
            await stage.ended()
        assert [each["event"] for each in log] == ["tls_failed", "session"]
