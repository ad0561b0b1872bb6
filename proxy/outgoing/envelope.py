"""MAIL and RCPT as sent upstream, and whether the upstream can carry the message at all.

If the upstream offers its extension, a parameter is passed on as the client gave it. Messages are never downgraded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from proxy.mail import replies
from proxy.mail.extensions import carried_by
from proxy.mail.message import is_binary
from proxy.mail.replies import Reply
from proxy.mail.session import Path
from proxy.options.outbound import OutboundOptions
from proxy.outgoing.content import read
from proxy.outgoing.wire import Wire, WireBroken

Parameters = Mapping[str, str | None]
Said = tuple[Path, Parameters]
"""A path of MAIL or RCPT, with its parameters."""

_CARRIED_BY = carried_by()
"""The extension that the upstream needs for each parameter. A parameter not listed here is never passed on."""


def with_utf8(parameters: Parameters, paths: Sequence[Path]) -> Parameters:
    """Return the parameters, with SMTPUTF8 if a path needs it: a script may have added such an address."""
    return parameters if all(each.raw.isascii() for each in paths) else {**parameters, "SMTPUTF8": None}


def unfit(wire: Wire, parameters: Parameters) -> Reply | None:
    """Return why the upstream cannot carry a message with these parameters; None if it can."""
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
    words = "".join(
        f" {name}" if value is None else f" {name}={value}"
        for name, value in parameters.items()
        if _CARRIED_BY.get(name) in wire.extensions or (name == "BODY" and is_binary(parameters))
    )
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
    rcpts = [command(wire, b"RCPT TO", path, path.parameters) for path in paths]
    together = "pipelining" in wire.extensions
    to_mail, *to_rcpts = wire.send(mail + b"".join(rcpts), 1 + len(rcpts)) if together else wire.send(mail)
    answer = await read(wire, to_mail, policy.mailfrom_timeout)
    if not answer.accepted:
        try:
            for each in to_rcpts:
                await read(wire, each, policy.rcptto_timeout)
        except WireBroken:
            if wire.garbled:
                raise
            # It closed after refusing the sender. The refusal stands: its missing replies to RCPT would say the same.
        return answer, []
    return answer, await _answers(wire, policy, rcpts, to_rcpts, least)


async def say_recipients(wire: Wire, policy: OutboundOptions, paths: Sequence[Path]) -> list[Reply]:
    """Send RCPT in the open transaction; return the verdicts on the first paths, at least one.

    Raises:
        WireBroken, TimeoutError: the connection broke before that, or the upstream stopped replying.
    """
    rcpts = [command(wire, b"RCPT TO", path, path.parameters) for path in paths]
    together = "pipelining" in wire.extensions
    return await _answers(wire, policy, rcpts, wire.send(b"".join(rcpts), len(rcpts)) if together else [], least=1)


async def _answers(
    wire: Wire, policy: OutboundOptions, rcpts: Sequence[bytes], awaited: Sequence[asyncio.Future[Reply]], least: int
) -> list[Reply]:
    """Return the replies to RCPT commands; send those that were not pipelined one by one."""
    answers: list[Reply] = []
    for number, rcpt in enumerate(rcpts):
        (answer,) = (awaited[number],) if awaited else wire.send(rcpt)
        try:
            answers.append(await read(wire, answer, policy.rcptto_timeout))
        except (WireBroken, TimeoutError):
            if len(answers) < least:
                raise
            break
    return answers
