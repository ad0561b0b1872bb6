"""`ringback sieve check` and `ringback sieve run`: a script alone, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, MutableMapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from config.diagnostics import Source
from proxy.callback.verifier import CallbackVerifier
from proxy.cli import exits
from proxy.dns import Resolver
from proxy.modules.smtp_cbv.module import verifier_of
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.session import MessageHead
from proxy.settings import own_name
from sieve import CallbackAnswer, Outcome, Phase, Script, compile_script, standard_library

application = typer.Typer(help="Check and try Sieve++ scripts.", no_args_is_help=True)

PhaseOption = Annotated[Phase, typer.Option("--phase", help="The phase that the script is hooked into.")]
ScriptArgument = Annotated[Path, typer.Argument(help="The script.", show_default=False)]

_PRESENT = frozenset({"smtp_cbv", "sieve"})
"""Modules taken as loaded: a script alone cannot know its configuration."""


class Callback(StrEnum):
    """What smtp_callback_verify answers in a trial run; `real` asks the exchanger."""

    PASS = "pass"  # noqa: S105 — a verdict, not a password
    FAIL = "fail"
    TRANSIENT = "transient"
    ERROR = "error"
    REAL = "real"


def _compiled(path: Path, phase: Phase) -> Script:
    """Compile a script and print its warnings, or print its mistakes and exit 65."""
    try:
        source = Source.read(path)
    except OSError as error:
        typer.echo(f"{path}: {error.strerror}", err=True)
        raise typer.Exit(exits.NO_INPUT) from None
    compiled = compile_script(source, phase=phase, library=standard_library(), modules=_PRESENT)
    exits.show(compiled.diagnostics)
    if compiled.script is None:
        raise typer.Exit(exits.SCRIPT)
    return compiled.script


@application.command("check")
def check(script: ScriptArgument, phase: PhaseOption = Phase.MAILFROM) -> None:
    """Compile a script for a phase, print every mistake, and exit 65 if there is one."""
    _compiled(script, phase)
    typer.echo(f"{script}: no errors")


@application.command("run")
def run(
    script: ScriptArgument,
    phase: PhaseOption = Phase.MAILFROM,
    sender: Annotated[str, typer.Option("--from", help="MAIL FROM; empty is the null sender.")] = "",
    recipients: Annotated[
        list[str] | None, typer.Option("--rcpt", help="RCPT TO; may be given more than once.")
    ] = None,
    client_ip: Annotated[str, typer.Option("--client-ip", help="The client's address.")] = "192.0.2.1",
    message: Annotated[Path | None, typer.Option("--message", help="A file with the message.")] = None,
    callback: Annotated[
        Callback, typer.Option("--callback", help="What smtp_callback_verify answers.")
    ] = Callback.PASS,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Run a script on a session made of the options and print what it decides. Only `--callback real` sends."""
    compiled = _compiled(script, phase)
    head = _head(message)
    host = TrialHost(sender, recipients or [], client_ip, head, callback)
    outcome = asyncio.run(_run(compiled, host))
    if as_json:
        typer.echo(json.dumps(_as_dictionary(outcome, host)))
    else:
        _print(outcome, host)
    raise typer.Exit(exits.SCRIPT if outcome.failed else 0)


def _head(message: Path | None) -> MessageHead | None:
    """Return the header section of a message file, whatever its line ends."""
    if message is None:
        return None
    try:
        content = message.read_bytes()
    except OSError as error:
        typer.echo(f"{message}: {error.strerror}", err=True)
        raise typer.Exit(exits.NO_INPUT) from None
    content = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return MessageHead(b"" if content.startswith(b"\r\n") else content.partition(b"\r\n\r\n")[0])


async def _run(script: Script, host: TrialHost) -> Outcome:
    if host.callback_mode is not Callback.REAL:
        return await script.run(host)
    resolver = Resolver()
    host.verifier = verifier_of(SmtpCbvOptions(), own_name(), resolver)
    try:
        return await script.run(host)
    finally:
        await host.verifier.close()
        await resolver.close()


class TrialHost:
    """A session made of command-line options; it implements `sieve.Host` and keeps what the script logs."""

    def __init__(
        self, sender: str, recipients: list[str], client_ip: str, message: MessageHead | None, callback: Callback
    ) -> None:
        """Take the options."""
        self.sender = sender
        self.recipients: Sequence[str] = recipients
        self.message = message
        self.callback_mode = callback
        self.verifier: CallbackVerifier | None = None
        local_part, _, domain = sender.rpartition("@")
        self.vctx_conn: MutableMapping[str, str] = {"ip": client_ip}
        self.vctx_mess: MutableMapping[str, str] = {
            "mailfrom_string": sender,
            "mailfrom_localpart": local_part,
            "mailfrom_domain": domain,
        }
        self.lines: list[str] = []

    async def callback(self, address: str, sender: str | None) -> CallbackAnswer:
        """Answer as --callback says."""
        if self.verifier is not None:
            verdict = await self.verifier.verify(address, sender)
            return CallbackAnswer(verdict.status.value, verdict.message)
        return CallbackAnswer(self.callback_mode.value, f"answered by --callback {self.callback_mode.value}")

    async def tarpit(self, seconds: float) -> None:
        """Say so, and do not wait."""
        self.lines.append(f"(would hold the session for {seconds:g} s)")

    def log(self, text: str) -> None:
        """Keep a line of ec_log."""
        self.lines.append(text)

    def count(self, counter: str, code: int) -> None:
        """Keep an increase of a counter."""
        self.lines.append(f"(counter {counter}, code {code})")

    def script_failed(self, script: str, line: int, reason: str) -> None:
        """Keep a run-time error."""
        self.lines.append(f"{script}:{line}: run-time error: {reason}")


def _as_dictionary(outcome: Outcome, host: TrialHost) -> Mapping[str, object]:
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
    }


def _plain(value: object) -> object:
    """Return a script's value as JSON has it."""
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [_plain(each) for each in value]
    return str(value)


def _print(outcome: Outcome, host: TrialHost) -> None:
    console = Console(highlight=False)
    table = Table(show_header=False)
    for name, value in _as_dictionary(outcome, host).items():
        if name in {"code", "text"} or value:
            table.add_row(name, json.dumps(value) if not isinstance(value, str) else value)
    console.print(table)
