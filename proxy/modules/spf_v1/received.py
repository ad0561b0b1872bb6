"""The field Received-SPF (RFC 7208 section 9.1). What a stranger chose is quoted or in a comment it cannot end."""

from __future__ import annotations

import re

from proxy.mail.evidence import LONGEST_VALUE, plain_comment
from proxy.modules.spf_v1.outcome import Identity, Outcome

_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_NOT_PRINTABLE = re.compile(r"[^ -~]")


def received_spf(identity: Identity, outcome: Outcome) -> str:
    """Return the body of the field."""
    pairs = [
        ("receiver", identity.receiver),
        ("identity", "mailfrom" if identity.sender else "helo"),
        ("client-ip", identity.client_ip),
        ("envelope-from", identity.sender),
        ("helo", identity.helo),
        ("mechanism", outcome.mechanism),
        ("problem", outcome.problem),
    ]
    said = "; ".join([f"{key}={_value(value)}" for key, value in pairs if value])
    return f"{outcome.result} ({plain_comment(comment_on(identity, outcome))}) {said}"


def comment_on(identity: Identity, outcome: Outcome) -> str:
    """Return the result in words."""
    domain, client = identity.domain, identity.client_ip
    words = {
        "pass": f"domain of {domain} designates {client} as permitted sender",
        "fail": f"domain of {domain} does not designate {client} as permitted sender",
        "softfail": f"domain of {domain} does not designate {client} as permitted sender yet",
        "neutral": f"{client} is neither permitted nor denied by domain of {domain}",
        "none": f"domain of {domain} does not designate permitted senders",
        "permerror": f"record of {domain} cannot be used",
        "temperror": f"record of {domain} could not be looked up now",
    }
    return words[outcome.result]


def _value(text: str) -> str:
    text = _NOT_PRINTABLE.sub("?", text[:LONGEST_VALUE])
    if _DOT_ATOM.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
