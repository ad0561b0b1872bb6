"""What the supervisor knows of its workers: a generation of one configuration, and each worker's process."""

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
"""A worker that served so long is replaced at once when it dies; so is the first that did not."""

LONGEST_PAUSE = 30.0
"""Seconds before a replacement, where each dies soon; clients wait 300 for a greeting (RFC 5321 section 4.5.3.2.1)."""


class Configured(Protocol):
    """What workers start from, as the supervisor knows it."""

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
    """The number of a worker that died → when it is started again."""
    failures: dict[int, int] = field(default_factory=dict)
    """A worker's number → how many in a row died soon."""

    def schedule(self, number: int, lived: float) -> float:
        """Say when a worker is started again that died after so many seconds; return the pause in seconds."""
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
    """When it was asked for its stack, since it hangs."""
    killed: bool = False

    def order(self, order: bytes) -> None:
        """Send an order; it is to leave once only."""
        if order != CUT and self.leaving:
            return
        self.leaving = True
        with suppress(OSError):  # it has just died
            self.orders.send(order)
