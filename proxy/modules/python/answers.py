"""What a hook returns: `250…` lets the command pass, other replies go to the client, anything else is a mistake."""

from __future__ import annotations

import re

from aiosmtpd.smtp import MISSING

from proxy.mail.replies import LONGEST_TEXT, Reply, from_policy

_LINE = re.compile(r"([2-5][0-5][0-9])(?:([ -])([\t -~]*))?")
"""A line of a reply (RFC 5321 section 4.2)."""

MOST_LINES = 100
"""Lines of a reply. More than that is not one."""


class Malformed(Exception):
    """A hook returned something that is not a reply."""


def reply_of(status: object, *, confirms: bool = False, passes: str = "250") -> Reply | None:
    """Return the reply that a hook wants, or None if the command passes.

    `confirms`: another code of 2xx may go to the client, because the command does not carry mail. Otherwise only the
    next hop says that something was accepted. `passes` is the code that lets the command pass.

    Raises:
        Malformed: it is not a reply, or one that the client must not get here.
    """
    if status is MISSING:
        return None
    if isinstance(status, bytes):
        status = status.decode("ascii", "backslashreplace")
    if not isinstance(status, str):
        raise Malformed(f"a hook returns a reply as text, not {status!r:.100}")
    if passes and status.startswith(passes):
        return None
    reply = parsed(status)
    if reply.code < 400 and not (confirms and reply.accepted):
        raise Malformed(f"a hook cannot answer {reply.code} here")
    return reply


def parsed(status: str) -> Reply:
    """Parse a reply of one or more lines.

    Raises:
        Malformed: it is not a reply.
    """
    lines = re.split(r"\r?\n", status.removesuffix("\n").removesuffix("\r"))
    matches = [_LINE.fullmatch(line) for line in lines[: MOST_LINES + 1]]
    *first, last = matches
    if len(matches) > MOST_LINES or last is None or last[2] == "-":
        raise Malformed(f"no reply: {status!r:.100}")
    texts = []
    for match in first:
        if match is None or match[1] != last[1] or match[2] != "-":
            raise Malformed(f"no reply: {status!r:.100}")
        texts.append(match[3])
    texts.append(last[3] or "")
    if max(map(len, texts)) > LONGEST_TEXT:
        raise Malformed(f"a line of a reply is longer than {LONGEST_TEXT} octets")
    code = int(last[1])
    return from_policy(code, "\n".join(texts), close=code == 421)  # RFC 5321 section 3.8: 421 closes
