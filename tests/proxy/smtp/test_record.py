"""The events of mail: each refusal names who decided, each delivery who took the message."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from proxy.base import log_output
from proxy.mail.session import Session
from proxy.mail.verdict import PASS, Verdict
from sieve.phases import Need, Phase
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger, Step, says
from tests.support.worker import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    LETTER,
    Rule,
    WorkerStage,
    refuses,
    serving,
    transaction,
)

Said = list[Mapping[str, Any]]


def named(log: Said, name: str) -> Said:
    return [each for each in log if each["event"] == name]


async def with_recipients(stage: WorkerStage, *recipients: str) -> Conversation:
    """Return a client within a transaction that has these recipients."""
    client = await stage.greeted()
    for line in (f"MAIL FROM:<{ALICE}>", *(f"RCPT TO:<{each}>" for each in recipients)):
        await client.ask(line)
    return client


async def test_a_message_and_its_recipient_say_who_took_it() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        with capture_logs() as log:
            client = await with_recipients(stage, BOB)
            await client.ask("DATA")
            reply = await client.content(b"Message-ID: <1@here.test>\r\nSubject: x\r\n\r\nx\r\n")
            await client.quit()
        (message,), (recipient,) = named(log, "message"), named(log, "recipient")
        place = f"127.0.0.1:{upstream.port}"
        assert (message["disposition"], message["decided_by"], message["taken_by"]) == (
            "relayed", f"upstream {place}", place,
        )  # fmt: skip
        assert (message["message_id"], message["recipients"]) == ("<1@here.test>", [BOB])
        assert (recipient["recipient"], recipient["reply"]) == (BOB, message["reply"])
        assert message["reply"] == reply


@pytest.mark.parametrize(
    ("recipients", "at_the_dot", "observed"),
    [
        ([BOB], "250 2.0.0 Ok", ["message"]),
        ([BOB], "550 5.7.1 No", ["message", "recipient"]),
        ([BOB, CAROL], "250 2.0.0 Ok", ["message", "recipient", "recipient"]),
    ],
)
async def test_the_history_gets_the_only_recipient_of_a_relayed_message_with_the_message(
    recipients: list[str], at_the_dot: str, observed: list[str]
) -> None:
    stream, seen = io.StringIO(), list[bytes]()
    async with Exchanger(script={Step.DOT: says(at_the_dot)}) as upstream, serving(upstream) as stage:
        log_output.configure(stream)
        try:
            log_output.observe(seen.append, frozenset())
            client = await with_recipients(stage, *recipients)
            await client.ask("DATA")
            await client.content(LETTER)
        finally:
            await asyncio.to_thread(log_output.close)
            structlog.reset_defaults()
    mail = ("message", "recipient")
    events = [json.loads(line)["event"] for lines in seen for line in lines.splitlines()]
    assert [each for each in events if each in mail] == observed
    written = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert [each for each in written if each in mail] == ["message", *("recipient" for _ in recipients)]


async def test_a_refused_recipient_has_one_event() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        with capture_logs() as log:
            client = await stage.greeted()
            await client.ask(f"MAIL FROM:<{ALICE}>")
            reply = await client.ask("RCPT TO:bob@@x")
        (event,) = named(log, "recipient")
        assert (event["decided_by"], event["disposition"], event["reply"]) == ("protocol", "refused", reply)


async def test_a_limit_is_named_by_its_option() -> None:
    async with Exchanger() as upstream, serving(upstream, max_recipients_per_message=1) as stage:
        with capture_logs() as log:
            await with_recipients(stage, BOB, ALICE)
        (event,) = named(log, "recipient")
        assert (event["recipient"], event["decided_by"], event["disposition"]) == (
            ALICE, "max_recipients_per_message", "deferred",
        )  # fmt: skip


async def test_recipients_of_a_transaction_without_a_message_are_lost() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        with capture_logs() as log:
            client = await with_recipients(stage, BOB)
            await client.ask("RSET")
        assert [(each["recipient"], each["disposition"]) for each in named(log, "recipient")] == [(BOB, "lost")]


async def test_other_refused_commands_have_one_event_each() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        with capture_logs() as log:
            client = await stage.greeted()
            await client.ask("XYZZY")
            await client.ask("DATA")
        assert [(each["command"], each["decided_by"]) for each in named(log, "refused")] == [
            ("XYZZY", "protocol"), ("DATA", "protocol"),
        ]  # fmt: skip


async def test_a_check_from_this_machine_is_counted_and_not_logged() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        with capture_logs() as log:
            client = await stage.connection()
            await client.reply()
            await client.ask("QUIT")
            await stage.ended()
            stage.worker.front.checks.tell()
        assert [(each["event"], each.get("checks")) for each in log] == [("health_checks", 1)]


async def test_a_client_that_leaves_within_its_message_leaves_a_lost_message() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        with capture_logs() as log:
            client = await with_recipients(stage, BOB)
            await client.ask("DATA")
            await client.send_raw(b"Subject: half\r\n\r\nof i")
            client.abort()
            await stage.ended()
        (message,), (recipient,) = named(log, "message"), named(log, "recipient")
        for event in (message, recipient):
            assert (event["disposition"], event["decided_by"], event["code"], event["taken_by"]) == (
                "lost", "client", 0, "",
            )  # fmt: skip
        assert (message["recipients"], recipient["recipient"]) == ([BOB], BOB)


async def slow(_session: Session) -> Verdict:
    await asyncio.sleep(0.2)
    return PASS


async def test_the_time_of_a_slow_step_is_that_of_its_stage() -> None:
    stages = ("client_ms", "policy_ms", "callback_ms", "upstream_ms")
    for late, phase in (("policy_ms", Phase.MAILFROM), ("policy_ms", Phase.DATA), ("client_ms", None)):
        rules = [Rule(phase, slow)] if phase is not None else []
        async with Exchanger() as upstream, serving(upstream, *rules) as stage:
            with capture_logs() as log:
                client = await with_recipients(stage, BOB)
                if phase is None:
                    await asyncio.sleep(0.2)
                await client.ask("DATA")
                await client.content(LETTER)
            (message,) = named(log, "message")
        assert message[late] >= 190
        assert late == "client_ms" or message["client_ms"] >= 0
        assert all(message[each] >= 0 for each in stages)


async def beside(session: Session) -> Verdict:
    session.transaction.callback_seconds += 5
    return PASS


async def test_a_callback_that_policy_did_not_wait_for_leaves_policy_no_time_below_zero() -> None:
    async with Exchanger() as upstream, serving(upstream, Rule(Phase.MAILFROM, beside)) as stage:
        with capture_logs() as log:
            client = await with_recipients(stage, BOB)
            await client.ask("DATA")
            await client.content(LETTER)
        (message,) = named(log, "message")
    assert (message["policy_ms"], message["callback_ms"]) == (0.0, 5000.0)


async def test_a_state_that_changes_has_one_event_at_the_change() -> None:
    async with serving() as stage:
        with capture_logs() as log:
            client = await stage.greeted()
            await client.ask(f"MAIL FROM:<{ALICE}>")
            for _ in range(3):
                await client.ask(f"RCPT TO:<{BOB}>")
        assert len(named(log, "upstream_down")) <= 1  # the pool's first attempt may have told it
        assert all(each["session"] for each in named(log, "upstream_unreachable"))


async def test_a_discarded_message_says_so_and_who_discarded_it() -> None:
    for phase in (Phase.MAILFROM, Phase.DATA):
        async with Exchanger() as upstream, serving(upstream, Rule(phase, Verdict(discard=True))) as stage:
            with capture_logs() as log:
                await transaction(await stage.greeted())
        for event in (*named(log, "message"), *named(log, "recipient")):
            assert (event["disposition"], event["decided_by"], event["taken_by"]) == ("discarded", "rule", "")
        assert len(named(log, "message")) == len(named(log, "recipient")) == 1


async def test_recipients_of_one_message_have_fates_of_their_own() -> None:
    async def judge(session: Session) -> Verdict:
        recipient = session.current_recipient
        assert recipient is not None
        if recipient.path.text == BOB:
            return refuses(550, "5.7.1 not for bob")
        return Verdict(discard=True) if recipient.path.text == DAVE else PASS

    async with Exchanger() as upstream, serving(upstream, Rule(Phase.EACH_RCPT, judge, reads=Need.HEADERS)) as stage:
        with capture_logs() as log:
            client = await stage.greeted()
            await client.ask(f"MAIL FROM:<{ALICE}> PRDR")
            for each in (BOB, CAROL, DAVE):
                await client.ask(f"RCPT TO:<{each}>")
            await client.ask("DATA")
            await client.content(LETTER)
        (message,) = named(log, "message")
        place = f"127.0.0.1:{upstream.port}"
        assert (message["disposition"], message["taken_by"], message["recipient_count"]) == ("relayed", place, 3)
        assert [
            (each["recipient"], each["disposition"], each["decided_by"], each["taken_by"])
            for each in named(log, "recipient")
        ] == [
            (BOB, "refused", "rule", ""), (CAROL, "relayed", f"upstream {place}", place),
            (DAVE, "discarded", "rule", ""),
        ]  # fmt: skip


async def test_a_message_in_chunks_has_the_same_events_also_if_it_is_abandoned() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        with capture_logs() as log:
            client = await stage.greeted()
            for chunk in (b"BDAT %d LAST\r\n%b" % (len(LETTER), LETTER), b"BDAT 4\r\nSubj"):
                await client.ask(f"MAIL FROM:<{ALICE}>")
                await client.ask(f"RCPT TO:<{BOB}>")
                await client.send_raw(chunk)
                await client.reply()
            await client.ask("RSET")
        told = [(each["event"], each["disposition"]) for each in log if each["event"] in {"message", "recipient"}]
        assert told == [(event, ended) for ended in ("relayed", "lost") for event in ("message", "recipient")]


async def test_a_slow_next_hop_is_the_time_of_the_next_hop() -> None:
    gate = asyncio.Event()
    script = {Step.DOT: says("250 2.0.0 Ok: queued as 1", until=gate)}

    async def open_late(upstream: Exchanger) -> None:
        await upstream.until(lambda: upstream.count("DATA") == 1, "DATA arrives")
        await asyncio.sleep(0.3)
        gate.set()

    async with Exchanger(script=script) as upstream, serving(upstream) as stage:
        with capture_logs() as log:
            client = await stage.greeted()
            await asyncio.gather(transaction(client), open_late(upstream))
        (message,) = named(log, "message")
    assert message["upstream_ms"] >= 200
    assert message["queue_id"] == "1"


async def test_a_later_refusal_does_not_take_the_phase_of_an_earlier_one() -> None:
    async def judge(session: Session) -> Verdict:
        recipient = session.current_recipient
        return refuses(550, "5.7.1 not for bob") if recipient and recipient.path.text == BOB else PASS

    script = {Step.DOT: says("550 5.7.1 Not this one")}
    async with Exchanger(script=script) as upstream, serving(upstream, Rule(Phase.RCPTTO, judge)) as stage:
        with capture_logs() as log:
            client = await with_recipients(stage, BOB, CAROL)
            await client.ask("DATA")
            await client.content(b"Subject: x\r\n\r\nx\r\n")
        (message,) = named(log, "message")
        assert (message["phase"], message["decided_by"]) == ("data", f"upstream 127.0.0.1:{upstream.port}")
