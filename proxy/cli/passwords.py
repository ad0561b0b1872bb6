"""`ringback password`: a line for Authentication_File."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from proxy.cli import exits
from proxy.smtp.passwords import PasswordHash

_MOST_OCTETS = 4096
"""Longest password, including its line break."""


def password(
    user: Annotated[str, typer.Argument(help="The name that the client gives.", show_default=False)],
    *,
    from_input: Annotated[
        bool, typer.Option("--stdin", help="Read the password from standard input (one line) without asking.")
    ] = False,
) -> None:
    """Ask for a password and print the user's line for Authentication_File."""
    if user.startswith("#") or user != user.strip() or not user.isprintable():
        _refuse("a user name must not start with `#`, start or end with a space, or contain control characters")
    # The questions go to standard error, so that the line can be appended to a file.
    secret = (
        _given()
        if from_input
        else typer.prompt(f"Password of {user}", hide_input=True, confirmation_prompt=True, err=True)
    )
    exits.say(f"{user}:{PasswordHash.of(secret)}")


def _given() -> str:
    """Return the line on standard input without its line break. Blanks are part of the password."""
    octets = sys.stdin.buffer.read(_MOST_OCTETS + 1)
    try:
        secret = octets.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        _refuse("the password on standard input is not UTF-8")
    if not secret or len(octets) > _MOST_OCTETS or any(sign in secret for sign in "\n\r\0"):
        _refuse("no password on standard input: write it as one line")
    return secret


def _refuse(why: str) -> NoReturn:
    exits.say(why, err=True)
    raise typer.Exit(exits.USAGE)
