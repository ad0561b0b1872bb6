"""The supervisor's records of its workers: a generation for each configuration, and each worker's process."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from proxy.options.core import CoreOptions
from proxy.server.orders import CUT
from proxy.server.pulse import Pulse
from proxy.server.sockets import WorkerSockets

STEADY_SECONDS = 60.0
"""If a worker dies after this many seconds, it is replaced at once, and so is the first that dies earlier."""

LONGEST_PAUSE = 30.0
"""Longest pause if workers keep dying early. Clients wait 300 s for a greeting (RFC 5321 section 4.5.3.2.1)."""


class Configured(Protocol):
    """What the supervisor needs to know of an assembly."""

    @property
    def core(self) -> CoreOptions:
        """The global options."""
        ...


A = TypeVar("A", bound=Configured)


@dataclass(slots=True, eq=False)
class Generation(Generic[A]):
    """One configuration, with the sockets of its workers."""

    assembly: A
    sockets: WorkerSockets
    warnings: int = 0
    due: dict[int, float] = field(default_factory=dict)
    """Number of a dead worker → when to restart it."""
    failures: dict[int, int] = field(default_factory=dict)
    """Worker number → early deaths in a row."""

    def schedule(self, number: int, lived: float) -> float:
        """Schedule the restart of a worker that died after `lived` seconds; return the pause in seconds."""
        failures = 0 if lived >= STEADY_SECONDS else self.failures.get(number, 0)
        pause = min(2.0 ** (failures - 1), LONGEST_PAUSE) if failures else 0.0
        self.failures[number] = failures + 1
        self.due[number] = time.monotonic() + pause
        return pause


@dataclass(slots=True, eq=False)
class Child:
    """A worker's process, as its supervisor knows it."""

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

    def order(self, order: bytes) -> None:
        """Send an order, once only."""
        if order != CUT and self.leaving:
            return
        self.leaving = True
        with suppress(OSError):  # it has just died
            self.orders.send(order)
