"""What one client costs the others: octets held for it, turns, depth of the stack; and what an idle session costs."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import proxy
from proxy.mail.address import path_of
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.mail.verdict import Verdict
from proxy.smtp.connection import SMALL_READ
from proxy.smtp.protocol import SmtpProtocol
from proxy.upstream.promises import Promises
from sieve.phases import Phase
from tests.support.calls import Sink
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.waiting import BOUND, eventually
from tests.support.worker import ALICE, BOB, WorkerStage, serving

MOST_HELD = 256 * 1024
"""Octets that may be held for one client, received and to be sent."""

MIB = 1024 * 1024
RCPT = f"RCPT TO:<{BOB}>\r\n".encode()
ROUTED = b"RCPT TO:<" + b",".join([b"@%b.test" % (b"relay" * 10)] * 6) + f":{BOB}>\r\n".encode()
"""Few long commands fill a mebibyte sooner. The source route is ignored (RFC 5321 section 4.1.1.3)."""


class Discarding:
    """A policy that answers at once: mail is discarded, so recipients are accepted without a next hop."""

    judges_recipients_by_content = reads_body = authenticates = False
    judges_recipients = True
    listeners = ()

    def active(self, phase: Phase) -> bool:
        return phase is Phase.RCPTTO

    def run(self, _phase: Phase, _session: Session) -> Any:
        return Verdict(discard=True)


class Measuring(Discarding):
    """It notes how deep the stack is."""

    def __init__(self) -> None:
        self.depths: set[int] = set()

    def run(self, phase: Phase, session: Session) -> Any:
        depth, frame = 0, sys._getframe()
        while frame.f_back is not None:
            depth, frame = depth + 1, frame.f_back
        self.depths.add(depth)
        return super().run(phase, session)


class Waiting(Measuring):
    """A policy that never answers at once."""

    def run(self, phase: Phase, session: Session) -> Any:
        return self._later(super().run(phase, session))

    async def _later(self, verdict: Verdict) -> Verdict:
        await asyncio.sleep(0)
        return verdict


def held(session: SmtpProtocol) -> int:
    """Return the octets held for a client, with those that a buffer has in reserve."""
    connection = session.connection
    unsent = 0 if connection.lost else cast(Any, connection.transport).get_write_buffer_size()
    return sys.getsizeof(connection.buffer) + len(connection.outgoing) + unsent


async def greedy(stage: WorkerStage) -> tuple[socket.socket, SmtpProtocol]:
    """Return a client that has sent MAIL, and its session. It has little room for replies."""
    before = set(stage.worker.front.live)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", stage.port))
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_recv(sock, 4096)
    for line in ("EHLO greedy.test", f"MAIL FROM:<{ALICE}>"):
        await loop.sock_sendall(sock, line.encode() + b"\r\n")
        await loop.sock_recv(sock, 4096)
    (session,) = set(stage.worker.front.live) - before
    return sock, cast(SmtpProtocol, session)


def pushed(sock: socket.socket, octets: bytes) -> int:
    """Send what the kernel takes now; return how much that was."""
    sent, view = 0, memoryview(octets)
    with suppress(BlockingIOError):
        while sent < len(octets):
            sent += sock.send(view[sent:])
    return sent


async def most_held(session: SmtpProtocol, work: asyncio.Task[None]) -> int:
    """Return the most octets that were held until the work has ended."""
    most = 0
    while not work.done():
        most = max(most, held(session))
        await asyncio.sleep(0)
    await work
    return most


async def test_a_mebibyte_of_pipelined_commands_holds_little_and_others_go_on() -> None:
    async with serving(None, max_recipients_per_message=0) as stage:
        stage.worker.front.pipeline = cast(Any, Discarding())
        sock, session = await greedy(stage)
        other = await stage.greeted()
        wanted = MIB // len(ROUTED)
        loop = asyncio.get_running_loop()
        answered: list[str] = []

        async def read() -> None:
            replies = 0
            while replies < wanted:
                replies += (await loop.sock_recv(sock, 65536)).count(b"\r\n")

        async def send() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(loop.sock_sendall(sock, ROUTED * wanted))
                reading = group.create_task(read())
                while not reading.done():
                    answered.append(await other.ask("NOOP") if len(answered) < 5 else "")
                    await asyncio.sleep(0)

        assert await most_held(session, loop.create_task(send())) <= MOST_HELD
        # They were answered in between, and not when it was over.
        assert answered[:5] == ["250 2.0.0 OK"] * 5
        sock.close()


async def test_little_is_held_for_a_client_that_never_reads() -> None:
    async with serving(None, max_recipients_per_message=0) as stage:
        stage.worker.front.pipeline = cast(Any, Discarding())
        sock, session = await greedy(stage)
        transport = session.connection.transport
        ours = transport.get_extra_info("socket")
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
        brought: list[int] = []
        take = session.data_received

        def received(octets: bytes) -> None:
            brought.append(len(octets))
            take(octets)

        transport.set_protocol(session)  # of the methods as they are now
        session.data_received = received  # type: ignore[method-assign]
        transport.pause_reading()
        first = pushed(sock, ROUTED * (2 * MIB // len(ROUTED)))
        assert first > 2 * SMALL_READ  # as much as the kernel holds: one read would bring it
        transport.resume_reading()
        loop = asyncio.get_running_loop()
        sending = loop.create_task(loop.sock_sendall(sock, ROUTED * (8 * MIB // len(ROUTED))))
        async with asyncio.timeout(BOUND):
            while len(brought) < 5:  # what the first read brought is done
                await loop.sock_recv(sock, 4096)
        most = 0
        while not (session.connection.is_stuck and session.connection._reading_paused):
            most = max(most, held(session))
            await asyncio.sleep(0)
        assert max(most, held(session)) <= MOST_HELD
        assert max(brought) <= SMALL_READ
        assert held(session) <= 2 * SMALL_READ
        # The path of a recipient that is repeated is there once.
        assert len({id(each.path) for each in session.session.transaction.recipients}) == 1
        other = await stage.greeted()
        assert await other.ask("NOOP") == "250 2.0.0 OK"
        sending.cancel()
        sock.close()


async def test_a_thousand_different_recipients_hold_at_most_256_kibibytes() -> None:
    loop = asyncio.get_running_loop()
    sink = await loop.create_server(Sink, "127.0.0.1", 0)
    nexthop = cast(Exchanger, SimpleNamespace(port=sink.sockets[0].getsockname()[1]))
    async with serving(nexthop, max_recipients_per_message=0) as stage:

        async def given(count: int) -> Conversation:
            client = await stage.greeted()
            await client.ask(f"MAIL FROM:<{ALICE}>")
            for first in range(0, count, 100):
                names = range(first, first + 100)
                assert set(await client.pipeline(*(f"RCPT TO:<recipient{each}@example.com>" for each in names))) == {
                    "250 2.0.0 Ok"
                }
            return client

        await (await given(200)).quit()
        gc.collect()
        tracemalloc.start()
        client = await given(1000)
        gc.collect()
        ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, f"{Path(proxy.__path__[0])}/*")])
        used = sum([each.size for each in ours.statistics("filename")])
        tracemalloc.stop()
        (session,) = stage.worker.front.live
        recipients = cast(SmtpProtocol, session).session.transaction.recipients
        assert len(recipients) == 1000
        assert recipients[1].path.given == b"TO:<recipient1@example.com>"
        await client.quit()
    sink.close()
    assert used <= MOST_HELD, f"{used} octets"


def test_recipients_to_which_the_next_hop_says_the_same_share_its_reply() -> None:
    promises = Promises()
    for each in range(3):
        promises.keep(path_of(f"recipient{each}@example.com"), Reply(250, (b"2.1.5 Ok",)))
    promises.keep(path_of("another@example.com"), Reply(250, (b"2.1.5 Will forward",)))
    assert len({id(each) for each in promises.told.values()}) == 2
    assert promises.told[b"another@example.com"].lines == (b"2.1.5 Will forward",)


async def deepest(policy: Measuring) -> set[int]:
    """Return how deep the stack is in the policy, over 10,000 pipelined recipients."""
    async with serving(None, max_recipients_per_message=0) as stage:
        stage.worker.front.pipeline = cast(Any, policy)
        sock, session = await greedy(stage)
        loop = asyncio.get_running_loop()
        sending = loop.create_task(loop.sock_sendall(sock, RCPT * 10_000))
        replies = 0
        while replies < 10_000:
            replies += (await loop.sock_recv(sock, 65536)).count(b"\r\n")
        await sending
        assert session.session.tally.recipients == 10_000
        sock.close()
    return policy.depths


async def test_ten_thousand_pipelined_commands_do_not_deepen_the_stack() -> None:
    depths = await deepest(Measuring())
    assert max(depths) - min(depths) <= 5  # a turn is called by the transport, or by the loop


async def test_ten_thousand_commands_that_wait_do_not_deepen_the_stack() -> None:
    depths = await deepest(Waiting())
    assert max(depths) - min(depths) <= 5


async def test_an_idle_session_costs_at_most_six_kibibytes() -> None:
    count = 200
    async with serving(None, max_connections_per_client=0) as stage:
        loop = asyncio.get_running_loop()

        async def opened() -> socket.socket:
            sock = socket.create_connection(("127.0.0.1", stage.port), timeout=BOUND)
            sock.setblocking(False)
            await loop.sock_recv(sock, 4096)
            await loop.sock_sendall(sock, b"EHLO idle.test\r\n")
            await loop.sock_recv(sock, 4096)
            return sock

        clients = [await opened() for _ in range(20)]
        await eventually(lambda: len(stage.worker.front.live) == 20, "they are there")
        gc.collect()
        tracemalloc.start()
        clients += [await opened() for _ in range(count)]
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        for each in clients:
            each.close()
        await eventually(lambda: not stage.worker.front.live, "they are gone")
    most = 6 if sys.version_info < (3, 12) else 7  # objects of later Pythons are larger: 6.4 KiB with 3.13
    assert used / count <= most * 1024, f"{used / count:.0f} octets"
