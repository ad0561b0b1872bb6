"""Delivery status notifications (RFC 3464): tell a sender afterwards who did not get the message.

A report goes to the client's reverse-path and comes from the null sender, so a report never causes another. The
sender's DSN parameters (RFC 3461: NOTIFY, RET, ENVID, ORCPT) are honoured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate

from proxy.base.log import printable
from proxy.mail.replies import Reply
from proxy.mail.session import NULL_PATH, Letter, Path
from proxy.outbox.composing import assembled, message_part, stamp, text_part

LARGEST_RETURNED = 10 * 1024 * 1024
"""Largest message, in bytes, that RET=FULL returns whole; for a larger one, only the header section is returned."""

_LONGEST_DIAGNOSTIC = 400
_STATUS = re.compile(rb"([45])\.(\d{1,3})\.(\d{1,3})(?= |$)")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")


@dataclass(frozen=True, slots=True)
class Failure:
    """A recipient that does not get the message, and why."""

    recipient: Path
    reply: Reply
    parameters: Mapping[str, str | None]
    """RCPT's parameters, unchanged."""
    status: str = ""
    """The enhanced status code, if it differs from the reply's."""

    @property
    def is_wanted(self) -> bool:
        """Whether the sender wants to know about it (RFC 3461 section 4.1)."""
        notify = self.parameters.get("NOTIFY")
        return notify is None or "FAILURE" in notify.upper().split(",")


@dataclass(frozen=True, slots=True)
class Occasion:
    """The message that a report is about, as seen by the reporting server."""

    sender: Path
    """The recipient of the report."""
    hostname: str
    """Our own name."""
    now: float
    """Seconds since the epoch, like `arrived`."""
    arrived: float
    parameters: Mapping[str, str | None]
    """MAIL's parameters, unchanged."""
    received_from: str = ""
    """The client's HELO name and address."""


def report(occasion: Occasion, failures: Sequence[Failure], returned: bytes, *, whole: bool) -> Letter:
    """Return the report; `returned` is the message if `whole`, else its header section."""
    fields = (
        ("From", f"Mail Delivery System <MAILER-DAEMON@{occasion.hostname}>"),
        ("To", f"<{occasion.sender.spoken}>"),
        ("Subject", "Your message was not delivered"),
        *stamp(occasion.hostname, occasion.now),
        ("Auto-Submitted", "auto-replied"),  # RFC 3834 section 5
    )
    back = message_part(returned) if whole else message_part(returned, "text/rfc822-headers")
    content = assembled(
        fields,
        "report; report-type=delivery-status",
        [text_part(_for_people(occasion, failures)), _for_programs(occasion, failures), back],
    )
    return Letter(NULL_PATH, (occasion.sender,), content, "report")


def wants_all(parameters: Mapping[str, str | None]) -> bool:
    """Whether the sender asked for the whole message back (RFC 3461 section 4.3)."""
    return (parameters.get("RET") or "").upper() == "FULL"


def _for_people(occasion: Occasion, failures: Sequence[Failure]) -> str:
    lines = [
        f"This is the mail server {occasion.hostname}.",
        "",
        "Your message could not be delivered to the recipients below. Other recipients,",
        "if there were any, are not affected.",
    ]
    for failure in failures:
        lines += ["", f"<{failure.recipient.spoken}>", f"    {_diagnostic(failure.reply)}"]
    return "\n".join([*lines, ""])


def _for_programs(occasion: Occasion, failures: Sequence[Failure]) -> bytes:
    """Return the message/delivery-status part: one group for the message, and one per recipient."""
    first = [f"Reporting-MTA: dns; {occasion.hostname}"]
    if envelope_id := occasion.parameters.get("ENVID"):
        first.insert(0, f"Original-Envelope-Id: {_plain(envelope_id)}")
    if occasion.received_from:
        first.append(f"Received-From-MTA: dns; {printable(occasion.received_from)}")
    first.append(f"Arrival-Date: {formatdate(occasion.arrived, localtime=True)}")
    groups = [first, *(_of_recipient(failure, occasion.now) for failure in failures)]
    body = "\r\n".join("".join(f"{line}\r\n" for line in group) for group in groups)
    return b"Content-Type: message/delivery-status\r\nContent-Transfer-Encoding: 7bit\r\n\r\n" + body.encode("ascii")


def _of_recipient(failure: Failure, now: float) -> list[str]:
    group = []
    kind, separator, address = (failure.parameters.get("ORCPT") or "").partition(";")
    if separator:
        group.append(f"Original-Recipient: {printable(kind)}; {_plain(address)}")
    return [
        *group,
        f"Final-Recipient: {_typed(failure.recipient.spoken)}",
        "Action: failed",
        f"Status: {failure.status or status_of(failure.reply)}",
        f"Diagnostic-Code: smtp; {_diagnostic(failure.reply)}",
        f"Last-Attempt-Date: {formatdate(now, localtime=True)}",
    ]


def status_of(reply: Reply) -> str:
    """Return a reply's enhanced status code (RFC 3463), or x.0.0 if it has no matching one."""
    kind = str(reply.code // 100)
    found = _STATUS.match(reply.lines[0])
    return found[0].decode() if found is not None and found[1].decode() == kind else f"{kind}.0.0"


def _diagnostic(reply: Reply) -> str:
    return printable(f"{reply.code} {reply.text}", _LONGEST_DIAGNOSTIC)


def _typed(address: str) -> str:
    """Return an address with its type; a non-ASCII one in its ASCII form (RFC 6533 section 3)."""
    if address.isascii():
        return f"rfc822; {printable(address)}"
    return "utf-8; " + "".join(char if char.isascii() else f"\\x{{{ord(char):X}}}" for char in address)


def _plain(xtext: str) -> str:
    """Decode xtext (RFC 3461 section 4); characters that are not printable ASCII are escaped again."""
    return printable(_XTEXT.sub(lambda found: chr(int(found[1], 16)), xtext))
