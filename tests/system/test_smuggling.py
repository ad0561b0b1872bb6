"""SMTP smuggling: one message in is one message out, or a refusal, wherever the network cuts the bytes.

Some server takes each of the fourteen sequences for the end of a message. A second transaction follows the
sequence, and the next hop must never see it as a transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.house import greeted, opened
from tests.support.servers import Postfix
from tests.support.waiting import eventually
from tests.support.worker import serving
from tests.support.world import Stage

SEQUENCES = {
    "LF . LF": b"\n.\n",
    "LF . CRLF": b"\n.\r\n",
    "CRLF . LF": b"\r\n.\n",
    "CR . CR": b"\r.\r",
    "CR . CRLF": b"\r.\r\n",
    "CRLF . CR": b"\r\n.\r",
    "CR . LF": b"\r.\n",
    "LF . CR": b"\n.\r",
    "CRLF . CR CRLF": b"\r\n.\r\r\n",
    "CR CRLF . CR CRLF": b"\r\r\n.\r\r\n",
    "CRLF NUL . CRLF": b"\r\n\0.\r\n",
    "CRLF . NUL CRLF": b"\r\n.\0\r\n",
    "LF LF . CRLF": b"\n\n.\r\n",
    "CRLF 85 . CRLF": b"\r\n\x85.\r\n",
}
BARE = tuple(name for name, octets in SEQUENCES.items() if b"\0" not in octets and b"\x85" not in octets)
"""Those with a CR or an LF alone: refused. The others are content like any other."""

REFUSAL = "550 5.5.2 Bare <CR> or <LF> received; lines end with <CR><LF>"
QUEUED = "250 2.0.0 Ok: queued as 000001"
SECOND = b"MAIL FROM:<>\r\nRCPT TO:<smuggled@example.com>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil\r\n"
ENVELOPE = b"MAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\n"
HEAD = b"Subject: outer\r\n\r\nouter"
ACCEPTED = ["250 2.1.0 Sender OK", "250 2.1.5 Ok"]
START = "354 End data with <CR><LF>.<CR><LF>"


def content_of(sequence: bytes) -> bytes:
    return HEAD + sequence + SECOND


def went_out_once(wire: bytes, content: bytes) -> bool:
    """Tell whether the upstream got our trace field, then the client's bytes and nothing else."""
    trace, _, _ = wire.partition(b"Subject: outer")
    return trace.startswith(b"Received: ") and trace.count(b"Received: ") == 1 and wire == trace + content


class House:
    """A server and its upstream, for many short conversations."""

    def __init__(self, upstream: Exchanger, port: int) -> None:
        self.upstream = upstream
        self.port = port

    async def heard(self, *pieces: bytes, wait: int = 0) -> list[str]:
        """Send the pieces each as a packet and half-close; return the replies after EHLO.

        So many replies are waited for behind the first piece.
        """
        self.upstream.messages.clear()
        heard = []
        async with await Conversation.open("127.0.0.1", self.port) as client:
            await client.ehlo()
            for piece in pieces:
                await client.send_raw(piece)
                while len(heard) < wait:
                    heard.append(await client.reply())
                await read_by_the_server()
            with suppress(OSError):  # the server may have closed already
                client.half_close()
            heard += (await client.rest()).decode("ascii").split("\r\n")[:-1]
        return heard

    async def data(self, *pieces: bytes) -> list[str]:
        """Send a message in these packets after DATA; return what is answered from the dot on."""
        heard = await self.heard(ENVELOPE + b"DATA\r\n", *pieces, wait=3)
        assert heard[:3] == [*ACCEPTED, START]
        return heard[3:]


async def read_by_the_server() -> None:
    """Let the server, which runs on this loop, read what was sent before more comes."""
    for _ in range(4):
        await asyncio.sleep(0)


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    async with Exchanger() as upstream, serving(upstream) as stage:
        yield House(upstream, stage.port)


def judged(name: str, heard: str, upstream: Exchanger, content: bytes, where: object) -> None:
    """See that the message was refused whole, or went out whole and alone."""
    if name in BARE:
        assert heard == REFUSAL, where
        assert upstream.messages == [], where
    else:
        assert heard == QUEUED, where
        (message,) = upstream.messages
        assert message.recipients == ("RCPT TO:<bob@example.com>",), where
        assert went_out_once(message.wire, content), where
    assert upstream.count("RCPT TO:<smuggled") == 0, where


# ---- DATA


@pytest.mark.parametrize("name", SEQUENCES)
async def test_no_sequence_ends_data_wherever_it_is_cut(name: str) -> None:
    sequence = SEQUENCES[name]
    content = content_of(sequence)
    sent = content + b".\r\n"
    cuts = (*range(len(HEAD) - 2, len(HEAD) + len(sequence) + 3), *range(len(sent) - 5, len(sent)))
    async with house() as here:
        for cut in cuts:
            (answer,) = await here.data(sent[:cut], sent[cut:])
            judged(name, answer, here.upstream, content, cut)


@pytest.mark.parametrize("name", SEQUENCES)
async def test_no_sequence_ends_data_that_comes_octet_by_octet(name: str) -> None:
    content = content_of(SEQUENCES[name])
    sent = content + b".\r\n"
    async with house() as here:
        (answer,) = await here.data(*(sent[at : at + 1] for at in range(len(sent))))
        judged(name, answer, here.upstream, content, "octet by octet")


@pytest.mark.parametrize("name", SEQUENCES)
async def test_no_sequence_ends_data_at_its_very_start(name: str) -> None:
    sent = SEQUENCES[name] + SECOND + b".\r\n"
    async with house() as here:
        for cut in range(len(SEQUENCES[name]) + 1):
            (answer,) = await here.data(sent[:cut], sent[cut:])
            assert answer == (REFUSAL if name in BARE else QUEUED), cut
            assert len(here.upstream.messages) == (name not in BARE)
            assert here.upstream.count("RCPT TO:<smuggled") == 0


@pytest.mark.parametrize("name", SEQUENCES)
async def test_no_sequence_ends_data_when_the_upstream_already_has_the_beginning(name: str) -> None:
    sequence = SEQUENCES[name]
    head = b"Subject: outer\r\n\r\n" + b"0123456789abcde\r\n" * 17_000 + b"outer"
    content = head + sequence + SECOND
    async with house() as here:
        for cut in range(len(head), len(head) + len(sequence) + 1):
            (answer,) = await here.data(content[:cut], content[cut:] + b".\r\n")
            judged(name, answer, here.upstream, content, cut)


@pytest.mark.parametrize("name", SEQUENCES)
async def test_in_the_middle_of_a_pipelined_batch_only_the_real_end_is_one(name: str) -> None:
    sequence = SEQUENCES[name]
    content = content_of(sequence)
    batch = content + b".\r\n" + ENVELOPE + b"RSET\r\n"
    async with house() as here:
        for cut in range(len(HEAD), len(HEAD) + len(sequence) + 1):
            answer, *others = await here.data(batch[:cut], batch[cut:])
            judged(name, answer, here.upstream, content, cut)
            assert others == [*ACCEPTED, "250 2.0.0 OK"]


@pytest.mark.parametrize("name", SEQUENCES)
async def test_content_pipelined_behind_data_is_neither_content_nor_commands(name: str) -> None:
    async with house() as here:
        heard = await here.heard(ENVELOPE + b"DATA\r\n" + content_of(SEQUENCES[name]) + b".\r\n")
        assert heard == [*ACCEPTED, "554 5.5.0 SMTP protocol synchronization error"]
        assert here.upstream.messages == []


@pytest.mark.parametrize("name", SEQUENCES)
async def test_between_commands_no_sequence_hides_a_command(name: str) -> None:
    sent = b"MAIL FROM:<>\r\nNOOP" + SEQUENCES[name] + b"RCPT TO:<smuggled@example.com>\r\nDATA\r\nQUIT\r\n"
    async with house() as here:
        heard = await here.heard(sent)
        assert heard[0] == ACCEPTED[0]
        assert not any(each.startswith("354") for each in heard), heard
        assert here.upstream.messages == []


# ---- BDAT


@pytest.mark.parametrize("name", SEQUENCES)
async def test_no_sequence_ends_a_chunk_wherever_chunks_and_packets_part_it(name: str) -> None:
    sequence = SEQUENCES[name]
    content = content_of(sequence)
    async with house() as here:
        for cut in range(len(HEAD) - 1, len(HEAD) + len(sequence) + 2):
            first, last = chunk(content[:cut]), chunk(content[cut:], last=True)
            for pieces in ((first, last), (first + last,), (*halves(first), *halves(last))):
                heard = await here.heard(ENVELOPE, *pieces, wait=2)
                judged_chunks(name, heard, here.upstream, content, cut)


@pytest.mark.parametrize("name", SEQUENCES)
async def test_no_sequence_ends_a_chunk_that_comes_octet_by_octet(name: str) -> None:
    content = content_of(SEQUENCES[name])
    sent = chunk(content, last=True)
    async with house() as here:
        heard = await here.heard(ENVELOPE, *(sent[at : at + 1] for at in range(len(sent))), wait=2)
        assert len(heard) == 3
        judged_chunks(name, heard, here.upstream, content, "octet by octet")


@pytest.mark.parametrize("name", SEQUENCES)
async def test_a_chunk_in_the_middle_of_a_pipelined_batch_has_exactly_its_octets(name: str) -> None:
    content = content_of(SEQUENCES[name])
    async with house() as here:
        heard = await here.heard(ENVELOPE + chunk(content, last=True) + ENVELOPE + b"RSET\r\n")
        judged_chunks(name, heard[:3], here.upstream, content, "batch")
        assert heard[3:] == [*ACCEPTED, "250 2.0.0 OK"]


def chunk(octets: bytes, *, last: bool = False) -> bytes:
    return b"BDAT %d%s\r\n" % (len(octets), b" LAST" if last else b"") + octets


def halves(piece: bytes) -> tuple[bytes, bytes]:
    middle = len(piece) // 2
    return piece[:middle], piece[middle:]


def judged_chunks(name: str, heard: list[str], upstream: Exchanger, content: bytes, where: object) -> None:
    """See that the chunks were refused, or went out as one message."""
    assert heard[:2] == ACCEPTED, where
    if name in BARE:
        assert REFUSAL in heard[2:], (where, heard)
        assert upstream.messages == [], where
    else:
        assert heard[-1] == QUEUED, (where, heard)
        (message,) = upstream.messages
        assert went_out_once(message.wire, content.replace(b"\r\n.", b"\r\n..")), where
    assert upstream.count("RCPT TO:<smuggled") == 0, where


# ---- a real next hop


@pytest.mark.real("postfix", "dnsmasq")
async def test_postfix_never_sees_a_second_message(stage: Stage, postfix: Postfix, tmp_path: Path) -> None:
    ringback = await opened(stage, tmp_path, upstream_port=postfix.port)
    before = len(postfix.delivered())
    for name, sequence in SEQUENCES.items():
        content = content_of(sequence)
        client = await greeted(ringback)
        async with client:
            for command in ENVELOPE.decode().splitlines():
                assert (await client.ask(command)).startswith("250 ")
            assert await client.ask("DATA") == START
            await client.send_raw(content + b".\r\n")
            heard = await client.reply()
            assert heard.startswith("550 5.5.2 " if name in BARE else "250 2.0.0 Ok: queued as "), (name, heard)
    expected = len(SEQUENCES) - len(BARE)
    texts = await eventually(
        lambda: len(found := postfix.delivered()) >= before + expected and found, "Postfix delivers what was accepted"
    )
    new = texts[before:]
    assert len(new) == expected
    assert all(text.count(b"Delivered-To: bob@example.com") == 1 for text in new)
    assert not any(b"Delivered-To: smuggled" in text for text in texts)
