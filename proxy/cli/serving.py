"""`ringback serve`, `ringback check` and `ringback demo`."""

from __future__ import annotations

import asyncio
import json
import signal
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from config.diagnostics import has_errors, render
from config.report import as_records
from proxy import log
from proxy.app import ConfigurationRejected, load
from proxy.cli import exits
from proxy.garbage import collect_seldom, include_the_start
from proxy.notify import READY, STOPPING, notify, reloading
from proxy.sockets import CannotListen, raise_descriptor_limit
from proxy.supervisor import Reload, Supervisor
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
    several = assembly.core.processes > 1
    log.configure(threaded=not several)
    reload = partial(_reloaded, config_file)
    try:
        if several:
            raise typer.Exit(Supervisor(assembly, reload).run())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Service(Worker(assembly), reload).run())
    except CannotListen as error:
        log.get_logger().error("cannot_listen", reason=str(error))
        raise typer.Exit(exits.UNAVAILABLE) from None


def _reloaded(path: Path) -> tuple[Assembly, int] | None:
    """Load the configuration again; return it with the number of its warnings, or log its mistakes."""
    try:
        assembly, warnings = load(path)
    except ConfigurationRejected as rejected:
        log.get_logger().error("reload_rejected", diagnostics=render(rejected.diagnostics))
        return None
    except Exception as error:  # noqa: BLE001 — a fault of ours in loading must not end a server that serves
        log.get_logger().error("reload_rejected", diagnostics="", exc_info=error)
        return None
    return assembly, len(warnings)


class Service:
    """A worker that is the whole server, and the signals that end or replace it.

    Its state is the worker that takes new clients.
    """

    def __init__(self, worker: Worker, reload: Reload) -> None:
        """Take the worker to begin with."""
        self._worker, self._reload = worker, reload
        self._owner = TaskOwner("service")
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()

    async def run(self) -> None:
        """Serve until a signal ends it; a second one cuts the sessions that still finish."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        most = raise_descriptor_limit()
        await self._worker.start()
        self._worker.compare_open_files(most)
        collect_seldom(asyncio.get_running_loop())
        notify(READY)
        while await self._signals.get() is signal.SIGHUP:
            notify(reloading())
            await self._take_over()
            notify(READY)
        notify(STOPPING)
        await self._worker.finish(self._signals.get())
        await self._owner.cancel()

    async def _take_over(self) -> None:
        """Load the configuration again and let a new worker take over; with any mistake in it, the old one goes on."""
        loaded = await asyncio.to_thread(self._reload)
        if loaded is None:
            return
        assembly, warnings = loaded
        if (wanted := assembly.core.processes) > 1:
            log.get_logger().warning("restart_needed", option="Workers", wanted=wanted)
        successor = Worker(assembly)
        try:
            await successor.start(self._worker.sockets)
        except CannotListen as error:
            log.get_logger().error("reload_rejected", diagnostics=str(error))
            return
        log.get_logger().info("reloaded", warnings=warnings)
        include_the_start()
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
