"""The table of commands: each verb, its function, and what the session does before the function is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proxy.smtp.commands import auth, data, hello, mail, opening, rcpt, simple, tls
from proxy.smtp.dialogue import Dialogue
from proxy.smtp.pending import Answer


@dataclass(frozen=True, slots=True)
class Command:
    """A command's function, and what the session does before it is called."""

    verb: str
    run: Callable[[Dialogue, bytes], Answer]
    goes_last: bool = False
    """It must be the last of a pipelined group (RFC 2920 section 3.1)."""
    is_junk: bool = False
    """It has no purpose if it is repeated."""
    is_ordered: bool = True
    """The session checks the state before it, and changes it after it. The rest of DATA and BDAT does this itself."""


MESSAGE = Command("DATA", data.data, is_ordered=False)
"""What follows DATA."""

VERBS: Mapping[bytes, Command] = {
    each.verb.encode(): each
    for each in (
        Command("EHLO", hello.ehlo, goes_last=True, is_junk=True),
        Command("HELO", hello.helo, goes_last=True, is_junk=True),
        Command("MAIL", mail.mail),
        Command("RCPT", rcpt.rcpt),
        Command("DATA", data.data, goes_last=True),
        Command("BDAT", data.bdat, is_ordered=False),
        Command("RSET", simple.rset, is_junk=True),
        Command("VRFY", simple.vrfy, goes_last=True, is_junk=True),
        Command("HELP", simple.help_, is_junk=True),
        Command("NOOP", simple.noop, goes_last=True, is_junk=True),
        Command("QUIT", simple.quit_),
        Command("STARTTLS", tls.starttls, goes_last=True),
        Command("AUTH", auth.auth),
        Command("XCLIENT", opening.xclient, goes_last=True),
    )
}
