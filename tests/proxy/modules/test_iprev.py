"""iprev: whether a name of the client leads back to it, and what is done about it."""

from __future__ import annotations

import pytest

from proxy.base.tasks import TaskOwner
from proxy.mail.session import Session
from proxy.modules.iprev.module import IprevValidator
from proxy.modules.iprev.options import IprevOptions
from sieve.phases import Phase
from tests.support.lookups import Records, Zonefile, asked, stranger

OWNER = TaskOwner("test")
GOOD: Records = {("192.0.2.1", "PTR"): ["mx.a.test"], ("mx.a.test", "A"): ["192.0.2.1"]}
FORGED: Records = {("192.0.2.1", "PTR"): ["mx.a.test"], ("mx.a.test", "A"): ["192.0.2.9"]}


def looking(records: Records | None = None, **options: object) -> IprevValidator:
    return IprevValidator("iprev", IprevOptions.model_validate(options), Zonefile(records or {}).lookups, OWNER)


async def reply(validator: IprevValidator, session: Session, *phases: Phase) -> str:
    verdict = await asked(validator, session, *(phases or (Phase.CONNECT, Phase.RCPTTO)))
    return "" if verdict.reply is None else f"{verdict.reply.code} {verdict.reply.text}"


@pytest.mark.parametrize(
    ("records", "status"),
    [(GOOD, "pass"), (FORGED, "fail"), ({}, "permerror"), ({("192.0.2.1", "PTR"): "SERVFAIL"}, "temperror")],
)
async def test_by_default_scripts_learn_the_result_and_nobody_is_refused(records: Records, status: str) -> None:
    session = stranger("b@example.com")
    assert await reply(looking(records), session) == ""
    assert session.context["iprev_status"] == status


@pytest.mark.parametrize(
    ("records", "option", "code"),
    [
        (FORGED, {"fail_code": 554}, "554 5.7.25 No reverse DNS name"),
        ({}, {"missing_code": 550}, "550 5.7.25 Your address has no reverse DNS name"),
        ({("192.0.2.1", "PTR"): "SERVFAIL"}, {"temperror_code": 451}, "451 4.7.25 The reverse DNS name"),
        (GOOD, {"fail_code": 554, "missing_code": 554, "temperror_code": 554}, ""),
        (FORGED, {"missing_code": 554, "temperror_code": 554}, ""),
    ],
)
async def test_a_code_refuses_its_result_only(records: Records, option: dict[str, int], code: str) -> None:
    heard = await reply(looking(records, **option), stranger("b@example.com"))
    assert heard.startswith(code)
    assert bool(heard) == bool(code)


async def test_it_judges_where_reject_at_says() -> None:
    for place in (Phase.CONNECT, Phase.MAILFROM, Phase.RCPTTO):
        validator = looking({}, missing_code=550, reject_at=place.value)
        assert (await reply(validator, stranger(), Phase.CONNECT)).startswith("550" * (place is Phase.CONNECT))
        assert (await reply(validator, stranger(), place)).startswith("550")
        later = [each for each in (Phase.MAILFROM, Phase.RCPTTO) if each is not place]
        for each in later:
            assert each not in validator.hooks()


async def test_postmaster_and_abuse_and_relay_clients_are_not_refused() -> None:
    validator = looking({}, missing_code=550)
    for recipient in ("postmaster@example.com", "Abuse@example.com"):
        assert await reply(validator, stranger(recipient)) == ""
    trusted = stranger("b@example.com")
    trusted.can_relay = True
    assert await reply(validator, trusted) == ""
    assert "iprev_status" not in trusted.context


async def test_a_silent_name_server_is_a_temporary_error_within_the_deadline() -> None:
    validator = looking({("192.0.2.1", "PTR"): "SILENT"}, timeout=0.1)
    session = stranger("b@example.com")
    assert await reply(validator, session) == ""
    assert session.context["iprev_status"] == "temperror"
    await OWNER.cancel()


async def test_a_client_that_a_proxy_names_later_is_looked_up_anew() -> None:
    validator = looking(GOOD)
    session = stranger("b@example.com", client="192.0.2.7")
    await reply(validator, session, Phase.CONNECT)
    session.peer_address = ("192.0.2.1", 40025)
    await reply(validator, session, Phase.RCPTTO)
    assert session.context["iprev_status"] == "pass"


async def test_the_result_is_looked_up_once_in_a_session() -> None:
    names = Zonefile(GOOD)
    validator = IprevValidator("iprev", IprevOptions(), names.lookups, OWNER)
    session = stranger("b@example.com")
    await reply(validator, session, Phase.CONNECT, *[Phase.RCPTTO] * 5)
    assert len(names.asked) == 2


async def test_explain_looks_nothing_up() -> None:
    names = Zonefile(GOOD)
    validator = IprevValidator("iprev", IprevOptions(), names.lookups, OWNER)
    assert (await validator.explain(Phase.RCPTTO, stranger("b@example.com"), {})).unknown
    assert not (await validator.explain(Phase.CONNECT, stranger("b@example.com"), {})).unknown
    trusted = stranger("b@example.com")
    trusted.can_relay = True
    assert (await validator.explain(Phase.RCPTTO, trusted, {})).says == "does not check clients that may relay"
    assert names.asked == []
