"""`Sampler`: looks at the numbers of all processes every two seconds, and keeps the last ten minutes of some."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from proxy.base.tasks import TaskOwner, spawn
from proxy.control.watched import Watched
from proxy.metrics.metric import Label, Metric
from proxy.metrics.reading import Totals
from proxy.metrics.table import (
    CALLBACKS,
    CPU,
    MESSAGE_TIME,
    MESSAGES,
    OPEN_SESSIONS,
    OUTCOME,
    PID,
    REFUSALS,
    REFUSED,
    SOURCE,
    STATE,
    STATUS,
)

EVERY_SECONDS = 2.0
KEPT = 300
"""Samples: ten minutes."""

MINUTE = 30
"""Samples of a minute, over which rates are calculated."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Some numbers at one moment."""

    at: float
    """On the monotonic clock."""
    messages: Mapping[str, int]
    callbacks: Mapping[str, int]
    sessions: Mapping[str, int]
    refusals: Mapping[str, int]
    classes: Mapping[str, int]
    """Refusals by class, 4xx and 5xx."""
    times: Sequence[int]
    """The buckets of MESSAGE_TIME."""
    processor: Mapping[int, int]
    """Process → its processor time in microseconds."""


@dataclass(slots=True)
class Sampler:
    """The event loop's thread owns it."""

    watched: Watched
    clock: Callable[[], float] = time.monotonic
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=KEPT + 1))
    totals: Totals = field(default_factory=Totals)
    number: int = 0
    """How often it has looked."""
    _owner: TaskOwner = field(default_factory=lambda: TaskOwner("figures"))

    def start(self) -> None:
        """Look now, and from then on."""
        self.look()
        spawn(self._look_on(), name="figures", owner=self._owner)

    async def stop(self) -> None:
        """Look no more."""
        await self._owner.cancel()

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            self.look()

    def look(self) -> None:
        """Take a sample."""
        totals = self.totals = self.watched.totals()
        self.number += 1
        self.samples.append(
            Sample(
                self.clock(),
                by(totals, MESSAGES, OUTCOME),
                by(totals, CALLBACKS, STATUS),
                by(totals, OPEN_SESSIONS, STATE),
                by(totals, REFUSALS, SOURCE),
                by(totals, REFUSALS, REFUSED),
                tuple(totals.of(MESSAGE_TIME).get((), ())),
                {block.counts[PID.base]: block.counts[CPU.at("worker")] for block in self.watched.current.blocks},
            )
        )

    @property
    def shown(self) -> int:
        """How many samples the charts have room for: a minute at first, then all."""
        return max(MINUTE, len(self.samples))

    @property
    def before(self) -> Sample:
        """The sample of a minute ago, or the oldest one."""
        return self.samples[max(-len(self.samples), -MINUTE - 1)]

    def rates(self, name: str, label: Label) -> list[tuple[str, list[float]]]:
        """Return a value's changes a second, from sample to sample, for each value of its label."""
        pairs = list(zip(self.samples, list(self.samples)[1:], strict=False))

        def changes(value: str) -> list[float]:
            return [
                max(0, getattr(new, name)[value] - getattr(old, name)[value]) / max(new.at - old.at, 0.001)
                for old, new in pairs
            ]

        return [(value, changes(value)) for value in label.values]

    def verdicts(self) -> list[tuple[str, list[float]]]:
        """Return the verdicts a second: messages that were relayed, discarded or lost, and all refusals."""
        messages, refusals = dict(self.rates("messages", OUTCOME)), dict(self.rates("classes", REFUSED))
        return [
            ("relayed", messages["relayed"]),
            ("refused", refusals["5xx"]),
            ("deferred", refusals["4xx"]),
            ("discarded", messages["discarded"]),
            ("lost", messages["lost"]),
        ]

    def levels(self, name: str, label: Label) -> list[tuple[str, list[float]]]:
        """Return a gauge's values at each sample, for each value of its label."""
        return [(value, [getattr(each, name)[value] for each in self.samples]) for value in label.values]

    def of_the_minute(self, name: str) -> dict[str, int]:
        """Return by how much a value has grown within the last minute."""
        new, old = getattr(self.samples[-1], name), getattr(self.before, name)
        return {value: max(0, count - old.get(value, 0)) for value, count in new.items()}

    @property
    def minute_seconds(self) -> float:
        """How long the last minute is so far."""
        return max(self.samples[-1].at - self.before.at, EVERY_SECONDS)

    def message_seconds(self, share: float) -> float | None:
        """Return the time within which this share of the last minute's messages were answered, as far as is known."""
        new, old = self.samples[-1].times[:-1], self.before.times[:-1]
        counts = [n - o for n, o in zip(new, old or [0] * len(new), strict=False)]
        wanted, seen = share * sum(counts), 0
        if not wanted:
            return None
        for border, count in zip((*MESSAGE_TIME.borders, float("inf")), counts, strict=False):
            seen += count
            if seen >= wanted:
                return border
        return None


def by(totals: Totals, metric: Metric, label: Label) -> dict[str, int]:
    """Return a metric's sums by the values of one of its labels; values of a closed set are there with 0 as well."""
    place = metric.label_names.index(label.name)
    found = dict.fromkeys(label.values, 0) if not label.most else {}
    for values, (count, *_) in totals.of(metric).items():
        found[values[place]] = found.get(values[place], 0) + count
    return found
