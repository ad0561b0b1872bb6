"""Where the mistakes of one load are gathered: in order, each once, and no more than anyone would read."""

from __future__ import annotations

from collections.abc import Iterator

from config.diagnostics import Diagnostic

MOST_ERRORS = 100
"""Errors after which a file is read no further: what comes then is noise, or an attack on whoever reads it."""


class Findings:
    """The diagnostics of one load, errors capped at `MOST_ERRORS`."""

    def __init__(self) -> None:
        """Begin with nothing found."""
        self._found: dict[tuple[str, int, int], Diagnostic] = {}
        self.errors = 0
        self._ended = False

    def end(self) -> None:
        """Take no more: what follows the last mistake cannot be understood, so it would only be blamed for it."""
        self._ended = True

    def add(self, diagnostic: Diagnostic) -> None:
        """Keep a diagnostic, unless the same was found at the same place before."""
        span = diagnostic.span
        key = (diagnostic.message, -1 if span is None else id(span.source), -1 if span is None else span.start)
        if self._ended or key in self._found or (diagnostic.is_error and self.full):
            return
        self._found[key] = diagnostic
        self.errors += diagnostic.is_error

    @property
    def full(self) -> bool:
        """Whether there are as many errors as are kept."""
        return self.errors >= MOST_ERRORS

    def __iter__(self) -> Iterator[Diagnostic]:
        """Iterate in the order of finding."""
        return iter(self._found.values())
