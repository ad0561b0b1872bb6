"""`ringback cache`: look up or delete the cached verdicts on an address or a domain.

Cached addresses are personal data. Use these commands if a person asks what is stored, or wants it deleted.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer
import uvloop
from rich.console import Console

from proxy.app import load
from proxy.base import log, log_output
from proxy.base.log import silence
from proxy.callback.cache import LOCAL_SECONDS, CallbackCache
from proxy.callback.lives import CachedVerdict
from proxy.callback.question import NoCandidate, ascii_domain
from proxy.cli import exits
from proxy.cli.stanza import configured
from proxy.cli.transcript import row_text, shown
from proxy.console.client import Client, Failed, NotAllowed
from proxy.mail.address import mailbox_of
from proxy.modules.smtp_cbv.making import cache_of, store_of
from proxy.options.store import StoreUrl
from proxy.store.base import StoreUnavailable
from proxy.store.opening import open_store

T = TypeVar("T")

application = typer.Typer(help="Look up, count or delete cached callback verdicts.", no_args_is_help=True)

Subject = Annotated[str, typer.Argument(metavar="ADDRESS|DOMAIN", help="What to look up.", show_default=False)]


@application.callback()
def configuration(
    context: typer.Context,
    config_file: Annotated[
        Path, typer.Option("--config", "-c", help="The server's ecelerity.conf; it names the store.")
    ],
) -> None:
    """Look up, count or delete cached callback verdicts. Exit 69 if the store cannot be reached."""
    context.obj = config_file


@application.command("lookup")
def lookup(context: typer.Context, subject: Subject) -> None:
    """Print what is cached about an address, or about a domain itself. Exit 1 if nothing is cached."""
    local_part, domain = _parts(subject)

    async def look(cache: CallbackCache) -> tuple[list[CachedVerdict], list[str]]:
        return await cache.held(domain, local_part), [] if local_part else await cache.facts(domain)

    records, facts = _done(context, look)
    now, screen = time.time(), Console(highlight=False, markup=False, soft_wrap=True)
    for record in records:
        screen.print(row_text(subject, record.answer(now)))
        screen.print(f"  {_times(record, now)}")
    for fact in facts:
        screen.print(f"{shown(subject)}: {fact}")
    if not records and not facts:
        exits.say(f"{shown(subject)}: nothing is cached", err=True)
        raise typer.Exit(1)


@application.command("count")
def count(context: typer.Context) -> None:
    """Print how many verdicts on addresses are cached."""
    exits.say(_done(context, lambda cache: cache.count()))


@application.command("purge")
def purge(
    context: typer.Context,
    subject: Annotated[
        str | None, typer.Argument(metavar="ADDRESS|DOMAIN", help="What to delete.", show_default=False)
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Delete everything.")] = False,
) -> None:
    """Delete the cached data on an address, a domain with its addresses, or everything."""
    if (subject is None) is not everything:
        context.fail("Give an address or a domain, or --all.")
    local_part, domain = _parts(subject) if subject is not None else ("", "")
    if (told := _asked_of_server(context, subject or "--all")) is not None:
        exits.say(told)
        return
    gone = _done(context, lambda cache: cache.purge(local_part, domain))
    exits.say(
        f"{gone} record{'' if gone == 1 else 's'} removed; running servers follow within {LOCAL_SECONDS:.0f} seconds"
    )


def _asked_of_server(context: typer.Context, subject: str) -> str | None:
    """Make the running server forget at once; None if none answers, or we may not ask."""
    _, core = configured(context.obj, load)
    log_output.configure(levels=log.Levels(50))
    try:
        with Client([core.state_directory]) as client:
            lines = [line for answer in client.ask(shlex.join(["smtp_cbv", "forget", subject])) for line in answer]
    except (OSError, NotAllowed, Failed, ValueError):
        return None
    return "; ".join(lines)


def _times(record: CachedVerdict, now: float) -> str:
    """Return when it was found, and how long it is valid."""
    known = f"found {now - record.found:.0f} s ago"
    ends = f"valid for {record.expires - now:.0f} s more" if record.fresh(now) else "expired"
    return f"{known}, {ends}{', doubted' if record.doubted else ''}"


def _parts(subject: str) -> tuple[str, str]:
    """Return local part and domain in the cache's form; on an error, print it and exit 64."""
    address = subject if "@" in subject else f"postmaster@{subject}"
    try:
        if (path := mailbox_of(address)) is not None:
            return (path.local_part if "@" in subject else ""), ascii_domain(path.domain)
    except NoCandidate:
        pass
    exits.say(f"{shown(subject)}: neither an address nor a domain", err=True)
    raise typer.Exit(exits.USAGE)


def _done(context: typer.Context, work: Callable[[CallbackCache], Awaitable[T]]) -> T:
    """Run `work` on the server's cache; if that is impossible, say why and exit 69."""
    options, core = configured(context.obj, load)
    silence()
    url = store_of(options, core.state_directory)
    if url.place == "process":
        kept = "" if options.store is not None else f" (you cannot write to {core.state_directory})"
        _unavailable(
            f"verdicts are only in the server's memory{kept}: other processes cannot see them, and a restart loses them"
        )
    if url.place == "file" and not Path(url.path).exists():
        _unavailable(f"{url}: nothing has been stored there yet")  # opening would create it, with another owner

    async def work_on_it(url: StoreUrl) -> T:
        store = open_store(url)
        try:
            return await work(cache_of(options, url, store))
        finally:
            await store.close()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work_on_it(url))
    except StoreUnavailable as error:
        _unavailable(f"{url}: {error.reason}")


def _unavailable(why: str) -> NoReturn:
    exits.say(why, err=True)
    raise typer.Exit(exits.UNAVAILABLE)
