"""The dialogue with a client until a refusal, for the history: without passwords, messages and unknown commands.

A session keeps the end of what was said in one array of bytes: a client's line begins with CLIENT, our reply with
SERVER, then the milliseconds since the connection, unless it is at once. It is read only if a command is rejected.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from proxy.base.log import get_logger, printable
from proxy.smtp.connection import MOST_SAID, Connection

log = get_logger()

CLIENT, SERVER = b"\1", b"\2"
"""Marks at the start of a client's line and of our reply, before the milliseconds and \\3. A reply
without milliseconds was sent when the line before it was read."""

_TIME = re.compile(rb"^[\1\2](\d+)\x03", re.MULTILINE)
_STAMP = re.compile(rb"([\1\2])(?:(\d+)\x03)?")

MOST_OF_SESSION = 4
"""How many refusals of a session log their dialogue: each with what was said since the one before."""

MOST_A_MINUTE = 300
"""How many refusals per minute log their dialogue in a worker."""

_SAFE = re.compile(
    rb"(?:MAIL FROM ?:|RCPT TO ?:).*|(?:EHLO|HELO) \S+|BDAT \d+(?: LAST)?|DATA|RSET|NOOP|QUIT|HELP|STARTTLS",
    re.IGNORECASE | re.DOTALL,
)
"""Lines that are shown. Others may be a password, or a message whose DATA was rejected."""

_VERB = re.compile(
    rb"(MAIL|RCPT|EHLO|HELO|BDAT|DATA|RSET|NOOP|QUIT|HELP|STARTTLS|VRFY|XCLIENT"
    rb"|AUTH(?: (?:PLAIN|LOGIN|EXTERNAL|CRAM-MD5|XOAUTH2|OAUTHBEARER))?)(?: .*)?",
    re.IGNORECASE | re.DOTALL,
)


class Allowance:
    """How many dialogues are reported. The event loop's thread owns it."""

    __slots__ = ("_began", "_told")

    def __init__(self) -> None:
        self._began, self._told = 0.0, 0

    def take(self) -> bool:
        """Return whether another one may be reported now."""
        now = time.monotonic()
        if now - self._began >= 60:
            self._began, self._told = now, 0
        self._told += 1
        return self._told <= MOST_A_MINUTE


def tell_dialogue(session: str, client: str, connection: Connection, allowance: Allowance) -> None:
    """Log what was said since the last refusal, if it is not too long."""
    said = bytes(connection.said[-MOST_SAID:])
    connection.said.clear()
    connection.dialogues += 1
    if connection.dialogues <= MOST_OF_SESSION and allowance.take():
        told = list(moments_of(said))
        log.debug(
            "dialogue",
            session=session,
            client=client,
            lines=[line for _, line in told],
            milliseconds=[at for at, _ in told],
        )


def moments_of(said: bytes) -> Iterator[tuple[int, str]]:
    """Yield the lines, each with its milliseconds and who said it. The first may be cut off, and is then left out."""
    if said[:1] not in {CLIENT, SERVER}:
        said = said.partition(b"\n")[2]
    who, at = SERVER, 0
    if (known := _TIME.search(said)) is not None:  # the line to which the first reply belongs was cut off
        at = int(known[1])
    for line in said.split(b"\n")[:-1]:
        text = line.removesuffix(b"\r")
        stamp = _STAMP.match(text)
        if stamp is not None:
            who, at, text = stamp[1], int(stamp[2] or at), text[stamp.end() :]
        yield at, f"C: {_shown(text)}" if who == CLIENT else f"S: {_escaped(text)}"


def lines_of(said: bytes) -> Iterator[str]:
    """Yield the lines as `moments_of`, without their milliseconds."""
    for _, line in moments_of(said):
        yield line


def _shown(line: bytes) -> str:
    if _SAFE.fullmatch(line):
        return _escaped(line)
    found = _VERB.fullmatch(line)
    if found is None:
        return f"({len(line)} octets that are not a command)"
    rest = len(line) - len(found[1])
    return found[1].decode("ascii") + (f" ({rest - 1} octets not shown)" if rest else "")


def _escaped(line: bytes) -> str:
    """Escape each octet by itself; `printable` would escape the backslashes of octets that are not ASCII again."""
    return printable(line.decode("latin-1"))
