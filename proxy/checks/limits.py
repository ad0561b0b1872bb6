"""Checks of limits: the time limits of a listener must not all be 0, and limits that used to apply per worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from config.diagnostics import Diagnostic, Severity
from config.settings import Settings
from proxy.checks.places import everywhere, in_force
from proxy.options.core import CoreOptions

_TIMES = ("idle_time", "session_time", "data_timeout", "min_data_rate")

_SHARED = (
    "connection_rate_per_client", "message_rate_per_client", "recipient_rate_per_client", "tls_rate_per_client",
    "authentication_failure_rate", "max_connections_per_client", "listener_sessions", "service_sessions",
    "max_outbound_connections",
)  # fmt: skip
"""What all workers count together."""


def endless(settings: Settings) -> Iterator[Diagnostic]:
    """Yield scopes whose sessions or messages may never end. Binding has already checked the global scope."""
    for reason in sorted({options.endless for options in in_force(settings)} - {""}):
        zeros = [each.origin for name in _TIMES for each in everywhere(settings, name) if not each.value]
        yield Diagnostic(reason, zeros[-1] if zeros else None)


def shared(settings: Settings) -> Iterator[Diagnostic]:
    """Yield the limits that sites with several workers may have divided by their number, as they once had to."""
    workers = cast(CoreOptions, settings.core).processes
    if workers == 1:
        return
    for name in _SHARED:
        for each in everywhere(settings, name):
            value = getattr(each.value, "count", each.value)
            if value:
                yield Diagnostic(
                    f"{_spelled(name)} holds for all {workers} workers together; in older versions, each had its own",
                    each.origin,
                    hint=f"if you divided the limit by the number of workers, multiply it by {workers} again",
                    severity=Severity.WARNING,
                )


def _spelled(name: str) -> str:
    """Return an option's name as people write it: Max_Connections_Per_Client."""
    return "_".join(word.capitalize() for word in name.split("_"))
