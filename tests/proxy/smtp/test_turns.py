"""A client with a thousand recipients does not hold up the others: no turn of the loop looks at each of them for long.

Calls stand for time. The policy, the next hop and the client do at once what they can.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import structlog

from proxy.base import log_output
from proxy.smtp import dialogue, reception
from sieve.phases import Need, Phase
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger, Step, says
from tests.support.turns import longest_turn
from tests.support.worker import ALICE, BOB, LETTER, Rule, serving

MANY = 400
MOST_CALLS = MANY
"""A turn that calls one function for each recipient exceeds it. Each event took twelve calls."""


async def rset(client: Conversation) -> None:
    await client.ask("RSET")


async def other_mail(client: Conversation) -> None:
    await client.ask("EHLO again.test")


async def bye(client: Conversation) -> None:
    await client.quit()


async def leaves(client: Conversation) -> None:
    client.abort()


async def sends(client: Conversation) -> None:
    assert (await client.ask("DATA")).startswith("354")
    await client.content(LETTER)


async def leaves_within(client: Conversation) -> None:
    assert (await client.ask("DATA")).startswith("354")
    await client.send("Subject: half of it")
    client.abort()


@asynccontextmanager
async def logged() -> AsyncIterator[io.StringIO]:
    stream = io.StringIO()
    log_output.configure(stream)
    try:
        yield stream
    finally:
        structlog.get_config()["logger_factory"]._file.close()
        structlog.reset_defaults()


@pytest.mark.parametrize("end", [rset, other_mail, bye, leaves, sends, leaves_within])
async def test_the_end_of_many_recipients_is_a_short_turn_and_each_has_its_event(
    end: Callable[[Conversation], Awaitable[None]],
) -> None:
    async with logged() as stream, Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.ask(f"MAIL FROM:<{ALICE}>")
        for first in range(0, MANY, 100):
            await client.pipeline(*(f"RCPT TO:<u{each}@example.com>" for each in range(first, first + 100)))
        with longest_turn() as longest:
            await end(client)
            if end in (bye, leaves, leaves_within):
                await stage.ended()
        assert longest.calls <= MOST_CALLS, (longest.calls, longest.callback)
        if end not in (bye, leaves, leaves_within):
            await client.quit()
        await stage.ended()
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    names = [each["event"] for each in events if each["event"] in {"message", "recipient", "session"}]
    messages = ["message"] if end in (sends, leaves_within) else []
    assert names == [*messages, *["recipient"] * MANY, "session"]
    assert [each["recipient"] for each in events if each["event"] == "recipient"] == [
        f"u{each}@example.com" for each in range(MANY)
    ]


@pytest.mark.parametrize("step", [Step.RCPT, Step.DATA, Step.DOT])
async def test_a_refusal_after_many_recipients_is_a_short_turn(step: Step) -> None:
    async with logged(), Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.ask(f"MAIL FROM:<{ALICE}>")
        for first in range(0, MANY, 100):
            await client.pipeline(*(f"RCPT TO:<u{each}@example.com>" for each in range(first, first + 100)))
        upstream.script[step] = says("550 5.1.1 <u1@example.com>: Recipient address rejected: User unknown")
        with longest_turn() as longest:
            if step is Step.RCPT:
                answers = await client.pipeline(*(f"RCPT TO:<nobody{each}@example.com>" for each in range(10)))
            else:
                answers = [await client.ask("DATA")]
                answers = [await client.content(LETTER)] if answers[0].startswith("354") else answers
        assert {each[:9] for each in answers} == {"550 5.1.1"}
        most = MOST_CALLS * 4 if step is Step.RCPT else MOST_CALLS  # one turn takes all ten
        assert longest.calls <= most, (longest.calls, longest.callback)


@pytest.mark.parametrize(
    ("name", "most"), [("u{}@example.com", 55), ("u{}@elsewhere.invalid", 95), ("nobody{}@example.com", 120)]
)
async def test_one_more_recipient_costs_few_calls(name: str, most: int) -> None:
    """Accepted, refused by us, and refused by the next hop: they come together, as Postfix sends them."""

    async def said(client: Conversation, more: int) -> int:
        with longest_turn() as longest:
            lines = [f"RCPT TO:<{name.format(each)}>" for each in range(more)]
            answers = await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", *lines, "DATA")
            assert answers[-1].startswith("354")
            assert (await client.content(LETTER)).startswith("250")
        return longest.total

    refused = says("550 5.1.1 No such user here")
    recipients = {f"nobody{each}@example.com": refused for each in range(10)}
    async with logged(), Exchanger(recipients=recipients) as upstream, serving(upstream) as stage:
        costs = []
        for more in (0, 10, 0, 10):
            client = await stage.greeted()  # a connection on which the next hop refused something is its session's
            costs.append(await said(client, more))
            await client.quit()
            await stage.ended()
        assert costs[3] - costs[2] <= 10 * most, (costs[3] - costs[2]) / 10


async def test_policy_that_judges_each_of_many_recipients_lets_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "SLICE_SECONDS", 0.0)
    rule = Rule(Phase.EACH_RCPT, reads=Need.HEADERS)
    async with logged(), Exchanger() as upstream, serving(upstream, rule) as stage:
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}> PRDR", *(f"RCPT TO:<u{each}@example.com>" for each in range(50)))
        turns = 0
        assert (await client.ask("DATA")).startswith("354")
        await client.send_raw(LETTER + b".\r\n")
        while rule.asked < 50:
            turns += 1
            await asyncio.sleep(0)
        assert turns >= 49
        assert (await client.reply()).startswith("353")


KINDS: dict[str, Callable[[int], str]] = {
    "the same": lambda _: "RCPT TO:<u@example.com>",
    "two in turn": lambda at: f"RCPT TO:<u{at % 2}@example.com>",
    "mixed case": lambda at: f"rCpT tO:<u{at}@example.com>",
    "refused by us": lambda at: f"RCPT TO:<u{at // 4}@{'elsewhere.invalid' if at % 4 else 'example.com'}>",
    "sixty, again and again": lambda at: f"RCPT TO:<u{at % 60}@example.com>",
    "with parameters": lambda at: f"RCPT TO:<u{at}@example.com> NOTIFY=NEVER",
    "long": lambda at: f"RCPT TO:<{'@relay.test,' * 30}@relay.test:u{at}@example.com>",
    "between junk": lambda at: "RCPT TO:<u@example.com>" if at % 2 else "RCPT " + "x" * 1900,
}


@pytest.mark.parametrize("line", KINDS.values(), ids=KINDS)
async def test_however_recipients_are_pipelined_each_costs_the_same(
    line: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialogue, "MOST_ERRORS", 10_000)

    async def cost(count: int) -> int:
        client = await stage.greeted()
        lines = [line(each) for each in range(count)]
        with longest_turn() as longest:
            await client.send(f"MAIL FROM:<{ALICE}>", *lines, "RSET", "QUIT")
            await client.rest()
            await stage.ended()
        return longest.total

    async with logged(), Exchanger() as upstream, serving(upstream) as stage:
        await cost(20)
        few, many = await cost(100), await cost(400)
    assert many <= 4.4 * few, (few, many)
