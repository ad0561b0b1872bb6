"""`ringback serve`, `ringback check` and `ringback demo`."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from config.diagnostics import NOT_ENFORCED, Diagnostic, has_errors
from config.overlay import Change
from config.tools.report import as_records
from proxy.app import compiled, load, rehearsed, rehearsed_again, tried
from proxy.base import log
from proxy.base.apart import Tell
from proxy.base.rejected import ConfigurationRejected
from proxy.callback.classify import shipped
from proxy.cli import exits
from proxy.cli.grammar.tree import Prints
from proxy.cli.outputs import DiagnosticRecord
from proxy.demo import run as run_demonstration
from proxy.server.alone import Alone
from proxy.server.assembly import Assembly
from proxy.server.complaints import log_warnings
from proxy.server.controlling import be_control, observing
from proxy.server.forked import be_worker
from proxy.server.keeping import be_keeper
from proxy.server.logs import open_log
from proxy.server.orders import RESERVED_SIGNALS
from proxy.server.sockets import CannotListen
from proxy.server.supervisor import Supervisor

ConfigurationFile = Annotated[
    Path, typer.Option("--config", "-c", help="The ecelerity.conf to run.", show_default=False)
]


@dataclass(frozen=True, slots=True)
class ConfigurationIn:
    """The configuration file, which the supervisor loads at the start and at each SIGHUP."""

    path: Path

    def rehearsed(self, tell: Tell) -> tuple[Diagnostic, ...]:
        """Build everything that serves, and return what is wrong."""
        return rehearsed(self.path, tell)

    def rehearsed_again(self, assembly: Assembly, changes: Sequence[Change], tell: Tell) -> tuple[Diagnostic, ...]:
        """Build everything that would serve with settings of the console, and return what is wrong."""
        return rehearsed_again(assembly, tuple(changes), tell)

    def compiled(self) -> tuple[Assembly, tuple[Diagnostic, ...]]:
        """Parse and compile. Raises ConfigurationRejected."""
        return compiled(self.path)

    def tried(self) -> tuple[Diagnostic, ...]:
        """Rehearse in a child, and return all errors and warnings. A child that hangs is an error."""
        return tried(self.path)


def serve(config_file: ConfigurationFile) -> None:
    """Serve until SIGTERM or SIGINT. SIGHUP reloads the configuration."""
    exits.open_streams()
    for number in RESERVED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    shipped()  # compiled once, here: it takes a fifth of a second, and each process that is forked inherits it
    configuration = ConfigurationIn(config_file)
    diagnostics = configuration.tried()
    if has_errors(diagnostics):
        exits.show(diagnostics)
        raise typer.Exit(exits.CONFIGURATION)
    try:
        assembly, _ = configuration.compiled()
        open_log(assembly.core, threaded=False)
        log_warnings(diagnostics)
        raise typer.Exit(Supervisor(assembly, configuration, be_worker, be_keeper, be_control).run())
    except ConfigurationRejected as rejected:  # it has changed since
        exits.show(rejected.diagnostics)
        raise typer.Exit(exits.CONFIGURATION) from None
    except CannotListen as error:
        log.get_logger().error("cannot_listen", reason=str(error))
        raise typer.Exit(exits.UNAVAILABLE) from None


def check(
    config_file: Annotated[Path, typer.Argument(help="The ecelerity.conf to check.", show_default=False)],
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the diagnostics as JSON, for editors."), Prints(list[DiagnosticRecord])
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Also exit 78 if Momentum would enforce something that Ringback does not.")
    ] = False,
) -> None:
    """Build everything that `serve` would, print every error, and exit 78 if there is one. Writes nothing."""
    diagnostics = ConfigurationIn(config_file).tried()
    if as_json:
        exits.say(json.dumps(as_records(diagnostics), indent=2))
    else:
        exits.show(diagnostics)
    erroneous = has_errors(diagnostics)
    wrong = erroneous or (strict and any(diagnostic.code == NOT_ENFORCED for diagnostic in diagnostics))
    if not as_json and not erroneous:
        exits.say(f"{config_file}: no errors")
    denied = any(os.strerror(errno.EACCES) in diagnostic.message for diagnostic in diagnostics)
    if not as_json and (denied or not wrong):
        exits.say(f"checked as {exits.user()}", err=True)  # another user may be allowed less, or more
    if wrong:
        raise typer.Exit(exits.CONFIGURATION)


def alone(path: Path) -> Alone:
    """Load a configuration into a worker that observes itself.

    Raises:
        ConfigurationRejected: with every error found.
    """
    return Alone(load(path)[0], observing)


def demo(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Exit after the samples, with status 0 if all went as expected.")
    ] = False,
) -> None:
    """Show Ringback at work with demo servers on loopback."""
    raise typer.Exit(run_demonstration(alone, once=once))
