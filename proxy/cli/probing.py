"""`ringback probe`: one callback, with its verdict and why."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import typer
import uvloop
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy import log
from proxy.app import ConfigurationRejected, load
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.cli import exits
from proxy.modules.smtp_cbv.making import callbacks_of
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.settings import CoreOptions
from proxy.store.url import MEMORY

_COLOURS = {Status.PASS: "green", Status.FAIL: "red", Status.TRANSIENT: "yellow", Status.ERROR: "magenta"}


def probe(
    address: Annotated[str, typer.Argument(help="The address to ask about.", show_default=False)],
    sender: Annotated[
        str | None, typer.Option("--from", help="Sender given in MAIL FROM; the null sender unless set.")
    ] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config", "-c", help="Take smtp_cbv's options, Hostname and Nameservers from here.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Ask the mail exchanger of an address whether it exists. Exit 0: pass; 65: fail; 69: transient or error."""
    if "@" not in address.strip("@"):
        typer.echo(f"{address}: not an address; write local-part@domain", err=True)
        raise typer.Exit(exits.USAGE)
    options, core = _options(config_file)
    log.configure(level=50)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        verdict = runner.run(_ask(address, sender, options, core))
    if as_json:
        typer.echo(json.dumps({"question": address, **asdict(verdict), "message": verdict.message}))
    else:
        _print(address, verdict)
    raise typer.Exit({Status.PASS: 0, Status.FAIL: exits.SCRIPT}.get(verdict.status, exits.UNAVAILABLE))


def _options(config_file: Path | None) -> tuple[SmtpCbvOptions, CoreOptions]:
    """Return smtp_cbv's options and the server's, from a configuration or by default."""
    if config_file is None:
        return SmtpCbvOptions(store=MEMORY), CoreOptions.model_construct(esmtp_listener=())
    try:
        assembly, _ = load(config_file)
    except ConfigurationRejected as rejected:
        exits.show(rejected.diagnostics)
        raise typer.Exit(exits.CONFIGURATION) from None
    settings = assembly.settings
    stanzas = [each.options for each in settings.modules if each.type == "smtp_cbv"]
    options = cast(SmtpCbvOptions, stanzas[0]) if stanzas else SmtpCbvOptions()
    return options, assembly.core


async def _ask(address: str, sender: str | None, options: SmtpCbvOptions, core: CoreOptions) -> CallbackVerdict:
    callbacks = callbacks_of(options.model_copy(update={"wait": options.timeout + 5.0}), core)
    try:
        return await callbacks.verifier.verify(address, sender)
    finally:
        await callbacks.close()


def _print(address: str, verdict: CallbackVerdict) -> None:
    title = Text.assemble(address, ": ", (verdict.status.value, f"bold {_COLOURS[verdict.status]}"))
    table = Table(title=title, show_header=False, title_justify="left")
    rows = {
        "reason": verdict.reason,
        "answer": verdict.message,
        "stage": verdict.stage,
        "exchanger": f"{verdict.exchanger} [{verdict.address}]" if verdict.exchanger else "",
        "seconds": f"{verdict.seconds:.3f}",
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, Text(value))  # as text, not as markup: a stranger's server wrote it
    Console().print(table)
