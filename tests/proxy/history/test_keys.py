"""Keys: a subject's sessions are found in packed numbers, also where neighbours' octets look like another number."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing

import pytest

from proxy.history import keys
from proxy.history.addresses import key_of
from proxy.history.keys import Keys, sessions_of


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as made:
        made.execute("CREATE TABLE keys (row INTEGER PRIMARY KEY, keys BLOB NOT NULL, sessions BLOB NOT NULL)")
        yield made


def put(connection: sqlite3.Connection, pairs: Iterable[tuple[int, int]]) -> None:
    connection.execute("INSERT INTO keys VALUES (NULL, ?, ?)", keys.packed(*zip(*pairs, strict=True)))


def test_sessions_of_all_writes_are_found_once_the_latest_first_and_notes_last(connection: sqlite3.Connection) -> None:
    put(connection, [(7, 1), (8, 2), (7, 3), (7, 3)])
    put(connection, [(7, -5), (0xFFFFFFFF, 9)])
    assert sessions_of(connection, [7]) == [3, 1, -5]
    assert sessions_of(connection, [8, 0xFFFFFFFF]) == [9, 2]
    assert sessions_of(connection, [6]) == []


def test_octets_of_two_neighbours_are_no_key(connection: sqlite3.Connection) -> None:
    put(connection, [(0x04030201, 1), (0x08070605, 2)])
    assert sessions_of(connection, [0x05040302]) == []


def test_a_forgotten_key_is_not_found_and_the_others_are(connection: sqlite3.Connection) -> None:
    put(connection, [(7, 1), (8, 1)])
    put(connection, [(7, 2)])
    keys.forget(connection, 7)
    assert sessions_of(connection, [7]) == []
    assert sessions_of(connection, [8]) == [1]


def test_without_keys_nothing_is_written() -> None:
    pending = Keys()
    assert pending.packed() == []
    pending.add("a@b.test", 1)
    pending.clear()
    assert pending.packed() == []


@pytest.mark.parametrize("others", [[], ["\udcff@example.com"]])
def test_many_subjects_have_the_keys_that_each_is_looked_for_by(
    connection: sqlite3.Connection, others: list[str]
) -> None:
    subjects = ["A@Example.com", "<1@b.test>", "\tQUEUE", "m\u00fcller@b.test", "", *others]
    pending = Keys()
    for number, each in enumerate(subjects, 1):
        pending.add(each, number)
    connection.executemany("INSERT INTO keys VALUES (NULL, ?, ?)", pending.packed())
    assert [sessions_of(connection, [key_of(each)]) for each in subjects] == [[n] for n in range(1, len(subjects) + 1)]
