"""Keys: under which number a session is found, packed into a blob for each time that rows were written.

An index would need a place in a large tree for each key: half of what the history cost, and more with each hour of
the day. A search reads the keys of the whole day instead, which is some ten megabytes for a million messages.
"""

from __future__ import annotations

import sqlite3
import sys
from array import array
from collections.abc import Iterable

from proxy.history.addresses import keys_of

_KEYS, _SESSIONS = "I", "i"
_OCTETS = 4


class Keys:
    """The subjects whose keys are not written yet."""

    __slots__ = ("_sessions", "_subjects")

    def __init__(self) -> None:
        self._subjects: list[str] = []
        self._sessions: list[int] = []

    def add(self, subject: str, session: int) -> None:
        """Let a session, or the note of a negative number, be found under a subject. Nearly all mail has four."""
        self._subjects.append(subject)
        self._sessions.append(session)

    def packed(self) -> list[tuple[bytes, bytes]]:
        """Return what is to be written."""
        return [packed(keys_of(self._subjects), self._sessions)] if self._subjects else []

    def clear(self) -> None:
        """Start again with none: they are written."""
        self._subjects.clear()
        self._sessions.clear()


def packed(keys: Iterable[int], sessions: Iterable[int]) -> tuple[bytes, bytes]:
    """Return keys and the sessions that are found under them as they are kept."""
    return _little(array(_KEYS, keys)).tobytes(), _little(array(_SESSIONS, sessions)).tobytes()


def sessions_of(connection: sqlite3.Connection, keys: Iterable[int]) -> list[int]:
    """Return the sessions that are found under one of some keys, the latest first, and then notes."""
    found: set[int] = set()
    for key in keys:
        for _, numbers, sessions in _blobs_with(connection, key):
            found.update(session for number, session in zip(numbers, sessions, strict=True) if number == key)
    return sorted(found, reverse=True)


def forget(connection: sqlite3.Connection, key: int) -> None:
    """Let nothing be found under a key."""
    for row, numbers, sessions in _blobs_with(connection, key):
        kept = [each for each in zip(numbers, sessions, strict=True) if each[0] != key]
        connection.execute("DELETE FROM keys WHERE row = ?", (row,))
        if kept:
            connection.execute("INSERT INTO keys VALUES (?, ?, ?)", (row, *packed(*zip(*kept, strict=True))))


def _blobs_with(connection: sqlite3.Connection, key: int) -> list[tuple[int, array[int], array[int]]]:
    """Return the blobs that have a key; rarely, its octets belong to two neighbours."""
    found = connection.execute(
        "SELECT row, keys, sessions FROM keys WHERE instr(keys, ?)", (key.to_bytes(_OCTETS, "little"),)
    )
    return [(row, _unpacked(_KEYS, keys), _unpacked(_SESSIONS, sessions)) for row, keys, sessions in found.fetchall()]


def _unpacked(kind: str, octets: bytes) -> array[int]:
    numbers = array(kind)
    numbers.frombytes(octets)
    return _little(numbers)


def _little(numbers: array[int]) -> array[int]:
    """Turn the machine's order of octets into the file's, or back."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
