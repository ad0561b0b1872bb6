"""MAIL and RCPT as the upstream hears them, and whether it can carry the message at all.

A parameter goes on as the client gave it where the upstream knows its extension. A message is never downgraded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from proxy.mail import replies
from proxy.mail.message import is_binary
from proxy.mail.replies import Reply
from proxy.mail.session import Path
from proxy.options.outbound import OutboundOptions
from proxy.outgoing.content import read
from proxy.outgoing.wire import Wire, WireBroken

Parameters = Mapping[str, str | None]
Said = tuple[Path, Parameters]
"""A path as MAIL or RCPT said it, with its parameters."""

_CARRIED_BY = {
    "SIZE": "size",
    "BODY": "8bitmime",
    "SMTPUTF8": "smtputf8",
    "RET": "dsn",
    "ENVID": "dsn",
    "NOTIFY": "dsn",
    "ORCPT": "dsn",
    "AUTH": "auth",
}
"""The extension that the upstream must have for a parameter to go on to it; one that is not here stays with us."""


def with_utf8(parameters: Parameters, paths: Sequence[Path]) -> Parameters:
    """Return the parameters, with SMTPUTF8 where a path needs it: a script may have brought in such an address."""
    return parameters if all(each.raw.isascii() for each in paths) else {**parameters, "SMTPUTF8": None}


def unfit(wire: Wire, parameters: Parameters) -> Reply | None:
    """Return why the upstream cannot carry a message with these parameters, None where it can."""
    offered = wire.extensions
    if "SMTPUTF8" in parameters and "smtputf8" not in offered:
        return replies.NO_SMTPUTF8_BEHIND
    if (parameters.get("BODY") or "").upper() == "8BITMIME" and "8bitmime" not in offered:
        return replies.NO_8BITMIME_BEHIND
    if is_binary(parameters) and not {"binarymime", "chunking"} <= offered.keys():
        return replies.NO_BINARYMIME_BEHIND
    return None


def command(wire: Wire, verb: bytes, path: Path, parameters: Parameters) -> bytes:
    """Return MAIL or RCPT with the parameters as the client gave them, less those that the upstream does not know."""
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
    """Say MAIL and RCPT, in one write where the upstream takes that; return the answers.

    Where the connection breaks after `least` answers to RCPT, those that came are returned, and the wire is broken.

    Raises:
        WireBroken, TimeoutError: it broke sooner, or the upstream fell silent.
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
            # It closed behind its refusal of the sender, which stands: what it owes to RCPT would say the same.
        return answer, []
    return answer, await _answers(wire, policy, rcpts, to_rcpts, least)


async def say_recipients(wire: Wire, policy: OutboundOptions, paths: Sequence[Path]) -> list[Reply]:
    """Say RCPT in the open transaction; return the verdicts on the first of the paths, on one at least.

    Raises:
        WireBroken, TimeoutError: the connection broke before that, or the upstream fell silent.
    """
    rcpts = [command(wire, b"RCPT TO", path, path.parameters) for path in paths]
    together = "pipelining" in wire.extensions
    return await _answers(wire, policy, rcpts, wire.send(b"".join(rcpts), len(rcpts)) if together else [], least=1)


async def _answers(
    wire: Wire, policy: OutboundOptions, rcpts: Sequence[bytes], awaited: Sequence[asyncio.Future[Reply]], least: int
) -> list[Reply]:
    """Return the answers to RCPT commands, saying those that are not under way one by one."""
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
