"""The sign of life of a worker: one integer of memory that it shares with its supervisor, the time of its last beat.

The time is CLOCK_MONOTONIC's, which all processes of the machine read alike and nobody sets. A worker that hangs does
not beat, whatever it hangs in. Where its stack goes when it is asked for it belongs here, too.
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
"""Between two beats, or a quarter of what the supervisor waits for, if that is less."""

STACK_SIGNAL = signal.SIGUSR2
"""Asks a worker for its stack. SIGABRT stays what it is: the end, with a core file."""

LONGEST_STACK = 8000
"""Characters of a stack that are logged."""


_STATES = {"R": "running", "S": "sleeping", "D": "waiting for a disk", "T": "stopped", "t": "stopped", "Z": "gone"}
"""Letters of /proc/PID/stat (proc(5))."""


class Pulse:
    """Made before the fork. The worker beats and dumps its stack, the supervisor reads."""

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
        """Say that the worker runs: one aligned store of eight octets, which nobody sees half done."""
        self._beats[0] = time.monotonic_ns()

    def beat_along(self, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        """Beat as long as the loop turns."""
        self.beat()
        loop.call_later(interval, self.beat_along, loop, interval)

    def give_stack_when_asked(self) -> None:
        """Have the signal write the stack of every thread; it needs no turn of Python's interpreter."""
        faulthandler.register(STACK_SIGNAL, file=self._stack, all_threads=True, chain=False)

    @property
    def stack(self) -> str:
        """What the worker wrote of its stack; empty if it never did."""
        return os.pread(self._stack, LONGEST_STACK, 0).decode("ascii", "backslashreplace").strip()

    def close(self) -> None:
        """Give memory and file back."""
        self._beats.release()
        self._memory.close()
        os.close(self._stack)


def state_of(pid: int) -> str:
    """Return what the system says a process does: a word of `_STATES`."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "gone"
    return _STATES.get(letter, letter)
