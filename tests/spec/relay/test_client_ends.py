"""A client that leaves, crossed with where the upstream stands: before our dot nothing is delivered, after it all is.

The last word is the upstream's, whoever is there to hear it: the message's line in the log has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.conversation import Conversation
from tests.support.exchanger import Act, After, Exchanger, Step, closes, resets, says
from tests.support.worker import ALICE, BOB, LETTER, WorkerStage, serving

LOST = "451 4.4.2 Next-hop server did not answer, try again later"
PART = b"Subject: big\r\n\r\n" + (b"x" * 998 + b"\r\n") * 150
"""A beginning of a message that is enough for Ringback to begin to send."""


@dataclass
class Scene:
    """A client in a session, and an upstream that holds its reply at one step until `go_on` is set."""

    upstream: Exchanger
    stage: WorkerStage
    client: Conversation
    go_on: asyncio.Event
    log: list[MutableMapping[str, Any]] = field(default_factory=list)

    async def held(self) -> None:
        """Wait until the upstream holds its reply."""
        await self.upstream.until(lambda: bool(self.upstream.held), "the upstream holds its reply")

    async def session_ended(self) -> None:
        """Wait until Ringback knows that the client has left."""
        await self.stage.ended()

    def logged(self, event: str) -> list[MutableMapping[str, Any]]:
        """Return the log's lines of an event."""
        return [each for each in self.log if each["event"] == event]


@asynccontextmanager
async def scene(step: Step, act: Callable[[asyncio.Event], Act]) -> AsyncIterator[Scene]:
    """Set the scene; afterwards no place is lost, nothing has failed inside, and the next message passes."""
    go_on = asyncio.Event()
    limit = 30_000 if step is Step.CONTENT else None
    with capture_logs() as log:
        async with Exchanger(script={step: act(go_on)}, content_limit=limit) as upstream, serving(upstream) as stage:
            client = await stage.greeted()
            yield Scene(upstream, stage, client, go_on, log)
            go_on.set()
            await client.close()
            await stage.ended()
            assert stage.pool._slots.taken == len(stage.pool._idle)
            upstream.script.clear()
            before = len(upstream.messages)
            other = await stage.greeted()
            assert (await other.deliver(ALICE, [BOB], LETTER)).startswith("250 2.0.0 Ok: queued")
            assert len(upstream.messages) == before + 1
    assert [each for each in log if "exc_info" in each] == []
    assert stage.pool._slots.taken == 0


def leave(client: Conversation, how: str) -> None:
    """Leave by FIN, by RST, or by FIN with an ear open."""
    match how:
        case "reset":
            client.abort()
        case "half-close":
            client.half_close()
        case _:
            client.leave()


ways = pytest.mark.parametrize("how", ["close", "reset", "half-close"])

ANSWERS = {
    "accepts": (says("250 2.0.0 queued as 7"), "250 2.0.0 queued as 7"),
    "accepts in lines": (says("250-2.0.0 queued", "250 2.0.0 as 7"), "250-2.0.0 queued\n250 2.0.0 as 7"),
    "refuses": (says("554 5.7.1 spam"), "554 5.7.1 spam"),
    "defers": (says("452 4.3.1 full"), "452 4.3.1 full"),
    "refuses us": (
        says("503 5.5.1 what?"),
        "451 4.3.5 Next-hop server rejected our session, try again later",
    ),
    "says goodbye": (says("421 4.3.2 bye", after=After.CLOSE), LOST),
    "closes": (closes(), LOST),
    "resets": (resets(), LOST),
}


@ways
@pytest.mark.parametrize("does", ANSWERS)
async def test_a_client_that_leaves_after_the_dot_changes_nothing_and_the_upstreams_answer_is_logged(
    how: str, does: str
) -> None:
    act, answer = ANSWERS[does]
    async with scene(Step.DOT, lambda go_on: Act(act.reply, go_on, act.after)) as at:
        await at.client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
        await at.client.send_raw(LETTER + b".\r\n")
        await at.held()
        leave(at.client, how)
        at.go_on.set()
        if how == "half-close":
            assert await at.client.reply() == answer
            assert await at.client.rest() == b""
        await at.session_ended()
        assert len(at.upstream.messages) == (1 if answer.startswith("2") else 0)
        (line,) = at.logged("message")
        assert line["reply"] == answer.replace("250-", "250 ").replace("\n250 ", " / ")


@ways
async def test_a_client_that_half_closes_with_quit_behind_its_dot_hears_both_answers(how: str) -> None:
    async with scene(Step.DOT, lambda go_on: says("250 2.0.0 queued as 7", until=go_on)) as at:
        await at.client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
        await at.client.send_raw(LETTER + b".\r\nQUIT\r\n")
        await at.held()
        leave(at.client, how)
        at.go_on.set()
        if how == "half-close":
            assert await at.client.rest() == b"250 2.0.0 queued as 7\r\n221 2.0.0 Bye\r\n"
        await at.session_ended()
        assert len(at.upstream.messages) == 1


BEFORE_THE_DOT = {
    "MAIL is asked": (Step.MAIL, b""),
    "RCPT is asked": (Step.RCPT, b""),
    "DATA is asked": (Step.DATA, PART),
    "content flows": (Step.CONTENT, PART),
    "content flows and a line is cut": (Step.CONTENT, PART + b".\r"),
    "content flows and there is a dot too much": (Step.CONTENT, PART + b"..\r\n"),
}


@ways
@pytest.mark.parametrize("when", BEFORE_THE_DOT)
async def test_a_client_that_leaves_before_the_dot_leaves_nothing_upstream(how: str, when: str) -> None:
    step, content = BEFORE_THE_DOT[when]
    friendly = {Step.MAIL: "250 ok", Step.RCPT: "250 ok", Step.DATA: "354 go"}.get(step)
    async with scene(step, lambda go_on: says(friendly, until=go_on) if friendly else Act(until=go_on)) as at:
        await at.client.send(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>")
        if content:
            assert [await at.client.reply(), await at.client.reply()] == ["250 2.1.0 Sender OK", "250 2.1.5 Ok"]
            assert (await at.client.ask("DATA")).startswith("354 ")
            await at.client.send_raw(content)
        await at.held()
        leave(at.client, how)
        at.go_on.set()
        await at.session_ended()
        assert at.upstream.messages == []


@ways
async def test_a_client_that_leaves_between_rcpt_and_data_leaves_a_clean_connection(how: str) -> None:
    async with scene(Step.NOOP, lambda go_on: says("250 ok", until=go_on)) as at:
        await at.client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>")
        leave(at.client, how)
        await at.session_ended()
        assert at.upstream.dialogues[-1].commands[-1] == "RSET"
        assert len(at.upstream.open_dialogues) == 1
    assert at.upstream.faults == []


@pytest.mark.parametrize("act", [closes(), resets(), says("421 4.3.2 bye"), says("550 5.1.1 no")])
@pytest.mark.parametrize("step", [Step.MAIL, Step.RCPT, Step.DATA])
@ways
async def test_client_and_upstream_that_leave_together_leave_nothing(how: str, step: Step, act: Act) -> None:
    async with scene(step, lambda go_on: Act(act.reply, go_on, act.after)) as at:
        await at.client.send(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>")
        if step is Step.DATA:
            await at.client.reply()
            await at.client.reply()
            await at.client.ask("DATA")
            await at.client.send_raw(PART)
        await at.held()
        leave(at.client, how)
        at.go_on.set()
        await at.session_ended()
        assert at.upstream.messages == []
