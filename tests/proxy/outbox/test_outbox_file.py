"""What the outbox keeps, who may deliver it, and what a crash at any moment leaves behind."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.mail.session import NULL_PATH, Letter
from proxy.mail.session import Path as MailPath
from proxy.outbox.file import Delivery, OutboxFile, exists
from proxy.outbox.presence import Presence
from proxy.outbox.store import HELD_SECONDS, LEASE_SECONDS, OutboxStore
from proxy.smtp.ports import OutboxUnavailable

ROOT = Path(__file__).resolve().parents[3]
BOB, CAROL = (MailPath(f"{name}@example.com".encode(), name, "example.com") for name in ("bob", "carol"))


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[OutboxStore]:
    made = OutboxStore(tmp_path, clock)
    yield made
    await made.close()


def letter(*recipients: MailPath, content: bytes = b"Subject: x\r\n\r\nbody\r\n") -> Letter:
    return Letter(NULL_PATH, recipients or (BOB,), content, "forward")


def rows(folder: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "outbox.db")) as connection:
        return connection.execute(statement).fetchall()


def files(folder: Path) -> dict[str, int]:
    """Return the files of a folder, with their modes."""
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def locks(folder: Path) -> list[str]:
    return sorted(name for name in files(folder) if name.endswith(".lock"))


def name_of(store: OutboxStore) -> str:
    assert store._presence is not None
    return store._presence.name


async def test_each_recipient_of_a_letter_has_a_delivery_of_its_own(store: OutboxStore) -> None:
    assert await store.add([letter(BOB, CAROL)], "t.1") == 2
    first, second = await store.claim(10)
    assert [first.recipient, second.recipient] == [BOB.raw, CAROL.raw]
    assert first.letter == second.letter
    assert (first.sender, first.purpose, first.origin, first.attempts) == (b"", "forward", "t.1", 0)
    assert await store.content(first.letter) == b"Subject: x\r\n\r\nbody\r\n"


async def test_a_letter_goes_when_its_last_delivery_goes(store: OutboxStore, tmp_path: Path) -> None:
    await store.add([letter(BOB, CAROL)], "t.1")
    first, second = await store.claim(10)
    await store.finish(first)
    assert rows(tmp_path, "SELECT count(*) FROM letters") == [(1,)]
    await store.finish(second)
    assert rows(tmp_path, "SELECT count(*) FROM letters") == [(0,)]
    assert await store.next_due() is None


async def test_what_is_held_is_not_delivered_before_its_release(store: OutboxStore) -> None:
    count = await store.add([letter()], "t.1", held=True)
    assert await store.claim(10) == []
    await store.release("t.1", count, [letter(CAROL)])
    assert [each.recipient for each in await store.claim(10)] == [BOB.raw, CAROL.raw]


async def test_what_is_dropped_is_gone(store: OutboxStore, tmp_path: Path) -> None:
    await store.add([letter()], "t.1", held=True)
    await store.add([letter(CAROL)], "t.2", held=True)
    await store.drop("t.1")
    assert rows(tmp_path, "SELECT recipient FROM deliveries") == [(CAROL.raw,)]
    assert rows(tmp_path, "SELECT count(*) FROM letters") == [(1,)]


async def test_what_a_killed_process_left_held_is_dropped_and_can_no_longer_be_released(
    store: OutboxStore, clock: Clock, tmp_path: Path
) -> None:
    count = await store.add([letter()], "t.1", held=True)
    clock.now += HELD_SECONDS - 1
    await store.claim(10)
    assert rows(tmp_path, "SELECT count(*) FROM deliveries") == [(1,)]
    clock.now += 1
    assert await store.claim(10) == []
    assert rows(tmp_path, "SELECT count(*) FROM letters") == [(0,)]
    with pytest.raises(OutboxUnavailable):
        await store.release("t.1", count, [letter(CAROL)])
    assert rows(tmp_path, "SELECT count(*) FROM letters") == [(0,)]


async def test_a_leased_delivery_is_nobody_elses_until_the_lease_ends(
    store: OutboxStore, clock: Clock, tmp_path: Path
) -> None:
    other = OutboxStore(tmp_path, clock)
    await store.add([letter()], "t.1")
    (mine,) = await store.claim(10)
    assert await store.claim(10) == []
    assert await other.claim(10) == []
    clock.now += LEASE_SECONDS
    assert [each.id for each in await other.claim(10)] == [mine.id]
    await other.close()


async def test_a_worker_that_ends_leaves_its_deliveries_to_the_others(
    store: OutboxStore, clock: Clock, tmp_path: Path
) -> None:
    other = OutboxStore(tmp_path, clock)
    await store.add([letter()], "t.1")
    assert len(await other.claim(10)) == 1
    assert await store.claim(10) == []
    await other.close()
    assert len(await store.claim(10)) == 1


async def test_a_worker_that_is_killed_leaves_its_deliveries_to_the_others_at_once(
    store: OutboxStore, tmp_path: Path, clock: Clock
) -> None:
    await store.add([letter()], "t.1")
    program = (
        "import sys, signal\nfrom pathlib import Path\nfrom proxy.outbox.file import OutboxFile\n"
        "from proxy.outbox.presence import Presence\n"
        "folder = Path(sys.argv[1])\nfile = OutboxFile(folder, Presence(folder))\n"
        "print(len(file.claim(float(sys.argv[2]), 1800, 10)), flush=True)\nsignal.pause()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path), str(clock.now)]
    environment = {"PYTHONPATH": str(ROOT)}
    other = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)
    try:
        assert other.stdout is not None
        assert await other.stdout.readline() == b"1\n"
        assert await store.claim(10) == []
    finally:
        other.kill()
        await other.communicate()
    assert len(await store.claim(10)) == 1
    assert locks(tmp_path) == [f"outbox.{name_of(store)}.lock"]


async def test_a_worker_tidies_up_after_those_that_were_killed_and_no_others(
    store: OutboxStore, tmp_path: Path
) -> None:
    await store.add([letter()], "t.1")
    (tmp_path / "outbox.4d2-0123456789ab.lock").touch()
    other = OutboxStore(tmp_path)
    await other.next_due()
    assert locks(tmp_path) == sorted(f"outbox.{name_of(each)}.lock" for each in (store, other))
    await other.close()
    assert locks(tmp_path) == [f"outbox.{name_of(store)}.lock"]


async def test_a_delivery_that_is_postponed_comes_back_when_it_is_due(store: OutboxStore, clock: Clock) -> None:
    await store.add([letter()], "t.1")
    (delivery,) = await store.claim(10)
    await store.postpone(delivery, 300)
    assert await store.next_due() == clock.now + 300
    assert await store.claim(10) == []
    clock.now += 300
    (again,) = await store.claim(10)
    assert (again.id, again.attempts) == (delivery.id, 1)


async def test_a_delivery_that_fails_becomes_its_report_in_one_change(store: OutboxStore) -> None:
    await store.add([letter()], "t.1")
    (delivery,) = await store.claim(10)
    await store.finish(delivery, letter(CAROL, content=b"report"))
    (report,) = await store.claim(10)
    assert (report.recipient, report.origin, await store.content(report.letter)) == (CAROL.raw, "t.1", b"report")


async def test_nobody_else_reads_the_file(store: OutboxStore, tmp_path: Path) -> None:
    assert not exists(tmp_path)
    await store.add([letter()], "t.1")
    assert exists(tmp_path)
    assert set(files(tmp_path).values()) == {0o600}


async def test_a_commit_has_reached_the_disk(store: OutboxStore, tmp_path: Path) -> None:
    await store.add([letter()], "t.1")
    file = OutboxFile(tmp_path, Presence(tmp_path))
    assert file._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert file._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    file.close()


async def test_a_folder_that_is_not_there_is_unavailable_and_is_found_when_it_comes(tmp_path: Path) -> None:
    store = OutboxStore(tmp_path / "state")
    with pytest.raises(OutboxUnavailable):
        await store.add([letter()], "t.1")
    (tmp_path / "state").mkdir()
    assert await store.add([letter()], "t.1") == 1
    await store.close()


async def test_a_file_of_another_program_or_version_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    store = OutboxStore(tmp_path)
    with pytest.raises(OutboxUnavailable, match="another program or version"):
        await store.add([letter()], "t.1")
    await store.close()
    assert rows(tmp_path, "SELECT name FROM sqlite_master") == [("theirs",)]


async def test_nothing_is_written_to_a_file_that_was_taken_away(store: OutboxStore, tmp_path: Path) -> None:
    await store.add([letter()], "t.1")
    for name in files(tmp_path):
        if name.startswith("outbox.db"):
            (tmp_path / name).rename(tmp_path / f"old-{name}")
    with pytest.raises(OutboxUnavailable):
        await store.add([letter(CAROL)], "t.2")
    await store.add([letter(CAROL)], "t.2")
    assert rows(tmp_path, "SELECT recipient FROM deliveries") == [(CAROL.raw,)]


async def test_a_full_disk_keeps_nothing_by_halves_and_is_noticed(store: OutboxStore, tmp_path: Path) -> None:
    await store.add([letter()], "t.1")
    await store._do(lambda file: file._connection.execute("PRAGMA max_page_count = 20"))
    with pytest.raises(OutboxUnavailable, match="full"):
        await store.add([letter(CAROL), letter(CAROL, content=b"x" * 200_000)], "t.2")
    assert rows(tmp_path, "SELECT recipient FROM deliveries") == [(BOB.raw,)]
    assert await store.add([letter(CAROL)], "t.3") == 1


async def test_two_workers_never_have_the_same_delivery(tmp_path: Path) -> None:
    stores = [OutboxStore(tmp_path) for _ in range(4)]
    await stores[0].add([letter() for _ in range(40)], "t.1")
    claimed: list[Delivery] = []
    while len(claimed) < 40:
        for found in await asyncio.gather(*(each.claim(3) for each in stores)):
            claimed += found
    assert len({each.id for each in claimed}) == 40
    assert [await each.claim(3) for each in stores] == [[], [], [], []]
    for each in stores:
        await each.close()


# ---------------------------------------------------------------- a clock that is set


@pytest.mark.parametrize("ahead", [3600.0, 86400.0 * 365], ids=["an-hour", "a-year"])
async def test_a_letter_from_before_the_clock_was_set_back_is_due_and_new(
    store: OutboxStore, clock: Clock, ahead: float
) -> None:
    await store.claim(1)
    clock.now += ahead
    await store.add([letter()], "")
    clock.now -= ahead
    (claimed,) = await store.claim(1)
    assert claimed.created == clock.now


async def test_a_pause_from_before_the_clock_was_set_back_is_over(store: OutboxStore, clock: Clock) -> None:
    await store.add([letter()], "")
    clock.now += 86400.0 * 365
    (claimed,) = await store.claim(1)
    await store.postpone(claimed, 60.0)
    clock.now -= 86400.0 * 365
    assert len(await store.claim(1)) == 1


async def test_a_lease_from_before_the_clock_was_set_back_ends_as_a_new_one_would(
    store: OutboxStore, clock: Clock
) -> None:
    await store.add([letter()], "")
    clock.now += 86400.0 * 365
    assert len(await store.claim(1)) == 1
    clock.now -= 86400.0 * 365
    assert await store.claim(1) == []
    clock.now += LEASE_SECONDS
    assert len(await store.claim(1)) == 1


async def test_a_file_from_a_clock_ahead_is_corrected_at_the_start(tmp_path: Path, clock: Clock) -> None:
    clock.now += 86400.0 * 365
    before = OutboxStore(tmp_path, clock)
    await before.add([letter()], "")
    await before.close()
    clock.now -= 86400.0 * 365
    after = OutboxStore(tmp_path, clock)
    try:
        assert len(await after.claim(1)) == 1
    finally:
        await after.close()
