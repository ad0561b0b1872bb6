"""The queue id in a next hop's reply to the dot, as Postfix, Exim, Exchange, Sendmail and others write it."""

from __future__ import annotations

import re

_FORMS = re.compile(
    rb"(?:\d\.\d+\.\d+ )?(?:"
    rb"Ok:? queued as ([\w.-]+)"  # Postfix
    rb"|OK id=([\w-]+)"  # Exim
    rb"|<[^<> ]*> \[InternalId=(\d+)[^\]]*\] Queued mail"  # Exchange
    rb"|([\w.-]+) Message accepted for delivery"  # Sendmail, OpenSMTPD
    rb"|OK ([0-9A-F]{2}/[\w./-]+)"  # Momentum
    rb"|[^<]*\bqueued as ([\w.-]+)"  # Haraka, and content filters that pass Postfix's words on
    rb")",
    re.IGNORECASE,
)


def queue_id_of(reply: bytes) -> str:
    """Return the queue id in a reply's line without its code; empty if the line has none of the known forms."""
    found = _FORMS.match(reply)
    return found[found.lastindex or 0].decode("ascii", "backslashreplace") if found else ""
