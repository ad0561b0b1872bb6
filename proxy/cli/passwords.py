"""`ringback password`: a line for Authentication_File."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli import exits
from proxy.smtp.passwords import PasswordHash


def password(
    user: Annotated[str, typer.Argument(help="The name that the client gives.", show_default=False)],
) -> None:
    """Ask for a password and print the line of Authentication_File that lets the user in."""
    if user.startswith("#") or user != user.strip() or not user.isprintable():
        typer.echo("a user's name has no `#` first, no blank at its ends, no control character", err=True)
        raise typer.Exit(exits.USAGE)
    # The questions go to standard error, so that the line can be appended to a file.
    secret = typer.prompt(f"Password of {user}", hide_input=True, confirmation_prompt=True, err=True)
    typer.echo(f"{user}:{PasswordHash.of(secret)}")
