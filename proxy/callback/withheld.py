"""Verdicts without an exchanger's answer: none was asked, or none answered in time."""

from __future__ import annotations

from proxy.callback.verdict import CallbackVerdict, Status


def _withheld(reason: str, text: str, status: Status = Status.TRANSIENT) -> CallbackVerdict:
    """Return the verdict if no exchanger was asked, and why."""
    return CallbackVerdict(status, reason, f"not asked: {text}")


PENDING = CallbackVerdict(Status.TRANSIENT, "pending", "the mail exchanger has not answered yet")
THROTTLED = _withheld("throttled", "the domain's probe budget is used up for now")
CLIENT_THROTTLED = _withheld("client_throttled", "this client's network has used up its probe budget for now")
STORM = _withheld("storm", "the domain is being forged by many clients")
SPARED = _withheld("no_probe", "the operator exempts this domain", Status.ERROR)
BUSY_HERE = _withheld("busy_here", "too many other probes were running")
TOO_SLOW = CallbackVerdict(Status.TRANSIENT, "timeout", "the mail exchangers did not answer in time")
NOT_SERVED = {"busy_here": BUSY_HERE, "client_throttled": CLIENT_THROTTLED}
GIVEN_UP = _withheld("no_probe", "its exchangers rejected us three times in a row", Status.ERROR)
SILENT = _withheld("keeper", "the process that asks does not answer now")
"""What a worker says if the keeper does not answer."""

CATCHALL = CallbackVerdict(Status.PASS, "catchall", "the domain accepts any recipient", catchall=True, cached=True)
