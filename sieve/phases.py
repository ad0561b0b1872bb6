"""The phases of an SMTP session in which scripts run, and what each phase provides.

A function declares its needs (`Need`) and its phases; the checker compares both with this table before a script runs.
Source: the phase tables of the Sieve++ manual.
"""

from __future__ import annotations

from enum import Enum, Flag, StrEnum, auto


class Phase(StrEnum):
    """The phases of a session, in order."""

    ACCEPT = "accept"
    CONNECT = "connect"
    EHLO = "ehlo"
    MAILFROM = "mailfrom"
    RCPTTO = "rcptto"
    DATA = "data"
    SPOOL = "spool"
    EACH_RCPT = "each_rcpt"
    SET_BINDING = "set_binding"


CONTENT_PHASES = (Phase.DATA, Phase.SPOOL, Phase.EACH_RCPT, Phase.SET_BINDING)
"""The phases that run after the message, or its header section, has arrived, in this order."""


class Need(Flag):
    """What a function needs from its phase."""

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
"""What each phase provides."""


def phases_providing(need: Need) -> frozenset[Phase]:
    """Return the phases that provide everything in `need`."""
    return frozenset(phase for phase, given in PROVIDES.items() if need in given)


class Effect(Enum):
    """What a function changes apart from the reply: nothing, the whole message, or one recipient's copy."""

    NONE = "nothing"
    MESSAGE = "the message"
    RECIPIENT = "one recipient"
