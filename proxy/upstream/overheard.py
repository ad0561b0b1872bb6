"""The dialogue between Ringback and a next hop while an operator watches, without messages and passwords."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from proxy.base.log import printable
from proxy.mail.session import Session
from proxy.outgoing.wire import Wire

Tell = Callable[[Session, str, str], None]
"""Gets a session, `C` for Ringback or `S` for the next hop, and a line that is safe to show."""

LONGEST = 1000
"""Octets of an unfinished line that are kept."""

_SAFE = re.compile(
    rb"(?:MAIL FROM:|RCPT TO:|XFORWARD |XCLIENT |EHLO |HELO |LHLO ).*|BDAT \d+(?: LAST)?|DATA|RSET|NOOP|QUIT|STARTTLS",
    re.IGNORECASE | re.DOTALL,
)


class Overheard:
    """Listens on one wire for one session (`Wire.listener`)."""

    __slots__ = ("_rest", "_session", "_tell")

    def __init__(self, session: Session, tell: Tell) -> None:
        """Tell the lines."""
        self._session, self._tell = session, tell
        self._rest = b""

    def __call__(self, ours: bool, octets: bytes) -> None:  # noqa: FBT001 - as a wire calls it
        """Take what was sent or received."""
        if ours:
            for line in shown(octets):
                self._tell(self._session, "C", line)
            return
        *replies, rest = (self._rest + octets).split(b"\n")
        self._rest = rest[:LONGEST]
        for reply in replies:
            self._tell(self._session, "S", printable(reply.rstrip(b"\r").decode("latin-1")))


def overhear(wire: Wire, session: Session, tell: Tell | None) -> None:
    """From now on, pass what is said on a wire to `tell`. None removes the listener of an earlier session."""
    if tell is not None or wire.listener is not None:
        wire.listener = None if tell is None else Overheard(session, tell)


def shown(octets: bytes) -> Iterator[str]:
    """Yield the commands; of anything else, only how long it is."""
    at = 0
    while (end := octets.find(b"\r\n", at)) >= 0 and _SAFE.fullmatch(octets, at, end):
        yield printable(octets[at:end].decode("latin-1"))
        at = end + 2
    if at < len(octets):
        yield f"({len(octets) - at} octets not shown)"
