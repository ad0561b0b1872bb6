"""MAIL FROM (RFC 5321 section 4.1.1.2)."""

from __future__ import annotations

from proxy.base.log import get_logger, printable
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Transaction
from proxy.mail.verdict import Verdict
from proxy.smtp.arguments import counts_context, mail_context, sender_of, submitter_for
from proxy.smtp.dialogue import Dialogue
from proxy.smtp.pending import Answer, ask

log = get_logger()


def mail(dialogue: Dialogue, argument: bytes) -> Answer:
    """MAIL FROM: begin a transaction, and ask policy about the sender."""
    session, plan = dialogue.session, dialogue.plan
    for limit in plan.limits_on_mail:
        if (refusal := limit(dialogue)) is not None:
            return refusal
    parsed = sender_of(argument, session.options, dialogue.carried)
    if type(parsed) is Reply:
        return parsed
    path, parameters = parsed
    if (submitter := parameters.get("AUTH")) is not None:
        parameters["AUTH"] = submitter_for(submitter, session.auth_user)
    dialogue.foreseen.clear()
    transaction = session.transaction = Transaction()
    transaction.begin(path, parameters)
    session.tally.transactions += 1
    if plan.looks_from_mail:
        session.context |= counts_context(session)
        transaction.context |= mail_context(path, parameters)
    if not plan.at_mail:
        return replies.SENDER_OK
    return ask(
        dialogue.front.pipeline,
        plan.at_mail,
        session,
        lambda verdict: _refusal(dialogue, verdict),
        lambda: replies.SENDER_OK,
    )


def _refusal(dialogue: Dialogue, verdict: Verdict) -> Reply | None:
    """Return policy's refusal, after ending the transaction, or None."""
    session, reply = dialogue.session, verdict.reply
    if reply is None:
        session.transaction.discarded = verdict.discard
        return None
    log.info(
        "sender_refused",
        session=session.id,
        client=session.client_ip,
        sender=printable(session.transaction.reverse_path.text),
        reply=printable(f"{reply.code} {reply.text}"),
    )
    dialogue.end_transaction()
    return reply
