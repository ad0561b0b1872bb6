"""BINARYMIME (RFC 3030): offered where the upstream has it, and handed on octet for octet, by BDAT alone."""

from __future__ import annotations

import pytest

from proxy.mail.session import Session
from proxy.mail.stuffing import stuffed
from proxy.mail.verdict import PASS, Verdict
from proxy.outgoing.content import Chunked
from proxy.outgoing.wire import Wire
from sieve.phases import Need, Phase
from tests.support.conversation import Conversation
from tests.support.exchanger import EXTENSIONS, Act, Exchanger, Step, closes, says
from tests.support.worker import ALICE, BOB, Rule, WorkerStage, serving

ACCEPTED = "250 2.0.0 Ok: queued as 000001"
BINARY = (*EXTENSIONS, "CHUNKING", "BINARYMIME")
NASTY = b"Subject: x\r\n\r\n.\r\n..\r\r\n\n.\n\0\xff\r\n.\r\nlast line without its end\r"


async def begun(stage: WorkerStage) -> Conversation:
    client = await stage.greeted()
    answers = await client.pipeline(f"MAIL FROM:<{ALICE}> BODY=BINARYMIME", f"RCPT TO:<{BOB}>")
    assert answers == ["250 2.1.0 Sender OK", "250 2.1.5 Ok"]
    return client


async def sent(client: Conversation, message: bytes, size: int) -> str:
    """Send a message in chunks of this size; return the answer to the last."""
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    await client.send_raw(b"".join(b"BDAT %d\r\n%b" % (len(piece), piece) for piece in pieces) + b"BDAT 0 LAST\r\n")
    for piece in pieces:
        assert await client.reply() == f"250 2.0.0 {len(piece)} octets received"
    return await client.reply()


def received(upstream: Exchanger) -> bytes:
    """Return the one message, without the Received field that Ringback adds."""
    (message,) = upstream.messages
    return message.content.split(b"\r\n", 4)[4]


@pytest.mark.parametrize("extensions", [EXTENSIONS, (*EXTENSIONS, "CHUNKING"), (*EXTENSIONS, "BINARYMIME")])
async def test_it_is_not_offered_unless_the_upstream_has_it_and_bdat(extensions: tuple[str, ...]) -> None:
    async with Exchanger(extensions=extensions) as upstream, serving(upstream) as stage:
        client = await stage.conversation()
        assert "BINARYMIME" not in await client.ask("EHLO client.test")
        assert await client.ask(f"MAIL FROM:<{ALICE}> BODY=BINARYMIME") == "555 5.5.4 Unsupported option"


async def test_it_is_offered_where_the_upstream_has_it() -> None:
    async with Exchanger(extensions=BINARY) as upstream, serving(upstream) as stage:
        client = await stage.conversation()
        assert "250-BINARYMIME\n" in (await client.ask("EHLO client.test")) + "\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_every_octet_goes_on_as_it_came_by_bdat(size: int) -> None:
    async with Exchanger(extensions=BINARY) as upstream, serving(upstream) as stage:
        client = await begun(stage)
        assert await sent(client, NASTY, size) == ACCEPTED
        assert received(upstream) == NASTY
        assert upstream.messages[0].sender == f"MAIL FROM:<{ALICE}> BODY=BINARYMIME"
        assert upstream.count("DATA") == 0


async def test_a_large_message_goes_on_in_chunks_that_are_acknowledged() -> None:
    message = b"Subject: x\r\n\r\n" + bytes(range(256)) * 2750
    async with Exchanger(extensions=BINARY) as upstream, serving(upstream) as stage:
        client = await begun(stage)
        assert await sent(client, message, 100_000) == ACCEPTED
        assert received(upstream) == message
        assert len(upstream.dialogues[-1].chunks) > 5
        assert await client.ask("NOOP") == "250 2.0.0 OK"


async def test_policy_that_reads_the_body_changes_nothing_of_it() -> None:
    seen: list[bytes] = []

    async def read(session: Session) -> Verdict:
        assert session.transaction.message is not None
        seen.append(await session.transaction.message.raw())
        return PASS

    rule = Rule(Phase.DATA, read, reads=Need.BODY)
    async with Exchanger(extensions=BINARY) as upstream, serving(upstream, rule) as stage:
        client = await begun(stage)
        assert await sent(client, NASTY, 11) == ACCEPTED
        assert received(upstream) == NASTY
    assert seen == [NASTY]


async def test_data_cannot_carry_it() -> None:
    async with Exchanger(extensions=BINARY) as upstream, serving(upstream) as stage:
        client = await begun(stage)
        assert await client.ask("DATA") == "503 5.5.1 BINARYMIME requires BDAT"
        assert await sent(client, NASTY, 1000) == ACCEPTED


async def test_an_upstream_that_has_lost_the_extension_is_a_refusal_and_no_downgrade() -> None:
    async with Exchanger(extensions=BINARY) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        upstream.extensions = EXTENSIONS
        for each in upstream.open_dialogues:
            each.close()
        await upstream.until(lambda: not upstream.open_dialogues, "the kept connection is gone")
        answers = await client.pipeline(f"MAIL FROM:<{ALICE}> BODY=BINARYMIME", f"RCPT TO:<{BOB}>")
        assert answers[1] == "550 5.6.3 Next-hop server does not support BINARYMIME"
        assert upstream.messages == []


REFUSED_US = "451 4.3.5 Next-hop server rejected our session, try again later"
LOST = "451 4.4.2 Next-hop server did not answer, try again later"


@pytest.mark.parametrize(
    ("script", "reply"),
    [
        ({Step.BDAT: says("552 5.3.4 too big")}, "552 5.3.4 too big"),
        ({Step.BDAT: says("452 4.3.1 full")}, "452 4.3.1 full"),
        ({Step.BDAT: says("503 5.5.1 what?")}, REFUSED_US),
        ({Step.BDAT: says("421 4.3.2 bye")}, LOST),
        ({Step.BDAT: closes()}, LOST),
        ({Step.DOT: says("554 5.6.0 no")}, "554 5.6.0 no"),
        ({Step.DOT: closes()}, LOST),
    ],
)  # fmt: skip
async def test_a_refusal_is_the_clients_and_what_breaks_is_451(script: dict[Step, Act], reply: str) -> None:
    message = b"Subject: x\r\n\r\n" + b"\0" * 300_000
    async with Exchanger(extensions=BINARY, script=script) as upstream, serving(upstream) as stage:
        client = await begun(stage)
        await client.send_raw(b"BDAT %d LAST\r\n%b" % (len(message), message))
        assert await client.reply() == reply
        assert upstream.messages == []
        assert await client.ask("NOOP") == "250 2.0.0 OK"


@pytest.mark.parametrize("size", range(1, 9))
def test_dot_stuffing_is_undone_wherever_blocks_part_it(size: int) -> None:
    content = b".\r\n.\r\n..\r\n\r\n...x\r\ny.\r\n"
    wire = stuffed(content)
    chunked = Chunked(Wire.__new__(Wire))
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    assert b"".join(chunked._unstuffed(piece) for piece in pieces) == content
