"""BDAT: a message in chunks reaches the upstream as one in DATA would (RFC 3030)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.mail.verdict import Verdict
from sieve.phases import Phase
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.worker import BOB, Rule, WorkerStage, serving


@pytest.fixture
async def upstream() -> AsyncIterator[Exchanger]:
    async with Exchanger() as exchanger:
        yield exchanger


async def begun(stage: WorkerStage) -> Conversation:
    client = await stage.greeted()
    for command in ("MAIL FROM:<>", f"RCPT TO:<{BOB}>"):
        assert (await client.ask(command)).startswith("250 ")
    return client


def received(upstream: Exchanger) -> bytes:
    """Return the one message, without the Received field that Ringback adds."""
    (message,) = upstream.messages
    return message.content.split(b"\r\n", 4)[4]


async def test_chunks_are_acknowledged_one_by_one_and_become_one_message(upstream: Exchanger) -> None:
    async with serving(upstream) as stage:
        client = await begun(stage)
        await client.send_raw(b"BDAT 14\r\nSubject: one\r\n")
        assert await client.reply() == "250 2.0.0 14 octets received"
        await client.send_raw(b"BDAT 9 LAST\r\n\r\n.dots\r\n")
        assert (await client.reply()).startswith("250 ")
        await client.close()
    assert received(upstream) == b"Subject: one\r\n\r\n.dots\r\n"


@pytest.mark.parametrize("last", [b"BDAT 0 LAST\r\n", b"BDAT 1 LAST\r\nx"])
async def test_a_bare_cr_at_the_end_of_a_chunk_is_refused(upstream: Exchanger, last: bytes) -> None:
    async with serving(upstream) as stage:
        client = await begun(stage)
        await client.send_raw(b"BDAT 16\r\nSubject: x\r\n\r\ny\r" + last)
        assert await client.reply() == "250 2.0.0 16 octets received"
        assert await client.reply() == "550 5.5.2 Bare <CR> or <LF> received; lines end with <CR><LF>"
        await client.close()
    assert upstream.messages == []


@pytest.mark.parametrize("size", range(1, 12))
async def test_it_does_not_matter_where_the_chunks_part_the_message(upstream: Exchanger, size: int) -> None:
    message = b"Subject: x\r\n\r\n.\r\n..\r\n\r\n.x\r\nend\r\n"
    async with serving(upstream) as stage:
        client = await begun(stage)
        pieces = [message[at : at + size] for at in range(0, len(message), size)]
        batch = b"".join(b"BDAT %d\r\n%b" % (len(piece), piece) for piece in pieces)
        await client.send_raw(batch + b"BDAT 0 LAST\r\n")
        for piece in pieces:
            assert await client.reply() == f"250 2.0.0 {len(piece)} octets received"
        assert (await client.reply()).startswith("250 ")
        await client.close()
    assert received(upstream) == message


async def test_an_end_of_data_within_a_chunk_ends_nothing(upstream: Exchanger) -> None:
    smuggled = b"Subject: x\r\n\r\nhello\r\n.\r\nMAIL FROM:<evil@example.org>\r\n"
    async with serving(upstream) as stage:
        client = await begun(stage)
        await client.send_raw(b"BDAT %d LAST\r\n%b" % (len(smuggled), smuggled))
        assert (await client.reply()).startswith("250 ")
        await client.close()
    assert received(upstream) == smuggled


async def test_a_last_line_without_its_end_is_ended(upstream: Exchanger) -> None:
    async with serving(upstream) as stage:
        client = await begun(stage)
        await client.send_raw(b"BDAT 16 LAST\r\nSubject: x\r\n\r\nhi")
        assert (await client.reply()).startswith("250 ")
        await client.close()
    assert received(upstream) == b"Subject: x\r\n\r\nhi\r\n"


@pytest.mark.parametrize("content", [b"a\nb\r\n", b"a\rb\r\n", b"ab\r"])
async def test_a_bare_line_break_is_refused_and_nothing_is_delivered(upstream: Exchanger, content: bytes) -> None:
    async with serving(upstream) as stage:
        client = await begun(stage)
        await client.send_raw(b"BDAT %d LAST\r\n%b" % (len(content), content))
        assert (await client.reply()).startswith("550 5.5.2 ")
        assert (await client.ask("NOOP")).startswith("250 ")
        await client.close()
    assert upstream.messages == []


async def test_the_octets_of_a_refused_chunk_are_never_taken_for_commands(upstream: Exchanger) -> None:
    async with serving(upstream) as stage:
        client = await stage.greeted()
        await client.send_raw(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
        assert await client.reply() == "503 5.5.1 Need MAIL command"
        assert (await client.reply()).startswith("250 ")
        await client.close()


async def test_noop_between_chunks_changes_nothing(upstream: Exchanger) -> None:
    async with serving(upstream) as stage:
        client = await begun(stage)
        await client.send_raw(b"BDAT 14\r\nSubject: one\r\n")
        await client.reply()
        for _ in range(3):
            assert await client.ask("NOOP") == "250 2.0.0 OK"
        await client.send_raw(b"BDAT 7 LAST\r\n\r\nend\r\n")
        assert (await client.reply()).startswith("250 ")
        await client.close()
    assert received(upstream) == b"Subject: one\r\n\r\nend\r\n"


async def test_noop_between_chunks_is_the_last_of_its_group_as_elsewhere(upstream: Exchanger) -> None:
    async with serving(upstream) as stage:
        client = await begun(stage)
        await client.send_raw(b"BDAT 14\r\nSubject: one\r\nNOOP\r\nBDAT 7 LAST\r\n\r\nend\r\n")
        assert await client.reply() == "250 2.0.0 14 octets received"
        assert await client.rest() == b"554 5.5.0 SMTP protocol synchronization error\r\n"
    assert upstream.messages == []


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"RSET\r\n", "250 2.0.0 OK"),
        (b"MAIL FROM:<>\r\n", "250 2.1.0 Sender OK"),
        (b"RCPT TO:<bob@example.com>\r\n", "503 5.5.1 Need MAIL command"),
        (b"DATA\r\n", "503 5.5.1 Need MAIL command"),
        (b"EHLO client.test\r\n", "250"),
        (b"HELO client.test\r\n", "250 ringback.test"),
        (b"VRFY bob\r\n", "252 2.1.5 Cannot VRFY user; try RCPT to attempt delivery"),
        (b"HELP\r\n", "214 2.0.0 See RFC 5321"),
        (b"STARTTLS\r\n", "502 5.5.1 Command not implemented"),
        (b"FROB\r\n", "500 5.5.2 Command not recognized"),
        (b"\r\n", "500 5.5.2 Syntax error"),
        (b"NOOP\n", "550 5.5.2 Bare <CR> or <LF> received; lines end with <CR><LF>"),
        (b"x" * 2100 + b"\r\n", "500 5.5.2 Command too long"),
    ],
    ids=lambda value: value[:12].decode().strip() if isinstance(value, bytes) else "",
)
async def test_any_other_command_between_chunks_is_answered_and_no_later_chunk_is_of_that_message(
    upstream: Exchanger, command: bytes, reply: str
) -> None:
    async with serving(upstream) as stage:
        client = await begun(stage)
        await client.send_raw(b"BDAT 14\r\nSubject: one\r\n")
        await client.reply()
        await client.send_raw(command)
        assert (await client.reply()).startswith(reply)
        await client.send_raw(b"BDAT 7 LAST\r\n\r\nend\r\n")
        assert (await client.reply())[:3] in {"503", "554"}  # with or without a new MAIL
        assert (await client.ask("NOOP")).startswith("250 ")
        await client.close()
    assert upstream.messages == []


@pytest.mark.parametrize("command", [b"QUIT\r\n", b"GET / HTTP/1.0\r\n", b"BDAT x\r\n"])
async def test_what_ends_the_session_ends_it_between_chunks_too(upstream: Exchanger, command: bytes) -> None:
    async with serving(upstream) as stage:
        client = await begun(stage)
        await client.send_raw(b"BDAT 14\r\nSubject: one\r\n")
        await client.reply()
        await client.send_raw(command)
        assert (await client.rest()).count(b"\r\n") == 1
    assert upstream.messages == []


async def test_another_command_between_chunks_gives_the_message_up(upstream: Exchanger) -> None:
    async with serving(upstream) as stage:
        client = await begun(stage)
        await client.send_raw(b"BDAT 14\r\nSubject: one\r\n")
        await client.reply()
        assert await client.ask("RSET") == "250 2.0.0 OK"
        await client.send_raw(b"BDAT 3 LAST\r\n\r\nx")
        assert await client.reply() == "503 5.5.1 Need MAIL command"
        await client.close()
    assert upstream.messages == []


async def test_a_client_that_leaves_between_chunks_delivers_nothing(upstream: Exchanger) -> None:
    async with serving(upstream) as stage:
        client = await begun(stage)
        await client.send_raw(b"BDAT 14\r\nSubject: one\r\n")
        await client.reply()
        client.abort()
        await stage.ended()
    assert upstream.messages == []


async def test_a_chunk_that_is_too_big_is_refused_at_once(upstream: Exchanger) -> None:
    async with serving(upstream, max_message_size=20) as stage:
        client = await begun(stage)
        await client.send_raw(b"BDAT 30 LAST\r\n" + b"x" * 30)
        assert await client.reply() == "552 5.3.4 Message too big"
        assert (await client.ask("NOOP")).startswith("250 ")
        await client.send_raw(b"BDAT 4000000000\r\n")
        assert await client.rest() == b"552 5.3.4 Message too big\r\n"
    assert upstream.messages == []


async def test_a_message_that_policy_throws_away_is_taken_to_its_last_chunk(upstream: Exchanger) -> None:
    thrown = Rule(Phase.DATA, Verdict(discard=True))
    async with serving(upstream, thrown) as stage:
        client = await begun(stage)
        head = b"Subject: x\r\n\r\n" + b"x" * 300_000 + b"\r\n"
        await client.send_raw(b"BDAT %d\r\n%b" % (len(head), head))
        assert (await client.reply()).endswith(" octets received")
        await client.send_raw(b"BDAT 5 LAST\r\nend\r\n")
        assert await client.reply() == "250 2.0.0 Message accepted"
        await client.close()
    assert upstream.messages == []
