"""A process that dies again and again is started again after a pause; the control process never waits for long."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.server.generation import CONTROL, KEEPER, LONGEST_CONTROL_PAUSE, LONGEST_PAUSE, Generation


@pytest.mark.parametrize(
    ("number", "longest"), [(1, LONGEST_PAUSE), (KEEPER, LONGEST_PAUSE), (CONTROL, LONGEST_CONTROL_PAUSE)]
)
def test_pauses_grow_up_to_the_longest_of_the_role(number: int, longest: float) -> None:
    records: Any = SimpleNamespace(failures={}, due={})
    pauses = [Generation.schedule(records, number, 1.0) for _ in range(9)]
    assert pauses[:4] == [0.0, 1.0, 2.0, 4.0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == longest
    assert Generation.schedule(records, number, 3600.0) == 0.0
