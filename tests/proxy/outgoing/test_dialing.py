"""Attempts that overlap: which address wins, what is told of the others, and that nothing stays open."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxy.outgoing import dial as dialing
from proxy.outgoing.dial import Address, NotReached, reach
from proxy.outgoing.handshake import Dial, GreetingRefused, dial
from proxy.outgoing.wire import WireBroken
from tests.support.exchanger import Act, Exchanger, Step, closes, is_silent, says, sends
from tests.support.mute import mute
from tests.support.programs import free_port
from tests.support.waiting import eventually

BOUND = 10.0


@pytest.fixture
def dead() -> Iterator[Address]:
    with mute() as port:
        yield ("127.0.0.1", port)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """Every socket that is made from here on."""
    made: list[socket.socket] = []

    class Noted(socket.socket):
        def __init__(self, *parts: int) -> None:
            super().__init__(*parts)
            made.append(self)

    monkeypatch.setattr(dialing, "socket", SimpleNamespace(**{**vars(socket), "socket": Noted}))
    return made


def still_open(sockets: list[socket.socket]) -> int:
    return sum(each.fileno() >= 0 for each in sockets)


def refusing(address: str = "127.0.0.1") -> Address:
    return (address, free_port())


def listening(stack: ExitStack, address: str = "127.0.0.1") -> Address:
    listener = stack.enter_context(socket.create_server((address, 0), family=dialing.family_of(address)))
    return (address, listener.getsockname()[1])


async def test_the_first_address_is_taken_where_it_answers(opened: list[socket.socket]) -> None:
    with ExitStack() as stack:
        first, second = listening(stack), listening(stack)
        reached = await reach([first, second], BOUND)
        with reached.sock:
            assert (reached.winner, reached.behind) == (0, ())
            assert reached.sock.getpeername() == first
            assert len(opened) == 1, "the second is not even begun"


async def test_one_that_refuses_is_followed_at_once_and_told_of() -> None:
    with ExitStack() as stack:
        reached = await reach([refusing(), refusing(), listening(stack)], BOUND)
        with reached.sock:
            assert (reached.winner, reached.behind) == (2, (0, 1))


async def test_one_that_does_not_answer_is_outrun_and_its_socket_closed(
    dead: Address, opened: list[socket.socket]
) -> None:
    with ExitStack() as stack:
        reached = await reach([dead, listening(stack)], BOUND)
        with reached.sock:
            assert (reached.winner, reached.behind) == (1, (0,))
            assert (len(opened), still_open(opened)) == (2, 1)


async def test_families_take_turns() -> None:
    with ExitStack() as stack:
        six = listening(stack, "::1")
        reached = await reach([refusing(), refusing(), six], BOUND)
        with reached.sock:
            assert (reached.winner, reached.behind) == (2, (0,)), "the second of the first family was not tried"
            assert reached.sock.family == socket.AF_INET6


async def test_where_all_refuse_it_is_told_and_nothing_stays_open(opened: list[socket.socket]) -> None:
    with pytest.raises(NotReached, match=r"Connect call failed|Connection refused"):
        await reach([refusing(), refusing()], BOUND)
    assert (len(opened), still_open(opened)) == (2, 0)


async def test_where_none_answers_in_time_it_is_told_and_nothing_stays_open(
    dead: Address, opened: list[socket.socket]
) -> None:
    with pytest.raises(NotReached, match=r"^timeout$"):
        await reach([dead, dead], 0.4)
    assert (len(opened), still_open(opened)) == (2, 0)


async def test_a_caller_that_gives_up_leaves_nothing_open(
    dead: Address, opened: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "STAGGER_SECONDS", 0.001)
    reaching = asyncio.get_running_loop().create_task(reach([dead, dead, dead], BOUND))
    await eventually(lambda: len(opened) == 3, "all three are under way")
    reaching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reaching
    assert still_open(opened) == 0


async def test_a_path_is_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        reached = await reach([(path, 0)], BOUND)
        with reached.sock:
            assert reached.sock.getpeername() == path
    with pytest.raises(NotReached, match=r"No such file|Connection refused"):
        await reach([(str(tmp_path / "gone"), 0)], BOUND)


@pytest.mark.parametrize("raced", [True, False])
async def test_small_writes_are_not_held_back(*, raced: bool) -> None:
    """Nagle's algorithm would add 40 ms to a dot that waits behind unacknowledged content."""
    async with Exchanger() as server:
        sock = (await reach([("127.0.0.1", server.port)], BOUND)).sock if raced else None
        wire = await dial(Dial("127.0.0.1", server.port, "ringback.test", BOUND, BOUND), sock)
        raw = wire.transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        wire.abort("done")


@pytest.mark.parametrize("act", [closes(), says("554 5.7.1 no"), sends(b"nonsense\r\n"), is_silent()])
async def test_a_socket_that_was_handed_over_is_closed_whatever_goes_wrong(act: Act) -> None:
    async with Exchanger(script={Step.BANNER: act}) as server:
        sock = (await reach([("127.0.0.1", server.port)], BOUND)).sock
        with pytest.raises((GreetingRefused, WireBroken, TimeoutError)):
            await dial(Dial("127.0.0.1", server.port, "ringback.test", 0.2, BOUND), sock)
        await eventually(lambda: sock.fileno() < 0, "it is closed")
        await server.until(lambda: not server.open_dialogues, "the server sees that")


async def test_a_socket_that_was_handed_over_is_closed_where_the_caller_gives_up() -> None:
    async with Exchanger(script={Step.BANNER: is_silent()}) as server:
        sock = (await reach([("127.0.0.1", server.port)], BOUND)).sock
        target = Dial("127.0.0.1", server.port, "ringback.test", BOUND, BOUND)
        dialling = asyncio.get_running_loop().create_task(dial(target, sock))
        await server.until(lambda: bool(server.dialogues), "the server is there")
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        await eventually(lambda: sock.fileno() < 0, "it is closed")
