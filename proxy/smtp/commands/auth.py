"""AUTH (RFC 4954): whether it is allowed now, and its challenges. `authentication` has the mechanisms."""

from __future__ import annotations

from proxy.base.log import printable
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.smtp.authentication import MOST_FAILED_AUTHENTICATIONS, ExchangeFailed, authenticate
from proxy.smtp.connection import LineTooLong
from proxy.smtp.dialogue import Dialogue
from proxy.smtp.pending import Answer, Pending
from proxy.smtp.record import record_refused


def auth(dialogue: Dialogue, argument: bytes) -> Answer:
    """AUTH: the client logs in."""
    session = dialogue.session
    if session.auth_user:
        return replies.AUTHENTICATED_ALREADY
    if not session.extended_smtp:
        return replies.EHLO_FIRST
    if not dialogue.may_authenticate:
        return replies.TLS_BEFORE_AUTH
    return Pending(_authenticated(dialogue, argument))


async def _authenticated(dialogue: Dialogue, argument: bytes) -> Reply:
    async def challenge(reply: Reply) -> bytes:
        dialogue.say(reply)
        try:
            return await dialogue.next_line()
        except LineTooLong as error:
            too_long = replies.AUTH_LINE_TOO_LONG
            raise ExchangeFailed(too_long.closing() if error.endless else too_long) from None

    session = dialogue.session
    answer = await _answer_of_hooks(dialogue, argument)
    if answer is None and session.options.authentication == "no":
        return replies.UNKNOWN_MECHANISM
    if answer is None:
        answer = await authenticate(argument, session, dialogue.front.authenticator, challenge)
    if session.failed_authentications < MOST_FAILED_AUTHENTICATIONS:
        return answer
    dialogue.say(answer)
    record_refused(session, "AUTH", b"", answer)
    session.tally.errors += 1
    return replies.TOO_MANY_PASSWORDS


async def _answer_of_hooks(dialogue: Dialogue, argument: bytes) -> Reply | None:
    """Return what the modules' hooks answer; None leaves it to our own mechanisms."""
    hooks, session = dialogue.front.hooks, dialogue.session
    if hooks.auth is None and not hooks.mechanisms:
        return None
    words = argument.decode("ascii", "backslashreplace").split()
    if len(words) not in {1, 2}:
        return replies.AUTH_SYNTAX
    words[0] = words[0].upper()  # not case-sensitive (RFC 4954 section 4)
    mechanism = hooks.mechanisms.get(words[0])
    async with dialogue.front.authenticator.guess(session, printable(words[0], 64)) as allowed:
        if not allowed:
            return replies.CANNOT_AUTHENTICATE
        answer = None if hooks.auth is None else await hooks.auth(session, words)
        return answer if answer is not None or mechanism is None else await mechanism(session, words)
