"""Keys: under which number a session is found, packed into a blob for each time that rows were written.

An index would need a place in a large tree for each key: half of what the history cost, and more with each hour of
the day. A search reads the keys of the whole day instead, which is some ten megabytes for a million messages.
"""

from __future__ import annotations

import sqlite3
import sys
from array import array
from collections.abc import Iterable

_KEYS, _SESSIONS = "I", "i"
_OCTETS = 4


class Keys:
    """The keys that are not written yet."""

    __slots__ = ("_keys", "_sessions")

    def __init__(self) -> None:
        self._keys, self._sessions = array(_KEYS), array(_SESSIONS)

    def add(self, key: int, session: int) -> None:
        """Let a session, or the note of a negative number, be found."""
        self._keys.append(key)
        self._sessions.append(session)

    def packed(self) -> list[tuple[bytes, bytes]]:
        """Return what is to be written."""
        return [(_packed(self._keys), _packed(self._sessions))] if self._keys else []

    def clear(self) -> None:
        """Start again with none: they are written."""
        del self._keys[:], self._sessions[:]


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
        kept = Keys()
        for number, session in zip(numbers, sessions, strict=True):
            if number != key:
                kept.add(number, session)
        connection.execute("DELETE FROM keys WHERE row = ?", (row,))
        connection.executemany("INSERT INTO keys VALUES (?, ?, ?)", [(row, *each) for each in kept.packed()])


def _blobs_with(connection: sqlite3.Connection, key: int) -> list[tuple[int, array[int], array[int]]]:
    """Return the blobs that have a key; rarely, its octets belong to two neighbours."""
    found = connection.execute(
        "SELECT row, keys, sessions FROM keys WHERE instr(keys, ?)", (key.to_bytes(_OCTETS, "little"),)
    )
    return [(row, _unpacked(_KEYS, keys), _unpacked(_SESSIONS, sessions)) for row, keys, sessions in found.fetchall()]


def _packed(numbers: array[int]) -> bytes:
    return _little(array(numbers.typecode, numbers)).tobytes()


def _unpacked(kind: str, octets: bytes) -> array[int]:
    numbers = array(kind)
    numbers.frombytes(octets)
    return _little(numbers)


def _little(numbers: array[int]) -> array[int]:
    """Turn the machine's order of octets into the file's, or back."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
