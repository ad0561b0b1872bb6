"""The commands by subject. Each file has a function that returns its commands."""

from __future__ import annotations

from proxy.console.commands import (
    callbacks,
    helping,
    live,
    log,
    outbox,
    scripts,
    service,
    sessions,
    status,
    summary,
    upstreams,
)
from proxy.console.registry import Commands
from proxy.console.served import Served


def all_commands(served: Served) -> Commands:
    """Return the table of all commands."""
    made = Commands([])
    for room in (service, status, summary, sessions, upstreams, callbacks, scripts, outbox, log, live):
        made.add(*room.commands(served))
    made.add(*helping.commands(made))
    return made
