"""The dialogue with a client until a refusal, for the history: without passwords, messages and unknown commands.

A session keeps the end of what was said in one string of bytes: a client's line begins with C, our reply with S. It is
read only if a command is rejected.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from proxy.base.log import get_logger, printable
from proxy.smtp.connection import Connection

log = get_logger()

CLIENT, SERVER = b"\1", b"\2"
"""What begins a client's line and our reply in what was said."""

MOST_SAID = 2000
"""Octets of the dialogue that a session keeps for the history."""

MOST_OF_SESSION = 4
"""Refusals of a session whose dialogue is told; what was said since the one before is told with each."""

MOST_A_MINUTE = 300
"""Refusals whose dialogue a worker tells in a minute."""

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
    """How many dialogues are told. The event loop's thread owns it."""

    __slots__ = ("_began", "_told")

    def __init__(self) -> None:
        self._began, self._told = 0.0, 0

    def take(self) -> bool:
        """Return whether another one may be told now."""
        now = time.monotonic()
        if now - self._began >= 60:
            self._began, self._told = now, 0
        self._told += 1
        return self._told <= MOST_A_MINUTE


def tell_dialogue(session: str, client: str, connection: Connection, allowance: Allowance) -> None:
    """Log what was said since the last refusal, if that is not too much."""
    said, connection.said = connection.said, b""
    connection.dialogues += 1
    if connection.dialogues <= MOST_OF_SESSION and allowance.take():
        log.debug("dialogue", session=session, client=client, lines=list(lines_of(said)))


def lines_of(said: bytes) -> Iterator[str]:
    """Yield the lines, each with who said it. The first may be cut off, and is then left out."""
    if said[:1] not in {CLIENT, SERVER}:
        said = said.partition(b"\n")[2]
    for line in said.split(b"\n")[:-1]:
        text = line.removesuffix(b"\r")
        if text[:1] == CLIENT:
            yield f"C: {_shown(text[1:])}"
        else:
            yield f"S: {_escaped(text.removeprefix(SERVER))}"


def _shown(line: bytes) -> str:
    if _SAFE.fullmatch(line):
        return _escaped(line)
    found = _VERB.fullmatch(line)
    if found is None:
        return f"({len(line)} octets that are no command)"
    rest = len(line) - len(found[1])
    return found[1].decode("ascii") + (f" ({rest - 1} octets not shown)" if rest else "")


def _escaped(line: bytes) -> str:
    """Escape each octet by itself; `printable` would escape the backslashes of octets that are not ASCII again."""
    return printable(line.decode("latin-1"))
