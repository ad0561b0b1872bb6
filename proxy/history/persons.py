"""Exports or removes what the history has about a person."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from proxy.history import keys
from proxy.history.addresses import Addresses, canonical, key_of
from proxy.history.files import DayFile, OtherFile, files_in, open_for_changes, open_for_reading
from proxy.history.keys import sessions_of
from proxy.history.search import Item, Reader

FORGOTTEN = "(forgotten)"
"""Replaces an address that was removed from a row about another person."""

_TEXTS = (
    ("transactions", "message_id"),
    ("transactions", "reply"),
    ("transactions", "callback_text"),
    ("recipients", "reply"),
    ("recipients", "callback_text"),
    ("probes", "text"),
    ("notes", "fields"),
    ("answers", "answers"),
)
_SESSIONS = "session IN (SELECT session FROM found)"
_REMOVALS = (
    f"DELETE FROM dialogues WHERE {_SESSIONS}",  # noqa: S608 - our own names
    f"DELETE FROM recipients WHERE same(address) AND {_SESSIONS}",  # noqa: S608 - our own names
    "DELETE FROM probes WHERE key = :key AND same(address)",
    "DELETE FROM notes WHERE session = 0 AND row IN (SELECT -session FROM found)",
    "UPDATE words SET text = :forgotten WHERE same(text)",
)
_UPDATES = (
    f"UPDATE transactions SET address = NULL WHERE same(address) AND {_SESSIONS}",  # noqa: S608 - our own names
    *(
        f"UPDATE {table} SET sender = :forgotten WHERE same(sender)"  # noqa: S608 - our own names
        for table in ("transactions", "recipients", "probes")
    ),
    *(
        f"UPDATE {table} SET {column} = without({column}) WHERE {_SESSIONS} AND has({column})"  # noqa: S608 - our own names
        for table, column in _TEXTS
    ),
)


def rows_about(folder: Path, address: str, addresses: Addresses) -> Iterator[Item]:
    """Yield every row about an address, oldest file first.

    Raises:
        OSError: the folder cannot be read.
    """
    for file in files_in(folder):
        with suppress(sqlite3.Error, OtherFile), closing(open_for_reading(file.path)) as connection:
            reader = Reader(file, connection, addresses)
            for story in reader.stories(address):
                yield {"file": file.path.name, "session": story.session, "events": list(story.items)}
            for name in reader.names(address):
                for probe in reader.items("probes", "key = ? AND session = 0", key_of(name)):
                    yield {"file": file.path.name, "session": {}, "events": [probe]}


def forget(folder: Path, address: str, addresses: Addresses) -> int:
    """Remove an address from all files; return how many rows were removed or changed.

    Raises:
        OSError: the folder cannot be read.
        sqlite3.Error: a file cannot be changed.
    """
    return sum(_forgotten(file, address, addresses) for file in files_in(folder) if not file.is_broken)


def _forgotten(file: DayFile, address: str, addresses: Addresses) -> int:
    try:
        with closing(open_for_changes(file.path)) as connection:
            names = Reader(file, connection, addresses).names(address)
            connection.row_factory = None
            connection.create_function("same", 1, lambda text: canonical(str(text or "")) in names)
            connection.execute("CREATE TEMP TABLE found (session INTEGER PRIMARY KEY)")
            connection.execute("BEGIN IMMEDIATE")
            changed = sum(_removed(connection, name) for name in names)
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return changed
    except OtherFile:
        return 0


def _removed(connection: sqlite3.Connection, name: str) -> int:
    """Remove what has one name, whole or within other text."""
    key = key_of(name)
    written = tuple(dict.fromkeys((name, json.dumps(name)[1:-1])))
    connection.create_function("has", 1, lambda text: any(each in (text or "").lower() for each in written))
    connection.create_function("without", 1, lambda text: _without(text, written))
    sessions = [(session,) for session in sessions_of(connection, [key])]
    connection.execute("DELETE FROM found")
    connection.executemany("INSERT INTO found VALUES (?)", sessions)
    before = connection.total_changes
    for statement in (*_REMOVALS, *_UPDATES):
        connection.execute(statement, {"key": key, "forgotten": FORGOTTEN})
    changed = connection.total_changes - before
    keys.forget(connection, key)
    return changed


def _without(text: str | None, names: Sequence[str]) -> str | None:
    """Return text without an address, in whatever case it is written, also as JSON writes it."""
    if text is None:
        return None
    return re.sub("|".join(map(re.escape, names)), FORGOTTEN, text, flags=re.IGNORECASE)
