"""RSET, NOOP, HELP, VRFY and QUIT (RFC 5321 sections 4.1.1.5 to 4.1.1.10)."""

from __future__ import annotations

from collections.abc import Awaitable

from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.smtp.dialogue import Dialogue
from proxy.smtp.pending import Answer, Pending


def rset(dialogue: Dialogue, argument: bytes) -> Answer:
    """RSET: drop the transaction."""
    if argument:
        return replies.NO_ARGUMENT_WANTED
    dialogue.end_transaction()
    hook = dialogue.front.hooks.rset
    return replies.OK if hook is None else Pending(_heard(hook(dialogue.session), replies.OK))


def noop(dialogue: Dialogue, argument: bytes) -> Answer:
    """NOOP: only a module's hook reads its argument."""
    hook = dialogue.front.hooks.noop
    return replies.OK if hook is None else Pending(_heard(hook(dialogue.session, text_of(argument)), replies.OK))


def help_(_dialogue: Dialogue, _argument: bytes) -> Answer:
    """HELP: there are no topics."""
    return replies.HELP


def vrfy(dialogue: Dialogue, argument: bytes) -> Answer:
    """VRFY: only a module's hook says whether a user exists (RFC 5321 section 3.5.3)."""
    if not argument:
        return replies.BAD_SYNTAX
    hook = dialogue.front.hooks.vrfy
    if hook is None:
        return replies.CANNOT_VERIFY
    address = text_of(argument).removeprefix("<").removesuffix(">")
    return Pending(_heard(hook(dialogue.session, address), replies.CANNOT_VERIFY))


def quit_(_dialogue: Dialogue, argument: bytes) -> Answer:
    """QUIT: the reply closes the session."""
    return replies.NO_ARGUMENT_WANTED if argument else replies.BYE


async def _heard(hook: Awaitable[Reply | None], reply: Reply) -> Reply:
    """Return the reply of a module's hook, or ours."""
    return await hook or reply


def text_of(argument: bytes) -> str:
    """Return a command's argument for a module's hook."""
    return argument.decode("utf-8", "surrogateescape").strip()
