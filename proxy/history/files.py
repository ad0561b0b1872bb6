"""The files: one SQLite database for each day (UTC), in State_Directory, readable by its owner only."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from proxy.base.log import get_logger
from proxy.history.tables import APPLICATION_ID, PAGE_OCTETS, TABLES, VERSION
from proxy.store.sqlite_file import make_private, set_aside

log = get_logger()

BUSY_SECONDS = 5.0
"""How long a change waits for another process's, such as `ringback history forget`."""

_SETTINGS = (
    "journal_mode = WAL",
    "synchronous = NORMAL",
    "secure_delete = ON",
    f"journal_size_limit = {8 << 20}",
    "wal_autocheckpoint = 2000",
)
"""NORMAL: a power cut may lose the newest rows, but the file stays intact. Deleted rows are overwritten."""

_NAME = re.compile(r"history-(\d{4}-\d{2}-\d{2})(?:\.(\d{1,2}))?\.db(?:\.corrupt-\d+)?")
_COMPANIONS = ("-wal", "-shm", "-journal")


class OtherFile(Exception):
    """The file is not a history of this version."""


@dataclass(frozen=True, slots=True, order=True)
class DayFile:
    """One file, which may not exist yet."""

    day: date
    part: int
    """A day has a second file if its first one is of another release, or keeps addresses in another way."""
    path: Path

    @property
    def ends(self) -> float:
        """When its day ends, in seconds since 1970."""
        return datetime.combine(self.day + timedelta(days=1), datetime.min.time(), UTC).timestamp()

    @property
    def is_broken(self) -> bool:
        """Whether it was set aside."""
        return self.path.suffix != ".db"

    @property
    def octets(self) -> int:
        """Its size on the disk, with its write-ahead log."""
        return sum(_size(each) for each in (self.path, Path(f"{self.path}-wal")))

    def remove(self) -> None:
        """Remove it, with what SQLite keeps beside it."""
        for suffix in ("", *_COMPANIONS):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").unlink()


def file_of(folder: Path, day: date, part: int = 1) -> DayFile:
    """Return a file of a day."""
    more = f".{part}" if part > 1 else ""
    return DayFile(day, part, folder / f"history-{day.isoformat()}{more}.db")


def day_of(now: float) -> date:
    """Return the day on which a time falls."""
    return datetime.fromtimestamp(now, UTC).date()


def files_in(folder: Path) -> list[DayFile]:
    """Return the files that exist, oldest first, also those that were set aside.

    Raises:
        OSError: the folder cannot be read.
    """
    return sorted(_found(folder))


def _found(folder: Path) -> Iterator[DayFile]:
    for each in folder.iterdir():
        found = _NAME.fullmatch(each.name)
        if found is not None and each.is_file():
            with suppress(ValueError):
                yield DayFile(date.fromisoformat(found[1]), int(found[2] or 1), each)


class OpenFile:
    """The file of one day, which only this process writes. It is created if necessary."""

    def __init__(self, file: DayFile, *, mark: str) -> None:
        """Open it. `mark` says which key its hashes have.

        Raises:
            sqlite3.Error, OSError: it cannot be used.
            OtherFile: it is not a file of this version, has another mark, or another process writes it: after a reload,
                two control processes write, and each numbers its rows itself.
        """
        make_private(file.path)
        # SQLite's own locks are of another kind. This descriptor is closed after SQLite's, because closing any
        # descriptor of the file drops the locks that SQLite has on it (www.sqlite.org/howtocorrupt.html, 2.2).
        self._lock = os.open(file.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.connection = _writing(file.path, mark)
        except BlockingIOError:
            os.close(self._lock)
            raise OtherFile from None
        except BaseException:
            os.close(self._lock)
            raise

    def finish(self) -> None:
        """Make the file need nothing beside it: its day is over, or the server stops."""
        with suppress(sqlite3.Error):
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.connection.execute("PRAGMA journal_mode = DELETE")

    def close(self) -> None:
        """Close it."""
        try:
            with suppress(sqlite3.Error):
                self.connection.close()
        finally:
            os.close(self._lock)


def _writing(path: Path, mark: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, mark)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, mark: str) -> None:
    if not _number(connection, "SELECT count(*) FROM sqlite_master"):
        connection.execute(f"PRAGMA page_size = {PAGE_OCTETS}")
        _make_tables(connection, mark)
    elif _identity(connection) != (APPLICATION_ID, VERSION) or mark_of(connection) != mark:
        raise OtherFile
    for setting in _SETTINGS:
        connection.execute(f"PRAGMA {setting}")


def _make_tables(connection: sqlite3.Connection, mark: str) -> None:
    marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
    connection.executescript(f"BEGIN IMMEDIATE; {TABLES} {marks} COMMIT;")
    connection.execute("INSERT INTO facts VALUES ('addresses', ?)", (mark,))


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a file whether or not the server writes to it, also a copy in a folder that cannot be written.

    Raises:
        sqlite3.Error: it cannot be read.
        OtherFile: it is not a file of this version.
    """
    if not path.exists():
        raise OtherFile
    try:
        connection = _reader(path, "ro")
    except sqlite3.OperationalError:  # a write-ahead log needs a file beside it, which we may not create
        connection = _reader(path, "ro&immutable=1")
    if _identity(connection) != (APPLICATION_ID, VERSION):
        connection.close()
        raise OtherFile
    return connection


def _reader(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=BUSY_SECONDS)
    try:
        _number(connection, "SELECT count(*) FROM sqlite_master")
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_changes(path: Path) -> sqlite3.Connection:
    """Open a file that exists, to remove rows from it beside the server.

    Raises:
        sqlite3.Error: it cannot be used.
        OtherFile: it is not a file of this version.
    """
    open_for_reading(path).close()
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA secure_delete = ON")
    return connection


def put_aside(file: DayFile, reason: str) -> None:
    """Rename a file that cannot be used; it is removed when its day's would be.

    Raises:
        OSError: it cannot be renamed.
    """
    set_aside(file.path, reason)


def clean(folder: Path, retention: float, now: float) -> None:
    """Remove files whose day ended longer ago than `retention`; 0 keeps all.

    Raises:
        OSError: the folder cannot be read, or a file not be removed; the others are.
    """
    problem: OSError | None = None
    for each in files_in(folder):
        if retention and now - each.ends > retention:
            try:
                each.remove()
            except OSError as error:
                problem = error
    if problem is not None:
        raise problem


def mark_of(connection: sqlite3.Connection) -> str:
    """Return which key a file's hashes have; empty if it has addresses as they are."""
    found = connection.execute("SELECT value FROM facts WHERE name = 'addresses'").fetchone()
    return str(found[0]) if found else ""


def _identity(connection: sqlite3.Connection) -> tuple[int, int]:
    return _number(connection, "PRAGMA application_id"), _number(connection, "PRAGMA user_version")


def _number(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def moment(milliseconds: int) -> str:
    """Return a time as the history's readers see it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(milliseconds / 1000))
