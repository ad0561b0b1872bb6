"""From the log's thread to the control process: nothing waits, is lost or doubled, and what is dropped is told."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.control.observers import Observers
from proxy.history import sender as sending
from proxy.history.receiver import Receiver
from proxy.history.search import Found, search
from proxy.history.sender import NUMBER, Sender
from proxy.keeper.door import Door, knock
from proxy.keeper.frames import encode, framed
from proxy.keeper.messages import Hello
from tests.support.histories import mail_lines, refusal_line, session_id, session_line, settings
from tests.support.waiting import eventually

A = session_id(1)


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.close()


class Control:
    """A control process in this one: it can die at any point."""

    def __init__(self, folder: Path, door: Door) -> None:
        self.history = Receiver(settings(folder))
        self.history.reading = self.observers = Observers(door.inside, self.history.take)

    async def start(self) -> Control:
        await self.history.start()
        await self.observers.start()
        return self

    async def die(self) -> None:
        """End without taking what is still on its way."""
        for connection in tuple(self.observers._connections):
            self.observers._forget(connection)
        await self.observers.stop()
        await self.history.stop()


def calling(door: Door) -> Sender:
    return Sender(lambda: knock(door.outside, encode(Hello(1, 1))), worker=1)


def found(folder: Path, subject: str) -> Found:
    return search(folder, subject, settings(folder).addresses())


def kinds(folder: Path, subject: str) -> list[str]:
    return [item["kind"] for each in found(folder, subject).stories for item in each.items]


async def test_lines_arrive_in_a_file(tmp_path: Path, door: Door) -> None:
    control, sender = await Control(tmp_path, door).start(), calling(door)
    sender.take(b"".join([*mail_lines(A), session_line(A)]))
    await eventually(lambda: found(tmp_path, A).stories, "the session in the file")
    await asyncio.to_thread(sender.close)
    await control.die()
    assert kinds(tmp_path, A) == ["transactions", "recipients"]


async def test_lines_from_before_the_control_process_arrive_when_it_is_there(tmp_path: Path, door: Door) -> None:
    sender = calling(door)
    sender.take(b"".join(mail_lines(A)))
    control = await Control(tmp_path, door).start()
    await eventually(lambda: found(tmp_path, A).stories, "the session in the file")
    await asyncio.to_thread(sender.close)
    await control.die()


async def test_control_processes_that_die_again_and_again_lose_and_double_nothing(tmp_path: Path, door: Door) -> None:
    messages = 300
    sender = calling(door)
    control = await Control(tmp_path, door).start()
    for number in range(messages):
        sender.take(b"".join(mail_lines(session_id(number))))
        if number % 50 == 20:
            await asyncio.sleep(0)
            await control.die()
            control = await Control(tmp_path, door).start()
    await eventually(lambda: not sender._kept and not sender._waiting, "everything is confirmed")
    await asyncio.to_thread(sender.close)
    await control.die()
    for number in range(messages):
        assert kinds(tmp_path, session_id(number)) == ["transactions", "recipients"], number


async def test_a_confirmation_that_never_came_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: Door
) -> None:
    with monkeypatch.context() as deaf:
        deaf.setattr(Receiver, "_written", lambda *_: None)
        control, sender = await Control(tmp_path, door).start(), calling(door)
        sender.take(b"".join(mail_lines(A)))
        await eventually(lambda: found(tmp_path, A).stories, "the session in the file")
        await control.die()
    control = await Control(tmp_path, door).start()
    sender.take(b"".join(mail_lines(session_id(2))))
    await eventually(lambda: not sender._kept, "everything is confirmed")
    await asyncio.to_thread(sender.close)
    await control.die()
    assert kinds(tmp_path, A) == ["transactions", "recipients"]


def test_a_frame_ends_after_a_line_and_a_longer_line_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "FRAME_OCTETS", 10)
    sender = Sender(unreachable)
    sender.take(b"one\ntwo\nthree\n" + b"x" * 30 + b"\nfour\n")
    sender.close()
    head = len(framed(bytes(2 * NUMBER)))
    assert [frame[head:] for _, frame in sender._kept] == [b"one\ntwo\n", b"three\n", b"x" * 30 + b"\n", b"four\n"]


def ended(sender: Sender) -> None:
    """End it without waiting for lines that no reader takes."""
    sender._closing = 1.0
    sender._wake_up()
    sender._thread.join()


def unreachable() -> socket.socket:
    raise ConnectionRefusedError


def test_what_does_not_fit_is_dropped_by_kind_refusals_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "MOST_OCTETS", 40_000)
    sender = Sender(unreachable, worker=3)
    for _ in range(100):
        sender.take(b"".join([*mail_lines(A), session_line(A)]))
        sender.take(refusal_line(A, "c@example.com"))
    kept = b"".join(frame for _, frame in sender._kept) + b"".join(sender._waiting)
    counts = sender._gap._counts
    assert counts[0] > counts[1] > 0
    assert kept.count(b"User unknown") + counts[3] == 100
    assert counts[3] < counts[1]
    assert len(kept) <= 1.25 * 40_000 + 2000
    ended(sender)


async def test_a_gap_is_a_row_with_counts_and_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: Door
) -> None:
    monkeypatch.setattr(sending, "MOST_OCTETS", 20_000)
    sender = calling(door)
    for _ in range(60):
        sender.take(b"".join(mail_lines(A)))
    dropped = list(sender._gap._counts)
    control = await Control(tmp_path, door).start()
    await asyncio.to_thread(sender.close)
    await control.die()
    gaps = found(tmp_path, A).gaps
    assert sum(each["details"] for each in gaps) >= dropped[0] > 0
    assert sum(each["accepted"] for each in gaps) >= dropped[1]
    assert {each["worker"] for each in gaps} == {1}
    assert all(each["first"] <= each["last"] for each in gaps)
    items: list[Any] = [each for story in found(tmp_path, A).stories for each in story.items]
    messages = sum(each["kind"] == "transactions" for each in items)
    assert messages + sum(each["accepted"] for each in gaps) == 60


def test_taking_lines_never_waits_for_a_process_that_does_not_read() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    sender = Sender(lambda: ours)
    done = threading.Event()

    def take() -> None:
        for number in range(20_000):
            sender.take(refusal_line(session_id(number), "c@example.com"))
        done.set()

    threading.Thread(target=take).start()
    assert done.wait(60)
    theirs.close()
    ended(sender)


@pytest.mark.parametrize("sent", [False, True], ids=["nobody is there", "nobody confirms"])
def test_what_nobody_took_at_the_end_of_a_process_is_told(monkeypatch: pytest.MonkeyPatch, *, sent: bool) -> None:
    monkeypatch.setattr(sending, "LAST_SECONDS", 0.1)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def connect() -> socket.socket:
        if not sent:
            raise ConnectionRefusedError
        return ours

    sender = Sender(connect, worker=1)
    sender.take(b"".join([*mail_lines(A), refusal_line(A, "c@example.com"), session_line(A)]))
    gap = sender.close()
    theirs.close()
    ours.close()
    told = gap.fields()
    assert {name: told[name] for name in ("details", "accepted", "others", "refusals")} == {
        "details": 2, "accepted": 1, "others": 0, "refusals": 1,
    }  # fmt: skip
    assert "timestamp" not in told


def test_a_process_that_said_nothing_lacks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "LAST_SECONDS", 0.1)

    def connect() -> socket.socket:
        raise ConnectionRefusedError

    assert not Sender(connect, worker=1).close()
