"""What the relay must reach, beside what it reached in this run.

Each is a ratio of two figures of one run, so that a slow or a busy machine changes both. Function calls are counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from bench.figures import (
    CROWD_KEPT,
    CROWD_NEW,
    KEPT,
    LARGE_KEPT,
    LARGE_NEW,
    NEW,
    TLS_KEPT,
    TLS_NEW,
    VARIED_KEPT,
    VARIED_NEW,
    Figures,
    Found,
)
from tests.support.calls import BARS as CALLS

ONE, ALL, OLD = "ringback", "ringback-all", "against"
"""Keys of the legs: one worker, a worker for each core, and another commit."""

FLOOR_GOAL = 3.5

Way = Literal["at most", "at least"]
Figure = Callable[[Figures, str], float]


@dataclass(frozen=True, slots=True)
class Bar:
    """One of them."""

    name: str
    value: float | None
    """None where a leg was left out."""
    way: Way
    wanted: float
    is_goal: bool = False
    """A goal may be missed; only bars count for the exit status."""

    @property
    def met(self) -> bool:
        """Whether it was measured and is met."""
        if self.value is None:
            return False
        return self.value <= self.wanted if self.way == "at most" else self.value >= self.wanted

    @property
    def row(self) -> tuple[str, ...]:
        """The cells of its row."""
        unit = f"{self.wanted:,.0f}" if self.wanted >= min(CALLS.values()) else f"{self.wanted:g}"
        assert self.value is not None
        value = f"{self.value:,.0f}" if self.wanted >= min(CALLS.values()) else f"{self.value:.2f}"
        kind = "goal " if self.is_goal else ""
        return self.name, value, f"{kind}{self.way} {unit}", "met" if self.met else "**missed**"


HEADS = ("", "found", "wanted", "")


def bars(found: Found) -> list[Bar]:
    """Return all of them, in the order of the page."""
    return [*_costs(found), *_rates(found), *_drivers(found), *_latency(found), *_calls(found)]


def _costs(found: Found) -> Iterator[Bar]:
    for mode, load, most in (("kept open", KEPT, 0.65), ("new", NEW, 0.75)):
        cost = _ratio(found, (ONE, load), ("postfix", load), Figures.processor)
        yield Bar(f"CPU a message, {mode}: one worker / Postfix", cost, "at most", most)
        floor = _ratio(found, (ONE, load), ("floor", load), Figures.processor)
        yield Bar(f"CPU a message, {mode}: one worker / the floor", floor, "at most", FLOOR_GOAL, is_goal=True)
        if OLD in found.figures:
            name = f"user time, {mode}: one worker / {found.figures[OLD].leg}"
            yield Bar(name, _ratio(found, (ONE, load), (OLD, load), Figures.user), "at most", 0.5)


def _rates(found: Found) -> Iterator[Bar]:
    for key, name, least in ((ONE, "one worker", (1.2, 1.0)), (ALL, "all cores", (1.6, 1.3))):
        for mode, load, wanted in zip(("kept open", "new"), (KEPT, NEW), least, strict=True):
            rate = _ratio(found, (key, load), ("postfix", load), Figures.rate)
            yield Bar(f"messages/s, {mode}: {name} / Postfix", rate, "at least", wanted)
    for mode, load in (("kept open", LARGE_KEPT), ("new", LARGE_NEW)):
        rate = _ratio(found, (ALL, load), ("direct", load), Figures.rate)
        yield Bar(f"1 MiB, messages/s, {mode}: all cores / the sink alone", rate, "at least", 0.8)


def _drivers(found: Found) -> Iterator[Bar]:
    for mode, load in (("kept open", CROWD_KEPT), ("new", CROWD_NEW)):
        rate = _ratio(found, ("xclient", load), ("driven-postfix", load), Figures.rate)
        yield Bar(f"XCLIENT, messages/s, {mode}: all cores / Postfix with XFORWARD", rate, "at least", 1.0)
    for mode, load in (("kept open", TLS_KEPT), ("new", TLS_NEW)):
        cost = _ratio(found, ("driven", load), ("driven-postfix", load), Figures.processor)
        yield Bar(f"STARTTLS, CPU a message, {mode}: one worker / Postfix", cost, "at most", 1.0)
    for mode, load, plain in (("kept open", VARIED_KEPT, KEPT), ("new", VARIED_NEW, NEW)):
        rate = _ratio(found, ("driven", load), (ONE, plain), Figures.rate)
        yield Bar(f"messages/s, {mode}: one worker, varied / with smtp-source", rate, "at least", 0.85)


def _latency(found: Found) -> Iterator[Bar]:
    for mode in found.offered:
        p99 = found.figures[ALL].p99(mode) / found.figures["postfix"].p99(mode)
        yield Bar(f"p99 under the same offered rate, {mode}: all cores / Postfix", p99, "at most", 1.0)


def _calls(found: Found) -> Iterator[Bar]:
    for mode, count in found.calls.items():
        yield Bar(f"function calls a message, {'kept open' if mode == 'kept' else mode}", count, "at most", CALLS[mode])


def _ratio(found: Found, left: tuple[str, str], right: tuple[str, str], figure: Figure) -> float | None:
    values = []
    for key, load in (left, right):
        figures = found.figures.get(key)
        if figures is None or load not in figures.runs:
            return None
        values.append(figure(figures, load))
    return values[0] / values[1]
