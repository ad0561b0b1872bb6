"""A worker's heartbeat: the time of its last beat, one integer in memory shared with its supervisor.

The time is CLOCK_MONOTONIC's, which is the same in all processes of a machine and is never set. A worker that hangs
stops beating, whatever the cause. This module also has the file for its stack dump.
"""

from __future__ import annotations

import asyncio
import faulthandler
import mmap
import os
import signal
import time
from pathlib import Path

BEAT_SECONDS = 1.0
"""Seconds between two beats, or a quarter of the supervisor's wait if that is less."""

STACK_SIGNAL = signal.SIGUSR2
"""Asks a worker for its stack. SIGABRT keeps its meaning: exit with a core file."""

LONGEST_STACK = 8000
"""Characters of a stack that are logged."""


_STATES = {"R": "running", "S": "sleeping", "D": "waiting for a disk", "T": "stopped", "t": "stopped", "Z": "gone"}
"""Letters of /proc/PID/stat (proc(5))."""


class Pulse:
    """Made before the fork. The worker beats and dumps its stack; the supervisor reads both."""

    def __init__(self) -> None:
        """Begin with a beat: the worker starts now."""
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._beats = memoryview(self._memory).cast("q")
        self._stack = os.memfd_create("stack")
        self.beat()

    @property
    def last(self) -> float:
        """The time of the last beat, as `time.monotonic` gives it."""
        return self._beats[0] / 1e9

    def beat(self) -> None:
        """Record that the worker runs, with one aligned store of eight octets, which is atomic."""
        self._beats[0] = time.monotonic_ns()

    def beat_along(self, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        """Beat while the loop runs."""
        self.beat()
        loop.call_later(interval, self.beat_along, loop, interval)

    def give_stack_when_asked(self) -> None:
        """Let the signal write the stack of every thread. That works even if Python's interpreter is blocked."""
        faulthandler.register(STACK_SIGNAL, file=self._stack, all_threads=True, chain=False)

    @property
    def stack(self) -> str:
        """The stack that the worker wrote; empty if it wrote none."""
        return os.pread(self._stack, LONGEST_STACK, 0).decode("ascii", "backslashreplace").strip()

    def close(self) -> None:
        """Release the memory and the file."""
        self._beats.release()
        self._memory.close()
        os.close(self._stack)


def state_of(pid: int) -> str:
    """Return a process's state according to the kernel, in a word of `_STATES`."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "gone"
    return _STATES.get(letter, letter)
