"""The opening of a session: a proxy's header, implicit TLS, the accept and connect phases, the banner; and XCLIENT.

XCLIENT (Postfix) names the client of a trusted proxy, and the session opens again for that client.
"""

from __future__ import annotations

from config.base.ip import any_holds
from proxy.base.log import get_logger
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import silent
from proxy.mail.verdict import Verdict
from proxy.smtp.access import is_trusted
from proxy.smtp.dialogue import Dialogue, helo_context
from proxy.smtp.forwarded import BadProxyHeader, Introduction, introduction_of, read_proxy_header
from proxy.smtp.listed import refusal
from proxy.smtp.pending import Answer, Over, Pending
from proxy.smtp.plan import rates_of, within
from proxy.smtp.record import record_refused
from proxy.smtp.shared import NOT_COUNTED, SharedLimits

log = get_logger()


def opening(dialogue: Dialogue) -> Answer:
    """Return the greeting of a new connection.

    The connection's own address decides who must send a header, before a byte is read.
    """
    session, options = dialogue.session, dialogue.entrance.own_options
    session.speaks_within = dialogue.connection.speaks_within
    proxied = any_holds(options.proxy_protocol_networks, session.client_ip)
    if proxied or session.options.implicit_tls:
        return Pending(_behind_proxy_or_tls(dialogue, proxied=proxied))
    return greeting(dialogue)


async def _behind_proxy_or_tls(dialogue: Dialogue, *, proxied: bool) -> Reply | None:
    implicit = dialogue.session.options.implicit_tls
    if proxied:
        await _read_header(dialogue)
    if implicit:
        certificate = dialogue.entrance.certificate(dialogue.session.options)
        if certificate is None:
            raise Over
        await dialogue.secure(certificate)
    answer = greeting(dialogue)
    return await answer.work if type(answer) is Pending else answer


async def _read_header(dialogue: Dialogue) -> None:
    """Read the PROXY header, and continue as its client's session."""
    session = dialogue.session
    try:
        header = await read_proxy_header(dialogue.connection)
    except BadProxyHeader as error:
        log.warning("proxy_header_refused", session=session.id, client=session.client_ip, reason=str(error))
        if not session.options.implicit_tls:
            dialogue.say(replies.NO_PROXY_HEADER)
            record_refused(session, "CONNECT", b"", replies.NO_PROXY_HEADER)
        raise Over from None
    if header.client is not None and header.local is not None:
        dialogue.become(header.client, header.local)
    hook = dialogue.front.hooks.proxied
    if hook is not None and not await hook(session, header):
        raise Over


def greeting(dialogue: Dialogue) -> Answer:
    """Run the accept and connect phases; return the banner, or the rejection."""
    session, front = dialogue.session, dialogue.front
    if front.stopping or front.closed:
        return dialogue.farewell()
    if session.options.context:
        session.context |= session.options.context
    session.can_relay = is_trusted(session)
    session.context["can_relay"] = "true" if session.can_relay else "false"
    if session.options.refuse_lists and (listed := refusal(front, session)) is not None:
        return listed
    if dialogue.plan.counts_connections:
        if front.shared is not None:
            return Pending(_counted(dialogue, front.shared))
        if limit := dialogue.admission.limit_reached(session):
            return replies.TOO_MANY_SESSIONS.decided_by(limit)
        rate = session.options.connection_rate_per_client
        if rate.count and not within(front, session, "connection", rate):
            return replies.TOO_MANY_CONNECTIONS
    return _judged(dialogue)


def _judged(dialogue: Dialogue) -> Answer:
    return dialogue.ask(dialogue.plan.at_connect, _rejection, lambda: _banner(dialogue))


async def _counted(dialogue: Dialogue, shared: SharedLimits) -> Reply | None:
    """Greet a client whose limits all workers count together."""
    session = dialogue.session
    rate = session.options.connection_rate_per_client
    rates = rates_of(session, "connection", rate) if rate.count else ()
    refused = await dialogue.admission.claim(shared, session, rates)
    if refused:
        return _refusal(refused)
    answer = _judged(dialogue)
    return await answer.work if type(answer) is Pending else answer


def _refusal(by: str) -> Reply:
    if by == NOT_COUNTED:
        return replies.INTERNAL_CLOSING.decided_by(by)
    return replies.TOO_MANY_CONNECTIONS if by == "connection" else replies.TOO_MANY_SESSIONS.decided_by(by)


def _rejection(verdict: Verdict) -> Reply | None:
    # A greeting is 220, 421 or 554 (RFC 5321 section 4.3.2), so our own failure must not be 451 here.
    if verdict.reply == replies.INTERNAL:
        return replies.INTERNAL_CLOSING.decided_by(verdict.reply.by)
    return verdict.reply


def _banner(dialogue: Dialogue) -> Reply:
    session, connection = dialogue.session, dialogue.connection
    if connection.draining:  # since the phases began
        return dialogue.farewell()
    if connection.buffer and not session.may_talk_early:
        session.context["early_talker"] = "yes"
        return replies.SYNCHRONIZATION.decided_by("early_talker")
    usual = dialogue.plan.banner
    return usual if session.greeting is None else session.greeting(usual)


# ---------------------------------------------------------------- XCLIENT


def xclient(dialogue: Dialogue, argument: bytes) -> Answer:
    """XCLIENT: become the session of another client, and greet it."""
    if not dialogue.may_introduce:
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
        session.context |= helo_context(told.helo, extended=session.extended_smtp)


async def _greeted_later(dialogue: Dialogue, told: Introduction, answer: Pending) -> Reply | None:
    reply = await answer.work
    return None if reply is None else _greeted(dialogue, told, reply)


def _greeted(dialogue: Dialogue, told: Introduction, reply: Reply) -> Reply:
    if told.login is not None:
        dialogue.session.authenticate(told.login)
    return reply if reply.accepted else reply.closing()
