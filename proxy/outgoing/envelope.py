"""MAIL and RCPT as sent upstream, and whether the upstream can carry the message at all.

If the upstream offers its extension, a parameter is passed on as the client gave it. Messages are never downgraded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxy.mail import replies
from proxy.mail.extensions import carried_by
from proxy.mail.message import is_binary
from proxy.mail.replies import Reply
from proxy.mail.session import Path
from proxy.options.outbound import OutboundOptions
from proxy.outgoing.wire import Wire, WireBroken

Parameters = Mapping[str, str | None]
NOT_ACCEPTED = 300
"""Replies with a code below this are positive (RFC 5321 section 4.2.1): the parser lets none below 200 through."""

Said = tuple[Path, Parameters]
"""A path of MAIL or RCPT, with its parameters."""

_CARRIED_BY = carried_by()
"""The extension that the upstream needs for each parameter. A parameter not listed here is never passed on."""


def with_utf8(parameters: Parameters, paths: Sequence[Path]) -> Parameters:
    """Return the parameters, with SMTPUTF8 if a path needs it: a script may have added such an address."""
    for path in paths:
        if not path.raw.isascii():
            return {**parameters, "SMTPUTF8": None}
    return parameters


def unfit(wire: Wire, parameters: Parameters) -> Reply | None:
    """Return why the upstream cannot carry a message with these parameters; None if it can."""
    if not parameters:
        return None
    offered = wire.extensions
    if "SMTPUTF8" in parameters and "smtputf8" not in offered:
        return replies.NO_SMTPUTF8_BEHIND
    if (parameters.get("BODY") or "").upper() == "8BITMIME" and "8bitmime" not in offered:
        return replies.NO_8BITMIME_BEHIND
    if is_binary(parameters) and not {"binarymime", "chunking"} <= offered.keys():
        return replies.NO_BINARYMIME_BEHIND
    return None


def command(wire: Wire, verb: bytes, path: Path, parameters: Parameters) -> bytes:
    """Return MAIL or RCPT with the client's parameters, without those that the upstream does not know."""
    if not parameters:
        return b"%b:<%b>\r\n" % (verb, path.raw)
    words = ""
    for name, value in parameters.items():
        if _CARRIED_BY.get(name) in wire.extensions or (name == "BODY" and is_binary(parameters)):
            words += f" {name}" if value is None else f" {name}={value}"
    return b"%b:<%b>%b\r\n" % (verb, path.raw, words.encode())


async def say(
    wire: Wire, policy: OutboundOptions, sender: Path, parameters: Parameters, paths: Sequence[Path], *, least: int
) -> tuple[Reply, list[Reply]]:
    """Send MAIL and RCPT, in one write if the upstream offers PIPELINING; return the replies.

    If the connection breaks after `least` replies to RCPT, the replies so far are returned, and the wire is broken.

    Raises:
        WireBroken, TimeoutError: it broke earlier, or the upstream stopped replying.
    """
    mail = command(wire, b"MAIL FROM", sender, parameters)
    if "pipelining" not in wire.extensions:
        answer = (await wire.read(wire.send(mail), policy.mailfrom_timeout))[0]
        return answer, await _one_by_one(wire, policy, paths, least) if answer.code < NOT_ACCEPTED else []
    for path in paths:
        mail += command(wire, b"RCPT TO", path, path.parameters)
    answers = wire.send(mail, 1 + len(paths))
    try:
        await wire.read(answers, policy.mailfrom_timeout, policy.rcptto_timeout)
    except (WireBroken, TimeoutError) as error:
        closed = not wire.garbled and not isinstance(error, TimeoutError)
        if not _suffice(answers.replies, least, closed=closed):
            raise
    answer, *verdicts = answers.replies
    return answer, verdicts if answer.code < NOT_ACCEPTED else []


def _suffice(replies: Sequence[Reply], least: int, *, closed: bool) -> bool:
    """Whether the replies that arrived before the connection broke are enough without the missing ones."""
    if not replies or replies[0].accepted:
        return len(replies) > least
    return closed  # after refusing the sender: its missing replies to RCPT would say the same


async def say_recipients(wire: Wire, policy: OutboundOptions, paths: Sequence[Path]) -> list[Reply]:
    """Send RCPT in the open transaction; return the verdicts on the first paths, at least one.

    Raises:
        WireBroken, TimeoutError: the connection broke before that, or the upstream stopped replying.
    """
    if "pipelining" not in wire.extensions:
        return await _one_by_one(wire, policy, paths, 1)
    rcpts = [command(wire, b"RCPT TO", path, path.parameters) for path in paths]
    answers = wire.send(b"".join(rcpts), len(rcpts))
    try:
        await wire.read(answers, policy.rcptto_timeout)
    except (WireBroken, TimeoutError):
        if not answers.replies:
            raise
    return answers.replies


async def _one_by_one(wire: Wire, policy: OutboundOptions, paths: Sequence[Path], least: int) -> list[Reply]:
    """Send RCPT commands, each after the reply to the one before; return the replies, at least `least` of them."""
    replies: list[Reply] = []
    for path in paths:
        answers = wire.send(command(wire, b"RCPT TO", path, path.parameters))
        try:
            replies += await wire.read(answers, policy.rcptto_timeout)
        except (WireBroken, TimeoutError):
            if len(replies) < least:
                raise
            break
    return replies
