"""Who is not probed because SPF did not pass and the domain's DMARC policy is reject."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.callback.verdict import CallbackVerdict, Status
from proxy.dmarc.policies import DomainPolicies
from proxy.dmarc.record import Policy
from proxy.mail.evidence import Property, Result, report
from proxy.mail.session import Session
from proxy.modules.smtp_cbv.module import SmtpCbvValidator
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from sieve.phases import Phase
from tests.proxy.callback.test_service import ALICE, FORGED, FOUND, Verifier, service, session
from tests.support.answers import settled
from tests.support.lookups import Records, Zonefile, asked

REJECT: Records = {("_dmarc.sender.test", "TXT"): ["v=DMARC1; p=reject"]}


def checked(value: str, sender: str = ALICE) -> Session:
    """Return a session whose sender SPF has checked."""
    subject = session(sender)
    report(subject.transaction, "spf", Result("spf", value, (Property("smtp", "mailfrom", sender),)))
    subject.transaction.context["spf_status"] = value
    return subject


class Stage:
    """A callback service that knows policies."""

    def __init__(self, records: Records, **rules: Any) -> None:
        self.verifier, self.names = Verifier(), Zonefile(records)
        self.service = service(self.verifier, **{"skip_variables": FORGED, **rules})
        self.service.policies = DomainPolicies(self.names.lookups)

    async def ask(self, subject: Session, address: str = ALICE) -> CallbackVerdict:
        return await settled(self.service.ask(subject, address))


@pytest.mark.parametrize("spf", ["softfail", "neutral", "none", "permerror", "temperror"])
async def test_a_sender_that_spf_does_not_confirm_is_not_probed_if_its_domain_says_reject(spf: str) -> None:
    stage, subject = Stage(REJECT), checked(spf)
    verdict = await stage.ask(subject)
    assert (verdict.status, verdict.reason) == (Status.ERROR, "dmarc_policy")
    assert stage.verifier.asked == []
    assert subject.transaction.context["smtp_cbv_result"] == "transient"


async def test_spf_fail_needs_no_policy() -> None:
    stage = Stage({})
    verdict = await stage.ask(checked("fail"))
    assert (verdict.reason, stage.verifier.asked) == ("forged", [])


@pytest.mark.parametrize(
    ("spf", "records"),
    [
        ("pass", REJECT),
        ("softfail", {}),
        ("softfail", {("_dmarc.sender.test", "TXT"): ["v=DMARC1; p=quarantine"]}),
        ("softfail", {("_dmarc.sender.test", "TXT"): ["v=DMARC1; p=reject; t=y"]}),
        ("softfail", {("_dmarc.sender.test", "TXT"): "SERVFAIL"}),
    ],
)
async def test_otherwise_it_is_probed(spf: str, records: Records) -> None:
    stage = Stage(records)
    assert await stage.ask(checked(spf)) is FOUND
    assert len(stage.verifier.asked) == 1


async def test_without_spf_nothing_is_looked_up() -> None:
    stage = Stage(REJECT)
    assert await stage.ask(session()) is FOUND
    assert stage.names.asked == []


async def test_the_policy_is_looked_up_once_in_a_transaction() -> None:
    stage, subject = Stage(REJECT), checked("softfail")
    for _ in range(3):
        await stage.ask(subject)
    assert stage.names.asked == [("_dmarc.sender.test", "TXT")]
    assert subject.transaction.context["dmarc_domain_policy"] == Policy.REJECT


async def test_another_address_is_asked_about() -> None:
    stage = Stage(REJECT)
    assert await stage.ask(checked("softfail"), "bob@other.test") is FOUND


async def test_the_operator_can_have_it_refused() -> None:
    stage = Stage(REJECT, reject_unprobed=True)
    subject = checked("softfail")
    assert (await stage.ask(subject)).status is Status.FAIL
    assert subject.transaction.context["smtp_cbv_result"] == "error"


@pytest.mark.parametrize(
    ("option", "enforce", "spf", "reply"),
    [
        (True, True, "softfail", "550"),
        (True, True, "pass", ""),
        (False, True, "softfail", ""),
        (True, False, "softfail", ""),
    ],
)
async def test_the_active_module_refuses_it_only_if_told_to(
    *, option: bool, enforce: bool, spf: str, reply: str
) -> None:
    stage = Stage(REJECT, reject_unprobed=option, enforce=enforce)
    options = SmtpCbvOptions(dmarc_reject_unprobed=option)
    validator = SmtpCbvValidator("smtp_cbv", options, stage.service)
    subject = checked(spf)
    verdict = await asked(validator, subject, Phase.MAILFROM)
    await subject.transaction.settle()
    assert ("" if verdict.reply is None else str(verdict.reply.code)) == reply
    assert bool(stage.verifier.asked) == (spf == "pass")
