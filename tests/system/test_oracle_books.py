"""The oracle's books notice what they are there for: each defect that a relay can have, in a record made up for it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from tests.support.oracle import Attempt, Books, Outcome, Tally
from tests.support.recorder import Record

RECEIVED = (
    b"Received: from client.test ([127.0.0.1])\r\n\tby ringback.test (Ringback) with ESMTP id 1-2;\r\n"
    b"\tMon, 05 Jan 2026 10:00:00 +0000\r\n"
)


def _record(attempt: Attempt, *, received: bytes = RECEIVED, change: tuple[bytes, bytes] = (b"", b"")) -> Record:
    return Record(attempt.sender, attempt.recipients, received + attempt.content.replace(*change))


def _two_attempts(first: Outcome, second: Outcome) -> tuple[Books, Attempt, Attempt]:
    books = Books()
    letter = books.letter(random.Random(1), lines=60)  # noqa: S311 - the same letter each time
    attempts = books.attempt(letter), books.attempt(letter)
    attempts[0].outcome, attempts[1].outcome = first, second
    return books, *attempts


def test_the_books_count_a_copy_that_its_client_never_heard_of_as_a_duplicate() -> None:
    books, first, second = _two_attempts(Outcome.UNKNOWN, Outcome.CONFIRMED)
    outcomes = Counter({Outcome.UNKNOWN: 1, Outcome.CONFIRMED: 1})
    assert books.compare([_record(second)]) == Tally(1, 2, outcomes, copies=1, duplicates=0)
    assert books.compare([_record(first), _record(second)]) == Tally(1, 2, outcomes, copies=2, duplicates=1)


@pytest.mark.parametrize(
    ("found", "outcome", "records"),
    [
        ("lost", Outcome.UNKNOWN, lambda first, _: [_record(first)]),
        ("altered", Outcome.UNKNOWN, lambda _, second: [_record(second, change=(b"dot", b"Dot"))]),
        ("altered", Outcome.UNKNOWN, lambda _, second: [_record(second, change=(b"\r\n..", b"\r\n."))]),
        ("altered", Outcome.UNKNOWN, lambda _, second: [_record(second, received=b"")]),
        ("altered", Outcome.UNKNOWN, lambda _, second: [_record(second), Record("a@b", (), b"unheard of")]),
        ("doubled by one attempt", Outcome.UNKNOWN, lambda _, second: [_record(second)] * 2),
        ("delivered and not confirmed", Outcome.REFUSED, lambda first, second: [_record(first), _record(second)]),
        ("delivered and not confirmed", Outcome.UNFINISHED, lambda first, second: [_record(first), _record(second)]),
    ],
    ids=["lost", "a byte", "a dot", "no Received", "stranger", "doubled", "refused", "without its dot"],
)
def test_the_books_notice(
    found: str, outcome: Outcome, records: Callable[[Attempt, Attempt], Sequence[Record]]
) -> None:
    books, first, second = _two_attempts(outcome, Outcome.CONFIRMED)
    with pytest.raises(AssertionError, match=f"^{{'{found}'"):
        books.compare(records(first, second))


def test_the_books_notice_a_letter_that_never_arrived() -> None:
    books, _, _ = _two_attempts(Outcome.UNKNOWN, Outcome.REFUSED)
    with pytest.raises(AssertionError, match=r"^{'never confirmed': \['0'\]"):
        books.compare([])
