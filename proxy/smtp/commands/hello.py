"""EHLO and HELO (RFC 5321 section 4.1.1.1)."""

from __future__ import annotations

from proxy.base.log import printable
from proxy.mail import replies
from proxy.mail.extensions import Offer
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.smtp.dialogue import Dialogue, helo_context
from proxy.smtp.pending import Answer, Pending
from proxy.smtp.ports import SessionHooks


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
    session.context |= helo_context(name, extended=extended)

    def accepted() -> Answer:
        dialogue.end_transaction()
        session.host_name, session.extended_smtp = name, extended
        reply = _offer(dialogue) if extended else plan.helo
        hooks = dialogue.front.hooks
        if (hooks.ehlo if extended else hooks.helo) is None:
            return reply
        return Pending(_heard(hooks, session, name, reply))

    if not plan.at_ehlo:
        return accepted()
    session.host_name = name
    return dialogue.ask(plan.at_ehlo, lambda verdict: verdict.reply, accepted)


async def _heard(hooks: SessionHooks, session: Session, name: str, reply: Reply) -> Reply:
    """Return the reply after a module's hook, which may reject the client or keep fewer lines."""
    if not session.extended_smtp:
        return (None if hooks.helo is None else await hooks.helo(session, name)) or reply
    if hooks.ehlo is None:
        return reply
    answer = await hooks.ehlo(session, name, [line.decode() for line in reply.lines])
    return answer if isinstance(answer, Reply) else Reply(250, tuple([line.encode() for line in answer]))


def _offer(dialogue: Dialogue) -> Reply:
    """Return the reply to EHLO, after policy's additions and removals."""
    session = dialogue.session
    reply = dialogue.plan.hello((dialogue.front.capabilities(), _offers(dialogue)))
    if dialogue.front.hooks.mechanisms:
        reply = _with_mechanisms(reply, dialogue.front.hooks, session)
    if not session.withdrawn and not session.advertised:
        return reply
    name, *offered = reply.lines
    kept = [line for line in offered if line.split()[0].decode().upper() not in session.withdrawn]
    return Reply(250, (name, *kept, *[printable(line).encode() for line in session.advertised]))


def _with_mechanisms(reply: Reply, hooks: SessionHooks, session: Session) -> Reply:
    """Return the reply with the modules' mechanisms of AUTH, and without ours if AUTH is not configured."""
    lines = []
    for line in reply.lines:
        keyword, *ours = line.decode().split(" ")
        if keyword == "AUTH":
            kept = ours if hooks.auth is not None or session.options.authentication != "no" else []
            lines.append(" ".join([keyword, *dict.fromkeys([*kept, *sorted(hooks.mechanisms)])]).encode())
        else:
            lines.append(line)
    return Reply(250, tuple(lines))


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
