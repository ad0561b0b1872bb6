"""SIGTERM and SIGINT: what was begun is finished, and the process ends with status 0."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.support.exchanger import Step, is_silent, says
from tests.support.programs import accepts_connections
from tests.support.waiting import eventually
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

MESSAGE = b"Subject: at the dot\r\n\r\nalmost there\r\n"


@pytest.mark.parametrize("answer", ["250 2.0.0 kept", "554 5.6.0 not this one"])
async def test_a_session_at_the_dot_gets_its_answer_before_the_process_ends(stage: Stage, answer: str) -> None:
    gate = asyncio.Event()
    upstream = await stage.upstream(script={Step.DOT: says(answer, until=gate)})
    ringback = await stage.ringback(upstream.port)
    async with await ringback.conversation() as client:
        await client.envelope("", ["b@example.com"])
        await client.send_raw(MESSAGE + b".\r\n")
        await upstream.until(lambda: len(upstream.held) == 1, "the upstream has the dot")
        ringback.terminate()
        await eventually(lambda: not accepts_connections("127.0.0.1", ringback.port), "no new connection is taken")
        assert ringback.program.is_running
        gate.set()
        assert await client.reply() == answer
        assert await ringback.ended() == 0
    assert len(upstream.messages) == answer.startswith("250")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_an_idle_session_is_told_421_and_the_process_ends(stage: Stage, number: signal.Signals) -> None:
    upstream = await stage.upstream()
    ringback = await stage.ringback(upstream.port)
    async with await ringback.conversation() as client:
        await client.ehlo()
        ringback.program.process.send_signal(number)
        assert (await client.reply()).startswith("421 4.3.2 ")
        assert await client.rest() == b""
    assert await ringback.ended() == 0


async def test_a_session_that_waits_for_a_callback_does_not_keep_the_process_alive(stage: Stage) -> None:
    slow = await stage.exchanger("slow.test", script={Step.RCPT: is_silent()})
    ringback = await stage.ringback((await stage.upstream()).port, callback={"timeout": "1"})
    async with await ringback.conversation() as client:
        await client.ehlo()
        await client.send("MAIL FROM:<a@slow.test>")
        await slow.until(lambda: slow.count("RCPT") == 1, "the probe waits")
        ringback.terminate()
        assert (await client.reply())[:4] in {"250 ", "421 ", "451 "}
        await client.rest()
    assert await ringback.ended() == 0
