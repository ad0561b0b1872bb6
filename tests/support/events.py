"""Whether events are what their declarations say: this process's as they are logged, and a log's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any

from proxy.base import log
from proxy.events.table import EVENTS


def problems_of(name: str, level: str, fields: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with an event."""
    event = EVENTS.get(name)
    return [f"{name} is not declared"] if event is None else list(event.problems(level, fields))


def undeclared(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what is wrong with the lines of a log; those that are not an event do not count."""
    return [
        problem
        for line in lines
        if line.get("event") not in {None, "unstructured"}
        for problem in problems_of(line["event"], line.get("level", ""), line)
    ]


def _is_the_projects(frame: FrameType) -> bool:
    return str(frame.f_globals["__name__"]).startswith("proxy.")


class Watch:
    """Looks at each event that the project's modules log in this process."""

    def __init__(self) -> None:
        """Begin to look."""
        self.problems: list[str] = []
        kind, watch = log._LogOfModule, self
        found = kind.__getattr__

        def method(self: Any, name: str) -> Callable[..., None]:
            write = found(self, name)
            if not _is_the_projects(sys._getframe(1)):
                return write
            vars(self).pop(name, None)  # it is looked up each time, so that each event passes here

            def watched_each(event: str, field: str, count: int, alike: log.Alike) -> None:
                write(event, field, count, watch.looking(event, field, alike))

            def watched(event: str, *, whole: log.Fields | None = None, observed: bool = True, **fields: Any) -> None:
                given = fields if whole is None else whole
                watch.problems.extend(problems_of(event, "error" if name == "exception" else name, given))
                write(event, observed=observed, **given)

            return watched_each if name == log.EACH else watched

        kind.__getattr__ = method  # type: ignore[method-assign]  # this is the one place that all events pass

    def looking(self, event: str, field: str, alike: log.Alike) -> log.Alike:
        """Look at several events when they are read, which the log's thread does."""
        for fields, text in alike:
            self.problems.extend(problems_of(event, "info", {**fields, field: text}))
            yield fields, text
