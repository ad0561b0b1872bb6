"""MAIL FROM (RFC 5321 section 4.1.1.2): its argument, its context variables, and the question to policy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from proxy.mail import replies
from proxy.mail.address import BadParameter, BadPath, BadUtf8, parse_argument
from proxy.mail.replies import Reply
from proxy.mail.session import FROM, NULL_PATH, Path, Transaction
from proxy.mail.verdict import Verdict
from proxy.options.inbound import InboundOptions
from proxy.smtp.arguments import Carried, Parameters, repaired, unwanted_of_mail
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
        session.tell_counts()
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


def sender_of(argument: bytes, options: InboundOptions, carried: Carried) -> tuple[Path, Parameters] | Reply:
    """Parse MAIL's argument into the reverse-path and the parameters, or return why it is rejected.

    A parameter that the next hops do not support, by what `carried` returns, is not accepted here.
    """
    strict = options.strict_addresses
    try:
        path, parameters = parse_argument(
            argument, FROM, default_domain=options.domain_for_unqualified_sender_address, strict=strict
        )
    except BadPath as bad:
        return replies.NOT_UTF8 if isinstance(bad, BadUtf8) else replies.SENDER_SYNTAX
    except BadParameter:
        return replies.BAD_PARAMETER
    is_plain = path.domain[:1] not in {"", "["} and path.raw.isascii()
    if not is_plain and (refused := _unwanted_sender(path, parameters, options)) is not None:
        return refused
    if parameters:
        parameters = parameters if strict else repaired(parameters)
        offered = carried()
        taken = offered if strict else offered | {"AUTH"}  # only clients that offer it get this reply
        if (refused := unwanted_of_mail(parameters, options, taken)) is not None:
            return refused
    if path is NULL_PATH:
        return Path(b"", "", "", given=argument), parameters
    path.said = FROM if argument == b"FROM:<%b>" % path.raw else argument
    return path, parameters


def _unwanted_sender(path: Path, parameters: Parameters, options: InboundOptions) -> Reply | None:
    """Return why a well-formed reverse-path is rejected."""
    if not path.raw.isascii() and "SMTPUTF8" not in parameters:
        return replies.NEEDS_SMTPUTF8
    if not path.raw and not options.allow_null_envelope_sender:
        return replies.NO_NULL_SENDER
    bare = path.raw and not path.domain  # only RCPT allows postmaster without a domain (RFC 5321 4.1.1.3)
    if bare or (path.domain[:1] == "[" and not options.allow_ip_literal):
        return replies.SENDER_SYNTAX
    return None


def submitter_for(value: str, user: str) -> str:
    """Return MAIL's AUTH parameter for the next hop: `<>` unless it names the client's authenticated user.

    A client that is not trusted to speak for others is relayed as if it had given `AUTH=<>` (RFC 4954 section 5).
    """
    named = re.sub(r"\+([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), value).encode("latin-1", "replace")
    return value if user and named == user.encode() else "<>"


def mail_context(path: Path, parameters: Parameters) -> dict[str, str]:
    """Return the message's context variables that MAIL sets: the whole command, and the parts of the path."""
    found = {
        "mailfrom_string": f"MAIL FROM:<{path.text}>",
        "mailfrom_localpart": path.local_part,
        "mailfrom_domain": path.domain,
    }
    if parameters and (parameters.get("BODY") or "").upper() == "8BITMIME":
        found["#8bitmime"] = "true"
    return found
