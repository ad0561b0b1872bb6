"""What the benchmarks share at their end: print the result, and write it into the page unless ROUNDS is given."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

import uvloop

from bench import history, report


class Finding(Protocol):
    """What was measured."""

    @property
    def figures(self) -> Mapping[str, float]:
        """What the history of benchmarks keeps."""
        ...

    def missed(self) -> list[str]:
        """Return the bars that were missed."""
        ...

    def section(self) -> str:
        """Return the page's table."""
        ...


def conclude(name: str, measure: Callable[[int], Coroutine[Any, Any, Finding]], rounds: int) -> None:
    """Measure and print; write the page's section of this name, unless the command line has other rounds.

    The exit status is 1 if a bar was missed.
    """
    whole = len(sys.argv) == 1
    found = uvloop.run(measure(rounds if whole else int(sys.argv[1])))
    print(found.section())
    if whole:
        report.write(name, found.section())
        history.note(found.figures)
        history.record()
    missed = found.missed()
    print("missed: " + ", ".join(missed) if missed else "all bars are met")
    sys.exit(bool(missed))
