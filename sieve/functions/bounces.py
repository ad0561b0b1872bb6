"""Bounces and delivery reports."""

from __future__ import annotations

import re
from email.utils import formatdate

from sieve.library import Hash, sieve_function
from sieve.message.bounces import LONGEST_READ, classify
from sieve.phases import Need
from sieve.run import reasons
from sieve.run.content import beside_the_loop, message_structure
from sieve.run.patience import settled
from sieve.run.runtime import REFUSED_FROM, Frame
from sieve.run.values import ScriptError, as_text, flat

_FIELD_NAME = re.compile(r"[!-9;-~]{1,70}")
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_OF_MESSAGE = frozenset({"original-envelope-id", "reporting-mta", "dsn-gateway", "received-from-mta", "arrival-date"})
"""Fields that are about the message, not about one recipient (RFC 3464, 2.2)."""


@sieve_function(needs=Need.BODY | Need.HEADERS)
async def ec_bounce_classify(frame: Frame) -> tuple[str, ...]:
    """Return what kind of automatic message this is: a code, its text, and the recipient of the original message.

    Codes: 1 Undetermined, 10 Invalid Recipient, 20 Soft Bounce, 21 DNS Failure, 22 Mailbox Full, 23 Too Large, 24
    Timeout, 25 Admin Failure, 30 Generic Bounce: No RCPT, 40 Generic Bounce, 50 Mail Block, 51 Spam Block, 52 Spam
    Content, 53 Prohibited Attachment, 54 Relay Denied, 60 Auto-Reply, 70 Transient Failure, 80 Subscribe, 90
    Unsubscribe, 100 Challenge-Response. Rules of the module `bounce_classifier` come first, then the status of a
    delivery report (RFC 3464), then the reply text of the rejecting host. Anyone can send such a message, so do not
    unsubscribe anyone on the strength of it alone.
    """
    message = await message_structure(frame)
    rules = await frame.host.bounce_rules()
    content = frame.host.content
    fields = content.fields() if content is not None else ()
    headers: dict[str, str] = {}
    for name, value in fields:
        headers.setdefault(name.lower(), value[:LONGEST_READ])
    code, text, recipient = await settled(beside_the_loop(len(message.raw), lambda: classify(message, headers, rules)))
    return str(code), text, flat(recipient)


@sieve_function(needs=Need.HEADERS)
def ec_rfc3464_delivery_status(frame: Frame, hash_: Hash | None = None) -> str:
    """Return the fields of a delivery report about this message (RFC 3464), for a message/delivery-status body part.

    The fields about the message come first, then a group for each recipient; empty lines separate them, and each line
    ends in CRLF. `Status` and `Diagnostic-Code` come from the rejection that the script has set; without one, there is
    no Diagnostic-Code. The hash replaces or adds fields by name.
    """
    given = {} if hash_ is None else {name: flat(as_text(value)) for name, value in hash_.items()}
    for name in given:
        if _FIELD_NAME.fullmatch(name) is None:
            raise ScriptError(reasons.not_a_field_name(name))
    of_message = {name: value for name, value in given.items() if name.lower() in _OF_MESSAGE}
    of_recipient = {name: value for name, value in given.items() if name.lower() not in _OF_MESSAGE}
    host = frame.host
    first = {
        "Arrival-Date": formatdate(host.transaction.created, localtime=False),
        "Reporting-MTA": f"dns; {host.connection.hostname}",
    }
    groups = [_group(_about(frame, recipient), of_recipient) for recipient in host.recipients or ("",)]
    return "\r\n".join([_group(first, of_message), *groups])


def _about(frame: Frame, recipient: str) -> dict[str, str]:
    """Return the fields about one recipient."""
    kind = "rfc822" if recipient.isascii() else "utf-8"  # RFC 6533, 3
    found: dict[str, str] = {}
    status = "5.0.0"
    if frame.code >= REFUSED_FROM:
        text = flat(frame.text)
        enhanced = _ENHANCED.match(text)
        status = enhanced[0] if enhanced is not None else f"{frame.code // 100}.0.0"
        found["Diagnostic-Code"] = f"smtp; {frame.code} {text}".rstrip()
    found["Action"] = "failed"
    found["Final-Recipient"] = f"{kind}; {flat(recipient)}"
    found["Last-Attempt-Date"] = formatdate(frame.host.now(), localtime=False)
    found["Status"] = status
    return found


def _group(fields: dict[str, str], given: dict[str, str]) -> str:
    """Return a group of fields; a `given` field replaces one of the same name."""
    replaced = {name.lower(): value for name, value in given.items()}
    lines = [f"{name}: {replaced.pop(name.lower(), value)}\r\n" for name, value in fields.items()]
    lines += [f"{name}: {value}\r\n" for name, value in given.items() if name.lower() in replaced]
    return "".join(lines)
