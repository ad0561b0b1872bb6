"""The relay: what the upstream says of the mail is the client's, what breaks is 451, and nothing is delivered twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Path, Recipient, Session, Transaction
from proxy.smtp.ports import RelayFailed
from proxy.upstream.pool import ConnectionPool
from proxy.upstream.pools import Pools
from proxy.upstream.relay import UpstreamRelay
from proxy.upstream.routes import Router
from proxy.upstream.state import CONTENT
from tests.support.conversation import Conversation
from tests.support.exchanger import Act, After, Exchanger, Step, closes, is_silent, resets, says, sends
from tests.support.worker import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    LETTER,
    WorkerStage,
    assembly,
    core,
    resolver,
    serving,
    settled,
)

UNREACHABLE = "451 4.4.1 Next-hop server is unreachable, try again later"
LOST = "451 4.4.2 Next-hop server did not answer, try again later"
REFUSED_US = "451 4.3.5 Next-hop server rejected our session, try again later"
ACCEPTED = "250 2.0.0 Ok: queued as 000001"
BIG = b"Subject: big\r\n\r\n" + (b"x" * 998 + b"\r\n") * 3000

PATIENCE = {"mailfrom_timeout": 0.1, "rcptto_timeout": 0.1, "body_timeout": 0.1, "connect_timeout": 0.3}

OF_THE_MAIL = [
    says("550 5.1.1 no such user"),
    says("554-5.7.1 several", "554-5.7.1", "554 5.7.1 lines"),
    says("552 5.3.4 too big"),
    says("553 sorry"),
    says("555 5.5.4 unsupported"),
    says("571 strange but permanent"),
    says("450 4.2.0 greylisted"),
    says("451 4.7.1 later"),
    says("452 4.2.2 full"),
]
OF_US = [says(f"{code} whatever") for code in (500, 502, 503, 521, 530, 534, 535, 538)]
BROKEN = [
    says("421 4.3.2 shutting down"),
    says("421 4.3.2 shutting down", after=After.CLOSE),
    sends(b"nonsense\r\n"),
    sends(b"550-mixed\r\n250 codes\r\n"),
    sends(b"250 bare\n"),
    closes(),
    resets(),
    Act(b"250-half a rep", after=After.CLOSE),
    is_silent(),
]


def _name(act: Act) -> str:
    return repr(act.reply)[2:24] + (act.after.name if act.after is not After.GO_ON else "")


def heard(act: Act) -> str:
    """Return what the client hears of a reply that goes on verbatim."""
    return act.reply.decode().rstrip("\r\n").replace("\r\n", "\n")


async def transaction(client: Conversation, *recipients: str) -> list[str]:
    """Return the replies to each RCPT, and to the dot if a recipient was accepted."""
    answers = await client.pipeline(f"MAIL FROM:<{ALICE}>", *(f"RCPT TO:<{each}>" for each in recipients))
    assert answers[0] == "250 2.1.0 Sender OK"
    if not any(each.startswith("250") for each in answers[1:]):
        return answers[1:]
    assert (await client.ask("DATA")).startswith("354")
    return [*answers[1:], await client.content(LETTER)]


async def no_place_is_lost(stage: WorkerStage) -> None:
    """The pool counts as many places as it holds connections, once the sessions are over."""
    for client in stage.clients:
        await client.close()
    await stage.ended()
    assert stage.pool._slots.taken == len(stage.pool._idle)


# ---------------------------------------------------------------- the fault table


@pytest.mark.parametrize("step", [Step.MAIL, Step.RCPT])
@pytest.mark.parametrize("act", OF_THE_MAIL, ids=_name)
@pytest.mark.parametrize("extensions", [("PIPELINING",), ()], ids=["pipelining", "one-by-one"])
async def test_a_refusal_of_the_mail_is_the_clients_at_rcpt_word_for_word(
    step: Step, act: Act, extensions: tuple[str, ...]
) -> None:
    async with Exchanger(script={step: act}, extensions=extensions) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        assert await transaction(client, BOB) == [heard(act)]
        assert await client.ask("DATA") == "554 5.5.1 No valid recipients"
        await no_place_is_lost(stage)


@pytest.mark.parametrize("step", [Step.DATA, Step.DOT])
@pytest.mark.parametrize("act", OF_THE_MAIL, ids=_name)
async def test_a_refusal_of_the_message_is_the_clients_at_the_dot_word_for_word(step: Step, act: Act) -> None:
    async with Exchanger(script={step: act}) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        assert await transaction(client, BOB) == ["250 2.1.5 Ok", heard(act)]
        assert upstream.messages == []
        await no_place_is_lost(stage)


@pytest.mark.parametrize("step", [Step.MAIL, Step.RCPT, Step.DATA, Step.DOT])
@pytest.mark.parametrize("act", OF_US, ids=_name)
async def test_a_refusal_of_our_conversation_is_451_with_an_alarm(step: Step, act: Act) -> None:
    async with Exchanger(script={step: act}) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        with capture_logs() as log:
            assert (await transaction(client, BOB))[-1] == REFUSED_US
        assert upstream.messages == []
        (alarm,) = (each for each in log if each["event"] == "upstream_refused_us")
        assert (alarm["log_level"], alarm["reply"]) == ("error", heard(act))
        assert upstream.messages == []
        await no_place_is_lost(stage)


@pytest.mark.parametrize("step", [Step.MAIL, Step.RCPT, Step.DATA, Step.DOT])
@pytest.mark.parametrize("act", BROKEN, ids=_name)
@pytest.mark.parametrize("extensions", [("PIPELINING",), ()], ids=["pipelining", "one-by-one"])
async def test_a_conversation_that_breaks_is_451(step: Step, act: Act, extensions: tuple[str, ...]) -> None:
    async with (
        Exchanger(script={step: act}, extensions=extensions) as upstream,
        serving(upstream, **PATIENCE) as stage,
    ):
        client = await stage.greeted()
        assert (await transaction(client, BOB))[-1] == LOST
        assert await client.ask("NOOP") == "250 2.0.0 OK"
        # We do not count half an acceptance of the dot; the upstream may still have the message.
        assert upstream.messages == [] or (step is Step.DOT and act.reply.startswith(b"250"))
        await no_place_is_lost(stage)


@pytest.mark.parametrize("code", ["250 fine", "251 fine", "220 fine", "334 surprising"])
async def test_neither_354_nor_a_refusal_in_answer_to_data_is_no_delivery(code: str) -> None:
    async with Exchanger(script={Step.DATA: says(code)}) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        assert await transaction(client, BOB) == ["250 2.1.5 Ok", LOST]
        await no_place_is_lost(stage)


@pytest.mark.parametrize(
    ("script", "reply"),
    [
        ({Step.BANNER: closes()}, UNREACHABLE),
        ({Step.BANNER: resets()}, UNREACHABLE),
        ({Step.BANNER: is_silent()}, UNREACHABLE),
        ({Step.BANNER: says("554 not you")}, REFUSED_US),
        ({Step.BANNER: says("421 busy")}, REFUSED_US),
        ({Step.EHLO: closes()}, UNREACHABLE),
        ({Step.EHLO: says("421 busy")}, REFUSED_US),
        ({Step.EHLO: says("550 not you"), Step.HELO: says("550 not you")}, REFUSED_US),
    ],
)
async def test_an_upstream_that_does_not_talk_to_us_is_451_at_rcpt(script: dict[Step, Act], reply: str) -> None:
    async with Exchanger(script=script) as upstream, serving(upstream, **PATIENCE) as stage:
        client = await stage.greeted()
        assert await transaction(client, BOB, CAROL) == [reply, reply]
        await no_place_is_lost(stage)


async def test_an_upstream_that_is_down_is_451_at_rcpt_and_taken_again_when_it_is_back() -> None:
    upstream = await Exchanger().start()
    await upstream.stop()
    async with serving(upstream) as stage:
        client = await stage.greeted()
        assert await transaction(client, BOB) == [UNREACHABLE]
        await client.ask("RSET")
        await upstream.start()
        try:
            assert await transaction(client, BOB) == ["250 2.1.5 Ok", ACCEPTED]
        finally:
            await upstream.stop()


@pytest.mark.parametrize(
    "lines", [["250 ok"], ["250-queued as 1", "250-", "250 thanks"], ["251 forwarded"], ["299 new"]]
)
async def test_an_acceptance_is_the_clients_word_for_word(lines: list[str]) -> None:
    async with Exchanger(script={Step.DOT: says(*lines)}) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        assert (await transaction(client, BOB))[-1] == "\n".join(lines)
        assert len(upstream.messages) == 1


# ---------------------------------------------------------------- several recipients


async def test_the_recipients_that_are_accepted_get_the_mail_and_the_others_their_own_refusal() -> None:
    recipients = {CAROL: says("550-5.1.1 no", "550 5.1.1 Carol")}
    async with Exchanger(recipients=recipients) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        assert await transaction(client, BOB, CAROL, DAVE) == [
            "250 2.1.5 Ok",
            "550-5.1.1 no\n550 5.1.1 Carol",
            "250 2.1.5 Ok",
            ACCEPTED,
        ]
        assert upstream.messages[0].recipients == (f"RCPT TO:<{BOB}>", f"RCPT TO:<{DAVE}>")


GOES = [closes(), resets(), says("421 bye"), sends(b"nonsense\r\n"), is_silent()]


@pytest.mark.parametrize("act", GOES, ids=_name)
async def test_a_recipient_at_which_every_connection_is_lost_is_deferred_and_the_others_get_the_mail(act: Act) -> None:
    if act == is_silent():  # and it reads no further: an answer to the next recipient would be taken for this one's
        act = says("250 too late", until=asyncio.Event())
    async with Exchanger(recipients={CAROL: act}) as upstream, serving(upstream, **PATIENCE) as stage:
        client = await stage.greeted()
        assert await transaction(client, BOB, CAROL, DAVE) == ["250 2.1.5 Ok", LOST, "250 2.1.5 Ok", ACCEPTED]
        assert [each.recipients for each in upstream.messages] == [(f"RCPT TO:<{BOB}>", f"RCPT TO:<{DAVE}>")]
        await no_place_is_lost(stage)


@pytest.mark.parametrize("act", GOES, ids=_name)
async def test_a_connection_lost_at_a_later_recipient_is_replaced_and_all_get_the_mail(act: Act) -> None:
    async with Exchanger() as upstream, serving(upstream, **PATIENCE) as stage:
        client = await stage.greeted()
        assert await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>") == [
            "250 2.1.0 Sender OK",
            "250 2.1.5 Ok",
        ]
        upstream.dialogues[0].script[Step.RCPT] = act
        assert await client.ask(f"RCPT TO:<{CAROL}>") == "250 2.1.5 Ok"
        await client.ask("DATA")
        assert await client.content(LETTER) == ACCEPTED
        assert [each.recipients for each in upstream.messages] == [(f"RCPT TO:<{BOB}>", f"RCPT TO:<{CAROL}>")]
        await no_place_is_lost(stage)


@pytest.mark.parametrize("refusal", ["550 5.1.1 no longer", "450 4.2.0 not now"])
async def test_a_message_never_reaches_only_some_of_those_who_were_accepted(refusal: str) -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        assert (await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", f"RCPT TO:<{CAROL}>"))[1:] == [
            "250 2.1.5 Ok"
        ] * 2
        upstream.recipients[BOB] = says(refusal)
        upstream.dialogues[0].close()
        await upstream.until(lambda: not upstream.open_dialogues, "the upstream is gone")
        await client.ask("DATA")
        assert await client.content(LETTER) == LOST
        assert upstream.messages == []
        await no_place_is_lost(stage)


@pytest.mark.parametrize("gone", ["close", "reset"])
async def test_an_upstream_that_leaves_between_rcpt_and_data_is_replaced_unseen(gone: str) -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>")
        getattr(upstream.dialogues[0], gone)()
        await upstream.until(lambda: not upstream.open_dialogues, "the upstream is gone")
        assert await client.ask("DATA") == "354 End data with <CR><LF>.<CR><LF>"
        assert await client.content(LETTER) == ACCEPTED
        assert len(upstream.messages) == 1


async def test_a_client_that_idles_after_rcpt_does_not_hold_the_connection_and_its_mail_is_delivered() -> None:
    async with Exchanger() as upstream, serving(upstream, upstream_hold=0.05) as stage:
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>")
        await upstream.until(lambda: upstream.count("RSET") == 1, "the transaction is let go")
        assert await client.ask(f"RCPT TO:<{CAROL}>") == "250 2.1.5 Ok"
        await client.ask("DATA")
        assert await client.content(LETTER) == ACCEPTED
        assert [each.recipients for each in upstream.messages] == [(f"RCPT TO:<{BOB}>", f"RCPT TO:<{CAROL}>")]
        assert len(upstream.dialogues) == 1


async def test_a_sender_that_the_upstream_refused_is_refused_at_every_recipient_without_asking_again() -> None:
    async with Exchanger(script={Step.MAIL: says("550 5.1.8 no")}) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        assert await transaction(client, BOB, CAROL) == ["550 5.1.8 no"] * 2
        assert upstream.count("MAIL") == 1
        await client.ask("RSET")
        assert await transaction(client, BOB) == ["550 5.1.8 no"]
        assert upstream.count("MAIL") == 2


# ---------------------------------------------------------------- in the middle of the message


@pytest.mark.parametrize("act", [closes(), resets(), sends(b"nonsense\r\n"), says("421 bye")], ids=_name)
async def test_an_upstream_that_breaks_off_in_the_message_is_451(act: Act) -> None:
    async with (
        Exchanger(script={Step.CONTENT: act}, content_limit=100_000) as upstream,
        serving(upstream, **PATIENCE) as stage,
    ):
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
        assert await client.content(BIG) == LOST
        assert upstream.messages == []
        await no_place_is_lost(stage)


async def test_a_refusal_in_the_middle_of_the_message_is_the_clients() -> None:
    act = says("552 5.3.4 too big for us")
    async with Exchanger(script={Step.CONTENT: act}, content_limit=100_000) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
        assert await client.content(BIG) == "552 5.3.4 too big for us"
        assert upstream.messages == []
        await no_place_is_lost(stage)


async def test_an_acceptance_in_the_middle_of_the_message_is_not_believed() -> None:
    act = says("250 2.0.0 queued already")
    async with Exchanger(script={Step.CONTENT: act}, content_limit=100_000) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
        assert await client.content(BIG) in {LOST, REFUSED_US}
        assert upstream.messages == []


async def test_a_stray_acceptance_behind_354_is_not_taken_for_the_dots_answer() -> None:
    script = {Step.DATA: sends(b"354 go\r\n250 stray\r\n"), Step.DOT: says("554 5.7.1 refused")}
    async with Exchanger(script=script) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        assert (await transaction(client, BOB))[-1] == LOST


@contextlib.asynccontextmanager
async def stubborn(stuck: asyncio.Event, refusal: bytes) -> AsyncIterator[Exchanger]:
    """An upstream that reads no content at all, and refuses once `stuck` is set."""
    upstream, over = Exchanger(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        with contextlib.suppress(ConnectionError):
            while (line := await reader.readline()) and not line.startswith(b"DATA"):
                writer.write(b"250 ok\r\n")
            if line:
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                writer.write(b"354 go\r\n")
                await stuck.wait()
                writer.write(refusal)
                await over.wait()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        over.set()
        server.close()


async def _stuck(stage: WorkerStage) -> None:
    """Wait until the relay waits for room and nothing has moved for a thousand turns of the loop."""
    (session,) = stage.worker.front.live
    still, before = 0, -1
    async with asyncio.timeout(10):
        while still < 1000:
            passage = session.dialogue.relay._passage  # type: ignore[union-attr]
            wire = passage.connection.wire if passage.stage is CONTENT else None
            waits = wire is not None and wire._paused
            now = wire.transport.get_write_buffer_size() if waits else -1
            still, before = (still + 1 if waits and now == before else 0), now
            await asyncio.sleep(0)


async def test_a_refusal_in_the_middle_is_heard_though_the_upstream_reads_no_further() -> None:
    stuck = asyncio.Event()
    message = b"Subject: very big\r\n\r\n" + (b"x" * 998 + b"\r\n") * 30_000
    async with stubborn(stuck, b"552 5.3.4 enough\r\n") as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
        sending = asyncio.get_running_loop().create_task(client.content(message))
        await _stuck(stage)
        stuck.set()
        try:
            async with asyncio.timeout(3):
                assert await sending == "552 5.3.4 enough"
        finally:
            sending.cancel()


async def test_a_message_flows_on_while_the_upstream_reads_slowly_and_memory_does_not_grow() -> None:
    gate = asyncio.Event()
    act = Act(until=gate)
    async with Exchanger(script={Step.CONTENT: act}, content_limit=1) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
        message = b"Subject: big\r\n\r\n" + (b"x" * 998 + b"\r\n") * 20_000
        sending = asyncio.get_running_loop().create_task(client.content(message))
        await upstream.until(lambda: bool(upstream.held), "the upstream stops reading")
        (session,) = stage.worker.front.live
        async with asyncio.timeout(10):
            while not session.connection._reading_paused:  # noqa: ASYNC110 - the transport does not report it
                await asyncio.sleep(0)
        assert len(session.connection.buffer) < 1_000_000
        gate.set()
        async with asyncio.timeout(15):
            assert await sending == ACCEPTED
        assert upstream.messages[0].content.endswith(message)


# ---------------------------------------------------------------- connections that are kept


async def test_a_connection_is_used_again_by_the_next_session() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        for number in range(1, 4):
            client = await stage.greeted()
            assert (await transaction(client, BOB))[-1] == f"250 2.0.0 Ok: queued as {number:06X}"
            await client.quit()
        assert len(upstream.dialogues) == 1


@pytest.mark.parametrize("gone", ["close", "reset"])
async def test_a_kept_connection_that_was_closed_is_replaced_unseen(gone: str) -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        getattr(upstream.dialogues[0], gone)()
        await upstream.until(lambda: not upstream.open_dialogues, "the upstream closed it")
        client = await stage.greeted()
        assert await transaction(client, BOB) == ["250 2.1.5 Ok", ACCEPTED]
        assert len(upstream.dialogues) == 2
        await no_place_is_lost(stage)


async def test_a_kept_connection_on_which_the_upstream_took_its_leave_is_replaced_unseen() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        upstream.dialogues[0].writer.write(b"421 4.4.2 idle for too long\r\n")
        await upstream.until(lambda: not upstream.open_dialogues, "we cut it")
        client = await stage.greeted()
        assert await transaction(client, BOB) == ["250 2.1.5 Ok", ACCEPTED]
        await no_place_is_lost(stage)


@pytest.mark.parametrize("step", [Step.MAIL, Step.RCPT])
@pytest.mark.parametrize("act", [closes(), resets(), says("421 idle", after=After.CLOSE), is_silent()], ids=_name)
@pytest.mark.parametrize("extensions", [("PIPELINING",), ()], ids=["pipelining", "one-by-one"])
async def test_a_kept_connection_found_dead_by_the_first_commands_is_replaced_unseen(
    step: Step, act: Act, extensions: tuple[str, ...]
) -> None:
    async with Exchanger(extensions=extensions) as upstream, serving(upstream, **PATIENCE) as stage:
        upstream.dialogues[0].script[step] = act
        client = await stage.greeted()
        assert await transaction(client, BOB) == ["250 2.1.5 Ok", ACCEPTED]
        assert len(upstream.dialogues) == 2
        await no_place_is_lost(stage)


async def test_a_kept_connection_is_replaced_once_and_not_again() -> None:
    async with Exchanger(script={Step.MAIL: closes()}) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        assert await transaction(client, BOB) == [LOST]
        assert len(upstream.dialogues) == 2


@pytest.mark.parametrize(
    ("script", "recipients"),
    [
        ({Step.MAIL: says("550 5.1.8 no")}, {}),
        ({Step.MAIL: says("451 4.1.8 later")}, {}),
        ({}, {BOB: says("550 5.1.1 no")}),
        ({}, {CAROL: says("450 4.2.0 later")}),
        ({Step.DATA: says("451 4.3.0 later")}, {}),
        ({Step.DOT: says("554 5.7.1 no")}, {}),
    ],
)
async def test_a_connection_on_which_the_upstream_counted_an_error_is_not_shared(
    script: dict[Step, Act], recipients: dict[str, Act]
) -> None:
    async with Exchanger(script=script, recipients=recipients) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await transaction(client, BOB, CAROL)
        await client.quit()
        await stage.ended()
        assert upstream.dialogues[0].commands[-1] == "QUIT"
        await upstream.until(lambda: upstream.dialogues[0].ended, "it is closed")
        other = await stage.greeted()
        await transaction(other, DAVE)
        assert len(upstream.dialogues) == 2
        await no_place_is_lost(stage)


# ---------------------------------------------------------------- how it speaks


async def test_mail_and_rcpt_go_in_one_write_where_the_upstream_takes_that() -> None:
    gate = asyncio.Event()
    async with Exchanger(script={Step.MAIL: says("250 ok", until=gate)}) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.send(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>")
        await upstream.until(lambda: bool(upstream.held), "MAIL is upstream")
        assert upstream.count("RCPT") == 0
        gate.set()
        assert [await client.reply(), await client.reply()] == ["250 2.1.0 Sender OK", "250 2.1.5 Ok"]


async def test_the_last_block_and_the_dot_go_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []

    async with Exchanger() as upstream, relaying(upstream) as (relay, envelope, pool):
        await relay.recipients(envelope, [PATH])
        envelope.add(Recipient(PATH))
        wire = relay._passage.connection.wire
        write = wire.transport.write
        noted = SimpleNamespace(write=lambda octets: (written.append(octets), write(octets)))
        monkeypatch.setattr(wire, "transport", noted)
        await relay.begin()
        await relay.content(b"Subject: x\r\n")
        assert (await relay.finish(b"\r\nbody\r\n")).accepted
        monkeypatch.undo()
        assert written == [b"DATA\r\n", b"Subject: x\r\n", b"\r\nbody\r\n.\r\n"]
        assert len(pool._idle) == 1


@pytest.mark.parametrize(
    ("options", "message", "refusal"),
    [
        ({"Max_Header_Size": 100}, b"Subject: %b\r\n\r\nx\r\n" % (b"x" * 200), "552 5.3.4 Header section too big"),
        ({"Max_Message_Size": 100}, b"Subject: x\r\n\r\n%b\r\n" % (b"x" * 200), "552 5.3.4 Message too big"),
        (
            {"Max_Received_Headers": 1},
            b"Received: x\r\n" * 2 + b"\r\nx\r\n",
            "554 5.4.6 Too many Received fields: mail loop",
        ),
    ],
    ids=["header section", "size", "loop"],
)
async def test_a_message_that_is_refused_by_its_content_costs_the_upstream_an_envelope_and_no_connection(
    options: dict[str, object], message: bytes, refusal: str
) -> None:
    async with Exchanger() as upstream, serving(upstream, **options) as stage:
        for _ in range(2):
            client = await stage.greeted()
            await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
            assert await client.content(message) == refusal
            await client.quit()
            await stage.ended()
        (dialogue,) = upstream.dialogues
        assert [line[:4] for line in dialogue.commands] == ["EHLO", *("MAIL", "RCPT", "RSET") * 2]
        assert not dialogue.ended


@pytest.mark.parametrize("extensions", [("PIPELINING",), ()], ids=["pipelining", "one-by-one"])
async def test_rcpt_waits_for_mails_answer_only_where_the_upstream_does_not_pipeline(
    extensions: tuple[str, ...],
) -> None:
    script = {Step.MAIL: says("550 5.1.8 no")}
    async with Exchanger(script=script, extensions=extensions) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        assert await transaction(client, BOB) == ["550 5.1.8 no"]
        await no_place_is_lost(stage)
        assert upstream.count("RCPT") == len(extensions)


@pytest.mark.parametrize(
    ("given", "extensions", "sent"),
    [
        ("", ("SIZE", "8BITMIME"), ""),
        (" SIZE=100", ("SIZE 1000",), " SIZE=100"),
        (" size=100 body=8bitmime", ("SIZE", "8BITMIME"), " SIZE=100 BODY=8bitmime"),
        (" SIZE=100", (), ""),
        (" BODY=7BIT", (), ""),
        (" SMTPUTF8 BODY=8BITMIME", ("SMTPUTF8", "8BITMIME"), " SMTPUTF8 BODY=8BITMIME"),
    ],
)
async def test_parameters_go_on_where_the_upstream_knows_them(
    given: str, extensions: tuple[str, ...], sent: str
) -> None:
    async with Exchanger(extensions=(*extensions, "HELP")) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.ask(f"MAIL FROM:<{ALICE}>{given}")
        assert await client.ask(f"RCPT TO:<{BOB}>") == "250 2.1.5 Ok"
        assert f"MAIL FROM:<{ALICE}>{sent}" in upstream.commands


@pytest.mark.parametrize(
    ("parameters", "reply"),
    [
        (" BODY=8BITMIME", "550 5.6.3 Next-hop server does not support 8BITMIME"),
        (" SMTPUTF8", "550 5.6.7 Next-hop server does not support SMTPUTF8"),
        (" SMTPUTF8 BODY=8BITMIME", "550 5.6.7 Next-hop server does not support SMTPUTF8"),
    ],
)
async def test_what_the_upstream_cannot_carry_is_refused_and_never_downgraded(parameters: str, reply: str) -> None:
    async with Exchanger(extensions=("PIPELINING",)) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.ask(f"MAIL FROM:<{ALICE}>{parameters}")
        assert await client.ask(f"RCPT TO:<{BOB}>") == reply
        assert await client.ask(f"RCPT TO:<{CAROL}>") == reply
        assert upstream.count("MAIL") == 0
        await no_place_is_lost(stage)


@pytest.mark.parametrize("sender", ["", '"odd sender"@sender.test', "a@[192.0.2.1]", "Alice+Tag@Sender.TEST"])
async def test_paths_go_on_as_they_came(sender: str) -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{sender}>", 'RCPT TO:<@route.test:"b o b"@example.com>')
        assert upstream.commands[-2:] == [f"MAIL FROM:<{sender}>", 'RCPT TO:<"b o b"@example.com>']
        assert upstream.faults == []


# ---------------------------------------------------------------- aborting, state by state


@contextlib.asynccontextmanager
async def relaying(upstream: Exchanger) -> AsyncIterator[tuple[UpstreamRelay, Transaction, ConnectionPool]]:
    settings = assembly(upstream.port).settings
    pools, router = Pools(resolver()), Router(settings)
    session = Session(asyncio.get_running_loop(), ("127.0.0.1", 1), ("127.0.0.1", 25), core())
    session.transaction.begin(Path(ALICE.encode(), "alice", "sender.test"), {})
    try:
        yield UpstreamRelay(router, pools, session), session.transaction, pools.of(router.default)
    finally:
        await pools.close()


PATH = Path(BOB.encode(), "bob", "example.com")


@pytest.mark.parametrize("state", ["new", "recipient", "data", "content"])
async def test_aborting_leaves_nothing_delivered_in_any_state(state: str) -> None:
    async with Exchanger() as upstream, relaying(upstream) as (relay, envelope, pool):
        if state != "new":
            assert (await relay.recipients(envelope, [PATH]))[0].accepted
            envelope.add(Recipient(PATH))
        if state in {"data", "content"}:
            await relay.begin()
        if state == "content":
            await relay.content(LETTER)
        relay.abort()
        relay.abort()
        await settled(pool)
        assert upstream.count("RSET") == (1 if state == "recipient" else 0)
        if state in {"data", "content"}:
            await upstream.until(lambda: not upstream.open_dialogues, "the half message is cut off")
        assert upstream.messages == []
        assert pool._slots.taken == len(pool._idle) == (1 if state == "recipient" else 0)


async def test_aborting_after_the_end_changes_nothing() -> None:
    async with Exchanger() as upstream, relaying(upstream) as (relay, envelope, pool):
        await relay.recipients(envelope, [PATH])
        envelope.add(Recipient(PATH))
        await relay.begin()
        assert await relay.finish(LETTER) == Reply(250, (b"2.0.0 Ok: queued as 000001",))
        relay.abort()
        await settled(pool)
        assert len(upstream.messages) == 1
        assert len(pool._idle) == 1


async def test_aborting_while_a_recipient_is_asked_for_cuts_the_connection() -> None:
    gate = asyncio.Event()
    async with (
        Exchanger(recipients={BOB: says("250 ok", until=gate)}) as upstream,
        relaying(upstream) as (relay, envelope, pool),
    ):
        asking = asyncio.get_running_loop().create_task(relay.recipients(envelope, [PATH]))
        await upstream.until(lambda: bool(upstream.held), "RCPT is upstream")
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        relay.abort()
        await settled(pool)
        gate.set()
        await upstream.until(lambda: not upstream.open_dialogues, "it is cut")
        assert pool._slots.taken == 0


async def test_without_a_recipient_nothing_can_be_begun_or_sent() -> None:
    async with Exchanger() as upstream, relaying(upstream) as (relay, _, _pool):
        for attempt in (relay.begin, lambda: relay.content(b"x"), lambda: relay.finish(b"x")):
            with pytest.raises(RelayFailed) as failed:
                await attempt()
            assert failed.value.reply is replies.UPSTREAM_LOST
        assert upstream.dialogues == []


async def test_an_rset_that_the_upstream_refuses_ends_the_connection() -> None:
    async with (
        Exchanger(script={Step.RSET: says("500 what?")}) as upstream,
        relaying(upstream) as (relay, envelope, pool),
    ):
        await relay.recipients(envelope, [PATH])
        relay.abort()
        await settled(pool)
        assert pool._slots.taken == 0
