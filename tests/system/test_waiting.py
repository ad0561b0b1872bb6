"""Sessions that wait for an exchanger: none holds up another, and one sender is asked about once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.support.exchanger import Exchanger, Step, says
from tests.support.ringback import Ringback
from tests.support.world import NO_SUCH_USER, Stage

pytestmark = pytest.mark.real("dnsmasq")

MESSAGE = b"Subject: overtaking\r\n\r\nahead of 300 others\r\n"


async def _said(
    ringback: Ringback, sender: str, order: list[str] | None = None, asked: asyncio.Barrier | None = None
) -> str:
    """Return the reply to MAIL for a sender; append the sender to `order` when it comes; pass `asked` before it."""
    async with await ringback.conversation() as client:
        await client.ehlo()
        await client.send(f"MAIL FROM:<{sender}>")
        if asked is not None:
            await asked.wait()
        reply = await client.reply()
        if order is not None:
            order.append(sender)
        return reply


async def _gated(stage: Stage, gate: asyncio.Event) -> Exchanger:
    """Put up an exchanger that answers no RCPT before the gate opens."""
    return await stage.exchanger("slow.test", script={Step.RCPT: says("250 2.1.5 Ok", until=gate)})


async def _delivered(ringback: Ringback, sender: str, order: list[str]) -> str:
    """Deliver a message; append the sender to `order` when MAIL is answered; return the answer to the dot."""
    async with await ringback.conversation() as client:
        await client.ehlo()
        mail = await client.ask(f"MAIL FROM:<{sender}>")
        order.append(sender)
        assert mail.startswith("250 "), mail
        for command, expected in (("RCPT TO:<b@example.com>", "250 "), ("DATA", "354 ")):
            reply = await client.ask(command)
            assert reply.startswith(expected), f"{command} was answered {reply!r}"
        answer = await client.content(MESSAGE)
        assert (await client.quit()).startswith("221 ")
        return answer


async def test_a_session_whose_sender_is_cached_finishes_before_300_that_wait(stage: Stage) -> None:
    gate, order = asyncio.Event(), list[str]()
    slow, upstream = await _gated(stage, gate), await stage.upstream()
    await stage.exchanger("ok.test")
    ringback = await stage.ringback(upstream.port, callback={"max_probes_per_mx": "1000", "client_share": "100"})
    assert (await _said(ringback, "cached@ok.test")).startswith("250 ")
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(_delivered(ringback, f"user{n}@slow.test", order)) for n in range(300)]
        await slow.until(lambda: len(slow.held) == 300, "300 probes wait at the exchanger")
        assert (await _delivered(ringback, "cached@ok.test", [])).startswith("250 ")
        order.append("the 301st has finished")
        gate.set()
    assert order[0] == "the 301st has finished"
    assert len(order) == 301
    assert {each.result()[:4] for each in waiting} == {"250 "}
    assert len(upstream.messages) == 301


@pytest.mark.parametrize("refused", [False, True], ids=["accepted", "refused"])
async def test_100_sessions_with_the_same_sender_make_one_probe(stage: Stage, *, refused: bool) -> None:
    gate, order, asked = asyncio.Event(), list[str](), asyncio.Barrier(101)
    slow = await _gated(stage, gate)
    if refused:
        slow.script[Step.RCPT] = says(NO_SUCH_USER.reply.decode().strip(), until=gate)
    ringback = await stage.ringback((await stage.upstream()).port, callback={"max_probes_per_mx": "1000"})
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(_said(ringback, "same@slow.test", order, asked)) for _ in range(100)]
        await slow.until(lambda: len(slow.held) == 1, "the probe waits at the exchanger")
        await asked.wait()
        # A session that comes after the hundred and is answered shows that the server has read their commands.
        assert (await _said(ringback, "")).startswith("250 ")
        assert order == []
        gate.set()
    replies = {each.result() for each in waiting}
    assert replies == {"550 from address not reachable"} if refused else {each[:4] for each in replies} == {"250 "}
    assert (len(slow.dialogues), slow.count("RCPT")) == (1, 1)


async def test_an_answer_is_remembered_for_the_next_session(stage: Stage) -> None:
    refusing = await stage.exchanger("refusing.test", script={Step.RCPT: NO_SUCH_USER})
    ringback = await stage.ringback((await stage.upstream()).port)
    for _ in range(3):
        assert await _said(ringback, "nobody@refusing.test") == "550 from address not reachable"
    assert (len(refusing.dialogues), refusing.count("RCPT")) == (1, 1)


async def test_more_probes_than_an_exchanger_may_get_at_once_wait_in_line(stage: Stage) -> None:
    gate, order = asyncio.Event(), list[str]()
    slow = await _gated(stage, gate)
    ringback = await stage.ringback((await stage.upstream()).port, callback={"max_probes_per_mx": "4"})
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(_said(ringback, f"user{n}@slow.test", order)) for n in range(12)]
        await slow.until(lambda: len(slow.held) == 4, "four probes wait at the exchanger")
        assert (await _said(ringback, "")).startswith("250 ")
        assert len(slow.open_dialogues) == 4
        gate.set()
    assert {each.result()[:4] for each in waiting} == {"250 "}
    assert sorted(order) == sorted(f"user{n}@slow.test" for n in range(12))


async def test_a_client_that_leaves_while_it_waits_disturbs_nobody_who_waits_for_the_same_probe(stage: Stage) -> None:
    gate = asyncio.Event()
    slow = await _gated(stage, gate)
    ringback = await stage.ringback((await stage.upstream()).port)
    async with AsyncExitStack() as stack:
        leaving, staying = [await stack.enter_async_context(await ringback.conversation()) for _ in range(2)]
        for client in (leaving, staying):
            await client.ehlo()
            await client.send("MAIL FROM:<same@slow.test>")
        await slow.until(lambda: len(slow.held) == 1, "the probe waits at the exchanger")
        leaving.abort()
        assert (await _said(ringback, "")).startswith("250 ")
        gate.set()
        assert (await staying.reply()).startswith("250 ")
    assert len(slow.dialogues) == 1
