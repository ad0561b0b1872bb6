"""`Board`: shared memory with a block of integers for each process, made by the supervisor before it forks.

A process that replaces another one goes on counting in its block, so no sum falls. The gauges of a process that has
died are zeroed.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

from proxy.metrics.book import NAME_OCTETS, Book, Names
from proxy.metrics.metric import MOST_INTEGERS, SPARE, Kind
from proxy.metrics.table import LAYOUT, PID

_COUNTS = 8 * MOST_INTEGERS
_OCTETS = -(-(_COUNTS + SPARE * NAME_OCTETS) // mmap.PAGESIZE) * mmap.PAGESIZE
_GAUGES = [(each.base, each.size) for each in LAYOUT.metrics if each.kind is Kind.GAUGE]


@dataclass(frozen=True, slots=True)
class Block:
    """One process's part of a board."""

    counts: memoryview
    names: memoryview
    configured: Names

    def begin(self, book: Book) -> None:
        """Let this process count here."""
        self.zero_gauges()
        self.counts[PID.base] = os.getpid()
        book.use(self.counts, self.names, self.configured)

    def zero_gauges(self) -> None:
        """Report nothing about this moment: the process is gone, or has only begun."""
        for base, size in _GAUGES:
            self.counts[base : base + size] = memoryview(bytes(8 * size)).cast("q")


class Board:
    """The blocks of processes that have one configuration."""

    def __init__(self, blocks: int, configured: Names, *, generation: int = 0) -> None:
        """Make the memory; untouched pages of it cost nothing."""
        self.generation = generation
        self.configured = configured
        self._memory = mmap.mmap(-1, blocks * _OCTETS)
        whole = memoryview(self._memory)
        self.blocks = [
            Block(
                whole[at : at + _COUNTS].cast("q"),
                whole[at + _COUNTS : at + _COUNTS + SPARE * NAME_OCTETS],
                configured,
            )
            for at in range(0, blocks * _OCTETS, _OCTETS)
        ]
