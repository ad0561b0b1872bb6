"""`ringback config`: query, format and convert a configuration; `config init` is in `beginning`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from config.base.sources import read_source
from config.language.errors import cannot_read
from config.language.formatter import Unformattable, format_text
from config.loader import load as load_configuration
from config.settings import Settings
from config.tools.converter import convert
from config.tools.questions import Unanswerable, evaluate, look_up
from config.tools.show import show as listing
from config.tools.show import show_json
from proxy.app import SCHEMA
from proxy.cli import exits
from proxy.cli.grammar.tree import Prints
from proxy.cli.outputs import SettingsRecord

application = typer.Typer(help="Write a first ecelerity.conf; query, format and convert one.", no_args_is_help=True)

DEFAULT_FILE = Path("/etc/ringback/ecelerity.conf")

ConfigurationFile = Annotated[Path, typer.Option("--config", "-c", help="The ecelerity.conf to query.")]
FileArgument = Annotated[Path, typer.Argument(help="The file; it is only read.", show_default=False)]
Words = Annotated[
    list[str], typer.Argument(help="A scope and an option: `domain example.com gateway`.", show_default=False)
]


def _settings(path: Path) -> Settings:
    """Load without compiling scripts, or print the errors and exit 78."""
    loaded = load_configuration(path, SCHEMA)
    if loaded.settings is None:
        exits.show(loaded.diagnostics)
        raise typer.Exit(exits.CONFIGURATION)
    return loaded.settings


@application.command("eval")
def evaluate_option(words: Words, config_file: ConfigurationFile = DEFAULT_FILE) -> None:
    """Print the effective value, after fallback between scopes, and its origin."""
    settings = _settings(config_file)
    try:
        exits.say(evaluate(settings, words))
    except Unanswerable as wrong:
        exits.say(str(wrong), err=True)
        raise typer.Exit(exits.USAGE) from None


@application.command("get")
def get_option(words: Words, config_file: ConfigurationFile = DEFAULT_FILE) -> None:
    """Print the value that the named scope sets itself. Exit 1 if it sets none."""
    settings = _settings(config_file)
    try:
        answer = look_up(settings, words)
    except Unanswerable as wrong:
        exits.say(str(wrong), err=True)
        raise typer.Exit(exits.USAGE) from None
    if answer is None:
        exits.say("not set in this scope; `config eval` follows the fallback", err=True)
        raise typer.Exit(1)
    exits.say(answer)


@application.command("show")
def show(
    config_file: ConfigurationFile = DEFAULT_FILE,
    *,
    origin: Annotated[bool, typer.Option("--origin", help="Show where each value was set.")] = False,
    defaults: Annotated[bool, typer.Option("--defaults", help="Also show default values.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON."), Prints(SettingsRecord)] = False,
) -> None:
    """Print the configuration as Ringback reads it."""
    settings = _settings(config_file)
    if as_json:
        exits.say(json.dumps(show_json(settings, origins=origin, defaults=defaults), indent=2))
    else:
        exits.pour(listing(settings, origins=origin, defaults=defaults))


def _text(path: Path) -> str:
    try:
        return read_source(path).text
    except OSError as error:
        exits.show([cannot_read(str(path), error.strerror or str(error), None)])
        raise typer.Exit(exits.CONFIGURATION) from None


@application.command("format")
def format_file(path: FileArgument) -> None:
    """Print a file in the canonical layout, with all comments."""
    try:
        exits.pour(format_text(_text(path), str(path)))
    except Unformattable as wrong:
        exits.show(wrong.diagnostics)
        raise typer.Exit(exits.CONFIGURATION) from None


@application.command("convert")
def convert_file(
    path: FileArgument, to: Annotated[str, typer.Option("--to", help="The dialect to write: 4x.")] = "4x"
) -> None:
    """Convert a 2.2 file: write its module lines and listeners as 3.x/4.x stanzas. The settings stay the same."""
    try:
        converted = convert(_text(path), to, name=str(path), schema=SCHEMA)
        exits.show(converted.diagnostics)
        exits.pour(converted.text)
    except Unformattable as wrong:
        exits.show(wrong.diagnostics)
        raise typer.Exit(exits.CONFIGURATION) from None
    except ValueError as wrong:
        exits.say(str(wrong), err=True)
        raise typer.Exit(exits.USAGE) from None
