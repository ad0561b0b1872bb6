"""XCLIENT (Postfix): a trusted proxy names its client, and the session restarts for that client."""

from __future__ import annotations

from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import silent
from proxy.smtp.arguments import helo_context
from proxy.smtp.commands.hello import may_introduce
from proxy.smtp.dialogue import Dialogue
from proxy.smtp.forwarded import Introduction, introduction_of
from proxy.smtp.greeting import greeting
from proxy.smtp.pending import Answer, Pending


def xclient(dialogue: Dialogue, argument: bytes) -> Answer:
    """XCLIENT: become the session of another client, and greet it."""
    if not may_introduce(dialogue):
        return replies.NO_AUTHORIZATION
    told = introduction_of(argument)
    if isinstance(told, Reply):
        return told
    _become(dialogue, told)
    answer = greeting(dialogue)
    if type(answer) is Pending:
        return Pending(_greeted_later(dialogue, told, answer))
    return _greeted(dialogue, told, answer)


def _become(dialogue: Dialogue, told: Introduction) -> None:
    session = dialogue.session
    dialogue.become(told.client(session.peer_address), told.local(session.local))
    session.introduced = told.address is not None
    session.speaks_within = silent  # the proxy is in between, and it waits
    session.client_name = told.name
    session.extended_smtp = bool(told.extended)
    if told.helo is not None:
        session.host_name = told.helo
        session.context |= helo_context(told.helo)


async def _greeted_later(dialogue: Dialogue, told: Introduction, answer: Pending) -> Reply | None:
    reply = await answer.work
    return None if reply is None else _greeted(dialogue, told, reply)


def _greeted(dialogue: Dialogue, told: Introduction, reply: Reply) -> Reply:
    if told.login is not None:
        dialogue.session.authenticate(told.login)
    return reply if reply.accepted else reply.closing()
