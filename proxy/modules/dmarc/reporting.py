"""What an aggregate report needs of a message (RFC 9990), as the event `message` has it."""

from __future__ import annotations

from typing import Any, NamedTuple

from proxy.base.log import printable
from proxy.dmarc.evaluation import Evaluation
from proxy.dmarc.record import PolicyRecord
from proxy.mail.session import Session


class Override(NamedTuple):
    """Why the domain's policy was not applied, in the words of a report, and for people."""

    kind: str
    comment: str


def report_of(session: Session, found: Evaluation, override: Override | None) -> dict[str, Any]:
    """Return the fields of one row of a report. The event also has the client, and all results of SPF and DKIM."""
    told: dict[str, Any] = {
        "header_from": printable(found.domain),
        "envelope_from": printable(session.transaction.reverse_path.domain),
        "status": found.status.value,
        "spf": _result(spf=True, found=found),
        "dkim": _result(spf=False, found=found),
        "disposition": "none" if override is not None else found.asked.value,
    }
    if found.reason:
        told["reason"] = printable(found.reason)
    if override is not None:
        told["override"], told["override_comment"] = override.kind, override.comment
    if found.found is not None:
        told["published"] = {"domain": printable(found.found.found.domain), **_published(found.found.record)}
    return told


def _result(*, spf: bool, found: Evaluation) -> str:
    return "pass" if (found.spf_aligned if spf else found.dkim_aligned) else "fail"


def _published(record: PolicyRecord) -> dict[str, str]:
    policies = {"p": record.p.value, "sp": record.sp, "np": record.np}
    return {
        **{name: str(value) for name, value in policies.items() if value is not None},
        "adkim": "s" if record.strict_dkim else "r",
        "aspf": "s" if record.strict_spf else "r",
        "t": "y" if record.testing else "n",
    }
