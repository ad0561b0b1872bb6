"""Classify automatic messages: a bounce and its cause, an out-of-office reply, and others.

The codes are Momentum's. The site's own rules come first, then the report's Status (RFC 3463), then the reply of the
host that refused, then the signs of an automatic reply (RFC 3834).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sieve.message.comments import without_comments
from sieve.message.mime import Structure
from sieve.settings import BounceRules

CLASSES: Mapping[int, str] = {
    1: "Undetermined",
    10: "Invalid Recipient",
    20: "Soft Bounce",
    21: "DNS Failure",
    22: "Mailbox Full",
    23: "Too Large",
    24: "Timeout",
    25: "Admin Failure",
    30: "Generic Bounce: No RCPT",
    40: "Generic Bounce",
    50: "Mail Block",
    51: "Spam Block",
    52: "Spam Content",
    53: "Prohibited Attachment",
    54: "Relay Denied",
    60: "Auto-Reply",
    70: "Transient Failure",
    80: "Subscribe",
    90: "Unsubscribe",
    100: "Challenge-Response",
}

UNDETERMINED = 1
LONGEST_READ = 64 * 1024
"""Characters of a report, and of a message's text, that are read."""

_MOST_GROUPS = 1000


def joined(every: Sequence[BounceRules]) -> BounceRules:
    """Return the rules of several stanzas as one."""
    return BounceRules(
        tuple([rule for each in every for rule in each.answers]),
        tuple([rule for each in every for rule in each.notes]),
        {code: text for each in every for code, text in each.classes.items()},
    )


@dataclass(slots=True)
class _Report:
    """What a delivery report says of one recipient (RFC 3464, 2.3)."""

    recipient: str = ""
    status: str = ""
    action: str = ""
    diagnostic: str = ""


def classify(message: Structure, headers: Mapping[str, str], rules: BounceRules) -> tuple[int, str, str]:
    """Return code, text and original recipient of a message. `headers` are its fields by names in lower case."""
    report = _report_of(message, headers)
    text = _text_of(message)
    recipient = report.recipient if report is not None else headers.get("x-failed-recipients", "").split(",")[0].strip()
    code = _by_rules(rules, report, text, recipient.rpartition("@")[2])
    if code is None:
        code = _by_report(report, recipient) if report is not None else _by_signs(headers, text, recipient)
    return code, {**CLASSES, **rules.classes}.get(code, CLASSES[UNDETERMINED]), recipient


def _by_rules(rules: BounceRules, report: _Report | None, text: str, domain: str) -> int | None:
    words = f"{report.diagnostic} {report.status} {text}".lower() if report is not None else text.lower()
    chosen = rules.answers if report is not None else rules.notes
    return next((rule.code for rule in chosen if rule.matches(words, domain)), None)


# ---------------------------------------------------------------- reports


def _report_of(message: Structure, headers: Mapping[str, str]) -> _Report | None:
    """Return the first failed recipient of a delivery report, or the first one; None without a report."""
    kinds = ("message/delivery-status", "message/global-delivery-status")
    for part in message.every_part():
        if part.content_type in kinds:
            octets = message.decoded(part)[:LONGEST_READ]
            groups = list(_groups(octets.decode("utf-8", "replace")))
            reports = [_reported(each) for each in groups if "final-recipient" in each or "status" in each]
            if reports:
                return next((each for each in reports if each.action == "failed"), reports[0])
    if "multipart/report" in headers.get("content-type", "").lower() and "delivery-status" in headers["content-type"]:
        return _Report(headers.get("x-failed-recipients", ""))
    return None


def _groups(text: str) -> Iterator[dict[str, str]]:
    """Yield the groups of fields; empty lines part them (RFC 3464, 2.1)."""
    unfolded = re.sub(r"\r?\n[ \t]+", " ", text.replace("\r\n", "\n"))
    for block in re.split(r"\n[ \t]*\n", unfolded, maxsplit=_MOST_GROUPS):
        found: dict[str, str] = {}
        for line in block.split("\n"):
            name, colon, value = line.partition(":")
            if colon:
                found.setdefault(name.strip().lower(), value.strip())
        if found:
            yield found


def _reported(group: Mapping[str, str]) -> _Report:
    named = group.get("original-recipient") or group.get("final-recipient") or ""
    kind, semicolon, address = without_comments(named).partition(";")
    status = _STATUS.search(group.get("status", ""))
    if status is None or status[0].endswith(".0.0"):  # the host may have said more
        status = _STATUS.search(group.get("diagnostic-code", "")) or status
    return _Report(
        recipient=(address if semicolon else kind).strip().strip("<>"),
        status=status[0] if status else "",
        action=without_comments(group.get("action", "")).strip().lower(),
        diagnostic=group.get("diagnostic-code", ""),
    )


_STATUS = re.compile(r"(?<![0-9.])([245])\.([0-9]{1,3})\.([0-9]{1,3})(?![0-9.])")

_BY_STATUS: Mapping[str, int] = {
    "1.0": 10, "1.1": 10, "1.2": 21, "1.3": 10, "1.4": 10, "1.5": 10, "1.6": 10, "1.7": 25, "1.8": 25, "1.10": 10,
    "2.1": 10, "2.2": 22, "2.3": 23, "2.4": 25,
    "3.1": 20, "3.2": 20, "3.3": 25, "3.4": 23, "3.5": 25, "3.0": 25,
    "4.1": 24, "4.2": 24, "4.3": 21, "4.4": 21, "4.5": 24, "4.6": 25, "4.7": 24, "4.0": 24,
    "5.0": 25, "5.1": 25, "5.2": 25, "5.3": 25, "5.4": 25, "5.5": 25,
    "6.1": 53, "6.2": 53, "6.0": 52,
}  # fmt: skip
"""Subject and detail of a status (RFC 3463, 3) → code. What is missing depends on the words."""

_USER = "(?:user|recipient|mailbox|address|account|alias|person)"
_WORDS: Mapping[int, Sequence[str]] = {
    54: ("relay(?:ing)? (?:not|denied|access|prohibited|is not)", "unable to relay", "not permitted to relay"),
    53: ("attachment", "executable", "virus", "malware", "infected"),
    52: (
        "(?:spam|message|mail) content", "content (?:rejected|filter)", "looks like spam", "considered spam",
        "spam score",
    ),
    51: (
        "spam", "black ?list", "block ?list", "dnsbl", r"rbl\b", "spamhaus", "spamcop", "barracuda", "sorbs",
        "reputation",
    ),
    23: ("too (?:large|big)", "size (?:limit|exceeds)", "exceeds? (?:the )?(?:maximum|size|fixed)", "message size"),
    22: ("quota", "mailbox (?:is )?full", "full mailbox", "insufficient (?:disk|storage)", "out of storage"),
    10: (
        f"{_USER}[^.]{{0,40}}(?:unknown|not found|(?:does|did) ?n.t exist|does not exist|disabled|invalid|unavailable)",
        f"{_USER}[^.]{{0,40}}(?:no longer|inactive|rejected)",
        f"(?:unknown|no such|invalid|nonexistent|bad|inactive) (?:local |virtual )?{_USER}",
        "doesn't have an? .{0,40}account",
    ),
    21: (
        "host (?:or domain name )?not found", "domain (?:not found|does ?n.t exist|does not exist)",
        "no (?:mx|such host)", "name (?:service|server|lookup)", "dns", "nxdomain", "unrouteable",
        "bad destination host", "null mx",
    ),
    24: (
        "timed? ?out", "time-?out", "too long", "retry time", "delivery time expired",
        "connection (?:refused|reset|dropped|lost)",
    ),
    25: ("loop", "too many hops", "misconfigured", "(?:system|local|internal|syntax|configuration) error"),
    50: (
        "block", "policy", "denied", "refused", "rejected", "prohibited", "not allowed", "unauthenticated", "spf",
        "dkim", "dmarc", "access",
    ),
    20: ("try again", "temporar", "later", "greylist", "unavailable", "busy", "deferred"),
}  # fmt: skip
_BY_WORDS = tuple((code, re.compile("|".join(words))) for code, words in _WORDS.items())
"""What hosts say, the most telling words first."""


def _by_report(report: _Report, recipient: str) -> int:
    """Return the code of a delivery report: by status, then by the words of the host."""
    words = report.diagnostic.lower()[:LONGEST_READ]
    kind, _, detail = report.status.partition(".")
    if kind == "2" or report.action in {"delivered", "relayed", "expanded"}:
        return UNDETERMINED  # it was delivered
    if detail in _BY_STATUS:
        return _BY_STATUS[detail]
    found = next((code for code, pattern in _BY_WORDS if pattern.search(words)), None)
    if detail.startswith("7."):
        return found if found in {51, 52, 53, 54} else 50
    if found is not None:
        return found
    if kind == "4" or report.action == "delayed":
        return 70
    return 40 if recipient else 30


# ---------------------------------------------------------------- other automatic messages

_SUBJECT_OF_BOUNCE = re.compile(
    r"undeliver|delivery (?:status|fail|has failed|notification)|mail delivery (?:failed|system|subsystem)|"
    r"failure notice|returned mail|non remis|unzustellbar|rejected|could not be delivered"
)
_SUBJECT_OF_ANSWER = re.compile(
    r"out of (?:the )?office|auto(?:matic|mated)?[- ]?(?:reply|response|answer|antwort)|vacation|abwesenheit|on leave|"
    r"absence du bureau|away from"
)
_CHALLENGE = re.compile(
    r"challenge[- ]response|(?:please )?(?:confirm|verify) (?:that )?you(?:r message| sent| are)|sender verification|"
    r"boxbe|spamarrest|tmda|needs your confirmation"
)


def _by_signs(headers: Mapping[str, str], text: str, recipient: str) -> int:
    """Return the code of a message that is not a delivery report."""
    subject, lowered = headers.get("subject", "").strip().lower(), text.lower()
    if _is_old_bounce(headers, subject):
        found = next((code for code, pattern in _BY_WORDS if pattern.search(lowered)), None)
        return found if found is not None else 40 if recipient else 30
    if _CHALLENGE.search(subject) or "x-challenge" in headers:
        return 100
    automatic = without_comments(headers.get("auto-submitted", "")).strip().lower().partition(";")[0].strip()
    if automatic.startswith("auto-replied") or _answers_by_itself(headers, subject):
        return 60
    for code, word in ((90, "unsubscribe"), (80, "subscribe")):
        if word in {subject, lowered.strip()}:
            return code
    return UNDETERMINED


def _is_old_bounce(headers: Mapping[str, str], subject: str) -> bool:
    """Whether it looks like the bounce of a host that knows no delivery reports."""
    sender = headers.get("from", "").lower()
    by_daemon = "mailer-daemon" in sender or "postmaster@" in sender or headers.get("return-path", "") == "<>"
    return "x-failed-recipients" in headers or (by_daemon and _SUBJECT_OF_BOUNCE.search(subject) is not None)


def _answers_by_itself(headers: Mapping[str, str], subject: str) -> bool:
    precedence = headers.get("precedence", "").strip().lower()
    return (
        precedence in {"auto_reply", "auto-reply"}
        or "x-autoreply" in headers
        or "x-autorespond" in headers
        or _SUBJECT_OF_ANSWER.search(subject) is not None
    )


def _text_of(message: Structure) -> str:
    """Return the beginning of the first text parts."""
    found, room = [], LONGEST_READ
    for part in message.leaves():
        if part.is_of(("text",)) and not part.is_attachment:
            text = message.text(part)[:room]
            found.append(text)
            room -= len(text)
            if room <= 0:
                break
    return "\n".join(found)
