"""The outbox's SQLite file: its tables, and each change to them as one transaction. It blocks, so it runs in a thread.

A letter has a delivery for each recipient. A delivery is held until the message that it goes with is accepted, then
waits until it is due, then is leased by a worker, and is gone when the MTA behind has taken the letter. A lease ends
with its worker.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from proxy.outbox.presence import Presence
from proxy.session import Letter

BUSY_SECONDS = 5.0
"""How long a change waits for another process's."""

APPLICATION_ID = 0x52424F58
"""Stands in the file's header, so that no other program's database is taken for ours."""

VERSION = 1

_AHEAD_SECONDS = 300.0
"""So far in the future a time may lie that was written before the clock was set."""

_LONGEST_PAUSE = 7 * 86400.0
"""No letter waits so long for its next try."""

_NAME = "outbox.db"
_PRIVATE = 0o600
_TABLES = """
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


@dataclass(frozen=True, slots=True)
class Delivery:
    """A letter on its way to one recipient."""

    id: int
    letter: int
    sender: bytes
    recipient: bytes
    purpose: str
    origin: str
    """The transaction in which it was made."""
    created: float
    """Seconds since the epoch."""
    attempts: int
    """How often it was tried before."""


class OutboxFile:
    """The open file. Used by one thread."""

    def __init__(self, folder: Path, presence: Presence) -> None:
        """Open the file, made if there is none; `presence` is whose leases it takes.

        Raises:
            sqlite3.Error: it cannot be used, or is not ours.
            OSError: the folder cannot be.
        """
        self._path, self._presence = folder / _NAME, presence
        self._connection = _opened(self._path)
        self._inode = self._path.stat().st_ino
        self._latest = math.inf
        """The latest time of day that was seen here; infinite before the first look."""

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction, durable when it ends; other processes wait for it."""
        if self._path.stat().st_ino != self._inode:  # what is written to a file that was taken away is lost
            raise sqlite3.OperationalError("the file is no longer the one that was opened")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    # ------------------------------------------------------------ for sessions

    def add(self, letters: Sequence[Letter], origin: str, now: float, *, held: str = "", until: float = 0.0) -> int:
        """Keep letters; return how many deliveries that makes. Those `held` are dropped at `until`."""
        self._latest = max(self._latest, now)
        with self._change() as connection:
            return _insert(connection, letters, origin, now, held=held, due=until if held else now)

    def release(self, held: str, count: int, letters: Sequence[Letter], now: float) -> None:
        """Make due what is held under a name, which must be `count` deliveries, and add letters.

        Raises:
            sqlite3.Error: nothing is changed.
        """
        with self._change() as connection:
            changed = connection.execute("UPDATE deliveries SET held = '', due = ? WHERE held = ?", (now, held))
            if changed.rowcount != count:
                raise sqlite3.IntegrityError("what was held is no longer there")
            _insert(connection, letters, held, now, held="", due=now)

    def drop(self, held: str) -> None:
        """Forget what is held under a name."""
        with self._change() as connection:
            dropped = connection.execute("DELETE FROM deliveries WHERE held = ? RETURNING letter", (held,)).fetchall()
            _delete_letters(connection, dropped)

    # ------------------------------------------------------------ for the deliverer

    def claim(self, now: float, seconds: float, most: int) -> list[Delivery]:
        """Lease deliveries that are due, for so many seconds."""
        with self._change() as connection:
            self._end_leases(connection)
            if now < self._latest:  # at the first look, and whenever the clock was set back
                _forget_the_future(connection, now, seconds)
            self._latest = now
            stale = "DELETE FROM deliveries WHERE held <> '' AND due <= ? RETURNING letter"
            _delete_letters(connection, connection.execute(stale, (now,)).fetchall())
            rows = connection.execute(
                "SELECT d.id, d.letter, l.sender, d.recipient, l.purpose, l.origin, l.created, d.attempts "
                "FROM deliveries d JOIN letters l ON l.id = d.letter WHERE d.held = '' AND d.due <= ? "
                "AND (d.worker = '' OR d.leased_until <= ?) ORDER BY d.due LIMIT ?",
                (now, now, most),
            ).fetchall()
            connection.executemany(
                "UPDATE deliveries SET worker = ?, leased_until = ? WHERE id = ?",
                [(self._presence.name, now + seconds, row[0]) for row in rows],
            )
        return [Delivery(*row) for row in rows]

    def _end_leases(self, connection: sqlite3.Connection) -> None:
        """Free what workers had leased that are gone."""
        for (worker,) in connection.execute("SELECT DISTINCT worker FROM deliveries WHERE worker <> ''").fetchall():
            if self._presence.is_gone(worker):
                connection.execute("UPDATE deliveries SET worker = '', leased_until = 0 WHERE worker = ?", (worker,))

    def content(self, letter: int) -> bytes:
        """Return a letter's octets."""
        found = self._connection.execute("SELECT content FROM letters WHERE id = ?", (letter,)).fetchone()
        if found is None:
            raise sqlite3.IntegrityError("the letter is no longer there")
        return bytes(found[0])

    def next_due(self) -> float | None:
        """Return when something is to be done next, in seconds since the epoch; None where nothing waits."""
        found = self._connection.execute(
            "SELECT min(CASE WHEN worker = '' THEN due ELSE max(due, leased_until) END) FROM deliveries"
        ).fetchone()[0]
        return None if found is None else float(found)

    def postpone(self, delivery: int, due: float) -> None:
        """Give a lease back, to be tried again."""
        with self._change() as connection:
            connection.execute(
                "UPDATE deliveries SET worker = '', leased_until = 0, due = ?, attempts = attempts + 1 WHERE id = ?",
                (due, delivery),
            )

    def finish(self, delivery: int, report: Letter | None, origin: str, now: float) -> None:
        """Remove a delivery, and in the same breath keep the report of its failure, if there is one."""
        with self._change() as connection:
            gone = connection.execute("DELETE FROM deliveries WHERE id = ? RETURNING letter", (delivery,)).fetchall()
            _delete_letters(connection, gone)
            _insert(connection, [report] if report else [], origin, now, held="", due=now)


def exists(folder: Path) -> bool:
    """Whether an outbox was ever made there, as far as we may look."""
    try:
        return (folder / _NAME).exists()
    except OSError:
        return False


def _opened(path: Path) -> sqlite3.Connection:
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, _PRIVATE))
        _sync(path.parent)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _sync(folder: Path) -> None:
    """Make a new file's name durable, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prepare(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise sqlite3.NotSupportedError("this file system cannot share a write-ahead log")
    connection.execute("PRAGMA synchronous = FULL")  # a commit has reached the disk before it returns
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in filter(str.strip, _TABLES.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        _check_mark(connection)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _check_mark(connection: sqlite3.Connection) -> None:
    """Leave alone what is not ours; what it holds may be mail."""
    found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    if found != [APPLICATION_ID, VERSION]:
        raise sqlite3.DatabaseError("the file is another program's, or of another version")


def _forget_the_future(connection: sqlite3.Connection, now: float, seconds: float) -> None:
    """Correct times that a clock wrote which was ahead: else a letter would wait, or not grow old, until then.

    A lease is shortened, not ended: its worker may be delivering still.
    """
    ahead = now + _AHEAD_SECONDS
    connection.execute(
        "UPDATE deliveries SET due = ? WHERE held = '' AND"
        " (due > ? OR letter IN (SELECT id FROM letters WHERE created > ?))",
        (now, now + _LONGEST_PAUSE, ahead),
    )
    connection.execute("UPDATE letters SET created = ? WHERE created > ?", (now, ahead))
    connection.execute(
        "UPDATE deliveries SET leased_until = ? WHERE leased_until > ?", (now + seconds, ahead + seconds)
    )


def _insert(
    connection: sqlite3.Connection, letters: Iterable[Letter], origin: str, now: float, *, held: str, due: float
) -> int:
    count = 0
    for each in letters:
        row = (each.sender.raw, each.content, each.purpose, origin, now)
        made = connection.execute(
            "INSERT INTO letters (sender, content, purpose, origin, created) VALUES (?, ?, ?, ?, ?)", row
        )
        connection.executemany(
            "INSERT INTO deliveries (letter, recipient, held, due) VALUES (?, ?, ?, ?)",
            [(made.lastrowid, path.raw, held, due) for path in each.recipients],
        )
        count += len(each.recipients)
    return count


def _delete_letters(connection: sqlite3.Connection, letters: Iterable[tuple[int]]) -> None:
    """Remove those of the letters that have no delivery left."""
    connection.executemany(
        "DELETE FROM letters WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM deliveries WHERE letter = ?1)", set(letters)
    )
