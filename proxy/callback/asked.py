"""From a mailbox and a sender to the question that is asked of exchangers, or to an answer without one."""

from __future__ import annotations

from proxy.callback.question import Question
from proxy.callback.resolve import NoCandidate, ascii_domain
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.mail.session import Path

SILENT = CallbackVerdict(Status.TRANSIENT, "keeper", "not asked: the process that asks does not answer now")
"""What a worker says if the keeper does not answer."""

_NO_ADDRESS = CallbackVerdict(Status.ERROR, "syntax", "not a mail address")


def question_of(mailbox: Path | None, said: str | None) -> Question | CallbackVerdict:
    """Return what to ask, or the verdict if there is nothing to ask. `said` is the sender, if it is an address."""
    if mailbox is None or said is None or not mailbox.domain:
        return _NO_ADDRESS
    domain = mailbox.domain
    if not domain.isascii():  # a path has its domain in A-labels, if there are any
        try:
            domain = ascii_domain(domain)
        except NoCandidate as none:
            return none.verdict
    return Question(mailbox.local_part, domain, said, mailbox.raw)
