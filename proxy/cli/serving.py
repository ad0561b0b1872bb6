"""`ringback serve`, `ringback check` and `ringback demo`."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from config.diagnostics import has_errors
from config.report import as_records
from proxy import log
from proxy.app import ConfigurationRejected, load
from proxy.cli import exits
from proxy.sockets import CannotListen
from proxy.tasks import TaskOwner, spawn
from proxy.worker import Assembly, Worker

ConfigurationFile = Annotated[
    Path, typer.Option("--config", "-c", help="The ecelerity.conf to run.", show_default=False)
]


def _loaded(path: Path) -> Assembly:
    """Load a configuration and print its warnings, or print its mistakes and exit 78."""
    try:
        assembly, warnings = load(path)
    except ConfigurationRejected as rejected:
        exits.show(rejected.diagnostics)
        raise typer.Exit(exits.CONFIGURATION) from None
    exits.show(warnings)
    return assembly


def serve(config_file: ConfigurationFile) -> None:
    """Serve a configuration until SIGTERM or SIGINT."""
    assembly = _loaded(config_file)
    log.configure()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_stopped(Worker(assembly)))
    except CannotListen as error:
        log.get_logger().error("cannot_listen", reason=str(error))
        raise typer.Exit(exits.UNAVAILABLE) from None


async def _until_stopped(worker: Worker) -> None:
    """Serve until a signal; a second one cuts the sessions that still finish."""
    signals: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, None)
    await worker.start()
    await signals.get()
    owner = TaskOwner("serve")
    draining = spawn(worker.stop(), name="drain", owner=owner)
    second = spawn(signals.get(), name="second signal", owner=owner)
    await asyncio.wait((draining, second), return_when=asyncio.FIRST_COMPLETED)
    if not draining.done():
        await worker.stop(now=True)
    second.cancel()
    await draining


def check(
    config_file: Annotated[Path, typer.Argument(help="The ecelerity.conf to check.", show_default=False)],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the diagnostics as JSON, for editors.")] = False,
) -> None:
    """Load a configuration and compile its scripts, print every mistake, and exit 78 if there is one."""
    if not as_json:
        _loaded(config_file)
        typer.echo(f"{config_file}: no errors")
        return
    try:
        _, found = load(config_file)
    except ConfigurationRejected as rejected:
        found = rejected.diagnostics
    typer.echo(json.dumps(as_records(found), indent=2))
    if has_errors(found):
        raise typer.Exit(exits.CONFIGURATION)


def demo(
    *, once: Annotated[bool, typer.Option("--once", help="Exit after the samples; status 0 if they went well.")] = False
) -> None:
    """Show Ringback at work in a small world of its own on loopback."""
    from proxy import demo as world  # noqa: PLC0415 — it needs a DNS library that a server does without

    raise typer.Exit(world.run(once=once))
