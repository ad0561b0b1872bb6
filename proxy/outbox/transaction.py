"""Deliver one letter to one recipient over a pooled connection: MAIL, RCPT, DATA, the dot."""

from __future__ import annotations

from proxy.mail.replies import Reply
from proxy.mail.session import Path
from proxy.mail.stuffing import stuffed
from proxy.options.outbound import OutboundOptions
from proxy.outgoing import envelope
from proxy.outgoing.content import GO_AHEAD, Answered, Dotted
from proxy.outgoing.wire import Wire, WireBroken
from proxy.upstream.failures import Lost
from proxy.upstream.pool import ConnectionPool, PooledConnection

BLOCK = 64 * 1024


async def deliver(pool: ConnectionPool, sender: Path, recipient: Path, content: bytes) -> Reply:
    """Return the next hop's reply to the command that decided.

    Raises:
        Lost: the connection broke, and so did a new one.
        Unreachable, RefusedUs, PoolFull: no connection is available.
    """
    try:
        return await _on(await pool.take(None), pool, sender, recipient, content)
    except Lost as lost:
        if not lost.used:  # it was new: another would do no better
            raise
    return await _on(await pool.take(None, fresh=True), pool, sender, recipient, content)


async def _on(
    connection: PooledConnection, pool: ConnectionPool, sender: Path, recipient: Path, content: bytes
) -> Reply:
    """Deliver over a connection. It is always given back, retired or dropped."""
    wire, repeatable = connection.wire, connection.used
    try:
        answer = await _asked(wire, pool.policy, sender, recipient)
        if answer.code == GO_AHEAD:
            repeatable = False
            answer = await _sent(Dotted(wire), wire, stuffed(content), pool.policy.body_timeout)
    except BaseException as error:
        broken = isinstance(error, WireBroken | TimeoutError)
        pool.drop(connection, (str(error) or "timeout") if broken else "given up")
        if broken:
            raise Lost(used=repeatable) from error
        raise
    if answer.accepted:
        connection.deliveries += 1
        pool.give_back(connection)
    else:
        pool.retire(connection)  # the next hop counts an error on it
    return answer


async def _asked(wire: Wire, policy: OutboundOptions, sender: Path, recipient: Path) -> Reply:
    """Send the envelope and DATA; return 354, or the first refusal."""
    # BODY=8BITMIME is left out if the next hop does not offer it: a report must not fail for that.
    parameters = envelope.with_utf8({"BODY": "8BITMIME"}, (sender, recipient))
    if (unfit := envelope.unfit(wire, {name: None for name in parameters if name != "BODY"})) is not None:
        return unfit
    to_mail, answers = await envelope.say(wire, policy, sender, parameters, [recipient], least=1)
    for answer in (to_mail, *answers):
        if not answer.accepted:
            return answer
    (answer,) = await wire.read(wire.send(b"DATA\r\n"), policy.rcptto_timeout)
    if answer.code < 400 and answer.code != GO_AHEAD:  # unclear whether it waits for content
        raise WireBroken(f"answered DATA with {answer.code}")
    return answer


async def _sent(dotted: Dotted, wire: Wire, content: bytes, seconds: float) -> Reply:
    """Send the message; return the verdict on it."""
    *blocks, last = [content[at : at + BLOCK] for at in range(0, len(content), BLOCK)] or [b""]
    try:
        for block in blocks:
            await dotted.send(block, seconds)
        answers = dotted.end(last)
    except Answered as answered:
        wire.abort("answered before the end of the message")
        if answered.reply.accepted:  # it cannot be true
            raise WireBroken(wire.broken) from None
        return answered.reply
    (answer,) = await wire.read(answers, seconds)
    if wire.garbled:  # two replies instead of one
        raise WireBroken("two answers to one message")
    return answer
