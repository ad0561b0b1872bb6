"""Finds workers that hang, makes them dump their stacks, and kills them. The supervisor replaces them."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress

from proxy.base.log import get_logger
from proxy.server import events
from proxy.server.generation import Child
from proxy.server.pulse import STACK_SIGNAL, state_of

log = get_logger()

STACK_SECONDS = 1.0
"""Seconds for a hung worker to write its stack before it is killed."""

LATE_SECONDS = 2.0
"""If the supervisor wakes this many seconds late, the whole machine was suspended, including the workers."""


class Watch:
    """Watches the workers. Its state is the time until which it does not judge them."""

    def __init__(self, start_seconds: float) -> None:
        """`start_seconds`: how long a worker may take to serve after its start."""
        self._start_seconds = start_seconds
        self._lenient_until = 0.0

    def due(self, children: Iterable[Child]) -> float:
        """Return when to look next, on the clock of `time.monotonic`; infinite if nothing is expected."""
        return max(self._lenient_until, min(map(self._due_of, children), default=math.inf))

    def look(self, children: Iterable[Child], late: float) -> None:
        """Ask hung workers for their stacks, then kill them.

        If the supervisor itself is `late`, it cannot judge them: they have until the next look to beat.
        """
        now = time.monotonic()
        if late >= LATE_SECONDS:
            log.warning("supervisor_late", seconds=round(late, 3))
            self._lenient_until = now + LATE_SECONDS
        if now < self._lenient_until:
            return
        for child in children:
            if now >= self._due_of(child):
                self._act(child, now)

    def _due_of(self, child: Child) -> float:
        """Return the worker's next deadline: to serve, then to beat, then to write its stack."""
        if child.killed:
            return math.inf
        if child.asked is not None:
            return child.asked + STACK_SECONDS
        if child.leaves_until < math.inf:
            return child.leaves_until
        if not child.serves:
            return child.started + self._start_seconds
        return child.pulse.last + (child.generation.assembly.core.worker_timeout or math.inf)

    def _act(self, child: Child, now: float) -> None:
        if child.asked is not None and child.serves and child.pulse.last > child.asked:
            events.recovered(child, child.pulse.stack)
            child.asked = None
        elif child.asked is not None or state_of(child.pid) == "stopped":
            _kill(child, now)
        else:
            child.asked = now
            with suppress(ProcessLookupError):
                os.kill(child.pid, STACK_SIGNAL)


def _kill(child: Child, now: float) -> None:
    seconds = round(now - (child.pulse.last if child.serves else child.started), 3)
    events.hangs(child, state_of(child.pid), seconds, child.pulse.stack)
    child.killed = True
    with suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGKILL)
