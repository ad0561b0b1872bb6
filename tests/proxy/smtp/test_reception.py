"""One message from 354 to its answer: what is added, what is refused, and in whose words."""

from __future__ import annotations

import asyncio
import re

import pytest
from structlog.testing import capture_logs

from proxy.base.tasks import TaskOwner, spawn
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.mail.verdict import PASS, Verdict
from proxy.smtp.reception import GATHERED
from sieve.phases import Need, Phase
from tests.support.conversation import Conversation, stuffed
from tests.support.exchanger import Exchanger, Step, says
from tests.support.worker import ALICE, BOB, CAROL, LETTER, Rule, WorkerStage, refuses, serving

BARE = "550 5.5.2 Bare <CR> or <LF> received; lines end with <CR><LF>"
INTERNAL = "451 4.3.0 Temporary failure, try again later"
ACCEPTED = "250 2.0.0 Ok: queued as 000001"


async def begun(stage: WorkerStage, *recipients: str, sender: str = ALICE, option: str = "") -> Conversation:
    client = await stage.greeted()
    answers = await client.pipeline(
        f"MAIL FROM:<{sender}>{option}", *(f"RCPT TO:<{each}>" for each in recipients or (BOB,)), "DATA"
    )
    assert answers[-1].startswith("354 "), answers
    return client


def body(content: bytes) -> bytes:
    """Return a message without our Received field, which must be there."""
    found = re.match(rb"Received: [^\r\n]*\r\n(?:\t[^\r\n]*\r\n){2,3}", content)
    assert found is not None, content[:300]
    return content[found.end() :]


# ---------------------------------------------------------------- what goes on


@pytest.mark.parametrize(
    "message",
    [
        LETTER,
        b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n ..\r\n",
        b".Dotted: header\r\n\r\nx\r\n",
        b"\r\nno header section\r\n",
        b"\r\n",
        b"no empty line\r\n",
        b"Subject: NUL and 8 bit\r\n\r\n\0\xff\x80\x1a\r\n",
        b"Subject: long line\r\n\r\n" + b"x" * 5000 + b"\r\n",
        b"Subject: trailing space \t \r\n\r\n \t\r\n",
        b"Subject: big\r\n\r\n" + (b"." + b"x" * 76 + b"\r\n") * 20_000,
    ],
    ids=["plain", "dots", "dotted-head", "no-head", "empty-line", "head-only", "octets", "long-line", "blanks", "big"],
)
async def test_a_message_reaches_the_upstream_byte_for_byte_behind_our_trace_field(message: bytes) -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await begun(stage)
        assert await client.content(message) == ACCEPTED
        (delivered,) = upstream.messages
        assert body(delivered.content) == message
        assert body(delivered.wire) == stuffed(message)


async def test_an_empty_message_is_delivered_with_our_trace_field_alone() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await begun(stage)
        await client.send_raw(b".\r\n")
        assert await client.reply() == ACCEPTED
        assert body(upstream.messages[0].content) == b""


async def test_the_trace_field_tells_who_when_how_and_for_whom() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await begun(stage)
        await client.content(LETTER)
        assert re.fullmatch(
            rb"Received: from client\.test \(\[127\.0\.0\.1\]\)\r\n"
            rb"\tby ringback\.test \(Ringback\) with ESMTP id [0-9a-v]+-[0-9a-f]+\.1\r\n"
            rb"\tfor <bob@example\.com>;\r\n"
            rb"\t(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z][a-z] \d{4} \d\d:\d\d:\d\d [+-]\d{4}\r\n",
            upstream.messages[0].content.removesuffix(LETTER),
        )


async def test_the_trace_field_hides_recipients_from_each_other() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await begun(stage, BOB, CAROL)
        await client.content(LETTER)
        assert b"for <" not in upstream.messages[0].content


@pytest.mark.parametrize(
    ("greeting", "option", "sender", "protocol"),
    [
        ("HELO client.test", "", ALICE, b"with SMTP id"),
        ("EHLO client.test", "", ALICE, b"with ESMTP id"),
        ("EHLO client.test", " SMTPUTF8", "j\u00fcrgen@sender.test", b"with UTF8SMTP id"),
    ],
)
async def test_the_trace_field_names_the_protocol(greeting: str, option: str, sender: str, protocol: bytes) -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.conversation()
        for command in (greeting, f"MAIL FROM:<{sender}>{option}", f"RCPT TO:<{BOB}>", "DATA"):
            await client.ask(command)
        await client.content(LETTER)
        assert protocol in upstream.messages[0].content


async def test_the_clients_name_is_harmless_in_the_trace_field() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.conversation()
        await client.send_raw(b"EHLO x (y);\tby <z>\x1b\r\n")
        await client.reply()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
        await client.content(LETTER)
        first = upstream.messages[0].content.split(b"\r\n")[0]
        assert re.fullmatch(rb"Received: from [A-Za-z0-9.\[\]:_?-]+ \(\[127\.0\.0\.1\]\)", first)


async def test_an_ipv6_client_is_named_by_the_grammar_of_address_literals() -> None:
    # RFC 5321 sections 4.4 and 4.1.3: TCP-info holds an address-literal, [IPv6:…].
    async with Exchanger() as upstream, serving(upstream, address="::1") as stage:
        client = await begun(stage)
        await client.content(LETTER)
        assert upstream.messages[0].content.startswith(b"Received: from client.test ([IPv6:::1])\r\n")


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: x\n\r\nbody\r\n",
        b"Subject: x\r\n\r\nbody\n.\r\nMAIL FROM:<evil@b.test>\r\n",
        b"Subject: x\r\n\r\nbody\r\n",
        b"Subject: x\r\n\r\n" + b"x" * (GATHERED + 50_000) + b"\n\r\n",
        b"Subject: x\r\n\r\n" + b"x" * (GATHERED + 50_000) + b"\r\r\n",
    ],
)
async def test_a_bare_line_break_refuses_the_message_and_nothing_is_delivered(content: bytes) -> None:
    bare = content != b"Subject: x\r\n\r\nbody\r\n"
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await begun(stage)
        await client.send_raw(content + b".\r\n")
        assert await client.reply() == (BARE if bare else ACCEPTED)
        assert await client.ask("NOOP") == "250 2.0.0 OK"
        await client.close()
        await stage.ended()
        assert len(upstream.messages) == (0 if bare else 1)


@pytest.mark.parametrize("size", [1001, 5000, GATHERED + 100_000])
async def test_a_message_above_the_limit_is_refused_after_its_dot(size: int) -> None:
    async with Exchanger() as upstream, serving(upstream, max_message_size=1000) as stage:
        client = await begun(stage)
        assert await client.content(b"x" * (size - 2) + b"\r\n") == "552 5.3.4 Message too big"
        assert await client.ask("NOOP") == "250 2.0.0 OK"
        assert upstream.messages == []


async def test_a_message_of_exactly_the_limit_is_taken() -> None:
    async with Exchanger() as upstream, serving(upstream, max_message_size=1000) as stage:
        client = await begun(stage)
        assert await client.content(b"x" * 998 + b"\r\n") == ACCEPTED


async def test_a_message_above_the_limit_is_given_up_upstream_where_it_had_begun() -> None:
    async with Exchanger() as upstream, serving(upstream, max_message_size=1_000_000) as stage:
        client = await begun(stage)
        assert await client.content(b"\r\n" + b"x" * 3_000_000 + b"\r\n") == "552 5.3.4 Message too big"
        await upstream.until(lambda: not upstream.open_dialogues, "the connection with the half message is cut")
        assert upstream.messages == []


@pytest.mark.parametrize(("fields", "reply"), [(50, ACCEPTED), (51, "554 5.4.6 Too many Received fields: mail loop")])
async def test_a_message_that_passed_too_many_servers_loops(fields: int, reply: str) -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await begun(stage)
        assert await client.content(b"rEcEiVeD: x\r\n" * fields + b"\r\nReceived: body\r\n" * 2) == reply


async def test_a_header_section_without_end_is_refused() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await begun(stage)
        assert await client.content(b"X: y\r\n" * 400_000) == "552 5.3.4 Header section too big"
        assert upstream.count("DATA") == 0


# ---------------------------------------------------------------- policy


@pytest.mark.parametrize("phase", [Phase.DATA, Phase.SPOOL, Phase.SET_BINDING])
async def test_a_verdict_on_the_content_comes_after_the_dot_and_before_the_upstreams_data(phase: Phase) -> None:
    rule = Rule(phase, refuses(550, "no such content"))
    async with Exchanger() as upstream, serving(upstream, rule) as stage:
        client = await begun(stage)
        assert await client.content(LETTER) == "550 no such content"
        await client.close()
        await stage.ended()
        assert (upstream.count("DATA"), upstream.count("RSET"), rule.asked) == (0, 1, 1)


async def test_policy_reads_the_header_section_as_it_was_meant() -> None:
    seen: list[object] = []

    async def read(session: Session) -> Verdict:
        assert session.transaction.message is not None
        seen.append((list(session.transaction.message.fields()), list(session.transaction.message.header("subject"))))
        return PASS

    async with Exchanger() as upstream, serving(upstream, Rule(Phase.DATA, read)) as stage:
        client = await begun(stage)
        await client.content(b".Dotted: x\r\nSubject: a\r\n folded\r\n\r\n.body\r\n")
        assert seen == [([(".Dotted", "x"), ("Subject", "a folded")], ["a folded"])]


async def test_trouble_in_policy_is_451_with_nothing_of_it_and_nothing_is_delivered() -> None:
    async with Exchanger() as upstream, serving(upstream, Rule(Phase.DATA, RuntimeError("secret"))) as stage:
        client = await begun(stage)
        assert await client.content(LETTER) == INTERNAL
        assert upstream.messages == []


async def test_trouble_in_the_reception_itself_is_451_and_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> bytes:
        raise RuntimeError("secret")

    monkeypatch.setattr("proxy.smtp.reception.Reception._received_field", fail)
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await begun(stage)
        with capture_logs() as log:
            assert await client.content(LETTER) == INTERNAL
        assert "reception_failed" in [each["event"] for each in log]
        assert await client.ask("NOOP") == "250 2.0.0 OK"
        await upstream.until(lambda: upstream.count("RSET") == 1 or not upstream.open_dialogues, "it is given up")
        assert upstream.messages == []


async def test_what_was_begun_in_the_background_is_awaited_before_the_relay() -> None:
    gate, done = asyncio.Event(), []

    async def work() -> None:
        await gate.wait()
        done.append("work")

    async def begin(session: Session) -> Verdict:
        session.transaction.pending.append(spawn(work(), name="work", owner=TaskOwner("test")))
        return PASS

    async with Exchanger() as upstream, serving(upstream, Rule(Phase.MAILFROM, begin)) as stage:
        client = await begun(stage)
        await client.send_raw(LETTER + b".\r\n")
        gate.set()
        assert await client.reply() == ACCEPTED
        assert done == ["work"]


async def test_a_rule_on_each_recipient_that_reads_the_content_takes_one_recipient_at_a_time() -> None:
    asked: list[str] = []

    async def judge(session: Session) -> Verdict:
        assert session.current_recipient is not None
        asked.append(session.current_recipient.path.text)
        return Verdict(Reply(550, (b"not for you",)))

    rule = Rule(Phase.EACH_RCPT, judge, reads=Need.HEADERS)
    async with Exchanger() as upstream, serving(upstream, rule) as stage:
        client = await stage.greeted()
        assert await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", f"RCPT TO:<{CAROL}>", "DATA") == [
            "250 2.1.0 Sender OK",
            "250 2.1.5 Ok",
            "452 4.5.3 Too many recipients",
            "354 End data with <CR><LF>.<CR><LF>",
        ]
        assert await client.content(LETTER) == "550 not for you"
        assert asked == [BOB]


async def test_a_rule_on_each_recipient_that_reads_no_content_is_that_recipients_reply() -> None:
    async def judge(session: Session) -> Verdict:
        assert session.current_recipient is not None
        return Verdict(Reply(550, (b"not you",))) if session.current_recipient.path.text == BOB else PASS

    rule = Rule(Phase.EACH_RCPT, judge)
    async with Exchanger() as upstream, serving(upstream, rule) as stage:
        client = await stage.greeted()
        assert await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", f"RCPT TO:<{CAROL}>", "DATA") == [
            "250 2.1.0 Sender OK",
            "550 not you",
            "250 2.1.5 Ok",
            "354 End data with <CR><LF>.<CR><LF>",
        ]
        assert await client.content(LETTER) == ACCEPTED
        assert rule.asked == 2


# ---------------------------------------------------------------- the commit point


async def test_nothing_is_sent_upstream_before_policy_has_spoken() -> None:
    gate, asked = asyncio.Event(), asyncio.Event()

    async def hold(_session: Session) -> Verdict:
        asked.set()
        await gate.wait()
        return PASS

    async with Exchanger() as upstream, serving(upstream, Rule(Phase.DATA, hold)) as stage:
        client = await begun(stage)
        await client.send_raw(LETTER + b".\r\n")
        async with asyncio.timeout(10):
            await asked.wait()
        client.abort()
        await stage.ended()
        gate.set()
        assert (upstream.count("DATA"), upstream.count("RSET"), upstream.messages) == (0, 1, [])


async def test_the_client_hears_nothing_before_the_upstream_has_answered() -> None:
    gate = asyncio.Event()
    async with Exchanger(script={Step.DOT: says("250 at last", until=gate)}) as upstream, serving(upstream) as stage:
        client = await begun(stage)
        await client.send_raw(LETTER + b".\r\n")
        await upstream.until(lambda: bool(upstream.held), "the dot is upstream")
        assert upstream.messages == []
        gate.set()
        assert await client.reply() == "250 at last"
