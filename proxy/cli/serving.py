"""`ringback serve`, `ringback check` and `ringback demo`."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from config.diagnostics import has_errors, render
from config.report import as_records
from proxy import log
from proxy.app import ConfigurationRejected, load
from proxy.cli import exits
from proxy.sockets import CannotListen, raise_descriptor_limit
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
    """Serve a configuration until SIGTERM or SIGINT; SIGHUP loads it again."""
    assembly = _loaded(config_file)
    log.configure()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Service(config_file, Worker(assembly)).run())
    except CannotListen as error:
        log.get_logger().error("cannot_listen", reason=str(error))
        raise typer.Exit(exits.UNAVAILABLE) from None


class Service:
    """A worker and the signals that end or replace it. Its state is the worker that takes new clients."""

    def __init__(self, config_file: Path, worker: Worker) -> None:
        """Take the worker to begin with."""
        self._config_file, self._worker = config_file, worker
        self._owner = TaskOwner("service")
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()

    async def run(self) -> None:
        """Serve until a signal ends it; a second one cuts the sessions that still finish."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        most = raise_descriptor_limit()
        await self._worker.start()
        wanted = self._worker.descriptors_wanted
        if wanted > most:
            log.get_logger().warning("open_files", limit=most, wanted=wanted)
        else:
            log.get_logger().info("open_files", limit=most, wanted=wanted)
        while await self._signals.get() is signal.SIGHUP:
            await self._reload()
        draining = spawn(self._worker.stop(), name="drain", owner=self._owner)
        second = spawn(self._signals.get(), name="second signal", owner=self._owner)
        await asyncio.wait((draining, second), return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            await self._worker.stop(now=True)
        second.cancel()
        await draining
        await self._owner.cancel()

    async def _reload(self) -> None:
        """Load the configuration again and let a new worker take over; with any mistake in it, the old one goes on."""
        try:
            assembly, warnings = await asyncio.to_thread(load, self._config_file)
            successor = Worker(assembly)
            await successor.start(self._worker.sockets)
        except ConfigurationRejected as rejected:
            log.get_logger().error("reload_rejected", diagnostics=render(rejected.diagnostics))
            return
        except CannotListen as error:
            log.get_logger().error("reload_rejected", diagnostics=str(error))
            return
        log.get_logger().info("reloaded", warnings=len(warnings))
        replaced, self._worker = self._worker, successor
        spawn(replaced.stop(reloaded=True), name="drain", owner=self._owner)


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
