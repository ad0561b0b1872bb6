"""What an exchanger's answer says about the address: pass, fail, transient or error, and why.

The principle: `fail` only on evidence about the address or its domain; `error` is permanent but about us or our policy;
`transient` may be different next time. A script that rejects on `fail` alone then loses no good mail. The enhanced
status code counts first (RFC 3463), the text only where there is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from proxy.replies import Reply


class Status(StrEnum):
    """Momentum's four answers of smtp_callback_verify."""

    PASS = "pass"  # noqa: S105 — a verdict, not a password
    FAIL = "fail"
    TRANSIENT = "transient"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class CallbackVerdict:
    """The answer to one question, with what led to it."""

    status: Status
    reason: str
    """One word: no_such_user, nxdomain, greylist, connect, policy, …"""
    text: str
    """The exchanger's words, or ours where none spoke; printable, one line."""
    stage: str = ""
    """Where the conversation ended: dns, connect, banner, ehlo, mail, rcpt."""
    code: int = 0
    """The reply code; 0 where no exchanger answered."""
    exchanger: str = ""
    address: str = ""
    seconds: float = 0.0
    cached: bool = False

    @property
    def message(self) -> str:
        """The full DSN text, one line: the reply with its code, or what we found out ourselves."""
        return f"{self.code} {self.text}" if self.code else self.text

    def from_cache(self) -> CallbackVerdict:
        """Return the same verdict, marked as remembered."""
        return replace(self, cached=True)


def printable_text(text: str) -> str:
    """Return foreign reply text as one line of printable ASCII."""
    return "".join(char if " " <= char <= "~" else " " if char in "\t\n\r" else "?" for char in text)[:1000]


_ENHANCED = re.compile(rb"([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_UNKNOWN_USER = re.compile(
    r"user (?:is )?(?:unknown|not known|not found|doesn'?t exist|does not exist)"
    r"|unknown (?:local )?(?:user|recipient|mailbox)"
    r"|no such (?:user|recipient|mailbox|person|address|local user)"
    r"|mailbox (?:not found|does not exist|doesn'?t exist)"
    r"|no mailbox (?:here )?by that name|address (?:does not exist|doesn'?t exist)"
    r"|recipient (?:not found|does not exist)|(?:is )?not a (?:valid|known) (?:mailbox|user)|invalid mailbox",
    re.IGNORECASE,
)
_GREYLIST = re.compile(r"gr[ae]y-? ?list|try again (?:later )?in \d+|deferred for \d+", re.IGNORECASE)
_RATE = re.compile(r"too many|\brate\b|throttl", re.IGNORECASE)

_NO_SUCH_ADDRESS = frozenset({(1, 1), (1, 0), (1, 2), (1, 6), (1, 10)})
_DISABLED = (2, 1)
_FULL = (2, 2)
_ACCESS_DENIED = (4, 1)
_PROTOCOL_ERRORS = range(500, 505)
_FULL_CODE = 552


def judge_recipient(answer: Reply) -> tuple[Status, str]:
    """Return (status, reason) of the answer to RCPT TO."""
    text = answer.text
    if answer.accepted:
        return Status.PASS, "accepted"
    if answer.code < 400:  # 3xx calls for more, which RCPT never does
        return Status.ERROR, "protocol"
    subject = enhanced_subject(answer)
    if not answer.permanent:
        return Status.TRANSIENT, _why_later(subject, text)
    if subject == _FULL or (answer.code == _FULL_CODE and subject is None):
        return Status.TRANSIENT, "mailbox_full"
    if subject is not None:
        return _by_enhanced_code(subject, text)
    if answer.code in _PROTOCOL_ERRORS:
        return Status.ERROR, "protocol"
    return (Status.FAIL, "no_such_user") if _UNKNOWN_USER.search(text) else (Status.ERROR, "policy")


def _by_enhanced_code(subject: tuple[int, int], text: str) -> tuple[Status, str]:
    if subject in _NO_SUCH_ADDRESS:
        return Status.FAIL, "no_such_user"
    if subject == _DISABLED:
        return Status.FAIL, "disabled"
    if subject == _ACCESS_DENIED and "recipient address rejected: access denied" in text.lower():
        return Status.FAIL, "no_such_user"  # Exchange Online's words for an unknown user
    return Status.ERROR, "policy"


def _why_later(subject: tuple[int, int] | None, text: str) -> str:
    if subject == _FULL:
        return "mailbox_full"
    if _GREYLIST.search(text):
        return "greylist"
    return "rate" if _RATE.search(text) else "deferred"


def enhanced_subject(answer: Reply) -> tuple[int, int] | None:
    """Return (subject, detail) of the enhanced status code at the head of the reply, where its class fits the code."""
    for line in answer.lines:
        found = _ENHANCED.match(line)
        if found is not None and int(found[1]) == answer.code // 100:
            return int(found[2]), int(found[3])
    return None
