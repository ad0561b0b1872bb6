"""Which command is legal in which state, and the next state: one table, two rules.

Rule one: a command that the table does not list for a state gets the state's reply for it and changes nothing. Rule
two: a rejected command changes nothing. Source: RFC 5321 section 4.1.4.
"""

from __future__ import annotations

from enum import Enum, auto

from proxy.mail import replies
from proxy.mail.replies import Reply


class State(Enum):
    """The state of the conversation."""

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


_ALWAYS = ("NOOP", "QUIT", "HELP", "VRFY", "BDAT")
"""BDAT checks its state itself, because its octets follow whatever the reply is."""

NEXT: dict[State, dict[str, State]] = {
    State.CONNECTED: {
        "EHLO": State.READY,
        "HELO": State.READY,
        "RSET": State.CONNECTED,
        "MAIL": State.SENDER,
        "STARTTLS": State.SECURED,
        "XCLIENT": State.CONNECTED,
    },
    State.SECURED: {
        "EHLO": State.READY,
        "HELO": State.READY,
        "RSET": State.SECURED,
        "STARTTLS": State.SECURED,
        "XCLIENT": State.CONNECTED,
    },
    State.READY: {
        "EHLO": State.READY,
        "HELO": State.READY,
        "RSET": State.READY,
        "MAIL": State.SENDER,
        "STARTTLS": State.SECURED,
        "XCLIENT": State.CONNECTED,
        "AUTH": State.READY,
    },
    State.SENDER: {
        "EHLO": State.READY,
        "HELO": State.READY,
        "RSET": State.READY,
        "RCPT": State.RECIPIENTS,
    },
    State.RECIPIENTS: {
        "EHLO": State.READY,
        "HELO": State.READY,
        "RSET": State.READY,
        "RCPT": State.RECIPIENTS,
        "DATA": State.READY,
    },
}
for _state, _moves in NEXT.items():
    _moves.update(dict.fromkeys(_ALWAYS, _state))

_OUT_OF_ORDER: dict[str, Reply] = {
    "STARTTLS": replies.IN_TRANSACTION,
    "XCLIENT": replies.IN_TRANSACTION,
    "AUTH": replies.IN_TRANSACTION,
    "MAIL": replies.NESTED_MAIL,
    "RCPT": replies.NO_MAIL_YET,
    "DATA": replies.NO_MAIL_YET,
}


def out_of_order(state: State, command: str) -> Reply | None:
    """Return the reply to a command that `state` does not allow, or None if it is legal."""
    if command in NEXT[state]:
        return None
    if state is State.SECURED or (command == "AUTH" and state is State.CONNECTED):
        return replies.EHLO_FIRST
    if command == "DATA" and state is State.SENDER:
        return replies.NO_RECIPIENTS_YET
    return _OUT_OF_ORDER[command]
