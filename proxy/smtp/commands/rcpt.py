"""RCPT TO (RFC 5321 section 4.1.1.3). The next hop's verdict is the client's.

Pipelined RCPT commands go to the next hop in one write, too (RFC 2920): only those recipients that it would get anyway.
The first other line ends the search and is handled when its turn comes; a recipient that we refuse ourselves is left
out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from functools import partial

from proxy.mail import replies
from proxy.mail.address import BadParameter, BadPath, BadUtf8, parse_argument
from proxy.mail.replies import Reply
from proxy.mail.session import TO, Path, Recipient, Session
from proxy.mail.verdict import Verdict
from proxy.options.inbound import InboundOptions
from proxy.smtp.access import admits
from proxy.smtp.arguments import Carried, repaired, unwanted_of_rcpt
from proxy.smtp.dialogue import Dialogue
from proxy.smtp.pending import Answer, Pending
from proxy.smtp.plan import Limit
from proxy.smtp.ports import Front
from proxy.smtp.shared import waits_for

MOST_AHEAD = 50
"""Most recipients sent to the next hop in one write."""

_RCPT = b"RCPT "
_NEXT = re.compile(rb"[Rr][Cc][Pp][Tt] +([!-~][ -~]{0,2000})\r\n")
"""A line that is plainly RCPT, with its argument, and not too long to be taken."""

_BLANK = 0x20


def rcpt(dialogue: Dialogue, argument: bytes, limits: Sequence[Limit] | None = None) -> Answer:
    """RCPT TO: ask policy about the recipient, then the next hop. `limits`: those not looked at yet."""
    session, plan = dialogue.session, dialogue.plan
    foreseen = dialogue.foreseen.pop(argument, None) if dialogue.foreseen else None
    recipient = _parsed(dialogue, argument) if foreseen is None else foreseen[0]
    if type(recipient) is Reply:
        return recipient
    limits = plan.limits_on_rcpt if limits is None else limits
    for limit in limits:
        if (refusal := limit(dialogue)) is not None:
            rest = limits[limits.index(limit) + 1 :]
            return waits_for(refusal, partial(rcpt, dialogue, argument, rest))  # with a rate, no recipient is foreseen
    if recipient is None or (foreseen is None and not admits(session.options, session, recipient.path)):
        return replies.RELAYING_DENIED
    session.current_recipient = recipient
    if plan.looks_from_rcpt:
        session.tell_counts()
        session.transaction.context |= recipient_context(recipient.path)
    if foreseen is not None:
        return _taken(dialogue, recipient, foreseen[1])
    return _judged(dialogue, recipient) if plan.at_rcpt else _offered(dialogue, recipient)


def _parsed(dialogue: Dialogue, argument: bytes) -> Recipient | Reply:
    """Parse the argument. A recipient that is repeated shares its path: a thousand cost 120 KiB then, not 400."""
    session = dialogue.session
    transaction = session.transaction
    if transaction.recipients:
        last = transaction.recipients[-1]
        if last.path.given == argument and (last.apart is None or not last.parameters):
            return Recipient(last.path)
    return recipient_of(argument, session.options, dialogue.front.capabilities, utf8=transaction.smtp_utf8)


def recipient_of(argument: bytes, options: InboundOptions, carried: Carried, *, utf8: bool) -> Recipient | Reply:
    """Parse RCPT's argument into a recipient, or return why it is rejected."""
    try:
        path, parameters = parse_argument(
            argument,
            TO,
            default_domain=options.domain_for_unqualified_recipient_addresses,
            strict=options.strict_addresses,
        )
    except BadPath as bad:
        return replies.NOT_UTF8 if isinstance(bad, BadUtf8) else replies.RECIPIENT_SYNTAX
    except BadParameter:
        return replies.BAD_PARAMETER
    if not path.raw or (path.domain[:1] == "[" and not options.allow_ip_literal):
        return replies.RECIPIENT_SYNTAX
    kept = parameters
    if parameters:
        kept = parameters if options.strict_addresses else repaired(parameters)
        if (refused := unwanted_of_rcpt(kept, carried())) is not None:
            return refused
    if not utf8 and not (path.raw.isascii() and (not parameters or (parameters.get("ORCPT") or "").isascii())):
        return replies.NEEDS_SMTPUTF8
    path.said = TO if argument == b"TO:<%b>" % path.raw else argument
    return Recipient(path, kept)


def recipient_context(path: Path) -> dict[str, str]:
    """Return those that RCPT sets."""
    return {
        "rcptto_string": f"RCPT TO:<{path.text}>",
        "rcptto_localpart": path.local_part,
        "rcptto_domain": path.domain,
    }


def _judged(dialogue: Dialogue, recipient: Recipient) -> Answer:
    """Ask policy about a recipient."""

    def refusal_by(verdict: Verdict) -> Reply | None:
        recipient.relayed &= not verdict.discard
        recipient.discarded_by = verdict.by
        return verdict.reply if verdict.reply is None else _taken(dialogue, recipient, verdict.reply)

    return dialogue.ask(dialogue.plan.at_rcpt, refusal_by, lambda: _offered(dialogue, recipient))


def _offered(dialogue: Dialogue, recipient: Recipient) -> Answer:
    """Offer a recipient to the next hop, unless policy discards its mail."""
    if dialogue.session.transaction.discarded or not recipient.relayed:
        recipient.relayed = False
        return _taken(dialogue, recipient, replies.RECIPIENT_OK)
    return Pending(_ask_upstream(dialogue, recipient))


async def _ask_upstream(dialogue: Dialogue, recipient: Recipient) -> Reply:
    """Return the next hop's verdict on a recipient. Recipients pipelined after it are sent with it."""
    buffer, transaction = dialogue.connection.buffer, dialogue.session.transaction
    pipelined = buffer[: len(_RCPT)].upper() == _RCPT if buffer else False
    ahead = _recipients_ahead(dialogue.front, dialogue.session, buffer) if pipelined else {}
    paths, offered = [recipient.destination], ahead
    if ahead:
        offered = {argument: each for argument, each in ahead.items() if each is not None}
        paths += [each.destination for each in offered.values() if each is not None]
    began = time.monotonic()
    first, *others = await dialogue.open_relay().recipients(transaction, paths)
    transaction.upstream_seconds += time.monotonic() - began
    if ahead:
        dialogue.foreseen = dict.fromkeys(ahead, (None, replies.RELAYING_DENIED))
        for (argument, each), answer in zip(offered.items(), others, strict=True):
            dialogue.foreseen[argument] = (each, answer)
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


def _recipients_ahead(front: Front, session: Session, buffer: bytearray) -> dict[bytes, Recipient | None]:
    """Return the recipients of the RCPT commands at the head of the buffer that only the next hop judges, by argument.

    It is None for one that we refuse ourselves.

    If policy or a rate limit applies, recipients are sent one by one, because a recipient that the next hop accepted
    must also be accepted towards the client. The look ends at a repeated recipient: each line adds one, or the buffer
    of a client that repeats itself would be read for every command.
    """
    if front.pipeline.judges_recipients or session.options.recipient_rate_per_client.count:
        return {}
    found: dict[bytes, Recipient | None] = {}
    at, most, refused, utf8 = 0, _room(session), 0, session.transaction.smtp_utf8
    while len(found) - refused < most and refused < MOST_AHEAD and (line := _NEXT.match(buffer, at)) is not None:
        argument = line[1]
        if argument in found or argument[-1] == _BLANK:
            break
        recipient = recipient_of(argument, session.options, front.capabilities, utf8=utf8)
        if type(recipient) is not Recipient:
            break
        if admits(session.options, session, recipient.path):
            found[argument] = recipient
        else:
            found[argument] = None
            refused += 1
        at = line.end()
    return found


def _room(session: Session) -> int:
    """Return how many recipients the limits allow after the current one."""
    options = session.options
    limits = (
        (options.max_recipients_per_message, len(session.transaction.recipients)),
        (options.max_recipients_per_connection, session.tally.recipients),
    )
    return min([MOST_AHEAD, *(limit - taken - 1 for limit, taken in limits if limit)])
