"""The limits that may refuse MAIL or RCPT. A plan has only those that its options set, so a limit that is off is free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.options.inbound import InboundOptions
from proxy.options.throttle import Throttle
from proxy.smtp.front import Front
from proxy.smtp.ports import Policy
from proxy.smtp.state import Progress, State


class Limited(Protocol):
    """What a limit looks at: the dialogue with one client."""

    front: Front
    session: Session
    progress: Progress


Limit = Callable[[Limited], Reply | None]
"""Returns the reply to a client that has reached the limit."""


def within(front: Front, session: Session, what: str, throttle: Throttle) -> bool:
    """Whether the client is within a rate limit. Relay hosts are exempt."""
    return session.can_relay or front.rates.take(f"{what} {session.client_network}", throttle)


def limits_on_mail(options: InboundOptions) -> tuple[Limit, ...]:
    """Return the limits on MAIL."""
    limits: list[Limit] = []
    if options.max_receptions_per_connection:
        limits.append(_messages)
    if options.require_ehlo:
        limits.append(_ehlo_first)
    if options.message_rate_per_client.count:
        limits.append(_message_rate)
    return tuple(limits)


def limits_on_rcpt(options: InboundOptions, policy: Policy) -> tuple[Limit, ...]:
    """Return the limits on RCPT."""
    limits: list[Limit] = []
    if options.max_recipients_per_message:
        limits.append(_recipients)
    if options.max_recipients_per_connection:
        limits.append(_recipients_in_all)
    if policy.judges_recipients_by_content:
        limits.append(_one_alone)
    if options.recipient_rate_per_client.count:
        limits.append(_recipient_rate)
    return tuple(limits)


def _messages(asking: Limited) -> Reply | None:
    most = asking.session.options.max_receptions_per_connection
    return replies.TOO_MANY_MESSAGES if asking.session.tally.messages >= most else None


def _ehlo_first(asking: Limited) -> Reply | None:
    return replies.EHLO_FIRST if asking.progress.state is State.CONNECTED else None


def _message_rate(asking: Limited) -> Reply | None:
    rate = asking.session.options.message_rate_per_client
    return None if within(asking.front, asking.session, "message", rate) else replies.TOO_MUCH_MAIL


def _recipients(asking: Limited) -> Reply | None:
    most = asking.session.options.max_recipients_per_message
    return replies.TOO_MANY_RECIPIENTS if len(asking.session.transaction.recipients) >= most else None


def _recipients_in_all(asking: Limited) -> Reply | None:
    most = asking.session.options.max_recipients_per_connection
    return replies.TOO_MANY_RECIPIENTS if asking.session.tally.recipients >= most else None


def _one_alone(asking: Limited) -> Reply | None:
    """Allow one recipient if policy judges the content for each one, and the results cannot be reported."""
    return (
        replies.TOO_MANY_RECIPIENTS
        if asking.session.transaction.recipients and not asking.session.tells_of_each
        else None
    )


def _recipient_rate(asking: Limited) -> Reply | None:
    rate = asking.session.options.recipient_rate_per_client
    return None if within(asking.front, asking.session, "recipient", rate) else replies.TOO_MUCH_MAIL
