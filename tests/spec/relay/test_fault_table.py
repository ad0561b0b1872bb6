"""The fault table: each event at each step is heard as the page says, and the connections after it are clean."""

from __future__ import annotations

import pytest

from tests.spec.relay.table import Cell, cells, page, run


@pytest.mark.parametrize("cell", cells(silent=False), ids=str)
async def test_a_fault_is_heard_as_the_table_says(cell: Cell) -> None:
    await run(cell)


def test_every_event_of_the_page_has_a_cell_in_each_of_the_main_tables() -> None:
    events, tables = page()
    for title in ("new", "kept", "lmtp"):
        assert {name for name, _, _ in tables[title]} == events.keys() - ({"refuses"} if title != "new" else set())


def test_an_acceptance_or_a_permanent_refusal_is_never_made_of_silence_or_of_bytes_that_are_no_reply() -> None:
    _, tables = page()
    broken = {"refuses", "silence", "closes", "resets", "half-closes", "garbage", "binary", "endless"}
    heard = {expected for title in ("new", "lmtp") for name, _, expected in tables[title] if name in broken}
    assert heard <= {"unreachable", "lost", "lost?"}
