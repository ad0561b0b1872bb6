"""Counts in shared memory: sums never fall, names that scripts give are bounded, gauges end with their process."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from proxy.metrics.board import Board
from proxy.metrics.book import Book, observe
from proxy.metrics.metric import DOWN, OTHER, SPARE, UP, Kind
from proxy.metrics.reading import Totals
from proxy.metrics.table import (
    CALLBACK_TIME,
    COMMANDS,
    CONNECTIONS,
    LAYOUT,
    LISTENER,
    MESSAGES,
    SCRIPT_COUNTER,
    UPSTREAM,
    UPSTREAM_ERRORS,
)
from proxy.metrics.table import UP as UPSTREAM_UP

TWO = {"listener": ["a:25", "b:25"], "upstream": ["mail:25"]}


def began(board: Board, number: int) -> Book:
    book = Book()
    board.blocks[number].begin(book)
    return book


def totals(*boards: Board) -> Totals:
    found = Totals()
    for board in boards:
        found.add(board)
    return found


def test_no_two_metrics_share_an_integer() -> None:
    taken: list[range] = [range(each.base, each.base + each.size) for each in LAYOUT.metrics]
    assert all(before.stop == after.start for before, after in pairwise(taken))
    assert taken[-1].stop == LAYOUT.size


@pytest.mark.parametrize("metric", LAYOUT.metrics, ids=lambda each: each.name)
def test_a_name_follows_the_conventions(metric: object) -> None:
    each = next(known for known in LAYOUT.metrics if known is metric)
    if each.hidden:
        return
    assert each.name.startswith("ringback_")
    assert each.name.endswith("_total") == (each.kind is Kind.COUNTER)
    assert each.doc.endswith(".")
    assert not set(each.label_names) & {"le", "address", "domain", "client", "session", "text"}
    assert list(each.borders) == sorted(set(each.borders))


def test_a_process_that_replaces_another_goes_on_counting() -> None:
    board = Board(2, TWO)
    for _ in range(3):
        book = began(board, 1)
        book.counts[MESSAGES.at("relayed")] += 2
        book.counts[CONNECTIONS.base] = 7
    assert totals(board).of(MESSAGES)["relayed",] == [6]
    assert totals(board).of(CONNECTIONS)[()] == [7]
    board.blocks[1].zero_gauges()
    assert totals(board).of(MESSAGES)["relayed",] == [6]
    assert totals(board).of(CONNECTIONS)[()] == [0]


def test_a_configuration_that_has_gone_stays_in_the_sums_and_out_of_the_gauges() -> None:
    old, new = Board(2, TWO), Board(2, {"listener": ["b:25"]})
    gone, come = began(old, 1), began(new, 1)
    for book, listener, count in ((gone, "a:25", 1), (gone, "b:25", 2), (come, "b:25", 4)):
        book.counts[COMMANDS.at(book.number(LISTENER, listener), "ehlo", "2xx")] += count
    gone.counts[CONNECTIONS.base] = 5
    past = Totals()
    past.add(old, gauges=False)
    found = past.copy()
    found.add(new)
    assert found.of(COMMANDS)["a:25", "ehlo", "2xx"] == [1]
    assert found.of(COMMANDS)["b:25", "ehlo", "2xx"] == [6]
    assert found.of(CONNECTIONS)[()] == [0]
    assert past.of(COMMANDS)["b:25", "ehlo", "2xx"] == [2]


def test_what_a_configuration_does_not_name_is_counted_as_other() -> None:
    board = Board(2, {"upstream": [f"h{number}:25" for number in range(100)]})
    book = began(board, 1)
    for name in ("h0:25", "h30:25", "h31:25", "h99:25", "a script's own"):
        book.counts[UPSTREAM_ERRORS.at(book.number(UPSTREAM, name), "lost")] += 1
    found = {key[0]: cells[0] for key, cells in totals(board).of(UPSTREAM_ERRORS).items() if key[1] == "lost"}
    assert {name: count for name, count in found.items() if count} == {"h0:25": 1, "h30:25": 1, OTHER: 3}
    assert len(found) == UPSTREAM.size


@pytest.mark.parametrize(
    ("told", "up"), [((0, 0), 0), ((UP, DOWN), UP), ((DOWN, DOWN), DOWN), ((DOWN, 0), DOWN), ((UP, 0), UP)]
)
def test_a_next_hop_is_up_if_it_is_for_one_worker(told: tuple[int, int], up: int) -> None:
    board = Board(3, TWO)
    for number, value in enumerate(told, 1):
        began(board, number).counts[UPSTREAM_UP.at(0)] = value
    assert totals(board).of(UPSTREAM_UP)["mail:25",] == [up]


def test_names_that_scripts_give_are_bounded_and_survive_the_process() -> None:
    board = Board(3, {})
    first, second = began(board, 1), began(board, 2)
    for number in range(SPARE + 20):
        first.count_for_script(f"name {number}")
    second.count_for_script("name 1")
    second.count_for_script("x" * 65)
    second.count_for_script("")
    second.count_for_script("\0")
    began(board, 2).count_for_script("name 1")
    found = totals(board).of(SCRIPT_COUNTER)
    assert found["name 1",] == [3]
    assert found[OTHER,] == [23]
    assert len(found) == SPARE + 1


def test_a_value_falls_into_the_bucket_whose_border_it_does_not_exceed() -> None:
    board = Board(2, {})
    book = began(board, 1)
    metric_at = CALLBACK_TIME.at("fail")
    import proxy.metrics.book as room  # noqa: PLC0415 - its BOOK is exchanged

    before, room.BOOK = room.BOOK, book
    try:
        for value in (0.001, 0.0011, 59.0, 61.0):
            observe(CALLBACK_TIME, metric_at, value)
    finally:
        room.BOOK = before
    *buckets, total = totals(board).of(CALLBACK_TIME)["fail",]
    borders = (*CALLBACK_TIME.borders, math.inf)
    assert {border: count for border, count in zip(borders, buckets, strict=True) if count} == {
        0.001: 1, 0.005: 1, 60.0: 1, math.inf: 1,
    }  # fmt: skip
    assert total == 120_002_100
