"""`ringback probe`: manual callbacks that show DNS resolution, dialogue, verdict and reason."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from config.base.regular_files import read_regular
from proxy.app import load
from proxy.base.log import silence
from proxy.callback.verdict import Status
from proxy.cli import exits
from proxy.cli.asking import ProbeRequest, ProbeResult, ask_all
from proxy.cli.grammar.tree import Prints
from proxy.cli.outputs import ProbeRecord
from proxy.cli.stanza import configured
from proxy.cli.transcript import record, row_text, shown, step_text, verdict_text
from proxy.mail.address import mailbox_of
from proxy.modules.smtp_cbv.making import callbacks_of
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.options.core import CoreOptions
from proxy.store.fallback import FallingBack

STDIN = Path("-")
PATIENCE = 600.0

Tell = Callable[[ProbeResult], None]


def probe(
    context: typer.Context,
    addresses: Annotated[
        list[str] | None, typer.Argument(metavar="ADDRESS...", help="The addresses to ask about.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Also ask about the addresses in a file, one per line; `-`: stdin.")
    ] = None,
    sender: Annotated[
        str | None,
        typer.Option("--from", help="Sender in MAIL FROM. Default: the configured sender, else the null sender."),
    ] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config", "-c", help="Use this server's options, limits and store.")
    ] = None,
    at_once: Annotated[int, typer.Option("--concurrency", min=1, max=100, help="Concurrent probes for --file.")] = 8,
    patience: Annotated[
        float | None, typer.Option("--patience", min=0, help="Seconds to retry an address while a limit is used up.")
    ] = None,
    *,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object per address, one per line."),
        Prints(ProbeRecord, lines=True),
    ] = False,
) -> None:
    """Ask the mail exchangers of addresses whether they exist.

    Exit 0: all pass; 65: at least one fails; 69: none fails, but some are transient or error; 64: not an address.
    Lines of a file that are not addresses are reported and skipped.
    """
    if not addresses and file is None:
        context.fail("Missing argument 'ADDRESS...', or --file.")
    asked, passed_over = _addresses(addresses or [], file, sender)
    options, core = configured(config_file, load)
    many = file is not None
    waits = patience if patience is not None else PATIENCE if many else 0.0
    manner = ProbeRequest(sender.strip("<>") if sender is not None else None, at_once if many else 1, waits)
    silence()
    began = time.monotonic()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        counted = runner.run(_ask(asked, manner, options, core, as_json=as_json, many=many))
    if len(asked) > 1 or passed_over:
        exits.say(_summary(counted, time.monotonic() - began, passed_over), err=True)
    raise typer.Exit(exits.USAGE if passed_over else _exit_code(counted))


def _summary(counted: Counter[Status], seconds: float, passed_over: int) -> str:
    found = [f"{counted[status]} {status.value}" for status in Status if counted[status]]
    if passed_over:
        found.append(f"{passed_over} skipped")
    return f"{counted.total()} asked in {seconds:.1f} s: {', '.join(found)}"


def _exit_code(counted: Counter[Status]) -> int:
    if counted[Status.FAIL]:
        return exits.SCRIPT
    return exits.UNAVAILABLE if counted.total() > counted[Status.PASS] else 0


# ---------------------------------------------------------------- what to ask


def _addresses(given: Sequence[str], file: Path | None, sender: str | None) -> tuple[list[str], int]:
    """Return the addresses to ask about, and how many lines of the file were not addresses.

    A bad address on the command line ends the command before any probe. A bad line in a file is reported and skipped.
    """
    wrong = [text for text in given if mailbox_of(text) is None]
    if sender is not None and sender.strip("<>") and mailbox_of(sender.strip("<>")) is None:
        wrong.append(sender)
    _tell_wrong(wrong)
    if wrong:
        raise typer.Exit(exits.USAGE)
    listed = list(_listed(file)) if file is not None else []
    passed_over = [place for place, address in listed if mailbox_of(address) is None]
    _tell_wrong(passed_over)
    return [*given, *(address for _, address in listed if mailbox_of(address) is not None)], len(passed_over)


def _tell_wrong(places: Sequence[str]) -> None:
    for each in places:
        exits.say(f"{shown(each)}: not an address; write local-part@domain", err=True)


def _listed(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the addresses in a file, each with its place. A line that begins with `#` is a comment."""
    name = "standard input" if file == STDIN else str(file)
    try:
        octets = sys.stdin.buffer.read() if file == STDIN else read_regular(file)
    except OSError as error:
        exits.say(f"{name}: {error.strerror}", err=True)
        raise typer.Exit(exits.NO_INPUT) from None
    for number, line in enumerate(octets.decode("utf-8", "surrogateescape").split("\n"), 1):
        address = line.strip()
        if address and not address.startswith("#"):
            yield f"{name}:{number}: {address}", address


# ---------------------------------------------------------------- asking, and showing


async def _ask(
    addresses: Sequence[str],
    manner: ProbeRequest,
    options: SmtpCbvOptions,
    core: CoreOptions,
    *,
    as_json: bool,
    many: bool,
) -> Counter[Status]:
    # With a manual probe, the operator wants the verdict, not `pending`.
    callbacks = callbacks_of(options.model_copy(update={"wait": options.timeout + 5.0}), core)
    screen = _console()
    try:
        if many:
            with _progress(len(addresses), screen, as_json=as_json) as tell:
                return await ask_all(callbacks, addresses, manner, tell)
        if as_json:
            return await ask_all(callbacks, addresses, manner, lambda answer: screen.print(_line(answer, as_json=True)))
        return await ask_all(
            callbacks,
            addresses,
            manner,
            lambda answer: screen.print(verdict_text(answer.question, answer.verdict)),
            lambda step: screen.print(step_text(step)),
        )
    finally:
        store = callbacks.verifier.around.store
        if isinstance(store, FallingBack) and not store.available:
            exits.say("cannot use the server's store: budgets and verdicts were kept in memory", err=True)
        await callbacks.close()


def _console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True)


def _line(answer: ProbeResult, *, as_json: bool) -> Text:
    if as_json:
        return Text(json.dumps(record(answer.question, answer.verdict, answer.transcript)))
    return row_text(answer.question, answer.verdict)


@contextmanager
def _progress(total: int, screen: Console, *, as_json: bool) -> Iterator[Tell]:
    """Show the progress on standard error if that is a terminal; answers on the same terminal appear above it."""
    console = _console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=console, disable=not console.is_terminal, redirect_stdout=False, transient=True
    ) as bar:
        task = bar.add_task("asking", total=total)
        shared = console.is_terminal and sys.stdout.isatty()

        def tell(answer: ProbeResult) -> None:
            (console if shared else screen).print(_line(answer, as_json=as_json))
            bar.advance(task)

        yield tell
