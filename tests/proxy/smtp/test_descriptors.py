"""A peer that does not read holds no descriptor for long, and counts as long as it holds one, in both roles."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.base import closing
from proxy.outgoing.handshake import Dial, Tls, dial
from proxy.outgoing.wire import Wire, WireBroken
from proxy.smtp import dialogue as subject
from proxy.smtp.connection import Connection
from tests.support.exchanger import Exchanger
from tests.support.waiting import BOUND, eventually
from tests.support.worker import WorkerStage, serving

TOO_MANY = "421 4.7.0 Too many sessions, try again later"


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, object]:
    authority = trustme.CA()
    authority.issue_cert("mx.test").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "certificate.pem"))
    return {"TLS_Certificate": f'"{tmp_path}/certificate.pem"'}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is closed be dropped at once where the peer does not read."""
    monkeypatch.setattr(closing, "CLOSE_SECONDS", 0.01)


class Deaf:
    """A client that sends and never reads."""

    def __init__(self, port: int) -> None:
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self.sock.settimeout(BOUND)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setblocking(False)

    async def fill(self, stage: WorkerStage, command: bytes = b"BDAT 0\r\n") -> None:
        """Send commands until the server waits for us to read; its session is the one that came last."""
        loop = asyncio.get_running_loop()
        held = await eventually(lambda: list(stage.worker.front.live), "the session has begun")
        sessions = [each for each in held if each.session.peer_address[1] == self.sock.getsockname()[1]]
        (session,) = sessions
        for line in (b"", b"EHLO client.test\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<bob@example.com>\r\n"):
            await loop.sock_sendall(self.sock, line)
            assert (await loop.sock_recv(self.sock, 1024))[:1] == b"2"
        while session.connection._pause.resumed is None:
            with contextlib.suppress(BlockingIOError):
                self.sock.send(command * 2000)
            await asyncio.sleep(0)

    def close(self) -> None:
        self.sock.close()


def sockets_of(stage: WorkerStage) -> int:
    return stage.worker.front.connections


async def test_a_client_that_does_not_read_counts_until_its_socket_is_gone() -> None:
    async with Exchanger() as upstream, serving(upstream, max_connections_per_client=1) as stage:
        deaf = Deaf(stage.port)
        await deaf.fill(stage)
        (session,) = stage.worker.front.live
        session.cut()
        assert await stage.worker._sessions.wait(BOUND)
        assert (await stage.conversation()).banner == TOO_MANY
        deaf.close()
        await eventually(lambda: not stage.worker.front.clients, "nobody is counted any more")
        assert (await stage.conversation()).banner.startswith("220 ")


@pytest.mark.usefixtures("soon")
async def test_a_client_that_does_not_read_is_cut_off_after_its_session() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        deaf = Deaf(stage.port)
        await deaf.fill(stage)
        (session,) = stage.worker.front.live
        session.cut()
        await eventually(lambda: not sockets_of(stage), "its socket is closed though it reads nothing")
        assert session.connection.lost
        deaf.close()


@pytest.mark.usefixtures("soon")
async def test_a_client_that_does_not_read_within_tls_is_cut_off_after_its_session(
    certificate: dict[str, object],
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with Exchanger() as upstream, serving(upstream, Implicit_TLS="true", **certificate) as stage:
        sock = socket.create_connection(("127.0.0.1", stage.port), timeout=BOUND)
        secured = await asyncio.to_thread(context.wrap_socket, sock)
        (session,) = stage.worker.front.live
        await eventually(lambda: session.session.ssl, "the handshake is done")
        session.cut()  # our close_notify is never answered
        await eventually(lambda: not sockets_of(stage), "its socket is closed")
        secured.close()


@pytest.mark.usefixtures("soon")
async def test_a_handshake_that_never_ends_holds_no_descriptor(
    certificate: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "HANDSHAKE_SECONDS", 0.01)
    options = {"Implicit_TLS": "true", "max_connections_per_client": 1, **certificate}
    async with Exchanger() as upstream, serving(upstream, **options) as stage:
        silent = await stage.connection()
        await eventually(lambda: sockets_of(stage), "the connection counts")
        await eventually(lambda: not sockets_of(stage), "its socket is closed, and it counts no more")
        assert not stage.worker.front.clients
        assert await silent.rest() == b""


async def test_all_that_is_limited_counts_until_the_socket_is_gone() -> None:
    async with Exchanger() as upstream, serving(upstream, service_sessions=1) as stage:
        deaf = Deaf(stage.port)
        await deaf.fill(stage)
        (session,) = stage.worker.front.live
        session.cut()
        assert await stage.worker._sessions.wait(BOUND)
        assert (await stage.conversation()).banner == TOO_MANY
        deaf.close()


# ---------------------------------------------------------------- timers


class Held(asyncio.Transport):
    """A transport whose peer takes nothing: once closed it stays until it is aborted."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def write(self, data: Any) -> None:
        self.said.append(bytes(data).decode().strip())

    def is_closing(self) -> bool:
        return "close" in self.said

    def close(self) -> None:
        self.said.append("close")

    def abort(self) -> None:
        self.said.append("abort")


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.TimerHandle]:
    """Return the timers of what is closed."""
    found: list[asyncio.TimerHandle] = []
    real = closing.close

    def close(transport: asyncio.BaseTransport) -> asyncio.TimerHandle:
        found.append(real(transport))
        return found[-1]

    monkeypatch.setattr(closing, "close", close)
    return found


def test_what_is_closed_has_ten_seconds() -> None:
    assert closing.CLOSE_SECONDS == 10.0


@pytest.mark.usefixtures("soon")
async def test_a_client_that_is_not_gone_in_time_is_aborted() -> None:
    transport = Held()
    stream = Connection(asyncio.get_running_loop(), transport, lambda: None)
    stream.send(b"221 2.0.0 Bye\r\n")
    stream.close()
    await eventually(lambda: "abort" in transport.said, "it is dropped")
    assert transport.said == ["221 2.0.0 Bye", "close", "abort"]


async def test_a_client_that_goes_in_time_is_not_aborted(timers: list[asyncio.TimerHandle]) -> None:
    stream = Connection(asyncio.get_running_loop(), Held(), lambda: None)
    stream.close()
    stream.lose()
    (timer,) = timers
    assert timer.cancelled()


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("ends", ["close", "eof"])
async def test_an_mta_that_is_not_gone_in_time_is_aborted(timers: list[asyncio.TimerHandle], ends: str) -> None:
    transport = Held()
    wire = Wire(transport, {})
    if ends == "close":
        wire.close()
        wire.close()
    else:
        wire.eof_received()
    await eventually(lambda: "abort" in transport.said, "it is dropped")
    assert transport.said == ["close", "abort"]
    assert len(timers) == 1


async def test_an_mta_that_goes_in_time_is_not_aborted(timers: list[asyncio.TimerHandle]) -> None:
    wire = Wire(Held(), {})
    wire.close()
    wire.connection_lost(None)
    (timer,) = timers
    assert timer.cancelled()


async def test_quit_ends_when_the_connection_is_gone_or_was_dropped() -> None:
    for answers in (True, False):
        transport = Held()
        wire = Wire(transport, {})
        leaving = asyncio.get_running_loop().create_task(wire.quit(0.01 if not answers else BOUND))
        await asyncio.sleep(0)
        wire.data_received(b"221 2.0.0 Bye\r\n")
        await eventually(lambda: "close" in transport.said, "it is closed")  # noqa: B023 — called within the round
        assert not leaving.done()
        if answers:
            wire.connection_lost(None)
        await leaving
        assert transport.said == ["QUIT", "close"] + ["abort"] * (not answers)


# ---------------------------------------------------------------- as a client


@pytest.fixture
async def never_reading() -> AsyncIterator[tuple[int, list[socket.socket]]]:
    """Return the port of a server that greets and then neither reads nor closes, and its connections."""
    held: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    loop = asyncio.get_running_loop()

    async def serve() -> None:
        while True:
            sock, _ = await loop.sock_accept(listener)
            held.append(sock)
            await loop.sock_sendall(sock, b"554 5.3.2 No\r\n")

    task = loop.create_task(serve())
    try:
        yield listener.getsockname()[1], held
    finally:
        task.cancel()
        listener.close()
        for each in held:
            each.close()


async def test_a_greeting_that_refuses_us_leaves_no_descriptor(
    never_reading: tuple[int, list[socket.socket]], timers: list[asyncio.TimerHandle]
) -> None:
    port, _ = never_reading
    with pytest.raises(Exception, match="554"):
        await dial(Dial("127.0.0.1", port, "us.test", BOUND, BOUND))
    (timer,) = timers
    await eventually(timer.cancelled, "the connection is gone in time, and the timer with it")


@pytest.mark.usefixtures("soon")
async def test_an_mta_that_ends_no_handshake_holds_no_descriptor() -> None:
    gone = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 x ESMTP\r\n")
        await reader.readline()
        writer.write(b"250-x\r\n250 STARTTLS\r\n")
        await reader.readline()
        writer.write(b"220 go\r\n")
        while await reader.read(1024):
            pass
        gone.set()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    target = Dial("127.0.0.1", port, "us.test", BOUND, 0.5, Tls("required", ssl.create_default_context(), "x.test"))
    with pytest.raises((TimeoutError, WireBroken)):
        await dial(target)
    async with asyncio.timeout(BOUND):
        await gone.wait()
    server.close()
    await server.wait_closed()
