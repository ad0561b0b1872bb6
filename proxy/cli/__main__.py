"""The commands, joined; `python -m proxy.cli` is `ringback`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from proxy.cli import (
    beginning,
    caches,
    completing,
    consoles,
    documents,
    exits,
    history,
    mail_checks,
    passwords,
    probing,
    scripts,
    serving,
    settings,
    state,
)
from proxy.cli.grammar.dressing import HouseGroup, dressed
from proxy.cli.grammar.tree import HELP

application = typer.Typer(
    name="ringback",
    cls=HouseGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": list(HELP)},
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 — typer's signature
    if wanted:
        exits.say(f"ringback {version('ringback')}")
        raise typer.Exit


@application.callback()
def ringback(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Check senders, apply policy and relay mail in front of your MTA.

    Ringback is an SMTP front-end proxy: it reads ecelerity.conf and Sieve++ scripts, and asks mail exchangers whether
    senders exist.
    """


application.command("serve")(serving.serve)
application.command("check")(serving.check)
application.command("demo")(serving.demo)
application.command("status")(state.status)
application.command("console")(consoles.console)
application.command("tail")(consoles.tail)
application.command("page")(state.page)
application.command("explain")(consoles.explain)
application.command("probe")(probing.probe)
application.command("check-mail")(mail_checks.check_mail)
application.command("why")(history.why)
application.command("password")(passwords.password)
application.command("completion")(completing.completion)
application.command("docs", hidden=True)(documents.documents)
settings.application.command("init")(beginning.init)
application.add_typer(caches.application, name="cache")
application.add_typer(history.application, name="history")
application.add_typer(settings.application, name="config")
application.add_typer(scripts.application, name="sieve")
dressed(application)


def main() -> None:
    """Run the command line."""
    exits.end_with_output()
    application()


if __name__ == "__main__":
    main()
