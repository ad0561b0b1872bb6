"""EHLO and HELO (RFC 5321 section 4.1.1.1)."""

from __future__ import annotations

from proxy.base.log import printable
from proxy.mail import replies
from proxy.mail.extensions import Offer
from proxy.mail.replies import Reply
from proxy.smtp.context import helo_context
from proxy.smtp.dialogue import Dialogue
from proxy.smtp.pending import Answer


def ehlo(dialogue: Dialogue, argument: bytes) -> Answer:
    """EHLO: the client names itself and asks for extensions."""
    return _introduced(dialogue, argument, extended=True)


def helo(dialogue: Dialogue, argument: bytes) -> Answer:
    """HELO: the client names itself."""
    return _introduced(dialogue, argument, extended=False)


def _introduced(dialogue: Dialogue, argument: bytes, *, extended: bool) -> Answer:
    session, plan = dialogue.session, dialogue.plan
    if not argument or not argument.isascii():
        return replies.HELO_SYNTAX
    name = printable(argument, 255)
    session.advertised.clear()
    session.withdrawn.clear()
    session.context |= helo_context(name)

    def accepted() -> Reply:
        dialogue.end_transaction()
        session.host_name, session.extended_smtp = name, extended
        return _offer(dialogue) if extended else plan.helo

    if not plan.at_ehlo:
        return accepted()
    session.host_name = name
    return dialogue.ask(plan.at_ehlo, lambda verdict: verdict.reply, accepted)


def _offer(dialogue: Dialogue) -> Reply:
    """Return the reply to EHLO, after policy's additions and removals."""
    session = dialogue.session
    reply = dialogue.plan.hello((dialogue.front.capabilities(), _offers(dialogue)))
    if not session.withdrawn and not session.advertised:
        return reply
    name, *offered = reply.lines
    kept = [line for line in offered if line.split()[0].decode().upper() not in session.withdrawn]
    return Reply(250, (name, *kept, *[printable(line).encode() for line in session.advertised]))


def _offers(dialogue: Dialogue) -> frozenset[Offer]:
    """Return which conditional offers hold for the client now."""
    session = dialogue.session
    found: list[Offer] = []
    if session.ssl is None and dialogue.entrance.certificate(session.options) is not None:
        found.append(Offer.BEFORE_TLS)
    if dialogue.may_authenticate:
        found.append(Offer.LOGIN)
    if dialogue.may_introduce:
        found.append(Offer.PROXY)
    return frozenset(found)
