"""The stages of a transaction at the next hop: the table is the whole truth, and each way out leaves one condition."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.mail.session import NULL_PATH, Session
from proxy.outgoing.content import OutgoingContent
from proxy.upstream.pool import PooledConnection
from proxy.upstream.state import COMMITTED, CONTENT, ENDED, ENVELOPE, HOLDING, MOVES, NO_ENVELOPE, Passage, Stage


class Pool:
    """Notes how a connection comes back."""

    name, number = "upstream.test", 0

    def __init__(self) -> None:
        self.came_back: list[str] = []

    def __getattr__(self, way: str) -> Callable[..., None]:
        return lambda *_: self.came_back.append(way)


def connection(pool: Pool) -> PooledConnection:
    return cast(PooledConnection, SimpleNamespace(pool=pool, errors=0))


MOVE: dict[str, Callable[[Passage, Pool], None]] = {
    "OPEN": lambda passage, pool: passage.open(connection(pool), NULL_PATH),
    "GO_AHEAD": lambda passage, _: passage.go_ahead(cast(OutgoingContent, None)),
    "DOT": lambda passage, _: passage.dot(),
    "GIVE_BACK": lambda passage, _: passage.give_back(),
    "WITHDRAW": lambda passage, _: passage.withdraw(),
    "CUT": lambda passage, _: passage.cut("why"),
}

ROWS = {
    "NO_ENVELOPE": {"OPEN": ENVELOPE},
    "ENVELOPE": {"GO_AHEAD": CONTENT, "GIVE_BACK": NO_ENVELOPE, "WITHDRAW": NO_ENVELOPE, "CUT": NO_ENVELOPE},
    "CONTENT": {"DOT": COMMITTED, "CUT": ENDED},
    "COMMITTED": {"GIVE_BACK": ENDED, "CUT": ENDED},
    "ENDED": {},
}
"""Written down apart from the code: a message is never taken back once its content runs, only cut."""


def at(stage: Stage, pool: Pool) -> Passage:
    """Return a passage in a stage."""
    passage = Passage(cast(Session, SimpleNamespace(id="s")))
    steps = {NO_ENVELOPE: [], ENVELOPE: ["OPEN"], CONTENT: ["OPEN", "GO_AHEAD"]}
    steps[COMMITTED] = [*steps[CONTENT], "DOT"]
    steps[ENDED] = [*steps[COMMITTED], "CUT"]
    for step in steps[stage]:
        MOVE[step](passage, pool)
    pool.came_back.clear()
    assert passage.stage is stage
    return passage


@pytest.mark.parametrize("move", MOVE)
@pytest.mark.parametrize("stage", Stage, ids=lambda stage: stage.name)
def test_a_move_leads_where_the_table_says_or_is_refused(stage: Stage, move: str) -> None:
    passage = at(stage, Pool())
    expected = ROWS[stage.name].get(move)
    if expected is None:
        with pytest.raises(KeyError):
            MOVE[move](passage, Pool())
        assert passage.stage is stage
    else:
        MOVE[move](passage, Pool())
        assert passage.stage is expected


def test_the_table_has_no_other_moves() -> None:
    assert {(stage.name, move.name): after for (stage, move), after in MOVES.items()} == {
        (stage, move): after for stage, moves in ROWS.items() for move, after in moves.items()
    }


@pytest.mark.parametrize(
    ("stage", "move", "clean", "tainted"),
    [
        (ENVELOPE, "GIVE_BACK", "give_back", "keep_for"),
        (ENVELOPE, "WITHDRAW", "reset", "retire"),
        (ENVELOPE, "CUT", "drop", "drop"),
        (CONTENT, "CUT", "drop", "drop"),
        (COMMITTED, "GIVE_BACK", "give_back", "keep_for"),
        (COMMITTED, "CUT", "drop", "drop"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_each_way_out_leaves_the_connection_in_one_condition(stage: Stage, move: str, clean: str, tainted: str) -> None:
    for expected in (clean, tainted):
        pool = Pool()
        passage = at(stage, pool)
        if expected is tainted and clean != tainted:
            passage.refused()
        MOVE[move](passage, pool)
        assert pool.came_back == [expected]
        assert passage.stage not in HOLDING


def test_a_connection_is_not_tainted_by_what_was_refused_on_the_one_before() -> None:
    pool: Any = Pool()
    passage = at(ENVELOPE, pool)
    passage.refused()
    passage.cut("lost")
    passage.open(connection(pool), NULL_PATH)
    passage.give_back()
    assert pool.came_back == ["drop", "give_back"]
