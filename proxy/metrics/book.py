"""`BOOK`: this process's block of integers, which one thread writes.

Code on a message's path looks its places up at load and counts inline, without a call: `BOOK.counts[i] += 1`. Before a
supervisor gives the process its block, the integers are the process's own.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from proxy.metrics.metric import MOST_INTEGERS, OTHER, SPARE, Label, Metric

NAME_OCTETS = 64
"""Octets of a name that a script gives."""

Names = Mapping[str, Sequence[str]]
"""What a configuration names: a label, and its values in the order of their places."""


class Book:
    """The counts of this process. `counts` is read again at each use, because a process gets its own after the fork."""

    __slots__ = ("_names", "_numbers", "_samplers", "_scripts", "counts")

    def __init__(self) -> None:
        """Count into memory that no process reads."""
        self.use(memoryview(array("q", bytes(8 * MOST_INTEGERS))), memoryview(bytearray(SPARE * NAME_OCTETS)), {})

    def use(self, counts: memoryview, names: memoryview, configured: Names) -> None:
        """Count in this block from now on. Names that a process before us gave keep their places."""
        self.counts: memoryview = counts
        self._names = names
        self._numbers = {label: {name: at for at, name in enumerate(values)} for label, values in configured.items()}
        self._scripts: dict[str, int] = {name: at for at, name in enumerate(given_names(names))}
        self._samplers: list[Callable[[], None]] = []

    def number(self, label: Label, name: str) -> int:
        """Return the place of what a configuration names; the last one if it has none of its own."""
        return min(self._numbers.get(label.name, {}).get(name, label.size - 1), label.size - 1)

    def count_for_script(self, name: str) -> None:
        """Count by a name that a script gives: the first have places of their own, the others share one."""
        at = self._scripts.get(name)
        if at is None:
            at = self._new_name(name)
        self.counts[at] += 1

    def _new_name(self, name: str) -> int:
        octets = name.encode("utf-8", "backslashreplace")
        if len(self._scripts) >= SPARE or not 0 < len(octets) <= NAME_OCTETS or name == OTHER or b"\0" in octets:
            return SPARE
        at = self._scripts[name] = len(self._scripts)
        self._names[at * NAME_OCTETS : at * NAME_OCTETS + len(octets)] = octets
        return at

    # ------------------------------------------------------------ what is looked at, not counted

    def sample(self, look: Callable[[], None]) -> None:
        """Call `look` each second: it writes gauges that others keep as plain numbers."""
        self._samplers.append(look)

    def look(self) -> None:
        """Write all gauges of this moment."""
        for look in self._samplers:
            look()


def observe(metric: Metric, at: int, value: float) -> None:
    """Add a value to a histogram, away from a message's path; there the same code is inline."""
    counts = BOOK.counts
    counts[at + bisect_left(metric.borders, value)] += 1
    counts[at + len(metric.borders) + 1] += int(value * metric.scale)


def given_names(names: memoryview) -> list[str]:
    """Return the names that scripts gave in a block, in the order of their places."""
    found = []
    for at in range(0, len(names), NAME_OCTETS):
        octets = bytes(names[at : at + NAME_OCTETS]).rstrip(b"\0")
        if not octets:
            break
        found.append(octets.decode("utf-8", "replace"))
    return found


BOOK = Book()
