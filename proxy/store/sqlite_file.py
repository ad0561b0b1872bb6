"""How the SQLite file is opened, created, and set aside if broken. It blocks, so it runs in SQLite's thread."""

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
"""How long a change waits for another process's change."""

APPLICATION_ID = 0x52696E67
"""In the file's header, so that another program's database is never mistaken for ours."""

VERSION = 1
"""Version of the tables below. A file of another version is emptied at the start: its content can be asked again."""

_OLDEST_SQLITE = (3, 35, 0)  # RETURNING
_MAGIC, _MARK = b"SQLite format 3\0", slice(68, 72)  # header fields, see www.sqlite.org/fileformat2.html
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
"""NORMAL: a power cut may lose the newest entries, but the file stays intact. Deleted data are overwritten."""


def open_for_writing(path: Path, *, first: bool) -> sqlite3.Connection:
    """Open the file, creating it if necessary. Only the `first` call may replace a broken or outdated file.

    Raises:
        sqlite3.Error: the file cannot be used, or is not ours.
        OSError: its folder cannot be used.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise sqlite3.NotSupportedError(f"SQLite {sqlite3.sqlite_version} is too old; 3.35 or later is needed")
    with _alone(path.parent):
        if first and path.exists():
            _set_aside_if_broken(path)
        make_private(path)
        connection = _connect(path)
        try:
            _prepare(connection, first=first)
        except BaseException:
            connection.close()
            raise
        return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the file after `open_for_writing`.

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
    """Allow one process at a time: two that find a broken file would rename each other's new file."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_private(path: Path) -> None:
    """Restrict access to the owner: the file holds addresses.

    An existing file is not opened for this: closing any descriptor of it would drop the locks that SQLite holds on it
    in this process (www.sqlite.org/howtocorrupt.html, 2.2).
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, _PRIVATE))
        return
    if path.stat().st_mode & 0o077:
        path.chmod(_PRIVATE)


def _set_aside_if_broken(path: Path) -> None:
    try:
        with closing(_connect(path)) as connection:
            result = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise
        result = str(error)
    if result == "ok" or not _has_our_mark(path):
        return
    set_aside(path, result)


def set_aside(path: Path, reason: str) -> None:
    """Rename a broken file, with SQLite's files next to it, and log that.

    Raises:
        OSError: it cannot be renamed.
    """
    aside = f"{path}.corrupt-{time.time():.0f}"
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    log.warning("store_set_aside", path=str(path), aside=aside, reason=reason)


def _has_our_mark(path: Path) -> bool:
    """Whether a broken file was once ours; other files are left alone, whatever the configuration names."""
    with path.open("rb") as file:
        header = file.read(100)
    return header.startswith(_MAGIC) and header[_MARK] == APPLICATION_ID.to_bytes(4, "big")


def _prepare(connection: sqlite3.Connection, *, first: bool) -> None:
    has_tables = _number(connection, "SELECT count(*) FROM sqlite_master") > 0
    if has_tables and _number(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise sqlite3.DatabaseError("the file belongs to another program")
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise sqlite3.NotSupportedError("this file system cannot share a write-ahead log")
    for setting in _SETTINGS:
        connection.execute(f"PRAGMA {setting}")
    version = _number(connection, "PRAGMA user_version")
    if version == VERSION:
        return
    if has_tables and not first:
        raise sqlite3.DatabaseError(f"the file has version {version} now; this release needs {VERSION}")
    _make_tables(connection)


def _make_tables(connection: sqlite3.Connection) -> None:
    names = [table for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    drops = "".join(f"DROP TABLE {table};" for table in names)
    marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {drops} {_TABLES} {marks} COMMIT;")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _number(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])
