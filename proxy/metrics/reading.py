"""Adds up the blocks of all processes: `Totals`, by metric and the values of its labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from proxy.metrics.board import Block, Board
from proxy.metrics.book import Names, given_names
from proxy.metrics.metric import DOWN, OTHER, SPARE, UP, Kind, Merge, Metric
from proxy.metrics.table import LAYOUT, SCRIPT_COUNTER

Values: TypeAlias = dict[tuple[str, ...], list[int]]
"""The integers of each label set of a metric."""

_SHOWN = [each for each in LAYOUT.metrics if not each.hidden and each is not SCRIPT_COUNTER]
_SETS = {metric: tuple(metric.sets()) for metric in _SHOWN}


class Totals:
    """The sums of boards. It is the base of later ones when their processes have ended."""

    def __init__(self) -> None:
        """Start without counts."""
        self._values: dict[Metric, Values] = {metric: {} for metric in (*_SHOWN, SCRIPT_COUNTER)}

    def of(self, metric: Metric) -> Values:
        """Return the integers of a metric."""
        return self._values[metric]

    def copy(self) -> Totals:
        """Return the same, to add to."""
        made = Totals()
        made._values = {metric: {key: list(cells) for key, cells in of.items()} for metric, of in self._values.items()}
        return made

    def add(self, board: Board, *, gauges: bool = True) -> None:
        """Add a board's blocks; without `gauges`, only what its processes have counted."""
        blocks = [block.counts for block in board.blocks]
        sums = [sum(column) for column in zip(*[block[: LAYOUT.size] for block in blocks], strict=True)]
        for metric in _SHOWN:
            if metric.kind is not Kind.GAUGE:
                self._add_sums(metric, sums, board.configured)
            elif gauges:
                self._add_gauge(metric, blocks, board.configured)
        for block in board.blocks:
            self._add_given(block)

    def _add_sums(self, metric: Metric, sums: Sequence[int], configured: Names) -> None:
        into, width = self._values[metric], metric.width
        for values, at in _named(metric, configured):
            cells = sums[at : at + width]
            if values is None and not any(cells):
                continue
            key = values or _others(metric, at, configured)
            known = into.get(key)
            into[key] = list(cells) if known is None else [a + b for a, b in zip(known, cells, strict=True)]

    def _add_gauge(self, metric: Metric, blocks: Sequence[memoryview], configured: Names) -> None:
        into = self._values[metric]
        for values, at in _named(metric, configured):
            cells = [block[at] for block in blocks]
            if values is None and not any(cells):
                continue
            key = values or _others(metric, at, configured)
            known = into.get(key, [0])[0]
            into[key] = [_merged(metric.merge, [known, *cells])]

    def _add_given(self, block: Block) -> None:
        """Add what scripts counted, by the names they chose."""
        into, base = self._values[SCRIPT_COUNTER], SCRIPT_COUNTER.base
        names = given_names(block.names)
        found = [(name, block.counts[base + at]) for at, name in enumerate(names)]
        for name, count in [*found, (OTHER, block.counts[base + SPARE])]:
            into[name,] = [into.get((name,), [0])[0] + count]


def _merged(merge: Merge, cells: Sequence[int]) -> int:
    if merge is Merge.SUM:
        return sum(cells)
    if merge is Merge.MOST:
        return max(cells)
    return UP if UP in cells else max(cells, default=0)


def is_up(cell: int) -> bool:
    """Whether a gauge that is merged by `UP` says that it works; what was never tried counts as working."""
    return cell != DOWN


def _named(metric: Metric, configured: Names) -> Iterator[tuple[tuple[str, ...] | None, int]]:
    """Yield the values of each label set, and its first integer; None for places that no name has."""
    for places, at in _SETS[metric]:
        values: list[str] = []
        for label, place in zip(metric.labels, places, strict=True):
            if not label.most:
                values += label.values[place].split() if len(label.names) > 1 else [label.values[place]]
            elif place < len(names := configured.get(label.name, ())) and place < label.size - 1:
                values.append(names[place])
            else:
                break
        else:
            yield tuple(values), at
            continue
        yield None, at


def _others(metric: Metric, at: int, configured: Names) -> tuple[str, ...]:
    """Return the values of a label set in which something has no name of its own."""
    number, values = (at - metric.base) // metric.width, []
    for label in reversed(metric.labels):
        number, place = divmod(number, label.size)
        names = label.values if not label.most else configured.get(label.name, ())[: label.size - 1]
        values.append(names[place] if place < len(names) else OTHER)
    return tuple(reversed(values))
