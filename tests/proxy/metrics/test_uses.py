"""Every metric is counted somewhere, and an event that names a metric names one that exists."""

from __future__ import annotations

import ast
from pathlib import Path

import proxy
from proxy.events.table import EVENTS
from proxy.metrics import table
from proxy.metrics.metric import Metric

TABLE = Path(table.__file__)


def test_every_metric_is_used_outside_its_table() -> None:
    declared = {name for name, each in vars(table).items() if isinstance(each, Metric)}
    used = {
        node.id if isinstance(node, ast.Name) else node.attr
        for path in Path(proxy.__file__).parent.rglob("*.py") if path != TABLE
        for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name | ast.Attribute)
    }  # fmt: skip
    assert len(declared) > 40
    assert sorted(declared - used) == [], "count it where it happens: BOOK.counts[place] += 1"


def test_the_metric_of_an_event_exists() -> None:
    known = {each.name for each in table.LAYOUT.metrics}
    assert {each.name: each.metric for each in EVENTS.values() if each.metric and each.metric not in known} == {}
