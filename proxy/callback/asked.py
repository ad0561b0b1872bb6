"""From an address and a sender, as a session or a script gives them, to the question that is asked of exchangers."""

from __future__ import annotations

from proxy.callback.question import Question
from proxy.callback.resolve import NoCandidate, ascii_domain
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.mail.address import BadParameter, BadPath, path_of
from proxy.mail.session import Path

_NO_ADDRESS = CallbackVerdict(Status.ERROR, "syntax", "not a mail address")


def mailbox_of(text: str) -> Path | None:
    """Parse an address by SMTP's grammar; None if it is invalid, since nothing else may be sent to an exchanger."""
    try:
        path = path_of(text)
    except (BadPath, BadParameter, UnicodeEncodeError):
        return None
    return path if path.domain and not text.startswith("@") else None


def said_by(sender: str) -> str | None:
    """Return a sender as a probe says it, empty for the null sender; None if it is no address."""
    if not sender:
        return ""
    path = mailbox_of(sender)
    return None if path is None else f"{path.spoken.rpartition('@')[0]}@{path.domain}"


def question_of(mailbox: Path | None, said: str | None) -> Question | CallbackVerdict:
    """Return what to ask, or the verdict if there is nothing to ask. `said` is what `said_by` returns."""
    if mailbox is None or said is None or not mailbox.domain:
        return _NO_ADDRESS
    domain = mailbox.domain
    if not domain.isascii():  # a path has its domain in A-labels, if there are any
        try:
            domain = ascii_domain(domain)
        except NoCandidate as none:
            return none.verdict
    return Question(mailbox.local_part, domain, said, mailbox.raw)
