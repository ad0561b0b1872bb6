"""The control process's parts, and the rows that other processes send it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from proxy.control import service
from proxy.control.observers import Observers, Peer
from proxy.control.service import ControlService
from proxy.keeper.door import Door, knock
from proxy.keeper.frames import encode, framed
from proxy.keeper.messages import Hello
from tests.support.waiting import eventually


@dataclass
class Named:
    """A part that notes what happens to it."""

    name: str
    notes: list[str] = field(default_factory=list)
    fails_at: str = ""

    async def start(self) -> None:
        await self._note("start")

    async def stop(self) -> None:
        await self._note("stop")

    async def _note(self, step: str) -> None:
        if self.fails_at == step:
            raise OSError(step)
        if self.fails_at == f"{step} hangs":
            await asyncio.Event().wait()
        self.notes.append(f"{step} {self.name}")


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.close()


async def test_parts_are_stopped_in_the_reverse_of_the_order_in_which_they_are_started() -> None:
    notes: list[str] = []
    running = ControlService([Named("files", notes), Named("page", notes)])
    await running.start()
    await running.stop()
    assert notes == ["start files", "start page", "stop page", "stop files"]


@pytest.mark.parametrize("fault", ["start", "stop", "start hangs", "stop hangs"])
async def test_a_part_that_fails_or_hangs_costs_only_itself(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "START_SECONDS", 0.01)
    monkeypatch.setattr(service, "STOP_SECONDS", 0.01)
    notes: list[str] = []
    running = ControlService([Named("first", notes), Named("bad", notes, fault), Named("last", notes)])
    await running.start()
    await running.stop()
    assert [each for each in notes if "bad" not in each] == ["start first", "start last", "stop last", "stop first"]


async def test_rows_that_were_written_before_the_end_are_taken_and_the_writer_is_told_of_the_end(door: Door) -> None:
    taken: list[tuple[int, bytes]] = []
    early = knock(door.outside, encode(Hello(1, 2)))
    early.sendall(framed(b"waits before the door"))
    observers = Observers(door.inside, lambda peer, rows: taken.append((peer.hello.slot, rows)))
    await observers.start()
    await eventually(lambda: taken, "the rows are there")
    early.sendall(framed(b"last") + framed(b"cut")[:-1])
    late = knock(door.outside, encode(Hello(1, 3)))
    late.sendall(framed(b"never looked at before"))
    await observers.stop()
    assert sorted(taken) == [(2, b"last"), (2, b"waits before the door"), (3, b"never looked at before")]
    for each in (early, late):
        with pytest.raises(BrokenPipeError):
            each.sendall(b"more")
        each.close()


async def test_a_connection_with_octets_that_are_no_frames_ends_and_the_others_go_on(door: Door) -> None:
    taken: list[bytes] = []
    observers = Observers(door.inside, lambda _peer, rows: taken.append(rows))
    await observers.start()
    door.outside.send(b"no hello")
    wrong, right = (knock(door.outside, encode(Hello(1, slot))) for slot in (1, 2))
    wrong.sendall(b"\xff" * 8)
    right.sendall(framed(b"rows"))
    await eventually(lambda: taken, "the rows are there")
    assert taken == [b"rows"]
    assert wrong.recv(1) == b""
    await observers.stop()
    assert right.recv(1) == b""
    wrong.close()
    right.close()


async def test_a_process_that_is_killed_is_forgotten(door: Door) -> None:
    observers = Observers(door.inside, lambda _peer, _rows: None)
    await observers.start()
    connection: socket.socket = knock(door.outside, encode(Hello(1, 1)))
    await eventually(lambda: not observers.deserted.is_set(), "it is connected")
    connection.close()
    await eventually(observers.deserted.is_set, "it is forgotten")
    await observers.stop()


async def test_a_pause_leaves_rows_where_they_are_and_a_peer_is_told_what_is_done_with(door: Door) -> None:
    taken: list[bytes] = []

    def take(peer: Peer, rows: bytes) -> None:
        taken.append(rows)
        peer.tell(b"done")

    observers = Observers(door.inside, take)
    await observers.start()
    early = knock(door.outside, encode(Hello(1, 1)))
    await eventually(lambda: not observers.deserted.is_set(), "it is connected")
    observers.pause()
    early.sendall(framed(b"rows"))
    late = knock(door.outside, encode(Hello(1, 2)))
    late.sendall(framed(b"more"))
    await eventually(lambda: len(observers._connections) == 2, "both are connected")
    assert taken == []
    observers.resume()
    await eventually(lambda: len(taken) == 2, "the rows are there")
    assert early.recv(16) == b"done"
    await observers.stop()
    early.close()
    late.close()
