"""MAIL FROM (RFC 5321 section 4.1.1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Transaction
from proxy.mail.verdict import Verdict
from proxy.smtp.arguments import sender_of, submitter_for
from proxy.smtp.context import counts_context, mail_context
from proxy.smtp.dialogue import Dialogue, count_phases
from proxy.smtp.pending import Answer
from proxy.smtp.plan import Limit
from proxy.smtp.record import record_refused
from proxy.smtp.shared import waits_for


def mail(  # noqa: C901 — a helper would be a call for each message
    dialogue: Dialogue, argument: bytes, limits: Sequence[Limit] | None = None
) -> Answer:
    """MAIL FROM: begin a transaction, and ask policy about the sender. `limits`: those not looked at yet."""
    session, plan = dialogue.session, dialogue.plan
    limits = plan.limits_on_mail if limits is None else limits
    for limit in limits:
        if (refusal := limit(dialogue)) is not None:
            rest = limits[limits.index(limit) + 1 :]
            return waits_for(refusal, partial(mail, dialogue, argument, rest))
    parsed = sender_of(argument, session.options, dialogue.carried)
    if type(parsed) is Reply:
        return parsed
    path, parameters = parsed
    if parameters and (submitter := parameters.get("AUTH")) is not None:
        parameters["AUTH"] = submitter_for(submitter, session.auth_user)
    dialogue.foreseen = {}
    transaction = session.transaction
    if transaction.begun or transaction.phases or transaction.context:
        if transaction.phases:  # of the session so far
            count_phases(transaction)
        transaction = session.transaction = Transaction()
    transaction.begin(path, parameters)
    session.tally.transactions += 1
    session.transaction_id = f"{session.id}.{session.tally.transactions}"
    if plan.looks_from_mail:
        session.context |= counts_context(session)
        transaction.context |= mail_context(path, parameters)
    if not plan.at_mail:
        return replies.SENDER_OK

    def refusal_by(verdict: Verdict) -> Reply | None:
        transaction.discarded, transaction.discarded_by = verdict.discard, verdict.by
        return verdict.reply if verdict.reply is None else _refused(dialogue, verdict.reply)

    return dialogue.ask(plan.at_mail, refusal_by, replies.SENDER_OK)


def _refused(dialogue: Dialogue, reply: Reply) -> Reply:
    """End the transaction that policy refused, and return its reply."""
    record_refused(dialogue.session, "MAIL", dialogue.argument, reply)
    dialogue.recorded = reply
    dialogue.end_transaction()
    return reply
