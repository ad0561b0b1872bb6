"""The supervisor's records: a generation for each configuration, and each process of it."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

from config.diagnostics import Diagnostic
from config.overlay import Change
from config.scopes.listener import Listener
from proxy.keeper.door import Calling, Door, Doors
from proxy.metrics.board import Block, Board
from proxy.metrics.book import Names
from proxy.options.core import CoreOptions
from proxy.server.orders import CUT
from proxy.server.pulse import Pulse
from proxy.server.sockets import CannotListen, WorkerSockets

STEADY_SECONDS = 60.0
"""If a worker dies after this many seconds, it is replaced at once. The first one that dies earlier is as well."""

LONGEST_PAUSE = 30.0
"""Longest pause if workers keep dying early. Clients wait 300 s for a greeting (RFC 5321 section 4.5.3.2.1)."""

LONGEST_CONTROL_PAUSE = 5.0
"""The same for the control process: until then all others keep what the history does not have yet."""


KEEPER = 0
"""The keeper's number; workers count from 1."""

CONTROL = -1
"""The control process's number. No other process waits for it."""

LEAVE_SECONDS = 20.0
"""A control process that has not ended this long after its order is killed: a stop must not wait for an observer."""


class Configured(Protocol):
    """What the supervisor needs to know of an assembly."""

    @property
    def keeps(self) -> bool:
        """Whether there is something for a keeper to do."""
        ...

    def changed(self, changes: Sequence[Change], serial: int = 0) -> tuple[Self, Sequence[Diagnostic]]:
        """Return it with other settings of the console, and what is wrong with them."""
        ...

    @property
    def core(self) -> CoreOptions:
        """The global options."""
        ...

    @property
    def metric_names(self) -> Names:
        """The names in it that have their own metrics."""
        ...


A = TypeVar("A", bound=Configured)


@dataclass(slots=True, eq=False)
class Generation(Generic[A]):
    """One configuration, with the sockets of its workers and the way to its keeper."""

    assembly: A
    sockets: WorkerSockets
    pages: WorkerSockets
    """The control process's addresses: for metrics first, then for the page."""
    number: int = 1
    door: Door | None = None
    """How its workers reach the keeper, which may be the only worker; None once none of its processes is left."""
    warnings: tuple[Diagnostic, ...] = ()
    begun: bool = False
    """Whether its workers were started; the keeper comes first, because they ask it immediately."""
    board: Board = field(init=False)
    """Where its processes count."""
    due: dict[int, float] = field(default_factory=dict)
    """Number of a dead process → when to restart it."""
    failures: dict[int, int] = field(default_factory=dict)
    """Its number → early deaths in a row."""

    @classmethod
    def of(
        cls, assembly: A, warnings: tuple[Diagnostic, ...] = (), predecessor: Generation[A] | None = None
    ) -> Generation[A]:
        """Bind what an assembly needs; sockets that the predecessor has are used again.

        Raises:
            CannotListen: an address cannot be bound.
        """
        core = assembly.core
        before, number = (None, 1) if predecessor is None else (predecessor.sockets, predecessor.number + 1)
        sockets = WorkerSockets.bind(core.esmtp_listener, core.processes, before)
        served = [Listener(each.host, each.port or 0) for each in (*core.metrics_listener, *core.web_listener)]
        try:
            pages = WorkerSockets.bind(served, 1, None if predecessor is None else predecessor.pages)
        except CannotListen:
            sockets.close(keep=before)
            raise
        return cls(assembly, sockets, pages, number, Door(), warnings)

    def __post_init__(self) -> None:
        """Make the board: a block for the keeper, for each worker, and for control."""
        self.board = Board(self.sockets.workers + 2, self.assembly.metric_names, generation=self.number)

    def block(self, number: int) -> Block:
        """Return the block of a process; those that replace each other have the same."""
        return self.board.blocks[number]

    @property
    def descriptors(self) -> list[Any]:
        """Its open sockets."""
        return [*self.sockets, *self.pages, *(self.door or ())]

    @property
    def keeps(self) -> bool:
        """Whether its keeper is a separate process."""
        return self.assembly.keeps

    @property
    def processes(self) -> int:
        """How many it has."""
        return self.sockets.workers + self.keeps

    def calling(self, number: int, doors: Doors) -> Calling | None:
        """Return how a worker reaches the keeper. If it is the only one, it is the keeper, at these doors."""
        if self.door is None:
            return None
        return Calling(self.door.outside, self.number, number, None if self.keeps else doors)

    def close_door(self) -> None:
        """Close the door, because no keeper reads it any more."""
        door, self.door = self.door, None
        if door is not None:
            door.close()

    def schedule(self, number: int, lived: float) -> float:
        """Schedule the restart of a process that died after `lived` seconds; return the pause in seconds."""
        failures = 0 if lived >= STEADY_SECONDS else self.failures.get(number, 0)
        longest = LONGEST_CONTROL_PAUSE if number == CONTROL else LONGEST_PAUSE
        pause = min(2.0 ** (failures - 1), longest) if failures else 0.0
        self.failures[number] = failures + 1
        self.due[number] = time.monotonic() + pause
        return pause


@dataclass(slots=True, eq=False)
class Child:
    """A process, as its supervisor knows it."""

    pid: int
    number: int
    generation: Generation[Any]
    orders: socket.socket
    pulse: Pulse
    started: float
    serves: bool = False
    leaving: bool = False
    asked: float | None = None
    """When it was asked for its stack because it hung."""
    killed: bool = False
    leaves_until: float = math.inf
    """When it is killed if it has not ended."""

    @property
    def is_worker(self) -> bool:
        """Whether it serves clients."""
        return self.number > KEEPER

    def tell(self, order: bytes) -> None:
        """Send an order that does not end it."""
        with suppress(OSError):  # it has just died
            self.orders.send(order)

    def order(self, order: bytes) -> None:
        """Send an order to end, once only."""
        if order != CUT and self.leaving:
            return
        self.leaving = True
        if self.number == CONTROL:
            self.leaves_until = time.monotonic() + LEAVE_SECONDS
        self.tell(order)
