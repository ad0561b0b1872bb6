"""The longest turn of an event loop, in function calls: the same on every machine, and on a busy one.

It is for asyncio's own loop, whose handles are Python. The calls are those of the server: of its functions, and of
builtins by them. What the tests look at on the way does not count (`tests.support.events`).
"""

from __future__ import annotations

import re
import sys
from asyncio import events
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

OURS = re.compile(rf"{re.escape(str(Path(__file__).parents[2]))}/(?:proxy(?!/events/)|sieve|config)/")


class Longest:
    """The most function calls in one callback of the loop, builtins included, and which callback that was."""

    def __init__(self) -> None:
        self.calls, self.callback = 0, ""
        self.total = 0
        """All calls in callbacks."""
        self._now = 0

    def _count(self, frame: FrameType, event: str, _argument: object) -> None:
        if event in ("call", "c_call") and OURS.match(frame.f_code.co_filename):
            self._now += 1

    def run(self, handle: Any, run: Any) -> None:
        """Run a callback and count."""
        self._now = 0
        sys.setprofile(self._count)
        try:
            run(handle)
        finally:
            sys.setprofile(None)
            self.total += self._now
            if self._now > self.calls:
                self.calls, self.callback = self._now, repr(handle)


@contextmanager
def longest_turn() -> Iterator[Longest]:
    """Count in this block."""
    longest, run = Longest(), events.Handle._run

    def counted(handle: events.Handle) -> None:
        longest.run(handle, run)

    events.Handle._run = counted  # type: ignore[method-assign]
    try:
        yield longest
    finally:
        events.Handle._run = run  # type: ignore[method-assign]
