"""What an exchanger's reply says about an address: the enhanced status code first (RFC 3463), then a table of words.

`fail` only on evidence about the address or its domain, `error` where the exchanger dislikes us, `transient` where it
may be otherwise next time: a script that refuses on `fail` alone loses no good mail. What nobody can read is `error`.

The table is a file, `replies.table`, and operators add to it with a file of their own in the same form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources

import re2

from proxy.callback.echo import Said, foreign, unsaid
from proxy.callback.verdict import Status
from proxy.replies import Reply

Judgement = tuple[Status, str]

REASONS: Mapping[str, Status] = {
    "no_such_user": Status.FAIL,
    "disabled": Status.FAIL,
    "mailbox_full": Status.TRANSIENT,
    "greylist": Status.TRANSIENT,
    "rate": Status.TRANSIENT,
    "tls_required": Status.ERROR,
    "null_sender": Status.ERROR,
    "policy": Status.ERROR,
    "blocked": Status.ERROR,
}
"""The reasons that a rule may give, and the status that each one is."""

_ENHANCED = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?!\d|\.\d)")
_NO_SUCH_ADDRESS = frozenset({(1, 0), (1, 1), (1, 2), (1, 6), (1, 10)})
_DISABLED = (2, 1)
_FULL = (2, 2)
_ACCESS_DENIED = (4, 1)
_TLS_FIRST = (7, 3)
_POLICY_CLASS = 7
_PROTOCOL_ERRORS = range(500, 505)
_CLOSING = 421
_NEEDS_MORE = 530
_STORAGE_EXCEEDED = 552


class BadTable(Exception):
    """A line of a table cannot be used. `line` counts from 1; `column` from 0."""

    def __init__(self, line: int, column: int, problem: str) -> None:
        """Say which, and what is wrong."""
        super().__init__(problem)
        self.line, self.column, self.problem = line, column, problem


class Words:
    """Rules of one file, by reason. Immutable."""

    def __init__(self, text: str) -> None:
        """Read rules.

        Raises:
            BadTable: a line is no rule.
        """
        self.rules: list[tuple[str, re.Pattern[str]]] = []
        grouped: dict[str, list[str]] = {}
        for number, line in enumerate(text.split("\n"), 1):  # as diagnostics count; splitlines knows other breaks
            if line.strip() and not line.lstrip().startswith("#"):
                reason, pattern = _rule(number, line)
                self.rules.append((reason, _compiled(number, line, pattern)))
                grouped.setdefault(reason, []).append(f"(?:{pattern})")
        # One expression a reason: a refusal that matches nothing costs nine searches, not a hundred.
        self._of = {reason: re2.compile("|".join(each), _options()) for reason, each in grouped.items()}

    def says(self, reason: str, text: str) -> bool:
        """Whether a rule for the reason is found in a text."""
        rules = self._of.get(reason)
        return rules is not None and rules.search(text) is not None

    def first(self, text: str) -> str | None:
        """Return the reason of the first rule that is found in a text."""
        return next((reason for reason, rule in self.rules if rule.search(text)), None)


def _options() -> re2.Options:
    options = re2.Options()
    options.case_sensitive, options.dot_nl = False, True
    options.log_errors = False  # it would write to our standard error what is a diagnostic already
    return options


def _rule(number: int, line: str) -> tuple[str, str]:
    reason, _, pattern = line.strip().partition(" ")
    if reason not in REASONS:
        raise BadTable(number, line.index(reason), f"no such reason: {reason}; one of {', '.join(REASONS)}")
    if not pattern.strip():
        raise BadTable(number, len(line), "the regular expression is missing")
    return reason, pattern.strip()


def _compiled(number: int, line: str, pattern: str) -> re.Pattern[str]:
    try:
        found: re.Pattern[str] = re2.compile(pattern, _options())
    except re2.error as error:
        problem = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise BadTable(number, line.index(pattern), f"not a regular expression (RE2): {problem}") from None
    return found


@cache
def shipped() -> Words:
    """Return the table that comes with Ringback."""
    return Words(resources.files("proxy.callback").joinpath("replies.table").read_text("utf-8"))


class Classifier:
    """Judges replies, by the operator's rules and ours."""

    def __init__(self, own: Words | None = None) -> None:
        """Take the operator's rules, where there are any."""
        self._own = own
        self._shipped = shipped()

    def greeting(self, code: int, text: str) -> Judgement:
        """Judge a refused greeting, EHLO or HELO: it is about us, and passes where it is not permanent."""
        if code < 500:  # RFC 5321 section 4.2.1, first digit
            return Status.TRANSIENT, "busy"
        return (Status.ERROR, "tls_required") if self._says(("tls_required",), text) else (Status.ERROR, "refused_us")

    def sender(self, answer: Reply) -> Judgement:
        """Judge a refused MAIL FROM: it says nothing of the address."""
        text = words_of(answer)
        if answer.code == _CLOSING:
            return Status.TRANSIENT, "busy"
        if self._wants_tls(answer, text):
            return Status.ERROR, "tls_required"
        return (Status.ERROR, "mail_refused") if answer.permanent else (Status.TRANSIENT, self._why_later(text, None))

    def recipient(self, answer: Reply, said: Said | str = "") -> Judgement:
        """Judge the answer to RCPT TO. What we said is no word of the exchanger's, though it may be echoed."""
        if answer.accepted:
            return Status.PASS, "accepted"
        if answer.code == _CLOSING:
            return Status.TRANSIENT, "busy"
        if answer.code < 400:  # 3xx calls for more, which RCPT never does
            return Status.ERROR, "protocol"
        answer = anonymous(answer, said)
        text = words_of(answer)
        own = self._own.first(text) if self._own is not None else None
        if own is not None and (answer.permanent or REASONS[own] is not Status.FAIL):
            return REASONS[own], own
        if self._wants_tls(answer, text):
            return Status.ERROR, "tls_required"
        subject = enhanced_subject(answer)
        return (
            self._never(answer.code, subject, text)
            if answer.permanent
            else (Status.TRANSIENT, self._why_later(text, subject))
        )

    def is_about_null_sender(self, answer: Reply, said: Said | str = "") -> bool:
        """Whether a refusal of RCPT speaks of the null sender, so that another sender may hear something else.

        What is found out holds for the whole domain, so no word that we said counts.
        """
        if not answer.permanent:
            return False
        text = foreign(words_of(answer), said)
        own = self._own.first(text) if self._own is not None else None
        return self._says(("null_sender",), text) if own is None else own == "null_sender"

    def is_block(self, words: str, said: Said | str = "") -> bool:
        """Whether the exchanger's own words say that we stand on a list: who asks on makes it worse."""
        text = foreign(words, said)
        return (self._own is not None and self._own.first(text) == "blocked") or self._says(("blocked",), text)

    def _never(self, code: int, subject: tuple[int, int] | None, text: str) -> Judgement:
        """Judge a permanent refusal of the recipient."""
        if code in _PROTOCOL_ERRORS:
            return Status.ERROR, "protocol"
        if subject == _FULL or (self._says(("mailbox_full",), text) and not self._says(("policy", "blocked"), text)):
            return Status.TRANSIENT, "mailbox_full"
        if subject == _ACCESS_DENIED and "recipient address rejected: access denied" in text.lower():
            return Status.FAIL, "no_such_user"  # Exchange Online's words for an unknown user
        if self._says(("policy", "blocked", "null_sender"), text):
            return Status.ERROR, "policy"
        if subject is not None:
            return _by_subject(subject)
        if code == _STORAGE_EXCEEDED:
            return Status.TRANSIENT, "mailbox_full"
        if self._says(("disabled",), text):
            return Status.FAIL, "disabled"
        return (Status.FAIL, "no_such_user") if self._says(("no_such_user",), text) else (Status.ERROR, "policy")

    def _why_later(self, text: str, subject: tuple[int, int] | None) -> str:
        if self._says(("greylist",), text):
            return "greylist"
        about_us = self._says(("policy", "blocked"), text) or (subject is not None and subject[0] == _POLICY_CLASS)
        if subject == _FULL or (self._says(("mailbox_full",), text) and not about_us):
            return "mailbox_full"
        return "rate" if self._says(("rate",), text) else "deferred"

    def _wants_tls(self, answer: Reply, text: str) -> bool:
        if not self._says(("tls_required",), text):
            return False
        return answer.code == _NEEDS_MORE or enhanced_subject(answer) in {None, (7, 0), (7, 1), (7, 10), _TLS_FIRST}

    def _says(self, reasons: Iterable[str], text: str) -> bool:
        return any(self._shipped.says(reason, text) for reason in reasons)


def _by_subject(subject: tuple[int, int]) -> Judgement:
    if subject in _NO_SUCH_ADDRESS:
        return Status.FAIL, "no_such_user"
    return (Status.FAIL, "disabled") if subject == _DISABLED else (Status.ERROR, "policy")


def anonymous(answer: Reply, said: Said | str) -> Reply:
    """Return a reply in which neutral words stand for what we said, if that is known."""
    return unsaid(answer, said) if said else answer


def alike(one: Reply, address: str, other: Reply, other_address: str) -> bool:
    """Whether two addresses were answered in the same words, but for the addresses, and no code tells of them."""
    if enhanced_subject(anonymous(one, address)) in {*_NO_SUCH_ADDRESS, _DISABLED}:
        return False
    return anonymous(one, address) == anonymous(other, other_address)


def words_of(answer: Reply) -> str:
    """Return the lines of a reply as one text: a phrase may go on in the next line."""
    return " ".join(line.decode("utf-8", "replace").strip() for line in answer.lines)


def enhanced_subject(answer: Reply) -> tuple[int, int] | None:
    """Return (subject, detail) of the first enhanced status code whose class fits the reply's (RFC 2034, RFC 3463).

    It belongs at the head of the text; qmail and others have it elsewhere, as in `(#5.1.1)`. A full stop may follow;
    more digits make it a version, or the address of a host.
    """
    for line in answer.lines:
        for found in _ENHANCED.finditer(line.decode("ascii", "replace")):
            if int(found[1]) == answer.code // 100:
                return int(found[2]), int(found[3])
    return None
