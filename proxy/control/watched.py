"""`Watched`: what the control process reads from other processes: their boards, and the sums of those that ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from proxy.metrics.board import Block, Board
from proxy.metrics.reading import Totals
from proxy.metrics.table import PID


@dataclass(frozen=True, slots=True)
class Watched:
    """The supervisor's memory, at the time of the fork; the boards are shared from then on.

    A board has a block for the keeper, one for each worker, and one for control, in this order.
    """

    supervisor: Board
    boards: Sequence[Board]
    """Of every configuration with processes."""
    current: Board
    past: Totals

    def totals(self) -> Totals:
        """Return the sums of all processes that ever were."""
        totals = self.past.copy()
        totals.add(self.supervisor)
        for board in self.boards:
            lives = board is self.current or any(block.counts[PID.base] for block in board.blocks)
            totals.add(board, gauges=lives)
        return totals

    @property
    def own(self) -> Block:
        """What the supervisor says of itself."""
        return self.supervisor.blocks[0]

    @property
    def workers(self) -> int:
        """How many workers the current configuration has."""
        return len(self.current.blocks) - 2

    def processes(self) -> Iterator[tuple[str, int]]:
        """Yield the role and the id of each process that lives."""
        yield "supervisor", self.own.counts[PID.base]
        for board in self.boards:
            last = len(board.blocks) - 1
            for number, block in enumerate(board.blocks):
                if pid := block.counts[PID.base]:
                    yield "keeper" if number == 0 else "control" if number == last else "worker", pid
