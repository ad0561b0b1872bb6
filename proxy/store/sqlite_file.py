"""How the SQLite file is opened, made, and set aside where it is broken. It blocks, and so runs in SQLite's thread."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from proxy.base.log import get_logger

log = get_logger()

BUSY_SECONDS = 1.0
"""How long a change waits for another process's."""

APPLICATION_ID = 0x52696E67
"""Stands in the file's header, so that no other program's database is ever taken for ours."""

VERSION = 1
"""Of the tables below. A file of another version is emptied at the start: what it held can be asked again."""

_OLDEST_SQLITE = (3, 35, 0)  # RETURNING
_MAGIC, _MARK = b"SQLite format 3\0", slice(68, 72)  # of the header, as www.sqlite.org/fileformat2.html has it
_PRIVATE = 0o600

_TABLES = """
CREATE TABLE entries (key BLOB PRIMARY KEY, value BLOB NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX entries_expire ON entries (expires);
CREATE TABLE buckets (
  key BLOB PRIMARY KEY, tokens REAL NOT NULL, at REAL NOT NULL, expires REAL NOT NULL, allowed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX buckets_expire ON buckets (expires);
CREATE TABLE locks (key BLOB PRIMARY KEY, token TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
"""
_SETTINGS = ("synchronous = NORMAL", "secure_delete = ON", f"journal_size_limit = {16 << 20}")
"""NORMAL: after a power cut the newest entries may be gone, the file is whole. What is deleted is overwritten."""


def open_for_writing(path: Path, *, first: bool) -> sqlite3.Connection:
    """Open the file, made if there is none. Only the `first` time may a broken or outdated one be replaced.

    Raises:
        sqlite3.Error: it cannot be used, or is not ours.
        OSError: its folder cannot be.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise sqlite3.NotSupportedError(f"SQLite {sqlite3.sqlite_version} is too old, 3.35 is needed")
    with _alone(path.parent):
        if first and path.exists():
            _set_aside_if_broken(path)
        _make_private(path)
        connection = _connect(path)
        try:
            _prepare(connection, first=first)
        except BaseException:
            connection.close()
            raise
        return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the file that `open_for_writing` has opened.

    Raises:
        sqlite3.Error: it cannot be used.
    """
    connection = _connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: two that find a broken file would rename each other's new one."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make_private(path: Path) -> None:
    """Nobody else reads addresses.

    An existing file is not opened for it: to close any descriptor of it would give up the locks that SQLite holds on
    it in this process (www.sqlite.org/howtocorrupt.html, 2.2).
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, _PRIVATE))
        return
    if path.stat().st_mode & 0o077:
        path.chmod(_PRIVATE)


def _set_aside_if_broken(path: Path) -> None:
    try:
        with closing(_connect(path)) as connection:
            found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise
        found = str(error)
    if found == "ok" or not _has_our_mark(path):
        return
    aside = f"{path}.corrupt-{time.time():.0f}"
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    log.warning("store_set_aside", path=str(path), aside=aside, reason=found)


def _has_our_mark(path: Path) -> bool:
    """Whether a broken file was ours once; anybody else's is left alone, whatever the configuration names."""
    with path.open("rb") as file:
        header = file.read(100)
    return header.startswith(_MAGIC) and header[_MARK] == APPLICATION_ID.to_bytes(4, "big")


def _prepare(connection: sqlite3.Connection, *, first: bool) -> None:
    has_tables = _number(connection, "SELECT count(*) FROM sqlite_master") > 0
    if has_tables and _number(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise sqlite3.DatabaseError("the file is another program's database")
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise sqlite3.NotSupportedError("this file system cannot share a write-ahead log")
    for setting in _SETTINGS:
        connection.execute(f"PRAGMA {setting}")
    version = _number(connection, "PRAGMA user_version")
    if version == VERSION:
        return
    if has_tables and not first:
        raise sqlite3.DatabaseError(f"the file is of version {version} now, ours is {VERSION}")
    _make_tables(connection)


def _make_tables(connection: sqlite3.Connection) -> None:
    names = [each for (each,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    drops = "".join(f"DROP TABLE {each};" for each in names)
    marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {drops} {_TABLES} {marks} COMMIT;")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _number(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])
