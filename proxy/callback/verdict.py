"""A verdict about an address: pass, fail, transient or error, and how it came about. `classify` judges.

`fail` needs evidence about the address or its domain; `error` is permanent but about us or our policy; `transient` may
be different next time. So a script that rejects only on `fail` loses no good mail.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from operator import attrgetter


class Status(StrEnum):
    """Momentum's four answers of smtp_callback_verify."""

    PASS = "pass"  # noqa: S105 — a verdict, not a password
    FAIL = "fail"
    TRANSIENT = "transient"
    ERROR = "error"


@dataclass(slots=True)
class CallbackVerdict:
    """The answer to one question, with what led to it. It never changes; freezing it costs each message 1 µs."""

    status: Status
    reason: str
    """One word: no_such_user, nxdomain, greylist, connect, policy, …"""
    text: str
    """The exchanger's words, or ours if it said nothing; printable, one line."""
    stage: str = ""
    """Where the conversation ended: dns, connect, banner, ehlo, mail, rcpt."""
    code: int = 0
    """The reply code; 0 if no exchanger answered."""
    exchanger: str = ""
    address: str = ""
    seconds: float = 0.0
    tls: bool = False
    """Whether the exchanger was asked over TLS."""
    catchall: bool = False
    """Whether it accepts any recipient of the domain, if we tested that."""
    null_refused: bool = False
    """Whether it refused the null sender, so that we gave another one."""
    listed: bool = False
    """Whether its own words, without echoes of ours, say that we are on a block list."""
    cached: bool = False
    age: float = 0.0
    """For a cached verdict: seconds since it was found."""

    def recalled(self, age: float) -> CallbackVerdict:
        """Return it as a cached verdict that was found `age` seconds ago. `dataclasses.replace` costs 30 calls."""
        return CallbackVerdict(*(*finding_of(self), True, age))

    @property
    def message(self) -> str:
        """The full DSN text, one line: the reply with its code, or our own finding."""
        return f"{self.code} {self.text}" if self.code else self.text


finding_of = attrgetter(*(each.name for each in fields(CallbackVerdict) if each.name not in {"cached", "age"}))
"""Returns what the exchanger said: the fields in order, except the ones only a cached verdict has."""


def printable_text(text: str) -> str:
    """Return foreign reply text as one line of printable ASCII."""
    return "".join(char if " " <= char <= "~" else " " if char in "\t\n\r" else "?" for char in text)[:1000]
