"""The commands, joined; `python -m proxy.cli` is `ringback`."""

from __future__ import annotations

import typer

from proxy.cli import caches, documents, exits, history, passwords, probing, scripts, serving, settings, state

application = typer.Typer(
    name="ringback",
    help="An SMTP front-end proxy: policy, callback verification and a live relay before your MTA.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
application.command("serve")(serving.serve)
application.command("check")(serving.check)
application.command("demo")(serving.demo)
application.command("status")(state.status)
application.command("probe")(probing.probe)
application.command("why")(history.why)
application.command("password")(passwords.password)
application.command("docs", hidden=True)(documents.documents)
application.add_typer(caches.application, name="cache")
application.add_typer(history.application, name="history")
application.add_typer(settings.application, name="config")
application.add_typer(scripts.application, name="sieve")


def main() -> None:
    """Run the command line."""
    exits.end_with_output()
    application()


if __name__ == "__main__":
    main()
