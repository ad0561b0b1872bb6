"""The commands by subject. Each file has a function that returns its commands."""

from __future__ import annotations

from proxy.console.commands import (
    callbacks,
    checks,
    configuration,
    counting,
    datasources,
    explaining,
    greylists,
    helping,
    lists,
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
from proxy.console.running import Running
from proxy.console.served import Served


def all_commands(served: Served, running: Running | None = None) -> Commands:
    """Return the table of all commands. Without a supervisor to ask, there is no `running` configuration to change."""
    made = Commands([])
    for room in (
        service,
        status,
        summary,
        sessions,
        upstreams,
        callbacks,
        counting,
        greylists,
        lists,
        datasources,
        checks,
        scripts,
        outbox,
        log,
        live,
        explaining,
    ):
        made.add(*room.commands(served))
    if running is not None:
        made.add(*configuration.commands(running))
    made.add(*helping.commands(made))
    return made
