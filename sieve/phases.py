"""The phases of an SMTP session that scripts hook into, what each provides, and what a function may need.

A function declares its needs (`Need`) and the phases it may stand in; the checker compares both with this table
before anything runs. Source: the Sieve++ manual's phase tables.
"""

from __future__ import annotations

from enum import Enum, Flag, StrEnum, auto


class Phase(StrEnum):
    """Where in a session a script runs, in the order in which a session passes them."""

    ACCEPT = "accept"
    CONNECT = "connect"
    EHLO = "ehlo"
    MAILFROM = "mailfrom"
    RCPTTO = "rcptto"
    DATA = "data"
    SPOOL = "spool"
    EACH_RCPT = "each_rcpt"
    SET_BINDING = "set_binding"


class Need(Flag):
    """What a function asks of the phase it stands in."""

    NOTHING = 0
    ENVELOPE_FROM = auto()
    ENVELOPE_TO = auto()
    HEADERS = auto()
    BODY = auto()


_ENVELOPE = Need.ENVELOPE_FROM | Need.ENVELOPE_TO
_CONTENT = _ENVELOPE | Need.HEADERS | Need.BODY

PROVIDES: dict[Phase, Need] = {
    Phase.ACCEPT: Need.NOTHING,
    Phase.CONNECT: Need.NOTHING,
    Phase.EHLO: Need.NOTHING,
    Phase.MAILFROM: Need.ENVELOPE_FROM,
    Phase.RCPTTO: _ENVELOPE,
    Phase.DATA: _CONTENT,
    Phase.SPOOL: _CONTENT,
    Phase.EACH_RCPT: _CONTENT,
    Phase.SET_BINDING: _CONTENT,
}
"""What each phase can give to a script."""


def phases_providing(need: Need) -> frozenset[Phase]:
    """Return the phases that provide everything in `need`."""
    return frozenset(phase for phase, given in PROVIDES.items() if need in given)


class Effect(Enum):
    """What a function changes beside the reply: nothing, the whole message, or one recipient's copy."""

    NONE = "nothing"
    MESSAGE = "the message"
    RECIPIENT = "one recipient"
