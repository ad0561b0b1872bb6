"""What an exchanger's reply says about an address, by enhanced status code (RFC 3463) and a table of patterns.

`fail` needs evidence about the address or its domain; `error` means that the exchanger objects to us; `transient` means
that the next attempt may differ. So a script that rejects only on `fail` loses no good mail. An unclear reply is
`error`.

The table is the file `replies.table`; operators add to it with a file of the same form. `hearing` parses replies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources

import re2

from proxy.callback.echo import Said, foreign, unsaid
from proxy.callback.hearing import Heard, codes_of, hear, words_of
from proxy.callback.verdict import Status
from proxy.mail.replies import Reply

Judgement = tuple[Status, str]

REASONS: Mapping[str, Status] = {
    "no_such_user": Status.FAIL,
    "disabled": Status.FAIL,
    "mailbox_full": Status.TRANSIENT,
    "greylist": Status.TRANSIENT,
    "rate": Status.TRANSIENT,
    "deferred": Status.TRANSIENT,
    "tls_required": Status.ERROR,
    "null_sender": Status.ERROR,
    "policy": Status.ERROR,
    "blocked": Status.ERROR,
}
"""The reasons that a rule may give, and the status of each."""

_YIELDING = "policy?"
"""Like `policy`, in the shipped table only. A reply that also says that the user is unknown is about the user."""

_NO_DOMAIN = "no_domain"
"""In the shipped table only: the exchanger does not know a domain. Only the code says which one."""

_NO_SUCH_ADDRESS = frozenset({(1, 0), (1, 1), (1, 2), (1, 6), (1, 10)})
_DISABLED = (2, 1)
_FULL = (2, 2)
_ACCESS_DENIED = (4, 1)
_TLS_FIRST = (7, 3)
_OWNER_CHANGED = (7, 17)
_POLICY_CLASS = 7
_PROTOCOL_ERRORS = range(500, 505)
_CLOSING = 421
_NEEDS_MORE = 530
_STORAGE_EXCEEDED = 552


class BadTable(Exception):
    """A line of a table is invalid. `line` counts from 1, `column` from 0."""

    def __init__(self, line: int, column: int, problem: str) -> None:
        super().__init__(problem)
        self.line, self.column, self.problem = line, column, problem


class Words:
    """The rules of one file, by reason. Immutable."""

    def __init__(self, text: str, reasons: Iterable[str] = REASONS) -> None:
        """Parse rules that give one of `reasons`.

        Raises:
            BadTable: a line is not a valid rule.
        """
        self.rules: list[tuple[str, re.Pattern[str]]] = []
        grouped: dict[str, list[str]] = {}
        names: dict[str, str] = {}
        for number, line in enumerate(text.split("\n"), 1):  # as diagnostics count; splitlines knows other breaks
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            definition = _DEFINITION.fullmatch(line.strip())
            if definition is not None:
                names[definition["name"]] = _filled(definition["pattern"], names)
                _compiled(number, line, definition["pattern"], names)
                continue
            reason, pattern = _rule(number, line, tuple(reasons))
            self.rules.append((reason, _compiled(number, line, pattern, names)))
            grouped.setdefault(reason, []).append(f"(?:{_filled(pattern, names)})")
        self._of = {reason: _together(each) for reason, each in grouped.items()}

    def says(self, reason: str, text: str) -> bool:
        """Whether a rule for the reason is found in a text."""
        return any(rules.search(text) is not None for rules in self._of.get(reason, ()))

    def first(self, text: str) -> str | None:
        """Return the reason of the first rule that matches the text."""
        return next((reason for reason, rule in self.rules if rule.search(text)), None)


_DEFINITION = re.compile(r"let\s+(?P<name>[a-z]+)\s+(?P<pattern>.+)")
_RULES_TOGETHER, _MOST_MEMORY = 3, 32 << 20
"""Rules of one expression, and octets that it may use: few searches for a refusal that matches nothing, and an
automaton that RE2 need not throw away. It takes what the words that are met need, a few MiB for all."""
_NAME = re.compile(r"\{([a-z]+)\}")


def _filled(pattern: str, names: Mapping[str, str]) -> str:
    """Return a pattern with its names replaced by their definitions."""
    return _NAME.sub(lambda name: names.get(name[1], name[0]), pattern)


def _together(patterns: Sequence[str]) -> list[re.Pattern[str]]:
    """Return rules of one reason as few expressions."""
    groups = (patterns[at : at + _RULES_TOGETHER] for at in range(0, len(patterns), _RULES_TOGETHER))
    return [re2.compile("|".join(each), _options()) for each in groups]


def _options() -> re2.Options:
    options = re2.Options()
    options.case_sensitive, options.dot_nl = False, True
    options.max_mem = _MOST_MEMORY
    options.log_errors = False  # it would write to our standard error what is a diagnostic already
    return options


def _rule(number: int, line: str, reasons: Sequence[str]) -> tuple[str, str]:
    reason, _, pattern = line.strip().partition(" ")
    if reason not in reasons:
        raise BadTable(number, line.index(reason), f"unknown reason: {reason}; use one of {', '.join(reasons)}")
    if not pattern.strip():
        raise BadTable(number, len(line), "the regular expression is missing")
    return reason, pattern.strip()


def _compiled(number: int, line: str, pattern: str, names: Mapping[str, str]) -> re.Pattern[str]:
    unknown = next((name for name in _NAME.finditer(pattern) if name[1] not in names), None)
    if unknown is not None:
        raise BadTable(number, line.index(unknown[0]), f"no `let {unknown[1]}` above this line")
    try:
        found: re.Pattern[str] = re2.compile(_filled(pattern, names), _options())
    except re2.error as error:
        problem = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise BadTable(number, line.index(pattern), f"not a regular expression (RE2): {problem}") from None
    return found


@cache
def shipped() -> Words:
    """Return the table that comes with Ringback."""
    text = resources.files("proxy.callback").joinpath("replies.table").read_text("utf-8")
    return Words(text, (*REASONS, _YIELDING, _NO_DOMAIN))


class Classifier:
    """Judges replies by the operator's rules and the shipped ones."""

    def __init__(self, own: Words | None = None) -> None:
        self._own = own
        self._shipped = shipped()

    def greeting(self, code: int, text: str) -> Judgement:
        """Judge a refused greeting, EHLO or HELO: it is about us. It is temporary unless the code is 5xx."""
        if code < 500:  # RFC 5321 section 4.2.1, first digit
            return Status.TRANSIENT, "busy"
        heard = _hear(Reply(code, (text.encode(),)), "")
        return (Status.ERROR, "tls_required") if self._says(heard, "tls_required") else (Status.ERROR, "refused_us")

    def sender(self, answer: Reply) -> Judgement:
        """Judge a refused MAIL FROM: it is not about the address."""
        heard = _hear(answer, "")
        if answer.code == _CLOSING:
            return Status.TRANSIENT, "busy"
        if self._wants_tls(answer.code, heard):
            return Status.ERROR, "tls_required"
        return (Status.ERROR, "mail_refused") if answer.permanent else (Status.TRANSIENT, self._why_later(heard))

    def recipient(self, answer: Reply, said: Said | str = "") -> Judgement:
        """Judge the reply to RCPT TO. Our own words do not count, even if the exchanger echoes them."""
        if answer.accepted:
            return Status.PASS, "accepted"
        if answer.code == _CLOSING:
            return Status.TRANSIENT, "busy"
        if answer.code < 400:  # 3xx asks for more input, which RCPT never does
            return Status.ERROR, "protocol"
        heard = _hear(answer, said)
        own = self._own.first(heard.said) if self._own is not None else None
        if own is not None and (answer.permanent or REASONS[own] is not Status.FAIL):
            return REASONS[own], own
        if self._wants_tls(answer.code, heard):
            return Status.ERROR, "tls_required"
        return self._never(answer.code, heard) if answer.permanent else (Status.TRANSIENT, self._why_later(heard))

    def is_about_null_sender(self, answer: Reply, said: Said | str = "") -> bool:
        """Whether a refused RCPT is about the null sender, so that another sender may get another answer.

        The result applies to the whole domain, so no word that we said counts.
        """
        if not answer.permanent:
            return False
        heard = _hear_foreign(answer, said)
        own = self._own.first(heard.said) if self._own is not None else None
        return self._says(heard, "null_sender") if own is None else own == "null_sender"

    def is_block(self, words: str, said: Said | str = "") -> bool:
        """Whether the exchanger's own words say that we are on a block list. Asking again would make it worse."""
        heard = _hear_foreign(Reply(550, (words.encode(),)), said)
        if self._own is not None and self._own.first(heard.said) == "blocked":
            return True
        return self._says(heard, "blocked") or self._shipped.says("blocked", heard.links)

    def _never(self, code: int, heard: Heard) -> Judgement:
        """Judge a permanent refusal of the recipient. Other causes are checked first; `fail` is what remains."""
        if code in _PROTOCOL_ERRORS:
            return Status.ERROR, "protocol"
        if self._says(heard, "null_sender"):
            return Status.ERROR, "null_sender"
        if heard.about_another:
            return Status.ERROR, "policy"
        if _FULL in heard.codes or self._is_full(heard):
            return Status.TRANSIENT, "mailbox_full"
        if heard.subject == _ACCESS_DENIED and "recipient address rejected: access denied" in heard.words.lower():
            return Status.FAIL, "no_such_user"  # Exchange Online's words for an unknown user
        if self._says(heard, "policy", "blocked"):
            return Status.ERROR, "policy"
        gone = self._gone(heard)
        if code == _STORAGE_EXCEEDED and heard.subject is None and gone is None:
            return Status.TRANSIENT, "mailbox_full"
        later = self._later(heard)
        return (Status.TRANSIENT, later) if later is not None else self._by_code(heard, gone)

    def _by_code(self, heard: Heard, gone: str | None) -> Judgement:
        """Judge by the code and by `gone`, the reason that the words give if they say that the user is unknown."""
        if heard.subject in {None, _OWNER_CHANGED}:
            return (Status.FAIL, gone) if gone is not None else (Status.ERROR, "policy")
        if gone is None and self._says(heard, "tls_required"):
            return Status.ERROR, "tls_required"
        if gone is None and (self._says(heard, _YIELDING) or self._shipped.says("blocked", heard.links)):
            return Status.ERROR, "policy"
        return _by_subject(heard.subject)

    def _gone(self, heard: Heard) -> str | None:
        if self._says(heard, _NO_DOMAIN):
            return None
        return next((reason for reason in ("disabled", "no_such_user") if self._says(heard, reason)), None)

    def _later(self, heard: Heard) -> str | None:
        return next((reason for reason in ("greylist", "rate", "deferred") if self._says(heard, reason)), None)

    def _is_full(self, heard: Heard) -> bool:
        return self._says(heard, "mailbox_full") and not self._says(heard, "policy", "blocked")

    def _why_later(self, heard: Heard) -> str:
        if self._says(heard, "greylist"):
            return "greylist"
        about_us = heard.subject is not None and heard.subject[0] == _POLICY_CLASS
        if _FULL in heard.codes or (self._is_full(heard) and not about_us):
            return "mailbox_full"
        return self._later(heard) or "deferred"

    def _wants_tls(self, code: int, heard: Heard) -> bool:
        if not self._says(heard, "tls_required"):
            return False
        return code == _NEEDS_MORE or heard.subject in {None, (7, 0), (7, 1), (7, 10), _TLS_FIRST}

    def _says(self, heard: Heard, *reasons: str) -> bool:
        return any(self._shipped.says(reason, heard.words) for reason in reasons)


def _hear(answer: Reply, said: Said | str) -> Heard:
    """Parse a reply without our own words. Text reaches the rules only here and in `_hear_foreign`."""
    return hear(answer.code, anonymous(answer, said).lines, said if isinstance(said, str) else said.address)


def _hear_foreign(answer: Reply, said: Said | str) -> Heard:
    """Parse a reply, keeping only words that we never said: the result decides about more than one address."""
    return hear(answer.code, foreign(words_of(answer.lines), said).encode().split(b"\n"), "")


def _by_subject(subject: tuple[int, int] | None) -> Judgement:
    if subject in _NO_SUCH_ADDRESS:
        return Status.FAIL, "no_such_user"
    return (Status.FAIL, "disabled") if subject == _DISABLED else (Status.ERROR, "policy")


def anonymous(answer: Reply, said: Said | str) -> Reply:
    """Return a reply with neutral words in place of ours, if ours are known."""
    return unsaid(answer, said) if said else answer


def alike(one: Reply, address: str, other: Reply, other_address: str) -> bool:
    """Whether two replies are the same apart from the addresses, and no status code is about the address."""
    if enhanced_subject(anonymous(one, address)) in {*_NO_SUCH_ADDRESS, _DISABLED}:
        return False
    return anonymous(one, address) == anonymous(other, other_address)


def enhanced_subject(answer: Reply) -> tuple[int, int] | None:
    """Return (subject, detail) of the first enhanced status code whose class fits the reply's (RFC 2034, RFC 3463)."""
    return next(iter(codes_of(answer.code, answer.lines)), None)
