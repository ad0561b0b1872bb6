"""The state of a session's dialogue: one table, and the only place that changes the state.

A row is a command, a column a state, a cell what happens. There are three rules. A cell that is a reply refuses the
command. A cell that is a state is where the command leads if it is accepted; a rejected command changes nothing. `SAME`
allows a command that leads nowhere. Source: RFC 5321 section 4.1.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from proxy.mail import replies
from proxy.mail.replies import Reply


class State(Enum):
    """The state of the dialogue."""

    CONNECTED = auto()
    """We sent the greeting; the client has not sent EHLO or HELO. MAIL is accepted anyway, as in Momentum."""
    SECURED = auto()
    """TLS has started: earlier state is forgotten, and the client must send EHLO or HELO again (RFC 3207)."""
    READY = auto()
    """After EHLO or HELO, without a transaction."""
    SENDER = auto()
    """MAIL FROM was accepted, no recipient yet."""
    RECIPIENTS = auto()
    """At least one RCPT TO was accepted."""

    __hash__ = object.__hash__  # members are unique; Enum's own is a Python function, which each command would call


class Same(Enum):
    """The type of `SAME`."""

    SAME = auto()


SAME: Final = Same.SAME
"""The command is legal, and the state does not change."""

Cell = State | Reply | Same

END_OF_MESSAGE = "."
"""A row of the table that is not a command: a message has ended, or its octets were thrown away."""

_C, _T, _R, _S, _N = State.CONNECTED, State.SECURED, State.READY, State.SENDER, State.RECIPIENTS
_EHLO_FIRST, _NESTED = replies.EHLO_FIRST, replies.NESTED_MAIL
_NO_MAIL, _NO_RCPT, _NO_VALID, _BUSY = (
    replies.NO_MAIL_YET,
    replies.NO_RECIPIENTS_YET,
    replies.NO_VALID_RECIPIENTS,
    replies.IN_TRANSACTION,
)

_ROWS: Mapping[str, tuple[Cell, Cell, Cell, Cell, Cell]] = {
    #                CONNECTED    SECURED      READY     SENDER    RECIPIENTS
    "EHLO":         (_R,          _R,          _R,       _R,       _R),
    "HELO":         (_R,          _R,          _R,       _R,       _R),
    "STARTTLS":     (_T,          SAME,        _T,       _BUSY,    _BUSY),  # SAME: it is rejected by its command
    "AUTH":         (_EHLO_FIRST, _EHLO_FIRST, SAME,     _BUSY,    _BUSY),
    "XCLIENT":      (SAME,        _C,          _C,       _BUSY,    _BUSY),
    "MAIL":         (_S,          _EHLO_FIRST, _S,       _NESTED,  _NESTED),
    "RCPT":         (_NO_MAIL,    _EHLO_FIRST, _NO_MAIL, _N,       SAME),
    "DATA":         (_NO_MAIL,    _EHLO_FIRST, _NO_MAIL, _NO_RCPT, SAME),  # its end leads on
    "BDAT":         (_NO_MAIL,    _NO_MAIL,    _NO_MAIL, _NO_VALID, SAME),  # as for DATA
    END_OF_MESSAGE: (SAME,        SAME,        SAME,     _R,       _R),
    "RSET":         (SAME,        SAME,        SAME,     _R,       _R),
    "NOOP":         (SAME,        SAME,        SAME,     SAME,     SAME),
    "HELP":         (SAME,        SAME,        SAME,     SAME,     SAME),
    "VRFY":         (SAME,        SAME,        SAME,     SAME,     SAME),
    "QUIT":         (SAME,        SAME,        SAME,     SAME,     SAME),
}  # fmt: skip

TABLE: Mapping[str, dict[State, Cell]] = {verb: dict(zip(State, cells, strict=True)) for verb, cells in _ROWS.items()}


class Progress:
    """How far one session's dialogue has come."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        """Start before the greeting."""
        self.state = State.CONNECTED

    def refusal(self, verb: str) -> Reply | None:
        """Return the reply to a command that is not legal now, or None."""
        cell = TABLE[verb][self.state]
        return cell if type(cell) is Reply else None

    def accepted(self, verb: str) -> None:
        """Go where an accepted command, or the end of a message, leads."""
        cell = TABLE[verb][self.state]
        if type(cell) is State:
            self.state = cell
        elif cell is not SAME:
            raise RuntimeError(f"{verb} is not legal in the state {self.state.name}")
