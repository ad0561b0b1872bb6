"""Only CRLF.CRLF ends a message; its bytes come out as they came in, and stray line breaks are remembered."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.smtp.connection import ClientGone, ClientIdle, Connection
from proxy.smtp.data import DataReader
from proxy.smtp.pace import Pace

BOUND = 10.0


class _Transport(asyncio.Transport):
    """A transport that only notes whether reading is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = False
        self.written = b""

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)


class _Fed(Connection):
    """A stream that gets its next piece when the reader has nothing more to say of the last."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__(asyncio.get_running_loop(), _Transport(), lambda: None)
        self.coming = iter(pieces)

    async def more(self, deadline: float, *, interruptible: bool = False) -> None:
        assert deadline > self._loop.time()
        assert not interruptible
        piece = next(self.coming, None)
        if piece is None:
            self.end()
            raise ClientGone
        self.received(piece)


async def read(pieces: Sequence[bytes]) -> tuple[list[bytes], DataReader, bytes]:
    """Feed the pieces and read to the end; return the blocks, the reader and what is left in the buffer."""
    stream = _Fed(pieces)
    reader = DataReader(stream, Pace(stream, BOUND, 0))
    blocks: list[bytes] = []
    while not reader.finished:
        blocks.append(await reader.block())
    return blocks, reader, bytes(stream.buffer) + b"".join(stream.coming)


async def whole(pieces: Sequence[bytes]) -> tuple[bytes, bool, bytes]:
    blocks, reader, rest = await read(pieces)
    content = b"".join(blocks)
    assert reader.size == len(content)
    assert not any(block.endswith(b"\r") for block in blocks)
    assert not any(block.startswith(b"\n") for block in blocks) or reader.bare_line_break
    return content, reader.bare_line_break, rest


# ---------------------------------------------------------------- the end

BODY = b"Subject: x\r\n\r\n..stuffed\r\n.. \r\nlast\r\n"


@pytest.mark.parametrize("cut", range(len(BODY) + 4))
async def test_the_end_is_found_wherever_the_stream_is_cut(cut: int) -> None:
    sent = BODY + b".\r\nQUIT\r\n"
    assert await whole([sent[:cut], sent[cut:]]) == (BODY, False, b"QUIT\r\n")


async def test_the_end_is_found_byte_by_byte() -> None:
    sent = BODY + b".\r\n"
    assert await whole([bytes((octet,)) for octet in sent]) == (BODY, False, b"")


@pytest.mark.parametrize("cut", range(1, 4))
async def test_an_empty_message_ends_wherever_it_is_cut(cut: int) -> None:
    sent = b".\r\nQUIT\r\n"
    assert await whole([sent[:cut], sent[cut:]]) == (b"", False, b"QUIT\r\n")


@pytest.mark.parametrize("first", [b"..\r\n", b".x\r\n", b"..x\r\n", b".\t\r\n"])
@pytest.mark.parametrize("cut", [1, 2, 3])
async def test_a_first_line_that_begins_with_a_dot_is_not_the_end(first: bytes, cut: int) -> None:
    sent = first + b"x\r\n.\r\n"
    assert await whole([sent[:cut], sent[cut:]]) == (first + b"x\r\n", False, b"")


async def test_an_empty_line_alone_is_a_message() -> None:
    assert await whole([b"\r\n.\r\n"]) == (b"\r\n", False, b"")


async def test_the_command_behind_the_dot_stays_in_the_buffer() -> None:
    assert await whole([BODY + b".\r\nMAIL FROM:<a@b.test>\r\n"]) == (BODY, False, b"MAIL FROM:<a@b.test>\r\n")


async def test_the_first_of_two_ends_is_the_end() -> None:
    assert await whole([b"one\r\n.\r\n.\r\n"]) == (b"one\r\n", False, b".\r\n")


# ---------------------------------------------------------------- smuggling

WITH_A_BARE_LINE_BREAK = {
    "LF.LF": b"\n.\n",
    "LF.CRLF": b"\n.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CR.CR": b"\r.\r",
    "CR.CRLF": b"\r.\r\n",
    "CRLF.CR": b"\r\n.\r",
    "CR.LF": b"\r.\n",
    "LF.CR": b"\n.\r",
    "CRLF.CRCRLF": b"\r\n.\r\r\n",
    "CRCRLF.CRCRLF": b"\r\r\n.\r\r\n",
    "LFLF.CRLF": b"\n\n.\r\n",
}
WITH_ANOTHER_OCTET = {
    "CRLFNUL.CRLF": b"\r\n\0.\r\n",
    "CRLF.NULCRLF": b"\r\n.\0\r\n",
    "CRLF0x85.CRLF": b"\r\n\x85.\r\n",
}


def _cases(sequences: dict[str, bytes]) -> Iterator[Any]:
    for name, sequence in sequences.items():
        yield pytest.param(sequence, id=name)


@pytest.mark.parametrize("sequence", [*_cases(WITH_A_BARE_LINE_BREAK), *_cases(WITH_ANOTHER_OCTET)])
async def test_no_smuggling_sequence_ends_a_message_however_it_is_cut(sequence: bytes) -> None:
    content = b"text" + sequence + b"MAIL FROM:<evil@b.test>\r\n"
    sent = content + b".\r\n"
    for cut in range(len(sent)):
        found, _, rest = await whole([sent[:cut], sent[cut:]])
        assert (found, rest) == (content, b"")


@pytest.mark.parametrize("sequence", list(_cases(WITH_A_BARE_LINE_BREAK)))
async def test_a_smuggling_sequence_of_bare_line_breaks_is_remembered_however_it_is_cut(sequence: bytes) -> None:
    sent = b"text" + sequence + b"more\r\n.\r\n"
    for cut in range(len(sent)):
        assert (await whole([sent[:cut], sent[cut:]]))[1]


@pytest.mark.parametrize("sequence", list(_cases(WITH_ANOTHER_OCTET)))
async def test_nul_and_nel_are_content_like_any_other(sequence: bytes) -> None:
    assert not (await whole([b"text" + sequence + b"more\r\n.\r\n"]))[1]


@pytest.mark.parametrize("sequence", list(_cases({**WITH_A_BARE_LINE_BREAK, **WITH_ANOTHER_OCTET})))
async def test_no_smuggling_sequence_at_the_very_start_ends_a_message(sequence: bytes) -> None:
    # The CRLF of the DATA command comes before it.
    start = sequence.removeprefix(b"\r\n")
    assert (await whole([start + b"x\r\n.\r\n"]))[0] == start + b"x\r\n"


@pytest.mark.parametrize("stray", [b"\r", b"\n"])
@pytest.mark.parametrize("at", [0, 1, 4091, 4092, 4093, 4094, 4095, 4096, 4097, 4098, 8000])
async def test_a_stray_line_break_is_remembered_wherever_blocks_are_parted(stray: bytes, at: int) -> None:
    content = b"x" * at + stray + b"x" * (9000 - at) + b"\r\n"
    found, bare, _ = await whole([content[:at], content[at:], b".\r\n"])
    assert found == content
    assert bare


# ---------------------------------------------------------------- blocks


@pytest.mark.parametrize("length", range(4090, 4110))
async def test_blocks_never_part_a_cr_from_its_lf(length: int) -> None:
    content = b"x" * length + b"\r\n" + b"y" * 9000 + b"\r\n"
    sent = content + b".\r\n"
    for cut in range(length - 2, length + 6):
        assert await whole([sent[:cut], sent[cut:]]) == (content, False, b"")


async def test_a_long_message_comes_in_several_blocks_and_few_octets_are_held_back() -> None:
    content = (b"x" * 998 + b"\r\n") * 200
    blocks, reader, _ = await read([*(content[at : at + 10_000] for at in range(0, len(content), 10_000)), b".\r\n"])
    assert b"".join(blocks) == content
    assert len(blocks) == 21  # one for each piece, and what was held back
    assert not reader.bare_line_break


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"..", b"x", b"\0", b"y" * 4095]), max_size=12),
    st.lists(st.integers(0, 9000), max_size=4),
)
def test_content_and_end_are_what_was_sent_whatever_it_is(parts: list[bytes], cuts: list[int]) -> None:
    content = b"".join(parts)
    # By the letter: the first CRLF.CRLF ends it, the DATA command's own CRLF counted.
    sent = content + b"\r\n.\r\n"
    at = (b"\r\n" + sent).index(b"\r\n.\r\n")
    bounds = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    pieces = [sent[start:end] for start, end in itertools.pairwise(bounds)]

    found, bare, rest = asyncio.run(whole(pieces))
    assert (found, rest) == (sent[:at], sent[at + 3 :])
    pairs = found.count(b"\r\n")
    assert bare == (found.count(b"\r") != pairs or found.count(b"\n") != pairs)


# ---------------------------------------------------------------- a client that leaves


@pytest.mark.parametrize("sent", [b"", b".", b".\r", b"text", b"text\r\n", b"text\r\n.", b"text\r\n.\r", b"x" * 5000])
async def test_a_client_that_leaves_before_the_end_has_sent_no_message(sent: bytes) -> None:
    with pytest.raises(ClientGone):
        await read([sent] if sent else [])


async def test_a_client_that_sends_nothing_for_the_deadline_is_idle() -> None:
    loop = asyncio.get_running_loop()
    stream = Connection(loop, _Transport(), lambda: None)
    stream.received(b"text\r\n")
    reader = DataReader(stream, Pace(stream, 0.01, 0))
    with pytest.raises(ClientIdle):
        async with asyncio.timeout(BOUND):
            await reader.block()


async def test_draining_reads_to_the_end_and_keeps_nothing() -> None:
    stream = Connection(asyncio.get_running_loop(), _Transport(), lambda: None)
    stream.received(b"text\r\n" * 1000 + b".\r\nQUIT\r\n")
    reader = DataReader(stream, Pace(stream, BOUND, 0))
    assert await reader.drain(1_000_000)
    assert (reader.finished, reader.size, bytes(stream.buffer)) == (True, 6000, b"QUIT\r\n")


async def test_draining_ends_where_the_end_does_not_come() -> None:
    stream = Connection(asyncio.get_running_loop(), _Transport(), lambda: None)
    stream.received(b"text\r\n" * 1000)
    assert not await DataReader(stream, Pace(stream, BOUND, 0)).drain(100)
