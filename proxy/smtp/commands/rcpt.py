"""RCPT TO (RFC 5321 section 4.1.1.3). The next hop's verdict is the client's."""

from __future__ import annotations

from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Recipient
from proxy.mail.verdict import Verdict
from proxy.smtp.access import admits
from proxy.smtp.ahead import recipients_ahead
from proxy.smtp.arguments import counts_context, path_context, recipient_of
from proxy.smtp.dialogue import Dialogue
from proxy.smtp.pending import Answer, Pending, ask


def rcpt(dialogue: Dialogue, argument: bytes) -> Answer:
    """RCPT TO: ask policy about the recipient, then the next hop."""
    session, plan = dialogue.session, dialogue.plan
    transaction = session.transaction
    parsed = recipient_of(argument, session.options, dialogue.front.capabilities, utf8=transaction.smtp_utf8)
    if type(parsed) is Reply:
        return parsed
    path, parameters = parsed
    for limit in plan.limits_on_rcpt:
        if (refusal := limit(dialogue)) is not None:
            return refusal
    if not admits(session.options, session, path):
        return replies.RELAYING_DENIED
    recipient = session.current_recipient = Recipient(path, parameters)
    if plan.looks_from_rcpt:
        session.context |= counts_context(session)
        transaction.context |= path_context("rcptto", path)
    if not plan.at_rcpt:
        return _offered(dialogue, recipient)

    def refusal_by(verdict: Verdict) -> Reply | None:
        recipient.relayed &= not verdict.discard
        return verdict.reply if verdict.reply is None else _taken(dialogue, recipient, verdict.reply)

    return ask(dialogue.front.pipeline, plan.at_rcpt, session, refusal_by, lambda: _offered(dialogue, recipient))


def _offered(dialogue: Dialogue, recipient: Recipient) -> Answer:
    """Offer a recipient to the next hop, unless policy discards its mail."""
    if dialogue.session.transaction.discarded or not recipient.relayed:
        recipient.relayed = False
        return _taken(dialogue, recipient, replies.RECIPIENT_OK)
    if dialogue.foreseen and (foreseen := dialogue.foreseen.pop(recipient.destination.raw, None)) is not None:
        return _taken(dialogue, recipient, foreseen)
    return Pending(_ask_upstream(dialogue, recipient))


async def _ask_upstream(dialogue: Dialogue, recipient: Recipient) -> Reply:
    """Return the next hop's verdict on a recipient. Recipients pipelined after it are sent with it."""
    buffer = dialogue.connection.buffer
    ahead = recipients_ahead(dialogue.front, dialogue.session, buffer) if buffer else []
    transaction = dialogue.session.transaction
    first, *others = await dialogue.open_relay().recipients(transaction, [recipient.destination, *ahead])
    if ahead:
        dialogue.foreseen = {each.raw: answer for each, answer in zip(ahead, others, strict=True)}
    return _taken(dialogue, recipient, first)


def _taken(dialogue: Dialogue, recipient: Recipient, reply: Reply) -> Reply:
    """Record a recipient and the reply about it."""
    session = dialogue.session
    transaction = session.transaction
    if reply.accepted:
        transaction.add(recipient)
        session.tally.recipients += 1
        if recipient.relayed and transaction.when_wanted:
            transaction.somebody_wants_it()
    else:
        transaction.refused_recipients += 1
    return reply
