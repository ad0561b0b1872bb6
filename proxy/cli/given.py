"""Arguments that several commands take: addresses and messages. An invalid one ends the command."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path

import typer

from config.base.regular_files import read_regular
from proxy.cli import exits
from proxy.mail.session import NULL_PATH
from proxy.modules.sieve_policy.effects import path_of
from sieve.run.values import ScriptError


def check_address(address: str, *, may_be_empty: bool = False) -> None:
    """Exit 64 if the text is not a path."""
    try:
        known = path_of(address) is not NULL_PATH or may_be_empty
    except ScriptError:
        known = False
    if not known:
        exits.say(f"{address}: not an address; write local-part@domain", err=True)
        raise typer.Exit(exits.USAGE)


def check_ip(address: str) -> None:
    """Exit 64 if the text is not an IP address."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        exits.say(f"{address}: not an IP address", err=True)
        raise typer.Exit(exits.USAGE) from None


def content_of(message: Path | None) -> bytes | None:
    """Return a message file with CRLF line ends; `-` is the standard input."""
    if message is None:
        return None
    try:
        content = sys.stdin.buffer.read() if message == Path("-") else read_regular(message)
    except OSError as error:
        exits.say(f"{message}: {error.strerror}", err=True)
        raise typer.Exit(exits.NO_INPUT) from None
    return content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
