"""A worker's life: it binds first and serves last, and goes the same way back."""

from __future__ import annotations

import asyncio
import socket

import pytest

from proxy.server.sockets import CannotListen
from proxy.server.worker import Worker
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger, Step, says
from tests.support.worker import ALICE, BOB, LETTER, WorkerStage, assembly, serving


async def at_the_dot(stage: WorkerStage, upstream: Exchanger) -> Conversation:
    """Bring a client to where its message is upstream and the answer is not."""
    client = await stage.greeted()
    await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
    await client.send_raw(LETTER + b".\r\n")
    await upstream.until(lambda: bool(upstream.held), "the dot is upstream")
    return client


async def test_a_worker_that_cannot_listen_says_where_and_leaves_nothing_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker = Worker(assembly(ESMTP_Listener=f"( 127.0.0.1:{port} )"))
        with pytest.raises(CannotListen, match=rf"^127.0.0.1:{port}: Address already in use$"):
            await worker.start()
        assert worker.addresses == []


async def test_stopping_lets_a_message_that_is_upstream_finish() -> None:
    gate = asyncio.Event()
    async with Exchanger(script={Step.DOT: says("250 done", until=gate)}) as upstream, serving(upstream) as stage:
        client = await at_the_dot(stage, upstream)
        stopping = asyncio.get_running_loop().create_task(stage.worker.stop())
        await asyncio.sleep(0)
        gate.set()
        assert await client.reply() == "250 done"
        assert await client.reply() == "421 4.3.2 Service shutting down, try again"
        async with asyncio.timeout(10):
            await stopping


async def test_stopping_now_waits_all_the_same_for_a_message_that_is_upstream() -> None:
    gate = asyncio.Event()
    async with Exchanger(script={Step.DOT: says("250 done", until=gate)}) as upstream, serving(upstream) as stage:
        client = await at_the_dot(stage, upstream)
        stopping = asyncio.get_running_loop().create_task(stage.worker.stop(now=True))
        for _ in range(100):
            await asyncio.sleep(0)
        gate.set()
        assert await client.reply() == "250 done"
        async with asyncio.timeout(3):
            await stopping


async def test_stopping_takes_no_new_clients() -> None:
    async with serving() as stage:
        await stage.worker.stop()
        with pytest.raises(ConnectionRefusedError):
            await Conversation.connect(stage.address, stage.port)


async def test_stopping_says_goodbye_upstream() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        await stage.worker.stop()
        assert upstream.commands[-1] == "QUIT"


async def test_stopping_twice_cuts_what_does_not_end() -> None:
    gate = asyncio.Event()
    async with Exchanger(script={Step.DOT: says("250 done", until=gate)}) as upstream, serving(upstream) as stage:
        client = await at_the_dot(stage, upstream)
        stopping = asyncio.get_running_loop().create_task(stage.worker.stop())
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await stage.worker.stop(now=True)
            await stopping
        assert await client.rest() == b"421 4.3.2 Service shutting down, try again\r\n"
