"""`Metric` and `Layout`: what a metric is, and where its integers are in a block.

The place of every metric is the same in all processes and configurations. What is named by a configuration, such as a
next hop, has a fixed number of places, and what exceeds it is counted as `other`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import product

MOST_INTEGERS = 8192
"""Integers of a block."""

SPARE = 100
"""Names that scripts may give. They come first in a block, and after them the place of all others."""

OTHER = "other"
"""The value of a label for what has no place of its own."""


class Kind(Enum):
    """The types of Prometheus that are used."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(Enum):
    """How the gauges of several processes become one."""

    SUM = "sum"
    MOST = "the greatest"
    UP = "1 if it works for a process, 0 if it works for none"


UP, DOWN = 1, 2
"""What a process writes into a gauge that is merged by `UP`; 0 is not known."""


@dataclass(frozen=True, slots=True)
class Label:
    """A label and its closed set of values; a configuration names the values if `most` is set."""

    name: str
    values: tuple[str, ...] = ()
    most: int = 0

    @property
    def size(self) -> int:
        """How many values have a place."""
        return self.most or len(self.values)

    @property
    def names(self) -> list[str]:
        """The names of the labels; two that depend on each other, such as `level event`, are one here."""
        return self.name.split()


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric. `base` is its first integer in a block."""

    name: str
    kind: Kind
    doc: str
    labels: tuple[Label, ...] = ()
    borders: tuple[float, ...] = ()
    """The upper bounds of a histogram's buckets, without the last, which is infinite."""
    merge: Merge = Merge.SUM
    scale: int = 1
    """How many of its integers are one of its unit: seconds are counted in millionths."""
    base: int = 0
    hidden: bool = False
    """Whether it is for ourselves only."""

    @property
    def width(self) -> int:
        """Integers for one label set: a histogram has its buckets, the infinite one, and the sum."""
        return len(self.borders) + 2 if self.kind is Kind.HISTOGRAM else 1

    @property
    def size(self) -> int:
        """Integers for all label sets."""
        size = self.width
        for label in self.labels:
            size *= label.size
        return size

    def at(self, *places: str | int) -> int:
        """Return the first integer of a label set; what a configuration names is given by its number.

        Raises:
            ValueError: there is no such value.
        """
        index = 0
        for label, place in zip(self.labels, places, strict=True):
            number = place if isinstance(place, int) else label.values.index(place)
            if not 0 <= number < label.size:
                raise ValueError(f"{self.name}: {label.name} has no value {place}")
            index = index * label.size + number
        return self.base + index * self.width

    def table(self, *places: str | int) -> dict[str, int]:
        """Return the integers of the last label's values, for a lookup without a call."""
        return {value: self.at(*places, value) for value in self.labels[-1].values}

    @property
    def label_names(self) -> list[str]:
        """The names of its labels."""
        return [name for label in self.labels for name in label.names]

    def sets(self) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yield each label set as the numbers of its values, and its first integer."""
        sizes = [range(label.size) for label in self.labels]
        for number, places in enumerate(product(*sizes)):
            yield places, self.base + number * self.width


class Layout:
    """Gives each metric its place."""

    def __init__(self) -> None:
        """Start with an empty block."""
        self.metrics: list[Metric] = []
        self.size = 0

    def counter(self, name: str, doc: str, *labels: Label, scale: int = 1) -> Metric:
        """Declare a counter."""
        return self._add(Metric(name, Kind.COUNTER, doc, labels, scale=scale, base=self.size))

    def gauge(self, name: str, doc: str, *labels: Label, merge: Merge = Merge.SUM, hidden: bool = False) -> Metric:
        """Declare a gauge."""
        return self._add(Metric(name, Kind.GAUGE, doc, labels, merge=merge, base=self.size, hidden=hidden))

    def histogram(self, name: str, doc: str, borders: Sequence[float], *labels: Label) -> Metric:
        """Declare a histogram; one of seconds sums up millionths."""
        scale = 1_000_000 if name.endswith("_seconds") else 1
        return self._add(Metric(name, Kind.HISTOGRAM, doc, labels, tuple(borders), scale=scale, base=self.size))

    def _add(self, metric: Metric) -> Metric:
        if self.size + metric.size > MOST_INTEGERS:
            raise ValueError(f"{metric.name} has no place: enlarge MOST_INTEGERS")
        self.metrics.append(metric)
        self.size += metric.size
        return metric
