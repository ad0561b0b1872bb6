"""`ringback sieve`: check, run, format and explain scripts without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from config.base.sources import read_source
from config.diagnostics import Source
from proxy.app import MODULES, library, load
from proxy.base.log import silence
from proxy.cli import exits
from proxy.cli.circumstances import HELO, Circumstances, Facts, configured, unconfigured
from proxy.cli.given import check_address, check_ip, content_of
from proxy.cli.grammar.tree import Prints
from proxy.cli.outputs import SieveOutcome
from proxy.cli.stanza import loaded
from proxy.cli.trial import Callback, TrialHost, trial_session
from proxy.mail.message import Message
from proxy.mail.session import Session
from sieve.compile.compiler import compile_script
from sieve.compile.inclusions import failing_inclusions
from sieve.compile.tracing import Seen, TraceEvent
from sieve.dialects import DIALECTS, dialect_of
from sieve.phases import CONTENT_PHASES, Phase
from sieve.reference import explain
from sieve.rfc5228.library import standard_sieve
from sieve.run.cache import ScriptCache
from sieve.run.runtime import Outcome, Script
from sieve.syntax.formatting import format_text

application = typer.Typer(help="Check, run, format and explain scripts.", no_args_is_help=True)


class Dialect(StrEnum):
    """The languages of scripts."""

    SIEVE_PLUS_PLUS = "sieve++"
    STANDARD = "rfc5228"
    AUTO = "auto"


PhaseOption = Annotated[Phase, typer.Option("--phase", help="The phase that the script is hooked into.")]
DialectOption = Annotated[
    Dialect,
    typer.Option("--dialect", help="The script's language; with `auto`, files that end in .sieve are standard Sieve."),
]
HeaderOption = Annotated[
    str, typer.Option("--fileinto-header", help="The field in which `fileinto` puts the mailbox, as in the stanza.")
]
ScriptArgument = Annotated[Path, typer.Argument(help="The script.", show_default=False)]

_PRESENT = frozenset(module.spec.type for module in MODULES)
"""Modules assumed to be loaded without a configuration."""


def _source(path: Path) -> Source:
    try:
        return read_source(path)
    except OSError as error:
        exits.say(f"{path}: {error.strerror}", err=True)
        raise typer.Exit(exits.NO_INPUT) from None


def _compiled(
    path: Path,
    phase: Phase,
    dialect: Dialect,
    around: Circumstances,
    *,
    traced: bool = False,
    fileinto_header: str = "",
) -> Script:
    """Compile a script and print its warnings, or print its errors and exit 65."""
    compiled = compile_script(
        _source(path),
        phase=phase,
        dialect=dialect_of(dialect.value, str(path)),
        library=library(),
        modules=around.present,
        settings=replace(around.script, fileinto_header=fileinto_header) if fileinto_header else around.script,
        includes=ScriptCache(),
        traced=traced,
    )
    exits.show(compiled.diagnostics)
    exits.show(tuple(failing_inclusions(compiled.draft)))
    if compiled.script is None:
        raise typer.Exit(exits.SCRIPT)
    return compiled.script


@application.command("check")
def check(
    script: ScriptArgument,
    phase: PhaseOption = Phase.MAILFROM,
    dialect: DialectOption = Dialect.SIEVE_PLUS_PLUS,
    fileinto_header: HeaderOption = "",
) -> None:
    """Compile a script for a phase, print every error, and exit 65 if there is one."""
    _compiled(script, phase, dialect, unconfigured(_PRESENT), fileinto_header=fileinto_header)
    exits.say(f"{script}: no errors")


@application.command("format")
def format_script(script: ScriptArgument, dialect: DialectOption = Dialect.SIEVE_PLUS_PLUS) -> None:
    """Print a script in the canonical layout, with all comments."""
    text, diagnostics = format_text(_source(script), DIALECTS[dialect_of(dialect.value, str(script))].parse)
    exits.show(diagnostics)
    if text is None:
        raise typer.Exit(exits.SCRIPT)
    exits.pour(text)


@application.command("explain")
def explain_function(
    name: Annotated[str, typer.Argument(help="A function.", show_default=False)],
    dialect: DialectOption = Dialect.SIEVE_PLUS_PLUS,
) -> None:
    """Print the manual entry of a function. With `--dialect auto`, Sieve++ is searched first, then standard Sieve."""
    entry = explain(name, library()) if dialect is not Dialect.STANDARD else None
    if entry is None and dialect is not Dialect.SIEVE_PLUS_PLUS:
        entry = explain(name, standard_sieve(), of_momentum=False)
    if entry is None:
        where = "standard Sieve" if dialect is Dialect.STANDARD else "Ringback or the manual"
        exits.say(f"{name}: no such function in {where}", err=True)
        raise typer.Exit(exits.USAGE)
    exits.pour(entry)


@application.command("run")
def run(
    script: ScriptArgument,
    phase: PhaseOption = Phase.MAILFROM,
    sender: Annotated[str, typer.Option("--from", help="MAIL FROM; empty is the null sender.")] = "",
    recipients: Annotated[list[str] | None, typer.Option("--rcpt", help="RCPT TO.")] = None,
    client_ip: Annotated[str, typer.Option("--client-ip", help="The client's address.")] = "192.0.2.1",
    helo: Annotated[str, typer.Option("--helo", help="The name that the client gives itself.")] = HELO,
    user: Annotated[str, typer.Option("--auth", metavar="USER", help="The user who has logged in.")] = "",
    config_file: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Use this configuration's options, as they apply to the client."),
    ] = None,
    listener: Annotated[
        str | None,
        typer.Option("--listener", metavar="ADDRESS:PORT", help="The listener with --config. Default: the first."),
    ] = None,
    message: Annotated[Path | None, typer.Option("--message", help="A file with the message.")] = None,
    callback: Annotated[
        Callback, typer.Option("--callback", help="What smtp_callback_verify answers; `real` asks the exchanger.")
    ] = Callback.PASS,
    dialect: DialectOption = Dialect.SIEVE_PLUS_PLUS,
    fileinto_header: HeaderOption = "",
    *,
    tls: Annotated[bool, typer.Option("--tls", help="The session is encrypted.")] = False,
    trace: Annotated[
        bool, typer.Option("--trace", help="Print each statement with its line, values and verdict.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON."), Prints(SieveOutcome)] = False,
) -> None:
    """Run a script on a session built from the options, and print its decision.

    With `--config`, the configuration decides which modules are loaded, how the script is compiled, and which options
    apply to this client.

    No mail is sent and no file is written. Only `--callback real` contacts an exchanger.
    DNS lookups and queries of datasources are real; `ds_execute` is not.
    """
    check_address(sender, may_be_empty=True)
    for recipient in recipients or ():
        check_address(recipient)
    check_ip(client_ip)
    around = _around(config_file, script, phase, client_ip, listener)
    compiled = _compiled(script, phase, dialect, around, traced=trace, fileinto_header=fileinto_header)
    content = content_of(message)
    if content is None and phase in CONTENT_PHASES:
        content = b""  # these phases always have a message
    facts = Facts(client_ip, sender, recipients or (), helo, tls, user)
    session_of = partial(trial_session, facts, around, content)
    silence()  # what matters is in the answer
    host_of = partial(TrialHost, phase=phase, answer=callback, around=around)
    outcome, host = asyncio.run(_run(compiled, session_of, host_of, trace=trace))
    if as_json:
        exits.say(json.dumps(_as_dictionary(outcome, host)))
    else:
        _print(outcome, host)
    raise typer.Exit(exits.SCRIPT if outcome.failed else 0)


def _around(
    config_file: Path | None, script: Path, phase: Phase, client_ip: str, listener: str | None
) -> Circumstances:
    """Return what the script runs under: a configuration, or the defaults. Print errors and exit."""
    if config_file is None:
        return unconfigured(_PRESENT)
    return configured(loaded(config_file, load).settings, script, phase, client_ip, listener)


async def _run(
    script: Script, session_of: Callable[[], Session], host_of: Callable[[Session], TrialHost], *, trace: bool
) -> tuple[Outcome, TrialHost]:
    host = host_of(session_of())
    try:
        return await script.run(host, trace=_print_event if trace else None), host
    finally:
        await host.close()


def _print_event(event: TraceEvent) -> None:
    """Print one event of the run: statements at the margin, their effects indented below."""
    place = f"{event.place.line:>4}"
    if event.seen is Seen.STATEMENT:
        line = f"{place}  {event.text}"
    elif event.seen is Seen.CALL:
        arguments = " ".join(repr(_plain(argument)) for argument in event.arguments)
        line = f"        {event.text} {arguments} → {_plain(event.value)!r}"
    elif event.seen is Seen.TEST:
        line = f"        {event.text} → {'true' if event.value else 'false'}"
    else:
        line = f"        ${event.text} = {_plain(event.value)!r}"
    Console(stderr=True, highlight=False, soft_wrap=True).print(_harmless(line))


def _as_dictionary(outcome: Outcome, host: TrialHost) -> Mapping[str, object]:
    transaction = host.session.transaction
    return {
        "code": outcome.code,
        "text": outcome.text,
        "close": outcome.close,
        "discard": outcome.discard,
        "ended": outcome.ended,
        "failed": outcome.failed,
        "actions": list(outcome.actions),
        "log": host.lines,
        "variables": {name: _plain(value) for name, value in outcome.variables.items()},
        "vctx_conn": dict(host.vctx_conn),
        "vctx_mess": dict(host.vctx_mess),
        "sender": transaction.reverse_path.text,
        "recipients": [path.text for path in transaction.destinations],
        "mail": [
            f"{letter.purpose} from <{letter.sender.text}> to <{path.text}>"
            for letter in host.letters
            for path in letter.recipients
        ],
        "headers": _changed_headers(transaction.message),
    }


def _changed_headers(message: Message | None) -> list[str]:
    """Return the header section if the script changed it."""
    if message is None or not message.head_changed:
        return []
    return [f"{name}: {body}" for name, body in message.fields()]


def _plain(value: object) -> object:
    """Return a script's value in JSON types."""
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return str(value)


def _harmless(text: str) -> Text:
    """Make text from a message safe for a terminal: no markup, no control codes."""
    return Text(exits.harmless(text))


def _print(outcome: Outcome, host: TrialHost) -> None:
    table = Table(show_header=False)
    for name, value in _as_dictionary(outcome, host).items():
        if name in {"code", "text"} or value:
            table.add_row(name, _harmless(value if isinstance(value, str) else json.dumps(value)))
    Console(highlight=False).print(table)
