"""Checks that every session and message ends: the time limits of a listener must not all be 0."""

from __future__ import annotations

from collections.abc import Iterator

from config.diagnostics import Diagnostic
from config.settings import Settings
from proxy.checks.places import everywhere, in_force

_TIMES = ("idle_time", "session_time", "data_timeout", "min_data_rate")


def endless(settings: Settings) -> Iterator[Diagnostic]:
    """Yield scopes whose sessions or messages may never end. Binding has already checked the global scope."""
    for reason in sorted({options.endless for options in in_force(settings)} - {""}):
        zeros = [each.origin for name in _TIMES for each in everywhere(settings, name) if not each.value]
        yield Diagnostic(reason, zeros[-1] if zeros else None)
