"""What bounds the outbox: places of each route, octets and letters, and a file that shrinks."""

from __future__ import annotations

import os
import sqlite3
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path

import pytest

from proxy.mail.session import NULL_PATH, Letter
from proxy.modules.sieve_policy.effects import path_of
from proxy.outbox import deliver
from proxy.outbox.store import OutboxStore
from proxy.outbox.tables import APPLICATION_ID
from tests.proxy.outbox.test_outbox_circles import forwards, one, sent
from tests.proxy.outbox.test_outbox_delivery import Scene, delivered, scene
from tests.support.exchanger import Exchanger, Step, is_silent, says
from tests.support.waiting import eventually
from tests.support.worker import BOB

TEAM = "team@example.com"
FAR = "x@far.test"
PLACES_PER_ROUTE = 5
FULL = "452 4.3.1 Insufficient system storage, try again later"
SMALL = 64 * 1024
"""Octets of an empty outbox, at most."""


def letter(octets: int = 100, to: str = BOB) -> Letter:
    return Letter(NULL_PATH, (path_of(to),), b"x" * octets, "forward")


def size(folder: Path) -> int:
    """Return the octets of the file and its log."""
    return sum((folder / name).stat().st_size for name in ("outbox.db", "outbox.db-wal") if (folder / name).exists())


# ---------------------------------------------------------------- places of each route


async def hangs(on: Scene, upstream: Exchanger, count: int) -> None:
    await eventually(lambda: len(upstream.dialogues) == count, f"{count} deliveries hang")
    assert len(on.deliverer._deliveries) == count


def with_far(port: int, folder: Path, far_port: int) -> AbstractAsyncContextManager[Scene]:
    lines = f'127.0.0.1\nDomain "far.test" {{\n  Remote_SMTP_Port = {far_port}\n}}'
    return scene(port, folder, Gateway=lines)


@pytest.mark.parametrize("count", [PLACES_PER_ROUTE, 4 * PLACES_PER_ROUTE, 300])
@pytest.mark.parametrize("step", [Step.BANNER, Step.MAIL, Step.DOT], ids=["banner", "mail", "dot"])
async def test_an_mta_that_hangs_holds_up_nobody_elses_letters(
    tmp_path: Path, count: int, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "STOP_SECONDS", 0.0)
    async with (
        Exchanger() as upstream,
        Exchanger(script={step: is_silent()}) as hanging,
        with_far(upstream.port, tmp_path, hanging.port) as on,
    ):
        await on.store.add([letter(to=FAR) for _ in range(count)], "t.1")
        on.deliverer.wake()
        await hangs(on, hanging, PLACES_PER_ROUTE)
        await on.store.add([letter(to=BOB) for _ in range(30)], "t.2")
        on.deliverer.wake()
        await delivered(upstream, 30)
        await eventually(lambda: len(on.deliverer._deliveries) == PLACES_PER_ROUTE, "the others have ended")
        assert len(hanging.dialogues) == PLACES_PER_ROUTE


async def test_a_letter_that_had_no_place_goes_when_one_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "STOP_SECONDS", 0.0)
    async with Exchanger(script={Step.DOT: is_silent()}) as upstream, scene(upstream.port, tmp_path) as on:
        await on.store.add([letter() for _ in range(PLACES_PER_ROUTE + 2)], "t.1")
        on.deliverer.wake()
        await hangs(on, upstream, PLACES_PER_ROUTE)
        upstream.script.clear()
        for dialogue in list(upstream.dialogues):
            dialogue.writer.close()
        await delivered(upstream, 2)


# ---------------------------------------------------------------- octets and letters


@pytest.mark.parametrize(
    ("option", "phase"),
    [("Outbox_Letters = 1", "data"), ("Outbox_Letters = 1", "rcptto"), ("Outbox_Size = 1K", "data")],
    ids=["letters", "letters_of_a_recipient", "octets"],
)
async def test_mail_that_would_make_a_letter_hears_452_and_is_not_relayed(
    tmp_path: Path, option: str, phase: str
) -> None:
    notice = f'generate_mail_raw "" "{TEAM}" "Subject: {"x" * 400}";\n'
    async with one(tmp_path, notice, option, phase=phase) as (upstream, worker):
        upstream.recipients[TEAM] = says("451 4.3.0 not now")
        assert (await sent(worker)).startswith("250 ")
        await eventually(lambda: not len(worker.deliverer._deliveries), "it is deferred")
        assert await sent(worker) == FULL
        assert len(upstream.messages) == 1


async def test_mail_that_makes_no_letter_passes_a_full_outbox(tmp_path: Path) -> None:
    script = f'if header :is "X-Copy" "yes" {{ {forwards(TEAM)} }}\n'
    async with one(tmp_path, script, "Outbox_Letters = 1") as (upstream, worker):
        upstream.recipients[TEAM] = says("451 4.3.0 not now")
        wanted = b"X-Copy: yes\r\n\r\nbody\r\n"
        assert [(await sent(worker, each))[:3] for each in (wanted, wanted, b"A: b\r\n\r\n")] == ["250", "452", "250"]


async def test_a_reply_of_a_full_outbox_is_a_scripts_too(tmp_path: Path) -> None:
    """A letter that leaves though its mail is refused is refused with the mail."""
    async with one(tmp_path, f'{forwards(TEAM)}ec_action 550 "5.7.1 no";\n', "Outbox_Letters = 1") as (
        upstream,
        worker,
    ):
        upstream.recipients[TEAM] = says("451 4.3.0 not now")
        assert await sent(worker) == "550 5.7.1 no"
        assert await sent(worker) == FULL


# ---------------------------------------------------------------- the file


async def emptied(store: OutboxStore) -> None:
    while claimed := await store.claim(100):
        for each in claimed:
            await store.finish(each)


@pytest.mark.parametrize("way", ["delivered", "dropped", "expired"])
async def test_an_empty_outbox_is_a_small_file(tmp_path: Path, way: str) -> None:
    now = [1_000_000.0]
    store = OutboxStore(tmp_path, lambda: now[0])
    for _ in range(20):
        await store.add([letter(500_000)], "t.1", held=way != "delivered")
    assert size(tmp_path) > 10_000_000
    if way == "delivered":
        await emptied(store)
    elif way == "dropped":
        await store.drop("t.1")
    else:
        now[0] += 1e6
        await store.claim(10)
    assert size(tmp_path) < SMALL
    await store.close()


async def test_the_file_shrinks_while_letters_remain(tmp_path: Path) -> None:
    store = OutboxStore(tmp_path)
    await store.add([letter(100, to=FAR)], "t.1")
    for _ in range(40):
        await store.add([letter(500_000)], "t.2", held=True)
    full = size(tmp_path)
    await store.drop("t.2")
    pages = await store._do(lambda file: file._connection.execute("PRAGMA page_count").fetchone()[0])
    assert pages * 4096 < full / 5
    await store.close()


OLD = """
CREATE TABLE letters (
  id INTEGER PRIMARY KEY AUTOINCREMENT, sender BLOB NOT NULL, content BLOB NOT NULL, purpose TEXT NOT NULL,
  origin TEXT NOT NULL, created REAL NOT NULL
);
CREATE TABLE deliveries (
  id INTEGER PRIMARY KEY AUTOINCREMENT, letter INTEGER NOT NULL, recipient BLOB NOT NULL, held TEXT NOT NULL,
  due REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, worker TEXT NOT NULL DEFAULT '', leased_until REAL NOT NULL
  DEFAULT 0
);
CREATE INDEX deliveries_due ON deliveries (held, due);
CREATE INDEX deliveries_letter ON deliveries (letter);
"""


def old_file(folder: Path, letters: int, octets: int, *, emptied: bool) -> None:
    """Make a file as versions before made it."""
    with closing(sqlite3.connect(folder / "outbox.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(OLD)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        for number in range(1, letters + 1):
            values = (number, os.urandom(octets))
            connection.execute("INSERT INTO letters VALUES (?, '', ?, 'forward', 't.1', 1.0)", values)
            row = (number, number, BOB.encode())
            connection.execute(
                "INSERT INTO deliveries (id, letter, recipient, held, due) VALUES (?, ?, ?, '', 1.0)", row
            )
        if emptied:
            connection.execute("DELETE FROM letters")
            connection.execute("DELETE FROM deliveries")


async def test_an_empty_file_from_before_shrinks_as_it_is_opened(tmp_path: Path) -> None:
    old_file(tmp_path, 40, 600_000, emptied=True)
    assert size(tmp_path) > 23_000_000
    store = OutboxStore(tmp_path)
    assert await store.claim(10) == []
    assert size(tmp_path) < SMALL
    await store.close()


async def test_a_file_from_before_that_another_process_reads_is_rewritten_later(tmp_path: Path) -> None:
    old_file(tmp_path, 40, 100_000, emptied=True)
    with closing(sqlite3.connect(tmp_path / "outbox.db", isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM letters").fetchall()
        store = OutboxStore(tmp_path)
        await store.add([letter()], "t.1")
        other.execute("COMMIT")
    await emptied(store)
    assert size(tmp_path) < SMALL
    await store.close()
