"""Frames between our processes: however they are cut, and whatever else arrives, nothing is raised."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest
from structlog.testing import capture_logs

from proxy.callback.memory import Packed
from proxy.callback.question import Question
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.keeper.frames import MOST_OCTETS, BadFrame, FrameReader, encode, framed
from proxy.keeper.link import Link
from proxy.keeper.messages import Answer, Ask, Asked, Told, Welcome, decode_answers, decode_asks

QUESTION = Question("j\udcf6rg", "sender.test", "probe@ringback.test", b'"j\xf6rg"@sender.test')
ASK = Ask(7, Asked.of(QUESTION), "192.0.2.0/24", "abc")
VERDICT = CallbackVerdict(Status.FAIL, "no_such_user", "5.1.1 no", "rcpt", 550, "mx.test", "192.0.2.1", 0.25)
ANSWER = Answer(7, Packed.of_verdict(VERDICT), Told.of(VERDICT))


class Transport:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.aborted = False

    def writelines(self, parts: list[bytes]) -> None:
        self.written += parts

    def is_closing(self) -> bool:
        return self.aborted

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.aborted = True


class End:
    """One end of a connection."""

    def __init__(self, decode: Any = decode_asks) -> None:
        self.heard: list[Any] = []
        self.link: Link[Any] = Link(decode, lambda _link, messages: self.heard.extend(messages), lambda _link: None)
        self.transport = Transport()
        self.link.connection_made(cast(Any, self.transport))


def test_a_stream_may_be_cut_at_every_octet() -> None:
    contents = [b"a", b"bc" * 300, b"\0"]
    stream = b"".join(map(framed, contents))
    for cut in range(len(stream) + 1):
        reader = FrameReader()
        assert reader.feed(stream[:cut]) + reader.feed(stream[cut:]) == contents
    reader = FrameReader()
    assert [each for octet in stream for each in reader.feed(bytes([octet]))] == contents


@pytest.mark.parametrize("octets", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"EHLO", (MOST_OCTETS + 1).to_bytes(4)])
def test_a_length_that_is_not_ours_is_refused_before_its_content_has_come(octets: bytes) -> None:
    with pytest.raises(BadFrame):
        FrameReader().feed(octets)


@pytest.mark.parametrize("size", [0, MOST_OCTETS + 1])
def test_no_frame_is_empty_or_too_long(size: int) -> None:
    with pytest.raises(BadFrame):
        framed(b"x" * size)


async def test_what_is_sent_in_one_turn_leaves_in_one_frame_and_arrives_as_it_was() -> None:
    ours, theirs = End(), End()
    asks = [Ask(number, Asked.of(QUESTION), "", "") for number in range(200)]
    for each in asks:
        ours.link.send(each)
    await asyncio.sleep(0)
    (frame,) = ours.transport.written
    theirs.link.data_received(frame)
    assert theirs.heard == asks
    assert theirs.heard[0].asked.question == QUESTION
    assert theirs.heard[0].asked.question.address == QUESTION.address


async def test_a_batch_too_long_for_one_frame_leaves_in_several() -> None:
    ours, theirs = End(), End()
    asks = [Ask(number, Asked.of(QUESTION), "", "x" * 60_000) for number in range(100)]
    for each in asks:
        ours.link.send(each)
    await asyncio.sleep(0)
    theirs.link.data_received(b"".join(ours.transport.written))
    assert theirs.heard == asks


async def test_a_number_of_more_than_64_bits_takes_no_other_message_with_it() -> None:
    ours, theirs = End(), End()
    asks = [Ask(number, Asked.of(QUESTION), "", "") for number in (1, 2, 2**70, 4, 5)]
    for each in asks:
        ours.link.send(each)
    await asyncio.sleep(0)
    theirs.link.data_received(b"".join(ours.transport.written))
    assert [each.number for each in theirs.heard] == [1, 2, 4, 5]


def test_a_verdict_arrives_as_it_was() -> None:
    (answer,) = decode_answers(encode([ANSWER]))
    assert isinstance(answer, Answer)
    assert answer.told is not None
    assert answer.told.as_it_was == VERDICT


GARBAGE = {
    "no_messagepack": framed(b"\xc1\xc1\xc1"),
    "another_type": framed(msgspec.msgpack.encode({"a": 1})),
    "another_message": framed(encode([Welcome()])),
    "too_few_fields": framed(msgspec.msgpack.encode([[1, 7]])),
    "a_field_of_another_type": framed(msgspec.msgpack.encode([[1, "7", [b"a", b"b", b"", b""], "", ""]])),
    "not_utf8": framed(
        msgspec.msgpack.encode([[1, 7, [b"a", b"b", b"", b""], "client", ""]]).replace(b"cl", b"\xff\xfe")
    ),
    "oversized": (MOST_OCTETS + 1).to_bytes(4) + b"x",
    "smtp": b"EHLO client.test\r\n",
}


@pytest.mark.parametrize("octets", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_ends_the_connection_and_raises_nothing(octets: bytes) -> None:
    end = End()
    with capture_logs() as log:
        end.link.data_received(framed(encode([ASK])) + octets)
    assert end.transport.aborted
    assert [each["event"] for each in log] == ["keeper_link_malformed"]


async def test_an_answer_cut_at_every_octet_is_heard_once_it_is_whole() -> None:
    frame = framed(encode([ANSWER]))
    for cut in range(len(frame)):
        end = End(decode_answers)
        end.link.data_received(frame[:cut])
        assert end.heard == []
        end.link.data_received(frame[cut:])
        assert end.heard == [ANSWER]


async def test_every_changed_octet_of_a_frame_is_heard_or_ends_the_connection() -> None:
    frame = framed(encode([ASK]))
    for at in range(len(frame)):
        for value in (0, 0x7F, 0x80, 0xC1, 0xFF, frame[at] ^ 1):
            End().link.data_received(frame[:at] + bytes([value]) + frame[at + 1 :])
