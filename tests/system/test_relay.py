"""The relay, live in the client's transaction: the upstream's verdicts, its faults, and clients that vanish."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.support.conversation import Conversation
from tests.support.exchanger import Act, After, Dialogue, Exchanger, Step, breaks_off, closes, resets, says, sends
from tests.support.ringback import Ringback
from tests.support.servers import REFUSED_RECIPIENT, REFUSED_REPLY, Postfix
from tests.support.waiting import eventually
from tests.support.world import AWKWARD_MESSAGE, Stage

pytestmark = pytest.mark.real("dnsmasq")

RECIPIENT = "b@example.com"
SENDER = ""
"""The null sender: no callback, so that nothing but the relay is at work here."""

SMALL = b"Subject: small\r\n\r\none line\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"0123456789 " * 6 * 1024 * 16 + b"\r\n"
LARGE = LARGE.replace(b"789 012", b"789\r\n012")
"""About one MiB: four times what is gathered before the upstream hears of it."""

QUEUED = re.compile(r"250 2\.0\.0 Ok: queued as ([0-9A-F]+)")


async def _ready(ringback: Ringback, recipients: tuple[str, ...] = (RECIPIENT,)) -> Conversation:
    """Return a client that has just read 354."""
    client = await ringback.conversation()
    await client.envelope(SENDER, recipients)
    return client


# ---- the upstream's verdicts


@pytest.mark.real("postfix")
async def test_one_recipient_of_three_refused_by_postfix_is_told_so_and_the_others_get_the_mail(
    stage: Stage, postfix: Postfix
) -> None:
    ringback = await stage.ringback(postfix.port)
    message = AWKWARD_MESSAGE.replace(b"AWKWARD", b"two-of-three")
    async with await ringback.conversation() as client:
        await client.ehlo()
        assert (await client.ask("MAIL FROM:<>")).startswith("250 ")
        assert (await client.ask("RCPT TO:<one@example.com>")).startswith("250 ")
        assert await client.ask(f"RCPT TO:<{REFUSED_RECIPIENT}>") == REFUSED_REPLY
        assert (await client.ask("RCPT TO:<three@example.com>")).startswith("250 ")
        assert (await client.ask("DATA")).startswith("354 ")
        assert QUEUED.fullmatch(await client.content(message))
    texts = await eventually(
        lambda: len(found := postfix.delivered(b"two-of-three")) >= 2 and found, "Postfix delivers to both"
    )
    assert texts
    assert sorted(re.search(rb"Delivered-To: (\S+)", text)[1] for text in texts) == [  # type: ignore[index]
        b"one@example.com",
        b"three@example.com",
    ]
    assert all(text.endswith(b"\r\n" + message) for text in texts)


@pytest.mark.parametrize(
    "lines",
    [
        ("550 5.1.1 <b@example.com>: who is that?",),
        ("550-5.7.1 first line", "550 5.7.1 second line"),
        ("452 4.2.2 mailbox full",),
        ("554 no enhanced code",),
    ],
    ids=["550", "two lines", "452", "plain"],
)
async def test_the_upstreams_refusal_of_a_recipient_reaches_the_client_verbatim(
    stage: Stage, ringback: Ringback, lines: tuple[str, ...]
) -> None:
    await stage.upstream(ringback, recipients={RECIPIENT: says(*lines)})
    async with await ringback.conversation() as client:
        await client.ehlo()
        assert (await client.ask("MAIL FROM:<>")).startswith("250 ")
        assert await client.ask(f"RCPT TO:<{RECIPIENT}>") == "\n".join(lines)
        assert (await client.ask("RCPT TO:<c@example.com>")).startswith("250 ")


async def test_pipelined_recipients_get_each_its_own_reply_in_order(stage: Stage, ringback: Ringback) -> None:
    refused = {"no1@example.com": says("550 5.1.1 one"), "no2@example.com": says("450 4.2.1 two")}
    upstream = await stage.upstream(ringback, recipients=refused)
    async with await ringback.conversation() as client:
        await client.ehlo()
        names = ("yes1", "no1", "yes2", "no2")
        replies = await client.pipeline("MAIL FROM:<>", *(f"RCPT TO:<{each}@example.com>" for each in names), "DATA")
        assert [reply[:4] for reply in replies] == ["250 ", "250 ", "550 ", "250 ", "450 ", "354 "]
        assert (replies[2], replies[4]) == ("550 5.1.1 one", "450 4.2.1 two")
        assert (await client.content(SMALL)).startswith("250 ")
    (message,) = upstream.messages
    assert message.recipients == ("RCPT TO:<yes1@example.com>", "RCPT TO:<yes2@example.com>")


@pytest.mark.parametrize(
    "line",
    ["554 5.6.0 We do not like it", "452 4.3.1 No room", "250 2.6.0 <id> accepted, welcome"],
    ids=["554", "452", "250"],
)
async def test_the_upstreams_answer_to_the_dot_reaches_the_client_verbatim(
    stage: Stage, ringback: Ringback, line: str
) -> None:
    await stage.upstream(ringback, script={Step.DOT: says(line)})
    async with await _ready(ringback) as client:
        assert await client.content(SMALL) == line


@pytest.mark.parametrize("message", [AWKWARD_MESSAGE, LARGE], ids=["awkward", "large"])
async def test_the_message_arrives_byte_for_byte_below_one_received_field(
    stage: Stage, ringback: Ringback, message: bytes
) -> None:
    upstream = await stage.upstream(ringback)
    async with await _ready(ringback) as client:
        assert (await client.content(message)).startswith("250 ")
    (received,) = upstream.messages
    assert received.content.endswith(message)
    added = received.content[: -len(message)]
    assert re.fullmatch(rb"Received: [^\r\n]+\r\n(?:[ \t][^\r\n]+\r\n)*", added), added


async def test_a_message_sent_in_many_small_pieces_arrives_as_one(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(ringback)
    wire = b"Subject: crumbs\r\n\r\n..\r\n...\r\ntext\r\n.\r\n"
    async with await _ready(ringback) as client:
        for at in range(len(wire)):
            await client.send_raw(wire[at : at + 1])
            await asyncio.sleep(0)
        assert (await client.reply()).startswith("250 ")
    assert [each.content.endswith(b"crumbs\r\n\r\n.\r\n..\r\ntext\r\n") for each in upstream.messages] == [True]


# ---- the upstream's faults


async def test_an_upstream_that_is_down_is_451_4_4_1_at_the_recipient(stage: Stage) -> None:
    ringback = await stage.ringback(stage.nobody_listens())
    async with await ringback.conversation() as client:
        await client.ehlo()
        assert (await client.ask("MAIL FROM:<>")).startswith("250 ")
        assert (await client.ask(f"RCPT TO:<{RECIPIENT}>")).startswith("451 4.4.1 ")


@pytest.mark.parametrize(
    "script",
    [
        {Step.BANNER: says("554 5.7.1 go away")},
        {Step.BANNER: says("421 4.3.2 too busy")},
        {Step.BANNER: closes()},
        {Step.EHLO: says("500 5.5.1 what?"), Step.HELO: says("502 5.5.1 what?")},
        {Step.MAIL: says("503 5.5.1 out of order")},
        {Step.MAIL: says("530 5.7.0 Must issue a STARTTLS command first")},
        {Step.RCPT: says("421 4.3.2 shutting down")},
        {Step.RCPT: sends(b"what is this?\r\n")},
    ],
    ids=["554 banner", "421 banner", "no banner", "no EHLO", "503 MAIL", "530 MAIL", "421 RCPT", "garbage"],
)
async def test_what_the_upstream_holds_against_us_is_451_to_the_client(
    stage: Stage, ringback: Ringback, script: dict[Step, Act]
) -> None:
    await stage.upstream(ringback, script=script)
    async with await ringback.conversation() as client:
        await client.ehlo()
        assert (await client.ask("MAIL FROM:<>")).startswith("250 ")
        reply = await client.ask(f"RCPT TO:<{RECIPIENT}>")
        assert re.match(r"4[25]1 4\.", reply), reply
        if Step.RCPT not in script:
            assert reply.startswith("451 "), reply


@pytest.mark.parametrize("act", [closes(), resets()], ids=["closes", "resets"])
@pytest.mark.parametrize(
    ("step", "message"),
    [(Step.DATA, SMALL), (Step.CONTENT, SMALL), (Step.CONTENT, LARGE), (Step.DOT, SMALL), (Step.DOT, LARGE)],
    ids=["at DATA", "in a small message", "in a large message", "after a small dot", "after a large dot"],
)
async def test_an_upstream_that_goes_in_the_middle_of_data_or_after_the_dot_is_451(
    stage: Stage, ringback: Ringback, act: Act, step: Step, message: bytes
) -> None:
    upstream = await stage.upstream(ringback, script={step: act}, content_limit=1)
    async with await ringback.conversation() as client:
        await client.ehlo()
        for command in ("MAIL FROM:<>", f"RCPT TO:<{RECIPIENT}>"):
            assert (await client.ask(command)).startswith("250 ")
        reply = await client.ask("DATA")
        if reply.startswith("354 "):
            reply = await client.content(message)
        assert reply.startswith("451 4."), reply
        # The session goes on: the next message goes through a new connection.
        del upstream.script[step]
        assert (await client.deliver(SENDER, [RECIPIENT], SMALL)).startswith("250 ")
    assert [each.content.endswith(SMALL) for each in upstream.messages] == [True]


@pytest.mark.parametrize(
    "act",
    [
        sends(b"is it you?\r\n"),
        breaks_off(b"250"),
        breaks_off(b"250 2.0.0 Ok"),
        breaks_off(b"250-2.0.0 and\r\n"),
        says("354 go on"),
        says("503 5.5.1 no"),
    ],
    ids=["garbage", "part of a code", "no line end", "the first of two lines", "354", "503"],
)
async def test_an_answer_to_the_dot_that_is_no_verdict_is_451(stage: Stage, ringback: Ringback, act: Act) -> None:
    await stage.upstream(ringback, script={Step.DOT: act})
    async with await _ready(ringback) as client:
        assert (await client.content(SMALL)).startswith("451 4.")


async def test_a_refusal_at_data_is_told_and_nothing_is_sent(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(ringback, script={Step.DATA: says("554 5.5.1 no valid recipients")})
    async with await ringback.conversation() as client:
        await client.ehlo()
        for command in ("MAIL FROM:<>", f"RCPT TO:<{RECIPIENT}>"):
            assert (await client.ask(command)).startswith("250 ")
        reply = await client.ask("DATA")
        if reply.startswith("354 "):
            reply = await client.content(SMALL)
        assert reply[:4] in {"451 ", "554 "}
    assert upstream.messages == []


# ---- the client's faults


@pytest.mark.parametrize("message", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("end", ["abort", "half_close"])
async def test_a_client_gone_in_the_middle_of_data_leaves_nothing_with_the_upstream(
    stage: Stage, ringback: Ringback, message: bytes, end: str
) -> None:
    upstream = await stage.upstream(ringback)
    async with await _ready(ringback) as client:
        await client.send_raw(message)
        if message is LARGE:
            await upstream.until(lambda: _dialogue(upstream).content_size > 0, "the relay has begun")
        getattr(client, end)()
        await client.rest()
    async with await _ready(ringback) as client:
        assert (await client.content(SMALL.replace(b"small", b"next"))).startswith("250 ")
    assert [b"Subject: next\r\n" in each.content for each in upstream.messages] == [True]
    if message is LARGE:
        first = next(each for each in upstream.dialogues if "DATA" in each.commands)
        await upstream.until(lambda: first.ended, "the connection with half a message is closed")
        assert first.commands[-1] == "DATA"


@pytest.mark.real("postfix")
@pytest.mark.parametrize("message", [SMALL, LARGE], ids=["small", "large"])
async def test_a_client_gone_in_the_middle_of_data_leaves_nothing_in_postfix_queue(
    stage: Stage, postfix: Postfix, message: bytes
) -> None:
    size = str(len(message)).encode()
    ringback = await stage.ringback(postfix.port)
    async with await _ready(ringback) as client:
        await client.send_raw(b"X-Gone: gone-" + size + b"\r\n" + message)
        client.abort()
    async with await _ready(ringback) as client:
        assert QUEUED.fullmatch(await client.content(b"X-Gone: next-" + size + b"\r\n" + SMALL))
    await eventually(lambda: postfix.delivered(b"X-Gone: next-" + size), "Postfix delivers the next message")
    await eventually(lambda: not postfix.queued(b"X-Gone: gone-" + size), "no half message stays in the queue")
    assert postfix.delivered(b"X-Gone: gone-" + size) == []


async def test_a_client_that_half_closes_after_the_dot_gets_its_answer(stage: Stage, ringback: Ringback) -> None:
    gate = asyncio.Event()
    upstream = await stage.upstream(ringback, script={Step.DOT: says("250 2.0.0 kept", until=gate)})
    async with await _ready(ringback) as client:
        await client.send_raw(SMALL + b".\r\n")
        client.half_close()
        await upstream.until(lambda: len(upstream.held) == 1, "the upstream has the dot")
        gate.set()
        assert await client.reply() == "250 2.0.0 kept"
    assert len(upstream.messages) == 1


# ---- connections that wait for the next message


async def _idle(stage: Stage, ringback: Ringback) -> tuple[Exchanger, Dialogue]:
    """Deliver one message; return the upstream and its connection that was used, which stays open."""
    upstream = await stage.upstream(ringback)
    async with await _ready(ringback) as client:
        assert (await client.content(SMALL)).startswith("250 ")
        await client.quit()
    (used,) = [each for each in upstream.dialogues if each.sender]
    assert not used.ended, "the connection is kept for the next message"
    return upstream, used


async def _is_delivered(ringback: Ringback) -> None:
    async with await _ready(ringback) as client:
        assert (await client.content(SMALL)).startswith("250 ")


async def test_an_idle_connection_serves_the_next_message(stage: Stage, ringback: Ringback) -> None:
    upstream, used = await _idle(stage, ringback)
    await _is_delivered(ringback)
    assert sum(command.startswith("MAIL") for command in used.commands) == 2
    assert len(upstream.messages) == 2


@pytest.mark.parametrize("way", ["closes", "resets", "says 421 and closes"])
async def test_a_connection_that_the_upstream_closed_while_idle_is_replaced_unseen(
    stage: Stage, ringback: Ringback, way: str
) -> None:
    upstream, used = await _idle(stage, ringback)
    if way == "resets":
        used.reset()
    else:
        if way.startswith("says"):
            used.writer.write(b"421 4.4.2 timeout exceeded\r\n")
        used.close()
        await used.writer.wait_closed()
    await _is_delivered(ringback)
    assert len(upstream.messages) == 2
    assert sum(command.startswith("MAIL") for command in used.commands) == 1


@pytest.mark.parametrize(
    "act",
    [closes(), resets(), says("421 4.4.2 timeout exceeded", after=After.CLOSE)],
    ids=["closes", "resets", "says 421 and closes"],
)
async def test_a_connection_that_closes_while_the_next_message_is_on_its_way_is_replaced_unseen(
    stage: Stage, ringback: Ringback, act: Act
) -> None:
    upstream, used = await _idle(stage, ringback)
    used.script[Step.MAIL] = act
    await _is_delivered(ringback)
    assert len(upstream.messages) == 2


async def test_an_idle_connection_on_which_the_upstream_spoke_is_not_used_again(
    stage: Stage, ringback: Ringback
) -> None:
    """An unsolicited reply would be read as the answer to the next MAIL."""
    upstream, used = await _idle(stage, ringback)
    used.writer.write(b"250 2.0.0 by the way\r\n")
    await used.writer.drain()
    upstream.script[Step.RCPT] = says("550 5.1.1 no")
    async with await ringback.conversation() as client:
        await client.ehlo()
        assert (await client.ask("MAIL FROM:<>")).startswith("250 ")
        assert await client.ask(f"RCPT TO:<{RECIPIENT}>") == "550 5.1.1 no"
    assert sum(command.startswith("MAIL") for command in used.commands) == 1


def _dialogue(upstream: Exchanger) -> Dialogue:
    """Return the one connection that carries a transaction."""
    return next((each for each in upstream.dialogues if each.sender), upstream.dialogues[-1])
