"""Messages of Ringback's own, with real servers: they arrive, through crashes and outages, and never without reason."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import cast

import pytest

from tests.support.conversation import Conversation
from tests.support.exchanger import Act, Exchanger, Step, says
from tests.support.house import greeted, opened
from tests.support.programs import free_port
from tests.support.ringback import Ringback, run
from tests.support.servers import Postfix
from tests.support.waiting import eventually
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

ALICE, BOB, CAROL = (f"{name}@example.com" for name in ("alice", "bob", "carol"))
TEAM = "team@example.com"
FORWARD = f'ec_forward "" "{TEAM}" "look";\n'
CAROL_REFUSED = (
    '$subject = ec_header_get "Subject";\n'
    f'if envelope :is "to" "{CAROL}" {{ ec_action 550 "5.7.1 Carol takes no ${{subject}}"; }}\n'
)


def letter(mark: str) -> bytes:
    return f"Subject: {mark}\r\n\r\nbody\r\n".encode()


async def house(stage: Stage, folder: Path, port: int, *lines: str, **scripts: str) -> Ringback:
    """Start Ringback with a state folder and these scripts."""
    (folder / "state").mkdir(exist_ok=True)
    return await opened(
        stage, folder, f'State_Directory = "{folder}/state"', *lines, upstream_port=port, scripts=scripts
    )


async def sent(ringback: Ringback, mark: str, sender: str = "a@sender.test") -> str:
    async with await greeted(ringback) as client:
        return await client.deliver(sender, [BOB], letter(mark))


async def killed(ringback: Ringback) -> None:
    """Kill every process; nothing of it goes on."""
    await asyncio.to_thread(ringback.kill)


def forwards(upstream: Exchanger, mark: str) -> int:
    """Return how many forwards of the message that is marked so have arrived."""
    return sum(
        TEAM in each.recipients[0] and f"Subject: Fwd: {mark}\r\n".encode() in each.content
        for each in upstream.messages
    )


# ---------------------------------------------------------------- with Postfix behind


@pytest.mark.real("postfix")
async def test_a_forward_arrives_with_the_message_in_it(stage: Stage, tmp_path: Path, postfix: Postfix) -> None:
    ringback = await house(stage, tmp_path, postfix.port, data_phase1=FORWARD)
    assert (await sent(ringback, "to-forward")).startswith("250 ")
    (forward,) = await eventually(lambda: postfix.delivered(b"Subject: Fwd: to-forward\r\n"), "the forward")
    assert b"\r\nDelivered-To: team@example.com\r\n" in forward
    assert b"\r\nAuto-Submitted: auto-generated\r\n" in forward
    attached = list(cast(EmailMessage, message_from_bytes(forward, policy=policy.default)).iter_parts())[-1]
    assert attached.get_content()["Subject"] == "to-forward"
    (event,) = await eventually(
        lambda: [each for each in ringback.log if each["event"] == "outbox_delivered"], "it is logged"
    )
    assert (event["purpose"], event["recipient"], event["reply"][:3]) == ("forward", TEAM, "250")


async def transaction(client: Conversation, sender: str, recipients: Sequence[str], mark: str) -> list[str]:
    answers = [await client.ask(f"MAIL FROM:{sender}")]
    answers += [await client.ask(f"RCPT TO:{each}") for each in recipients]
    assert (await client.ask("DATA")).startswith("354 ")
    return [*answers, await client.content(letter(mark))]


@pytest.mark.real("postfix")
async def test_a_refused_recipient_is_reported_by_the_letter_of_rfc_3464(
    stage: Stage, tmp_path: Path, postfix: Postfix
) -> None:
    ringback = await house(stage, tmp_path, postfix.port, 'Multi_Recipient = "dsn"', each_rcpt_phase1=CAROL_REFUSED)
    async with await greeted(ringback) as client:
        answers = await transaction(
            client,
            f"<{ALICE}> RET=HDRS ENVID=QQ+2B1",
            [f"<{BOB}>", f"<{CAROL}> NOTIFY=FAILURE ORCPT=rfc822;Carol@example.com"],
            "reported",
        )
        assert [each[:3] for each in answers] == ["250"] * 4
    (report,) = await eventually(lambda: postfix.delivered(b"Delivered-To: alice@example.com\r\n"), "the report")
    assert report.startswith(b"Return-Path: <>\r\n")
    message = cast(EmailMessage, message_from_bytes(report, policy=policy.default))
    assert (message.get_content_type(), message.get_param("report-type")) == ("multipart/report", "delivery-status")
    assert (message["To"], message["Auto-Submitted"]) == (ALICE, "auto-replied")
    text, status, headers = message.iter_parts()
    assert "550 5.7.1 Carol takes no reported" in text.get_content()
    about, carol = (dict(group.items()) for group in cast(list[EmailMessage], status.get_payload()))
    assert (about["Original-Envelope-Id"], about["Reporting-MTA"]) == ("QQ+1", "dns; ringback.test")
    assert {name: carol[name] for name in carol if name != "Last-Attempt-Date"} == {
        "Original-Recipient": "rfc822; Carol@example.com",
        "Final-Recipient": "rfc822; carol@example.com",
        "Action": "failed",
        "Status": "5.7.1",
        "Diagnostic-Code": "smtp; 550 5.7.1 Carol takes no reported",
    }
    assert headers.get_content_type() == "text/rfc822-headers"
    (delivered,) = postfix.delivered(b"Subject: reported\r\n\r\nbody\r\n")
    assert b"\r\nDelivered-To: bob@example.com\r\n" in delivered


@pytest.mark.real("postfix")
async def test_neither_the_null_sender_nor_who_wants_none_ever_gets_a_report(
    stage: Stage, tmp_path: Path, postfix: Postfix
) -> None:
    ringback = await house(stage, tmp_path, postfix.port, 'Multi_Recipient = "dsn"', each_rcpt_phase1=CAROL_REFUSED)
    async with await greeted(ringback) as client:
        never = [f"<{BOB}>", f"<{CAROL}> NOTIFY=NEVER"]
        assert (await transaction(client, f"<{ALICE}>", never, "never"))[-1].startswith("250 ")
        answers = await transaction(client, "<>", [f"<{BOB}>", f"<{CAROL}>"], "null")
        assert [each[:3] for each in answers] == ["250", "250", "452", "250"]
        answers = await transaction(client, "<>", [f"<{CAROL}>"], "null")
        assert answers[-1] == "550 5.7.1 Carol takes no null"
        last = [f"<{BOB}>", f"<{CAROL}>"]
        assert (await transaction(client, "<dora@example.com>", last, "last"))[-1].startswith("250 ")
    await eventually(lambda: postfix.delivered(b"Delivered-To: dora@example.com\r\n"), "the last report")
    reports = postfix.delivered(b"report-type=delivery-status")
    assert [each for each in reports if b"takes no never" in each or b"takes no null" in each] == []


# ---------------------------------------------------------------- outages and crashes


async def test_an_upstream_that_is_down_and_comes_back_gets_the_forward(stage: Stage, tmp_path: Path) -> None:
    later = free_port()
    script = 'ec_forward "" "team@later.test" "look";\n'
    upstream = await stage.upstream()
    ringback = await house(
        stage, tmp_path, upstream.port,
        f'Domain "later.test" {{ Remote_SMTP_Port = {later}\n Retry_Interval = 1\n Host_Failure_Retry = 1 }}',
        data_phase1=script,
    )  # fmt: skip
    assert (await sent(ringback, "outage")).startswith("250 ")
    await eventually(lambda: [each for each in ringback.log if each["event"] == "outbox_deferred"], "it is put off")
    behind = await stage.put_up(Exchanger(port=later))
    await behind.until(lambda: len(behind.messages) == 1, "the forward")
    assert b"\r\nSubject: Fwd: outage\r\n" in behind.messages[0].content


async def test_a_forward_outlives_a_kill_between_the_clients_250_and_its_delivery(stage: Stage, tmp_path: Path) -> None:
    let_go = asyncio.Event()
    upstream = await stage.upstream(recipients={TEAM: says("250 2.1.5 Ok", until=let_go)})
    ringback = await house(stage, tmp_path, upstream.port, data_phase1=FORWARD)
    assert (await sent(ringback, "killed")).startswith("250 ")
    await upstream.until(lambda: upstream.count(f"RCPT TO:<{TEAM}") == 1, "a delivery under way")
    await killed(ringback)
    let_go.set()
    assert forwards(upstream, "killed") == 0
    ringback.start()
    await upstream.until(lambda: forwards(upstream, "killed") == 1, "the forward")


async def test_a_forward_of_a_message_whose_fate_a_kill_left_open_leaves_with_the_clients_next_try(
    stage: Stage, tmp_path: Path
) -> None:
    never = asyncio.Event()
    upstream = await stage.upstream(script={Step.DOT: Act(until=never)})
    ringback = await house(stage, tmp_path, upstream.port, data_phase1=FORWARD)
    client = await greeted(ringback)
    await client.envelope("a@sender.test", [BOB])
    await client.send_raw(letter("open") + b".\r\n")
    await upstream.until(lambda: bool(upstream.held), "our dot is upstream")
    await killed(ringback)
    client.abort()
    upstream.script.clear()
    never.set()
    ringback.start()
    assert (await sent(ringback, "open")).startswith("250 ")
    await upstream.until(lambda: forwards(upstream, "open") == 1, "the forward")
    assert (await sent(ringback, "next")).startswith("250 ")
    await upstream.until(lambda: forwards(upstream, "next") == 1, "the next forward")
    assert forwards(upstream, "open") == 1


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_was_promised_arrives_though_the_process_is_killed_at_random(
    stage: Stage, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    upstream = await stage.upstream()
    ringback = await house(stage, tmp_path, upstream.port, data_phase1=FORWARD)
    promised: list[str] = []

    async def send_on(life: int, number: int) -> None:
        with suppress(Exception):
            async with await greeted(ringback) as client:
                for count in range(1000):
                    mark = f"m-{life}-{number}-{count}"
                    if (await client.deliver("a@sender.test", [BOB], letter(mark))).startswith("250 "):
                        promised.append(mark)

    for life in range(3):
        clients = asyncio.gather(*(send_on(life, number) for number in range(4)))
        target = len(promised) + chance.randint(5, 60)
        await eventually(lambda wanted=target: len(promised) >= wanted, "messages are accepted")  # type: ignore[misc]
        await killed(ringback)
        await clients
        ringback.start()
    await upstream.until(lambda: all(forwards_of(upstream)[mark] for mark in promised), "every forward", within=60)
    accepted = Counter(
        found[1] for each in upstream.messages if (found := re.search(rb"\nSubject: (m-[-\d]+)\r\n", each.content))
    )
    assert [mark for mark in promised if not accepted[mark.encode()]] == []


def forwards_of(upstream: Exchanger) -> Counter[str]:
    """Return how often each message was forwarded."""
    found = (re.search(rb"\nSubject: Fwd: (m-[-\d]+)\r\n", each.content) for each in upstream.messages)
    return Counter(each[1].decode() for each in found if each is not None)


# ---------------------------------------------------------------- without a folder


async def test_check_says_what_needs_a_folder_and_serve_does_not_start(stage: Stage, tmp_path: Path) -> None:
    ringback = await house(stage, tmp_path, 25, data_phase1=FORWARD)
    (tmp_path / "state").rename(tmp_path / "away")
    status, printed = await asyncio.to_thread(run, "check", str(ringback.configuration), folder=tmp_path, name="check")
    assert status == 78
    assert f"Ringback's own messages need an outbox, but {tmp_path}/state is not a writable folder" in printed


async def test_a_folder_that_vanishes_is_451_and_a_line_in_the_log(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    ringback = await house(stage, tmp_path, upstream.port, data_phase1=FORWARD)
    (tmp_path / "state").rename(tmp_path / "away")
    assert await sent(ringback, "nowhere") == "451 4.3.0 Temporary failure, try again later"
    (tmp_path / "state").mkdir()
    assert (await sent(ringback, "somewhere")).startswith("250 ")
    await upstream.until(lambda: forwards(upstream, "somewhere") == 1, "the forward")
    assert forwards(upstream, "nowhere") == 0
    events = await eventually(lambda: [each for each in ringback.log if each["event"] == "outbox_unavailable"], "log")
    assert len(events) == 1
