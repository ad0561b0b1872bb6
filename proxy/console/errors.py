"""Error messages of the console."""

from __future__ import annotations

from collections.abc import Sequence


class Refused(Exception):
    """The command cannot be carried out; the text says why and what to write instead."""


def not_understood(line: str, close: Sequence[str]) -> Refused:
    """Momentum's wording, with a suggestion."""
    meant = f" Did you mean {' or '.join(close)}?" if close else " Type help for the commands."
    return Refused(f"{line} command not understood.{meant}")


def ambiguous(line: str, found: Sequence[str]) -> Refused:
    """A prefix of several commands."""
    return Refused(f"{line} may be {', '.join(found)}: write more of it")


def wrong_arguments(usage: str) -> Refused:
    """Arguments are missing, or too many."""
    return Refused(f"usage: {usage}")


def not_a(wanted: str, given: str, hint: str) -> Refused:
    """An argument has the wrong form."""
    return Refused(f'"{given}" is not {wanted}: {hint}')


def nothing_to_ask(*, runs: bool) -> Refused:
    """No process has what the command is about."""
    return Refused("the configuration has nothing that this command could show" if runs else "no worker is running")


def not_authorized() -> Refused:
    """In Momentum's words, because scripts look for them."""
    return Refused("Not Authorized for this command")


def nothing_is_called(what: str, given: str, known: Sequence[str]) -> Refused:
    """An unknown name."""
    there = f"there {'is' if len(known) == 1 else 'are'} {', '.join(known)}" if known else "there is none"
    return Refused(f'no {what} is called "{given}": {there}')
