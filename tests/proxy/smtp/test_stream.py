"""The bytes from and to one client: bounded, under deadlines, replies in one write a batch."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.smtp.connection import HIGH_WATER, ClientGone, ClientIdle, Connection, Draining, LineTooLong

BOUND = 10.0


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.paused = self.closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.fixture
async def transport() -> _Transport:
    return _Transport()


@pytest.fixture
async def stream(transport: _Transport) -> Connection:
    return Connection(asyncio.get_running_loop(), transport, lambda: None)


async def test_a_line_comes_with_its_line_break_however_it_is_cut(stream: Connection) -> None:
    reading = asyncio.get_running_loop().create_task(stream.line(BOUND))
    for octet in b"NOOP\r\nQU":
        await asyncio.sleep(0)
        stream.received(bytes((octet,)))
    assert await reading == b"NOOP\r\n"
    assert bytes(stream.buffer) == b"QU"


async def test_replies_of_one_turn_leave_in_one_write(stream: Connection, transport: _Transport) -> None:
    stream.send(b"250 one\r\n")
    stream.send(b"250 two\r\n")
    assert transport.writes == []
    await asyncio.sleep(0)
    assert transport.writes == [b"250 one\r\n250 two\r\n"]


async def test_replies_leave_before_the_client_is_waited_for(stream: Connection, transport: _Transport) -> None:
    stream.send(b"250 one\r\n")
    with pytest.raises(ClientIdle):
        await stream.line(0.01)
    assert transport.writes == [b"250 one\r\n"]


async def test_a_reply_before_a_read_leaves_with_the_wait_for_the_client(
    stream: Connection, transport: _Transport
) -> None:
    stream.outgoing += b"250 one\r\n"
    with pytest.raises(ClientIdle):
        await stream.line(0.01)
    assert transport.writes == [b"250 one\r\n"]


async def test_a_reply_before_a_read_leaves_though_the_next_command_is_there_and_takes_long(
    stream: Connection, transport: _Transport
) -> None:
    stream.received(b"RCPT\r\n")
    stream.send(b"250 one\r\n")
    assert await stream.line(BOUND) == b"RCPT\r\n"
    await asyncio.sleep(0)
    assert transport.writes == [b"250 one\r\n"]


async def test_replies_leave_before_the_connection_is_closed(stream: Connection, transport: _Transport) -> None:
    stream.send(b"221 bye\r\n")
    stream.close()
    assert (transport.writes, transport.closed) == ([b"221 bye\r\n"], True)


async def test_a_whole_line_must_come_within_its_deadline_and_drops_do_not_extend_it(stream: Connection) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + 5

    async def drip() -> None:
        while loop.time() < end:
            stream.received(b"x")
            await asyncio.sleep(0.005)

    dripping = loop.create_task(drip())
    with pytest.raises(ClientIdle):
        await stream.line(0.05)
    dripping.cancel()


async def test_lines_that_came_before_the_half_close_are_read(stream: Connection) -> None:
    stream.received(b"ONE\r\nTWO\r\nhalf")
    stream.end()
    assert [await stream.line(BOUND), await stream.line(BOUND)] == [b"ONE\r\n", b"TWO\r\n"]
    with pytest.raises(ClientGone):
        await stream.line(BOUND)


async def test_a_lost_client_ends_the_wait_and_gets_no_more_bytes(stream: Connection, transport: _Transport) -> None:
    reading = asyncio.get_running_loop().create_task(stream.line(BOUND))
    await asyncio.sleep(0)
    stream.lose()
    with pytest.raises(ClientGone):
        await reading
    stream.send(b"250 late\r\n")
    stream.flush()
    assert transport.writes == []


async def test_reading_pauses_where_the_session_does_not_keep_up(stream: Connection, transport: _Transport) -> None:
    stream.received(b"x" * HIGH_WATER)
    assert not transport.paused
    stream.received(b"x")
    assert transport.paused
    stream.consume(HIGH_WATER)
    assert not transport.paused


async def test_a_client_that_does_not_read_its_replies_is_not_read_from(stream: Connection) -> None:
    stream.pause_writing()
    reading = asyncio.get_running_loop().create_task(stream.line(BOUND))
    await asyncio.sleep(0)
    stream.received(b"NOOP\r\n")
    stream.resume_writing()
    async with asyncio.timeout(1):
        assert await reading == b"NOOP\r\n"


async def test_a_client_that_never_reads_its_replies_is_idle(stream: Connection) -> None:
    stream.pause_writing()
    with pytest.raises(ClientIdle):
        await stream.line(0.01)


async def test_a_shutdown_ends_the_wait_for_a_command(stream: Connection) -> None:
    reading = asyncio.get_running_loop().create_task(stream.line(BOUND))
    await asyncio.sleep(0)
    stream.drain()
    with pytest.raises(Draining):
        await reading
    with pytest.raises(Draining):
        await stream.line(BOUND)


async def test_a_shutdown_does_not_end_the_wait_for_a_messages_bytes(stream: Connection) -> None:
    loop = asyncio.get_running_loop()
    waiting = loop.create_task(stream.more(loop.time() + BOUND))
    await asyncio.sleep(0)
    stream.drain()
    await asyncio.sleep(0)
    assert not waiting.done()
    stream.received(b"x")
    await waiting


@pytest.mark.parametrize(("line", "endless"), [(b"x" * 5000 + b"\r\n", False), (b"x" * 100_000, True)])
async def test_an_overlong_line_is_passed_over(stream: Connection, line: bytes, endless: bool) -> None:  # noqa: FBT001 - a case
    stream.received(line)
    with pytest.raises(LineTooLong) as error:
        await stream.line(0.05)
    assert error.value.endless is endless
    assert len(stream.buffer) == 0


async def test_an_endless_line_in_pieces_uses_no_memory(stream: Connection) -> None:
    reading = asyncio.get_running_loop().create_task(stream.line(BOUND))
    most = 0
    while not reading.done():
        stream.received(b"x" * 3000)
        most = max(most, len(stream.buffer))
        await asyncio.sleep(0)
    with pytest.raises(LineTooLong) as error:
        await reading
    assert error.value.endless
    assert most <= 9000
