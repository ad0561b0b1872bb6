"""Opening the outbox's file: its tables and settings, made or brought up to date. It blocks, so it runs in a thread."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BUSY_SECONDS = 5.0
"""How long a change waits for another process's."""

APPLICATION_ID = 0x52424F58
"""Identifies our file in its header, so that no other program's database is mistaken for ours."""

VERSION = 1
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

_TOTALS = (
    "CREATE TABLE totals (letters INTEGER NOT NULL, octets INTEGER NOT NULL)",
    "INSERT INTO totals SELECT count(*), coalesce(sum(length(content)), 0) FROM letters",
    """CREATE TRIGGER letter_came AFTER INSERT ON letters BEGIN
         UPDATE totals SET letters = letters + 1, octets = octets + length(NEW.content); END""",
    """CREATE TRIGGER letter_went AFTER DELETE ON letters BEGIN
         UPDATE totals SET letters = letters - 1, octets = octets - length(OLD.content); END""",
)
"""Kept by the file itself, so that a bound costs the same with ten letters and with ten thousand. Files from before
have none; what wrote to them then leaves it alone, and is counted by it."""

_INCREMENTAL = 2
"""The mode of auto_vacuum in which pages that are free are given back when we say so."""

_LARGEST_REWRITTEN = 16_384
"""Pages of an old file that are in use, up to which it is rewritten as it is opened: 64 MiB, well below a second."""


def opened(path: Path) -> sqlite3.Connection:
    """Open the file, or create it.

    Raises:
        sqlite3.Error: it cannot be used, or is not ours.
        OSError: the folder cannot be.
    """
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
    """Make a new file's name durable as well."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prepare(connection: sqlite3.Connection) -> None:
    if not connection.execute("PRAGMA page_count").fetchone()[0]:  # later it would take `rewrite`
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise sqlite3.NotSupportedError("this file system cannot share a write-ahead log")
    connection.execute("PRAGMA synchronous = FULL")  # a commit has reached the disk before it returns
    connection.execute("PRAGMA secure_delete = ON")
    _make_tables(connection)
    pages, free = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    if pages - free <= _LARGEST_REWRITTEN:
        with not_waiting(connection):
            rewrite(connection)


def _make_tables(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in filter(str.strip, _TABLES.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        _check_mark(connection)
        if not connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'totals'").fetchone()[0]:
            for statement in _TOTALS:
                connection.execute(statement)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def not_waiting(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Do what can as well be done later: other processes are not waited for."""
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        with suppress(sqlite3.OperationalError):
            yield connection
    finally:
        connection.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")


def rewrite(connection: sqlite3.Connection) -> None:
    """Rewrite a file from before, so that it can shrink; a larger one when it is empty."""
    if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != _INCREMENTAL:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _check_mark(connection: sqlite3.Connection) -> None:
    """Do not touch a file that is not ours; what it holds may be mail."""
    found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    if found != [APPLICATION_ID, VERSION]:
        raise sqlite3.DatabaseError("the file belongs to another program or version")
