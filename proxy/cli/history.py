"""`ringback why` and `ringback history`: what happened to a message, a client or a session, from the history's files.

They read the files, so the server need not run. Addresses in them are personal data: `forget` and `export` are for a
person who asks.
"""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from proxy.app import load
from proxy.base.log import silence
from proxy.cli import exits
from proxy.cli.grammar.tree import Prints
from proxy.cli.outputs import WhyRecord
from proxy.cli.stanza import configured
from proxy.cli.transcript import shown
from proxy.history import persons, story
from proxy.history.addresses import Addresses
from proxy.history.files import moment
from proxy.history.search import Found, search
from proxy.history.settings import HistorySettings
from proxy.history.subjects import is_nobody

DEFAULT_FILE = Path("/etc/ringback/ecelerity.conf")

application = typer.Typer(help="Export or remove what the history has about an address.", no_args_is_help=True)

ConfigurationFile = Annotated[
    Path, typer.Option("--config", "-c", help="The server's ecelerity.conf; it names State_Directory.")
]
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="The person's address.", show_default=False)]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def why(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="SUBJECT", help="An address, a session, a Message-ID, a queue id or a client.", show_default=False
        ),
    ],
    config_file: ConfigurationFile = DEFAULT_FILE,
    *,
    since: Annotated[str, typer.Option(help="Only events of this last period, such as 30m, 2h or 3d.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object."), Prints(WhyRecord)] = False,
) -> None:
    """Show what happened to mail, and what decided it. Exit 1 if the history has nothing about it.

    It also works if the server is down.
    """
    settings = _settings(config_file)
    earliest = time.time() - _seconds(since) if since else 0.0
    if is_nobody(subject):
        _say_nobody(subject, "ask about the recipient, the client or the session")
    found = _searched(settings, subject, earliest)
    if as_json:
        exits.say(json.dumps(_as_json(subject, found)))
    else:
        _print(subject, found, settings, since)
    if not found.stories:
        raise typer.Exit(1)


@application.command("export")
def export(address: Address, config_file: ConfigurationFile = DEFAULT_FILE) -> None:
    """Print everything that the history has about an address, as JSON lines. Exit 1 if there is nothing."""
    _need_somebody(address)
    settings = _settings(config_file)
    rows = 0
    try:
        for row in persons.rows_about(settings.folder, address, _addresses(settings)):
            exits.say(json.dumps(row))
            rows += 1
    except OSError as error:
        _unavailable(str(error))
    if not rows:
        raise typer.Exit(1)


@application.command("forget")
def forget(address: Address, config_file: ConfigurationFile = DEFAULT_FILE) -> None:
    """Remove everything that the history has about an address. The server can keep running."""
    _need_somebody(address)
    settings = _settings(config_file)
    try:
        rows = persons.forget(settings.folder, address, _addresses(settings))
    except (OSError, sqlite3.Error) as error:
        _unavailable(str(error))
    exits.say(f"{rows} row{'' if rows == 1 else 's'} removed or changed")


def _need_somebody(address: str) -> None:
    if is_nobody(address):
        _say_nobody(address, "write a person's address")


# ---------------------------------------------------------------- the configuration


def _settings(config_file: Path) -> HistorySettings:
    options, core = configured(config_file, load)
    silence()
    return HistorySettings.of(core, options.store_secret)


def _addresses(settings: HistorySettings) -> Addresses:
    try:
        return settings.addresses()
    except FileNotFoundError:
        return Addresses()  # nothing was ever kept in this way
    except OSError as error:
        _unavailable(str(error))


def _seconds(text: str) -> float:
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isascii() or not number.isdigit():
        exits.say(f"--since {shown(text)}: write a number and s, m, h or d, such as 2h", err=True)
        raise typer.Exit(exits.USAGE)
    return float(number) * _UNITS[unit]


def _say_nobody(subject: str, instead: str) -> NoReturn:
    exits.say(f'"{shown(subject)}" is no single sender: all bounces have the sender <>; {instead}', err=True)
    raise typer.Exit(exits.USAGE)


def _searched(settings: HistorySettings, subject: str, earliest: float) -> Found:
    try:
        return search(settings.folder, subject, _addresses(settings), since=earliest)
    except OSError as error:
        _unavailable(f"{settings.folder}: {error.strerror}")


def _unavailable(why: str) -> NoReturn:
    exits.say(shown(why), err=True)
    raise typer.Exit(exits.UNAVAILABLE)


# ---------------------------------------------------------------- output


def _print(subject: str, found: Found, settings: HistorySettings, since: str) -> None:
    if found.more:
        exits.say("There is more than is shown: older sessions are left out. Use --since, or ask about one session.")
        exits.say("")
    for each in found.stories:
        for line in story.told(each):
            exits.say(shown(line))
        exits.say("")
    if not found.stories:
        exits.say(f"{shown(subject)}: nothing is known", err=True)
        _print_where(found, settings, since)
    for line in story.gaps_told(found.gaps):
        exits.say(shown(line), err=True)
    for path, reason in found.unreadable:
        exits.say(shown(f"{path} cannot be read: {reason}"), err=True)


def _print_where(found: Found, settings: HistorySettings, since: str) -> None:
    """Say in which files it was looked for, and what the history can have."""
    for each in found.files:
        exits.say(shown(f"looked in {each.path} (until {moment(int(each.ends * 1000))} UTC)"), err=True)
    for path in found.other_key:
        exits.say(shown(f"{path}: its addresses were hashed with another key, so none can be found"), err=True)
    if not found.files:
        exits.say(shown(f"{settings.folder} has no history{'' if settings.on else ': it is off'}"), err=True)
    kept = f"{settings.retention / 86400:g} days" if settings.retention else "no limit"
    exits.say(f"History_Retention: {kept}{f'; --since {since}' if since else ''}", err=True)


def _as_json(subject: str, found: Found) -> dict[str, object]:
    return {
        "subject": subject,
        "stories": [
            {"file": str(each.file), "session": each.session, "events": list(each.items)} for each in found.stories
        ],
        "more": found.more,
        "looked_in": [str(each.path) for each in found.files],
        "gaps": found.gaps,
        "unreadable": [{"file": str(path), "reason": reason} for path, reason in found.unreadable],
    }
