"""Collect the errors of one load: in order, each once, up to a limit."""

from __future__ import annotations

from collections.abc import Iterator

from config.diagnostics import Diagnostic

MOST_ERRORS = 100
"""Stop reading a file after this many errors: the rest is noise or an attack."""


class Findings:
    """The diagnostics of one load, errors capped at `MOST_ERRORS`."""

    def __init__(self) -> None:
        """Begin with nothing found."""
        self._found: dict[tuple[str, int, int], Diagnostic] = {}
        self.errors = 0
        self._ended = False

    def end(self) -> None:
        """Accept no more: what follows the last error is not understood, so more errors would be wrong."""
        self._ended = True

    def add(self, diagnostic: Diagnostic) -> None:
        """Keep a diagnostic, unless it was already found at the same place."""
        span = diagnostic.span
        key = (diagnostic.message, -1 if span is None else id(span.source), -1 if span is None else span.start)
        if self._ended or key in self._found or (diagnostic.is_error and self.full):
            return
        self._found[key] = diagnostic
        self.errors += diagnostic.is_error

    @property
    def full(self) -> bool:
        """Whether the limit of errors is reached."""
        return self.errors >= MOST_ERRORS

    def __iter__(self) -> Iterator[Diagnostic]:
        """Iterate in the order of finding."""
        return iter(self._found.values())
