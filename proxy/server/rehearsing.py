"""`Rehearsals`: tries one configuration at a time in a child of the supervisor, and reports to the caller."""

from __future__ import annotations

import math
import selectors
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from config.diagnostics import Diagnostic
from proxy.base.apart import ChildTask, Failed, Tell

REHEARSAL_SECONDS = 15.0
"""Time limit to load a configuration and build everything in it; a child that needs more is killed."""

Work: TypeAlias = Callable[[Tell], Sequence[Diagnostic]]
Heed: TypeAlias = Callable[[Sequence[Diagnostic], str], None]
"""Gets the diagnostics, or why the configuration could not be tried."""


class Rehearsals:
    """Has no thread and no loop: the supervisor's selector says when the child has told something."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        """Try nothing yet."""
        self._selector = selector
        self._child: ChildTask[Sequence[Diagnostic]] | None = None
        self._heed: Heed = lambda _found, _problem: None

    @property
    def busy(self) -> bool:
        """Whether a configuration is being tried."""
        return self._child is not None

    @property
    def deadline(self) -> float:
        """When the child is killed; infinite without one."""
        return self._child.deadline if self._child is not None else math.inf

    def begin(self, work: Work, heed: Heed, leave: Sequence[Any]) -> None:
        """Fork a child that tries a configuration. `heed` is called once, possibly immediately."""
        try:
            child = ChildTask(work, REHEARSAL_SECONDS, leave=leave)
        except OSError as error:
            heed((), f"cannot fork a process to try the configuration: {error.strerror}")
            return
        self._child, self._heed = child, heed
        self._selector.register(child, selectors.EVENT_READ, self._hear)

    def kill(self) -> None:
        """End the child, without a report."""
        if self._child is not None:
            self._selector.unregister(self._child)
            self._child.kill()
            self._child = None

    def look(self) -> None:
        """End a rehearsal that takes too long."""
        child = self._child
        if child is not None and time.monotonic() >= child.deadline:
            self._end(child)
            self._heed((), f"the configuration could not be tried: {child.overdue()}")

    def _hear(self) -> None:
        child = self._child
        if child is None or not child.read():
            return
        self._end(child)
        try:
            found = child.answer()
        except Failed as failed:
            self._heed((), f"the configuration could not be tried: {failed}")
        else:
            self._heed(found, "")

    def _end(self, child: ChildTask[Sequence[Diagnostic]]) -> None:
        self._selector.unregister(child)
        self._child = None
