"""What one client costs the others: octets held for it, turns, depth of the stack; and what an idle session costs."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import tracemalloc
from typing import Any, cast

from proxy.mail.session import Session
from proxy.mail.verdict import Verdict
from proxy.smtp.protocol import SmtpProtocol
from sieve.phases import Phase
from tests.support.waiting import BOUND, eventually
from tests.support.worker import ALICE, BOB, WorkerStage, serving

MOST_HELD = 256 * 1024
"""Octets that may be held for one client, received and to be sent."""

MIB = 1024 * 1024
RCPT = f"RCPT TO:<{BOB}>\r\n".encode()


class Discarding:
    """A policy that answers at once: mail is discarded, so recipients are accepted without a next hop."""

    judges_recipients_by_content = reads_body = authenticates = False
    judges_recipients = True
    content_phases = listeners = ()

    def __init__(self) -> None:
        self.depths: set[int] = set()

    def active(self, phase: Phase) -> bool:
        return phase is Phase.RCPTTO

    def run(self, _phase: Phase, _session: Session) -> Verdict:
        """Note how deep the stack is."""
        depth, frame = 0, sys._getframe()
        while frame.f_back is not None:
            depth, frame = depth + 1, frame.f_back
        self.depths.add(depth)
        return Verdict(discard=True)


class Waiting(Discarding):
    """A policy that never answers at once."""

    def run(self, phase: Phase, session: Session) -> Any:
        return self._later(super().run(phase, session))

    async def _later(self, verdict: Verdict) -> Verdict:
        await asyncio.sleep(0)
        return verdict


def held(session: SmtpProtocol) -> int:
    """Return the octets held for a client."""
    connection = session.connection
    unsent = 0 if connection.lost else cast(Any, connection.transport).get_write_buffer_size()
    return len(connection.buffer) + len(connection.outgoing) + unsent


async def greedy(stage: WorkerStage) -> tuple[socket.socket, SmtpProtocol]:
    """Return a client that has sent MAIL, and its session."""
    before = set(stage.worker.front.live)
    sock = socket.create_connection(("127.0.0.1", stage.port), timeout=BOUND)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_recv(sock, 4096)
    for line in ("EHLO greedy.test", f"MAIL FROM:<{ALICE}>"):
        await loop.sock_sendall(sock, line.encode() + b"\r\n")
        await loop.sock_recv(sock, 4096)
    (session,) = set(stage.worker.front.live) - before
    return sock, cast(SmtpProtocol, session)


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
        commands = RCPT * (MIB // len(RCPT))
        loop = asyncio.get_running_loop()
        answered: list[str] = []

        async def read() -> None:
            replies = 0
            while replies < MIB // len(RCPT):
                replies += (await loop.sock_recv(sock, 65536)).count(b"\r\n")

        async def send() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(loop.sock_sendall(sock, commands))
                reading = group.create_task(read())
                while not reading.done():
                    answered.append(await other.ask("NOOP") if len(answered) < 50 else "")
                    await asyncio.sleep(0)

        assert await most_held(session, loop.create_task(send())) <= MOST_HELD
        # They were answered in between, and not when it was over.
        assert answered[:50] == ["250 2.0.0 OK"] * 50
        sock.close()


async def test_little_is_held_for_a_client_that_never_reads() -> None:
    async with serving(None, max_recipients_per_message=0) as stage:
        stage.worker.front.pipeline = cast(Any, Discarding())
        sock, session = await greedy(stage)
        loop = asyncio.get_running_loop()
        sending = loop.create_task(loop.sock_sendall(sock, RCPT * (8 * MIB // len(RCPT))))
        most = 0
        while not (session.connection.is_stuck and session.connection._reading_paused):
            most = max(most, held(session))
            await asyncio.sleep(0)
        assert max(most, held(session)) <= MOST_HELD
        other = await stage.greeted()
        assert await other.ask("NOOP") == "250 2.0.0 OK"
        sending.cancel()
        sock.close()


async def deepest(policy: Discarding) -> set[int]:
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
    depths = await deepest(Discarding())
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
    assert used / count <= 6 * 1024, f"{used / count:.0f} octets"
