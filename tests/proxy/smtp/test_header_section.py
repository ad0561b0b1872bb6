"""Where a header section ends, and what becomes of a first line that is no field, by DATA and by BDAT alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mail.header_section import HeaderSection
from proxy.mail.message import Message
from proxy.mail.session import Session
from proxy.mail.stuffing import stuffed, unstuffed
from proxy.mail.verdict import PASS, Verdict
from sieve.phases import Need, Phase
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.worker import ALICE, BOB, Rule, WorkerStage, serving

ACCEPTED = "250 2.0.0 Ok: queued as 000001"
TOO_BIG = "552 5.3.4 Header section too big"
MIB = 1024 * 1024

CASES: dict[str, tuple[bytes, bytes, bytes]] = {
    # what the client sends: the header section, and what follows it
    "fields": (b"A: 1\r\n b\r\n\r\ntext\r\n", b"A: 1\r\n b\r\n", b"\r\ntext\r\n"),
    "a-blank-first": (b" A: 1\r\nB: 2\r\n\r\ntext\r\n", b"", b"\r\n A: 1\r\nB: 2\r\n\r\ntext\r\n"),
    "a-tab-first": (b"\tA: 1\r\nB: 2\r\n", b"", b"\r\n\tA: 1\r\nB: 2\r\n"),
    "blanks-alone-first": (b"  \t\r\nB: 2\r\n", b"", b"\r\n  \t\r\nB: 2\r\n"),
    "a-dot-and-a-dot": (b".A: 1\r\n\r\n", b".A: 1\r\n", b"\r\n"),
    "mailbox-line": (b"From a Mon\r\nA: 1\r\n\r\nx\r\n", b"X-Mailbox-Line: From a Mon\r\nA: 1\r\n", b"\r\nx\r\n"),
    "mailbox-line-quoted": (b">>From a\r\nA: 1\r\n\r\n", b"X-Mailbox-Line: >>From a\r\nA: 1\r\n", b"\r\n"),
    "mailbox-lines": (
        b"From a\r\n>From b\r\nA: 1\r\n\r\n",
        b"X-Mailbox-Line: From a\r\nX-Mailbox-Line: >From b\r\nA: 1\r\n",
        b"\r\n",
    ),
    "mailbox-line-alone": (b"From a\r\n", b"X-Mailbox-Line: From a\r\n", b""),
    "a-blank-after-a-mailbox-line": (
        b"From a\r\n folded\r\nA: 1\r\n",
        b"X-Mailbox-Line: From a\r\n",
        b"\r\n folded\r\nA: 1\r\n",
    ),
    "mailbox-line-later": (b"A: 1\r\nFrom a\r\nB: 2\r\n\r\n", b"A: 1\r\n", b"From a\r\nB: 2\r\n\r\n"),
    "from-field": (b"From: a@b\r\n\r\n", b"From: a@b\r\n", b"\r\n"),
    "no-field": (b"hello, world\r\nA: 1\r\n\r\n", b"", b"hello, world\r\nA: 1\r\n\r\n"),
    "no-field-later": (b"A: 1\r\nhello\r\nB: 2\r\n\r\n", b"A: 1\r\n", b"hello\r\nB: 2\r\n\r\n"),
    "a-name-in-8-bit": (b"A: 1\r\n\xc3\xa4: 2\r\n", b"A: 1\r\n", b"\xc3\xa4: 2\r\n"),
    "a-colon-first": (b": x\r\n\r\n", b"", b": x\r\n\r\n"),
    "a-blank-before-the-colon": (b"A \t: 1\r\n\r\n", b"A \t: 1\r\n", b"\r\n"),
    "two-words-before-the-colon": (b"A b: 1\r\n\r\n", b"", b"A b: 1\r\n\r\n"),
    "an-empty-line-first": (b"\r\nA: 1\r\n", b"", b"\r\nA: 1\r\n"),
    "fields-alone": (b"A: 1\r\nB: 2\r\n", b"A: 1\r\nB: 2\r\n", b""),
    "nothing": (b"", b"", b""),
}


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("octets", [1, 2, 7, 4096], ids=lambda octets: f"by-{octets}")
def test_a_header_section_ends_at_the_first_line_that_is_no_field_however_it_comes(name: str, octets: int) -> None:
    sent, head, rest = CASES[name]
    wire = stuffed(sent)
    gathered = HeaderSection()
    for at in range(0, len(wire), octets):
        gathered.feed(wire[at : at + octets])
    found = gathered.part()
    assert (unstuffed(found[0]), unstuffed(found[1])) == (head, rest)
    assert Message(unstuffed(found[0])).head_bytes() == head


def test_a_dot_that_unstuffing_takes_hides_no_blank() -> None:
    gathered = HeaderSection()
    gathered.feed(b". joins\r\nA: 1\r\n")
    assert gathered.part() == (b"", b"\r\n. joins\r\nA: 1\r\n")


LINES = st.lists(
    st.sampled_from([b"A: 1", b" b", b"\tc", b"From d", b">From e", b"f", b"", b".", b".g: h", b". i", b"J\r: k"]),
    max_size=8,
)


@given(LINES, st.integers(1, 9))
def test_however_the_octets_come_they_are_parted_alike_and_none_is_lost(lines: list[bytes], octets: int) -> None:
    wire = stuffed(b"".join(line + b"\r\n" for line in lines))
    whole, pieces = HeaderSection(), HeaderSection()
    whole.feed(wire)
    for at in range(0, len(wire), octets):
        pieces.feed(wire[at : at + octets])
    head, rest = whole.part()
    assert pieces.part() == (head, rest)
    assert head.replace(b"X-Mailbox-Line: ", b"") + rest in {wire, b"\r\n".join((wire[: -len(rest) + 2], rest[2:]))}


def test_a_line_without_an_end_is_known_to_be_no_field_before_the_limit() -> None:
    gathered = HeaderSection()
    gathered.feed(b"x" * 2000)
    assert gathered.ended


def test_a_mailbox_line_without_an_end_is_awaited_so_that_it_does_not_depend_on_the_packets() -> None:
    wire = b">From " + b"x" * 2000 + b"\r\nA: 1\r\n\r\n"
    gathered = HeaderSection()
    gathered.feed(wire[:1500])
    gathered.feed(wire[1500:])
    assert gathered.part() == (b"X-Mailbox-Line: " + wire[:-2], b"\r\n")


# ---------------------------------------------------------------- through the server


async def sent_by_data(client: Conversation, message: bytes) -> str:
    await client.ask("DATA")
    return await client.content(message)


async def sent_by_bdat(client: Conversation, message: bytes) -> str:
    await client.send_raw(b"BDAT %d LAST\r\n%b" % (len(message), message))
    return await client.reply()


WAYS: dict[str, Callable[[Conversation, bytes], Awaitable[str]]] = {"DATA": sent_by_data, "BDAT": sent_by_bdat}


async def arrived(stage: WorkerStage, upstream: Exchanger, way: str, message: bytes) -> bytes:
    """Send a message; return what came upstream behind our Received field."""
    client = await stage.greeted()
    await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>")
    answer = await WAYS[way](client, message)
    assert answer == ACCEPTED
    content = upstream.messages[0].content
    lines = content.split(b"\r\n")
    assert lines[0].startswith(b"Received: ")
    assert all(line.startswith(b"\t") for line in lines[1:4])
    return content.split(b"\r\n", 4)[4]


@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b" Mon, 1 Jan 2001 00:00:00 +0000\r\ntext\r\n", b"\r\n Mon, 1 Jan 2001 00:00:00 +0000\r\ntext\r\n"),
        (b"\ttext\r\n\r\nmore\r\n", b"\r\n\ttext\r\n\r\nmore\r\n"),
        (b">From a Mon\r\nSubject: s\r\n\r\nx\r\n", b"X-Mailbox-Line: >From a Mon\r\nSubject: s\r\n\r\nx\r\n"),
    ],
    ids=["blank", "tab", "mailbox-line"],
)
async def test_a_first_line_that_is_no_field_does_not_join_ours(way: str, message: bytes, expected: bytes) -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        assert await arrived(stage, upstream, way, message) == expected


@pytest.mark.parametrize("way", sorted(WAYS))
async def test_scripts_see_the_message_as_it_goes_on(way: str) -> None:
    seen: list[tuple[list[str], list[str], bytes]] = []

    async def look(session: Session) -> Verdict:
        message = session.transaction.message
        assert message is not None
        seen.append(([*message.header("subject")], [*message.header("x-mailbox-line")], await message.raw()))
        return PASS

    rule = Rule(Phase.DATA, look, reads=Need.BODY)
    async with Exchanger() as upstream, serving(upstream, rule) as stage:
        got = await arrived(stage, upstream, way, b"From a\r\nSubject: s\r\n\r\nx\r\n")
    assert seen == [(["s"], ["From a"], b"X-Mailbox-Line: From a\r\nSubject: s\r\n\r\nx\r\n")]
    assert got == seen[0][2]


async def test_a_forged_field_behind_a_blank_is_text_for_scripts() -> None:
    seen: list[tuple[list[str], bytes]] = []

    async def look(session: Session) -> Verdict:
        message = session.transaction.message
        assert message is not None
        seen.append(([*message.header("subject")], await message.raw()))
        return PASS

    async with Exchanger() as upstream, serving(upstream, Rule(Phase.DATA, look, reads=Need.BODY)) as stage:
        await arrived(stage, upstream, "DATA", b" x\r\nSubject: s\r\n\r\ny\r\n")
    assert seen == [([], b"\r\n x\r\nSubject: s\r\n\r\ny\r\n")]


@pytest.mark.parametrize("way", sorted(WAYS))
async def test_text_without_a_field_is_no_header_section_whatever_its_size(way: str) -> None:
    message = b"words that are no field\r\n" * 80_000
    async with Exchanger() as upstream, serving(upstream) as stage:
        assert await arrived(stage, upstream, way, message) == message


@pytest.mark.parametrize("way", sorted(WAYS))
async def test_text_in_one_line_is_no_header_section_whatever_its_size(way: str) -> None:
    message = b"x" * (2 * MIB) + b"\r\n"
    async with Exchanger() as upstream, serving(upstream) as stage:
        assert await arrived(stage, upstream, way, message) == message


async def test_only_the_header_section_counts_against_the_limit() -> None:
    async with Exchanger() as upstream, serving(upstream, Max_Header_Size=1000) as stage:
        message = b"A: 1\r\n" + b"no field\r\n" * 1000
        assert await arrived(stage, upstream, "DATA", message) == message


@pytest.mark.parametrize(("octets", "fits"), [(1000, True), (1001, False)], ids=["limit", "one-more"])
@pytest.mark.parametrize("body", [b"\r\ntext\r\n", b"", b"no field\r\n"], ids=["body", "none", "no-empty-line"])
async def test_the_limit_on_the_header_section_is_an_option(octets: int, fits: bool, body: bytes) -> None:  # noqa: FBT001 — a case
    field = b"A: " + b"x" * (octets - 5) + b"\r\n"
    async with Exchanger() as upstream, serving(upstream, Max_Header_Size=1000) as stage:
        client = await stage.greeted()
        await client.envelope(ALICE, [BOB])
        assert await client.content(field + body) == (ACCEPTED if fits else TOO_BIG)


async def test_a_header_section_of_1_mib_is_taken() -> None:
    message = b"X-Field: yes\r\n" * (MIB // 14) + b"\r\ntext\r\n"
    async with Exchanger() as upstream, serving(upstream) as stage:
        assert await arrived(stage, upstream, "DATA", message) == message


async def test_no_limit_on_the_header_section_is_written_0() -> None:
    message = b"X-Field: yes\r\n" * 100_000 + b"\r\ntext\r\n"
    async with Exchanger() as upstream, serving(upstream, Max_Header_Size=0) as stage:
        assert await arrived(stage, upstream, "DATA", message) == message
