"""RSET, NOOP, HELP, VRFY and QUIT (RFC 5321 sections 4.1.1.5 to 4.1.1.10)."""

from __future__ import annotations

from proxy.mail import replies
from proxy.smtp.dialogue import Dialogue
from proxy.smtp.pending import Answer


def rset(dialogue: Dialogue, argument: bytes) -> Answer:
    """RSET: drop the transaction."""
    if argument:
        return replies.NO_ARGUMENT_WANTED
    dialogue.end_transaction()
    return replies.OK


def noop(_dialogue: Dialogue, _argument: bytes) -> Answer:
    """NOOP: its argument is ignored."""
    return replies.OK


def help_(_dialogue: Dialogue, _argument: bytes) -> Answer:
    """HELP: there are no topics."""
    return replies.HELP


def vrfy(_dialogue: Dialogue, argument: bytes) -> Answer:
    """VRFY: never tells whether a user exists, and never echoes (RFC 5321 section 3.5.3)."""
    return replies.CANNOT_VERIFY if argument else replies.BAD_SYNTAX


def quit_(_dialogue: Dialogue, argument: bytes) -> Answer:
    """QUIT: the reply closes the session."""
    return replies.NO_ARGUMENT_WANTED if argument else replies.BYE
