"""`ringback status` asks the running server whether it is ready, and `ringback page` for a link to its page."""

from __future__ import annotations

import errno
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from proxy.app import SCHEMA
from proxy.base.log import silence
from proxy.cli import exits
from proxy.cli.grammar.tree import Prints
from proxy.cli.located import state_directory
from proxy.cli.outputs import PageRecord, StatusRecord
from proxy.console.client import Client, Failed, NotAllowed
from proxy.console.commands.status import lines
from proxy.console.places import NAME, places
from proxy.page.errors import no_role
from proxy.page.routes import Role

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
    silence()
    answer = _answered(places(_state_directory(config_file)), "status")
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


def page(
    config_file: Annotated[Path, typer.Option("--config", "-c", help="The server's ecelerity.conf.")] = Path(
        "/etc/ringback/ecelerity.conf"
    ),
    *,
    role: Annotated[
        str,
        typer.Option(help="What it shows: `read` (numbers), `read_mail` (also addresses and dialogues), `operate`."),
    ] = Role.READ_MAIL.word,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object."), Prints(PageRecord)] = False,
) -> None:
    """Print a link to the page that shows what the server does. It works once, within ten minutes."""
    silence()
    if Role.called(role) is None:
        exits.say(no_role(role), err=True)
        raise typer.Exit(exits.USAGE)
    answer = _answered(places(_state_directory(config_file)), f"page {role}")
    if isinstance(answer, str):
        exits.say(answer, err=True)
        raise typer.Exit(exits.UNAVAILABLE)
    exits.say(json.dumps(answer) if as_json else answer["link"])


def _state_directory(config_file: Path) -> Path:
    """Return the folder that a configuration names."""
    folder, unreadable = state_directory(config_file, SCHEMA)
    if unreadable:
        exits.show(unreadable)
        raise typer.Exit(exits.CONFIGURATION)
    return folder


def _asked(folder: Path, command: str) -> dict[str, Any]:
    with Client([folder], patience=0) as client:  # `_answered` has it
        (answer,) = client.ask(command, as_json=True)
    found: dict[str, Any] = answer
    return found


def _tried(folder: Path, command: str, reasons: dict[int, str]) -> dict[str, Any] | str | None:
    """Return the server's answer, or its reason for none; if none came, note why."""
    try:
        return _asked(folder, command)
    except Failed as failed:
        return str(failed)
    except NotAllowed as refused:
        reasons.setdefault(errno.EACCES, str(refused))
    except OSError as error:
        reasons.setdefault(error.errno or 0, f"{folder / NAME}: {error.strerror or 'no answer'}")
    except ValueError:
        reasons.setdefault(errno.ECONNREFUSED, f"{folder / NAME}: the answer was cut off")
    return None


def _answered(folders: list[Path], command: str) -> dict[str, Any] | str:
    """Return the server's answer, or why it has none. Wait for a control process that is being started again."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while True:
        reasons: dict[int, str] = {}
        for folder in folders:
            answer = _tried(folder, command, reasons)
            if answer is not None:
                return answer
        if errno.ECONNREFUSED not in reasons or time.monotonic() >= ends:
            break
        time.sleep(0.1)
    if errno.EACCES in reasons:
        return f"cannot ask the server: {reasons[errno.EACCES]}; run this as root or as the service's user"
    return f"Ringback does not run with this configuration: {next(iter(reasons.values()))}"
