"""The fault table's rows in which the upstream falls silent: on a clock that the test puts forward."""

from __future__ import annotations

import pytest

from tests.spec.relay.table import Cell, cells, run


@pytest.mark.parametrize("cell", cells(silent=True), ids=str)
async def test_silence_is_heard_as_the_table_says(cell: Cell) -> None:
    await run(cell)
