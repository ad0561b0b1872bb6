"""The plan for clients with the same options, made once: the limits that are set, the phases with hooks, fixed replies.

So a limit that is off, a phase without a hook, and an extension that is not offered cost nothing for each message.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Protocol

from proxy.counting.base import Counting
from proxy.mail import replies
from proxy.mail.extensions import EXTENSIONS, Extension, Offer
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.options.inbound import InboundOptions
from proxy.options.names import banner_lines
from proxy.options.throttle import Buckets, Throttle
from proxy.smtp.listed import Refusing, refusal
from proxy.smtp.shared import HERE, Rate, SharedLimits, SharedRate, Waits
from proxy.smtp.state import Progress, State
from proxy.smtp.turns import Turn
from sieve.phases import CONTENT_PHASES, Phase

_FROM_RCPT = (Phase.RCPTTO, *CONTENT_PHASES)

Terms = tuple[frozenset[str], frozenset[Offer]]
"""What decides about our EHLO reply: what every next hop offers, and which offers hold for the client now."""

_TOO_MANY_RECIPIENTS = replies.TOO_MUCH_MAIL.decided_by("recipient_rate_per_client")

_MOST_HELLOS = 64
"""EHLO replies that a plan keeps. A configuration has a few."""


class Looks(Protocol):
    """What a plan wants to know of policy."""

    @property
    def judges_recipients_by_content(self) -> bool: ...

    @property
    def reads_body(self) -> bool: ...

    @property
    def authenticates(self) -> bool: ...

    def active(self, phase: Phase) -> bool: ...


class Shared(Protocol):
    """What a limit wants to know of the worker."""

    rates: Buckets
    shared: SharedLimits | None
    counting: Counting

    @property
    def settings(self) -> InboundOptions: ...

    @property
    def lists(self) -> Refusing | None: ...


class Named(Protocol):
    """What a limit wants to know of the listener."""

    @property
    def address(self) -> str: ...


class Limited(Protocol):
    """What a limit looks at: the dialogue with one client."""

    @property
    def front(self) -> Shared: ...

    @property
    def entrance(self) -> Named: ...

    session: Session
    progress: Progress


Limit = Callable[[Limited], Reply | Waits | None]
"""Returns the reply to a client that has reached the limit, or what must be waited for first."""


class Plan:
    """What a listener does for clients with the same options. Only the cache of EHLO replies changes."""

    __slots__ = (
        "_hellos",
        "at_connect",
        "at_content",
        "at_content_judged",
        "at_ehlo",
        "at_mail",
        "at_rcpt",
        "authserv_id",
        "banner",
        "counts_connections",
        "helo",
        "idle",
        "lifetime",
        "limits_on_mail",
        "limits_on_rcpt",
        "looks_from_mail",
        "looks_from_rcpt",
        "options",
        "reads_body",
        "stress",
    )  # fmt: skip

    def __init__(self, options: InboundOptions, policy: Looks) -> None:
        """Compile the options."""
        self.options = options
        self.at_connect = _active(policy, Phase.ACCEPT, Phase.CONNECT)
        self.at_ehlo = _active(policy, Phase.EHLO)
        self.at_mail = _active(policy, Phase.MAILFROM)
        by_content = policy.judges_recipients_by_content
        self.at_rcpt = _active(policy, Phase.RCPTTO, *(() if by_content else (Phase.EACH_RCPT,)))
        self.looks_from_rcpt = bool(self.at_ehlo) or any(policy.active(phase) for phase in _FROM_RCPT)
        """Whether a module may read the context variables that RCPT sets."""
        self.looks_from_mail = bool(self.at_mail) or self.looks_from_rcpt
        """Whether a module may read the context variables that MAIL sets."""
        self.at_content = _active(policy, *CONTENT_PHASES)
        """The content phases with hooks."""
        self.at_content_judged = tuple(each for each in self.at_content if by_content or each is not Phase.EACH_RCPT)
        """Those of them that run when the message has arrived."""
        self.reads_body = policy.reads_body
        self.authserv_id = options.results_name if policy.authenticates else ""
        """The name that no field of a message may claim; empty if no module writes results."""
        self.counts_connections = bool(
            options.listener_sessions
            or options.service_sessions
            or options.max_connections_per_client
            or options.connection_rate_per_client.count
        )
        self.limits_on_mail = _limits_on_mail(options)
        self.limits_on_rcpt = _limits_on_rcpt(options, policy)
        self.idle = options.idle_time or math.inf
        """Seconds for the client's next command."""
        self.lifetime = options.session_time or math.inf
        """Seconds for the whole session."""
        self.stress = options.stress_sessions
        self.banner = banner(options)
        self.helo = Reply(250, (options.hostname.encode(),))
        self._hellos: dict[Terms, Reply] = {}

    def hello(self, terms: Terms) -> Reply:
        """Return the reply to EHLO."""
        reply = self._hellos.get(terms)
        if reply is None:
            if len(self._hellos) >= _MOST_HELLOS:
                self._hellos.clear()
            reply = Reply(250, (self.options.hostname.encode(), *_offered(self.options, terms)))
            self._hellos[terms] = reply
        return reply


def _active(policy: Looks, *phases: Phase) -> tuple[Phase, ...]:
    return tuple(phase for phase in phases if policy.active(phase))


def _offered(options: InboundOptions, terms: Terms) -> Iterator[bytes]:
    """Yield the EHLO lines of the extensions that are offered, in the table's order."""
    carried, offers = terms
    for extension in EXTENSIONS:
        held = extension.offer in offers or extension.offer in {Offer.ALWAYS, Offer.LIMITED}
        if held and carried >= extension.needs and (line := _line(extension, options)):
            yield line.encode()


def _line(extension: Extension, options: InboundOptions) -> str:
    """Return an extension's line. Limits that are off are left out; if all are off, so is the line."""
    limited = extension.offer is Offer.LIMITED
    values = {name: getattr(options, name) for name in type(options).model_fields} if extension.words else {}
    words = [word.format_map(values) for word in extension.words]
    said = [word for word in words if not (limited and word.rpartition("=")[2] == "0")]
    return "" if limited and not said else " ".join([extension.keyword, *said])


def banner(options: InboundOptions) -> Reply:
    """Return the greeting (RFC 5321 section 4.2): the operator's text, or our name and `ESMTP`.

    A static banner may be a complete multiline reply, with its own codes and line breaks.
    """
    lines = banner_lines(options.static_banner)
    if not lines:
        return Reply(220, (f"{options.banner_hostname or options.hostname} ESMTP Ringback".encode(),))
    return Reply(220, tuple(line.encode("ascii", "replace") for line in lines))


def within(front: Shared, session: Session, what: str, throttle: Throttle) -> bool:
    """Whether the client is within a rate limit. Relay hosts are exempt."""
    return session.can_relay or front.rates.take(f"{HERE}{session.client_network} {what}", throttle)


def rates_of(session: Session, what: str, throttle: Throttle) -> tuple[Rate, ...]:
    """Return the rate limit, if it holds for the client."""
    return () if session.can_relay else (Rate(what, session.client_network, throttle),)


def rated(asking: Limited, what: str, throttle: Throttle, refusal: Reply) -> Reply | Waits | None:
    """Count an event of the client; return the refusal if it is one too many."""
    shared = asking.front.shared
    if shared is None or asking.session.can_relay:
        return None if within(asking.front, asking.session, what, throttle) else refusal
    return SharedRate(shared, Rate(what, asking.session.client_network, throttle), refusal)


def _limits_on_mail(options: InboundOptions) -> tuple[Limit, ...]:
    """Return the limits on MAIL."""
    limits: list[Limit] = []
    if options.refuse_lists:
        limits.append(_listed)
    if options.max_receptions_per_connection:
        limits.append(_messages)
    if options.require_ehlo:
        limits.append(_ehlo_first)
    if options.message_rate_per_client.count:
        limits.append(_message_rate)
    if options.inbound_throttle_messages.count:
        limits.append(_throttle)
    return tuple(limits)


def _limits_on_rcpt(options: InboundOptions, policy: Looks) -> tuple[Limit, ...]:
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


def _listed(asking: Limited) -> Reply | None:
    """Refuse a client that was listed after its greeting."""
    return refusal(asking.front, asking.session)


def _messages(asking: Limited) -> Reply | None:
    most = asking.session.options.max_receptions_per_connection
    return replies.TOO_MANY_MESSAGES if asking.session.tally.messages >= most else None


def _ehlo_first(asking: Limited) -> Reply | None:
    return replies.EHLO_FIRST.decided_by("require_ehlo") if asking.progress.state is State.CONNECTED else None


def _throttle(asking: Limited) -> Reply | Waits | None:
    throttle = asking.session.options.inbound_throttle_messages
    together = throttle is asking.front.settings.inbound_throttle_messages
    return Turn(asking.front.counting, "" if together else asking.entrance.address, throttle)


def _message_rate(asking: Limited) -> Reply | Waits | None:
    return rated(asking, "message", asking.session.options.message_rate_per_client, replies.TOO_MUCH_MAIL)


def _recipients(asking: Limited) -> Reply | None:
    most = asking.session.options.max_recipients_per_message
    return replies.TOO_MANY_RECIPIENTS if len(asking.session.transaction.recipients) >= most else None


def _recipients_in_all(asking: Limited) -> Reply | None:
    most = asking.session.options.max_recipients_per_connection
    if asking.session.tally.recipients < most:
        return None
    return replies.TOO_MANY_RECIPIENTS.decided_by("max_recipients_per_connection")


def _one_alone(asking: Limited) -> Reply | None:
    """Allow one recipient if policy judges the content for each one, and the results cannot be reported."""
    return (
        replies.TOO_MANY_RECIPIENTS.decided_by("multi_recipient")
        if asking.session.transaction.recipients and not asking.session.tells_of_each
        else None
    )


def _recipient_rate(asking: Limited) -> Reply | Waits | None:
    return rated(asking, "recipient", asking.session.options.recipient_rate_per_client, _TOO_MANY_RECIPIENTS)
