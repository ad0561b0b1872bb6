"""`ringback status`: asks the running server whether it is ready."""

from __future__ import annotations

import errno
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from proxy.app import compiled
from proxy.base import log
from proxy.base.rejected import ConfigurationRejected
from proxy.cli import exits
from proxy.cli.grammar.tree import Prints
from proxy.cli.outputs import StatusRecord
from proxy.console.client import Client, Failed, NotAllowed
from proxy.console.commands.status import lines
from proxy.console.places import NAME, places

OK, WARNING, CRITICAL = 0, 1, 2
"""As monitoring plugins have them."""

PATIENCE_SECONDS = 3.0
"""How long a control process may take to come back after its death."""


def status(
    config_file: Annotated[Path, typer.Option("--config", "-c", help="The server's ecelerity.conf.")] = Path(
        "/etc/ringback/ecelerity.conf"
    ),
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer of /readyz."), Prints(StatusRecord)] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 if a next hop or a store is down, or the last reload failed.")
    ] = False,
) -> None:
    """Ask the running server whether it is ready. Exit 0 if it is, 2 if it is not or does not run."""
    log.silence()
    answer = _answer(places(_state_directory(config_file)))
    if isinstance(answer, str):
        if as_json:
            exits.say(json.dumps({"ready": False, "problems": [answer]}))
        else:
            exits.say(answer, err=True)
        raise typer.Exit(CRITICAL)
    answer["ready"] = not answer["problems"] and not (strict and answer["doubts"])
    for line in [json.dumps(answer)] if as_json else lines(answer):
        exits.say(line)
    if answer["problems"]:
        raise typer.Exit(CRITICAL)
    raise typer.Exit(OK if answer["ready"] else WARNING)


def _state_directory(config_file: Path) -> Path:
    """Return the folder that a configuration names."""
    try:
        return compiled(config_file)[0].core.state_directory
    except ConfigurationRejected as rejected:
        exits.show(rejected.diagnostics)
        raise typer.Exit(exits.CONFIGURATION) from None


def _asked(folder: Path) -> dict[str, Any]:
    with Client([folder]) as client:
        (answer,) = client.ask("status", as_json=True)
    found: dict[str, Any] = answer
    return found


def _answer(folders: list[Path]) -> dict[str, Any] | str:
    """Return the server's answer, or why there is none. Wait for a control process that is being started again."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while True:
        reasons: dict[int, str] = {}
        for folder in folders:
            try:
                return _asked(folder)
            except NotAllowed as refused:
                reasons.setdefault(errno.EACCES, str(refused))
            except OSError as error:
                reasons.setdefault(error.errno or 0, f"{folder / NAME}: {error.strerror or 'no answer'}")
            except (ValueError, Failed):
                reasons.setdefault(errno.ECONNREFUSED, f"{folder / NAME}: the answer was cut off")
        if errno.ECONNREFUSED not in reasons or time.monotonic() >= ends:
            break
        time.sleep(0.1)
    if errno.EACCES in reasons:
        return f"cannot ask the server: {reasons[errno.EACCES]}; run this as root or as the service's user"
    return f"Ringback does not run with this configuration: {next(iter(reasons.values()))}"
