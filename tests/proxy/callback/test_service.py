"""What a session is told: who is not asked about, and why; what becomes of a verdict in shadow mode; its variables."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from config.schema.values import DomainPatterns
from proxy.callback.service import CallbackService, Rules
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.callback.verifier import CallbackVerifier
from proxy.mail.session import Path, Recipient, Session
from proxy.modules.sieve_policy.effects import path_of
from tests.support.answers import RemembersNothing, settled
from tests.support.worker import ALICE, core

FOUND = CallbackVerdict(Status.FAIL, "no_such_user", "5.1.1 no", "rcpt", 550, "mx.test", "192.0.2.25")
FORGED = {"spf_status": "fail", "dmarc_status": "fail"}


class Verifier(RemembersNothing):
    """One that always finds the same, and remembers what it was asked."""

    def __init__(self, verdict: CallbackVerdict = FOUND) -> None:
        self.verdict = verdict
        self.asked: list[tuple[str, str | None, str]] = []
        self.closed = False
        self.at_hand: CallbackVerdict | None = None

    def known(self, _mailbox: Path | None, _sender: str | None, *, client: str) -> CallbackVerdict | None:  # noqa: ARG002 - as the verifier's
        return self.at_hand

    async def verify(self, address: str, sender: str | None, *, client: str, session: str = "") -> CallbackVerdict:  # noqa: ARG002 - as the verifier is called
        self.asked.append((address, sender, client))
        return self.verdict

    async def close(self) -> None:
        self.closed = True


def service(verifier: Verifier, *, down: bool = False, **rules: Any) -> CallbackService:
    return CallbackService(cast(CallbackVerifier, verifier), Rules(**rules), lambda: down)


def session(sender: str = ALICE, address: str = "192.0.2.1") -> Session:
    made = Session(asyncio.get_running_loop(), (address, 1), ("192.0.2.2", 25), core())
    made.transaction.begin(path_of(sender), {})
    return made


def variables(subject: Session) -> dict[str, str]:
    return {name: value for name, value in subject.transaction.context.items() if name.startswith("smtp_cbv_")}


# ---------------------------------------------------------------- which addresses are asked about, and when


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ],
)
async def test_a_stranger_is_asked_about_on_behalf_of_the_clients_network(address: str, client: str) -> None:
    verifier = Verifier()
    verdict = await settled(service(verifier).ask(session(address=address), ALICE, "probe@ringback.test"))
    assert verdict is FOUND
    assert verifier.asked == [(ALICE, "probe@ringback.test", client)]


async def test_a_client_that_may_relay_has_no_budget_for_others_addresses() -> None:
    verifier, subject = Verifier(), session()
    subject.can_relay = True
    assert await settled(service(verifier).ask(subject, "bob@other.test")) is FOUND
    assert verifier.asked == [("bob@other.test", None, "")]


class Remembering(Verifier):
    """One that has the verdict at hand; to ask it is a mistake."""

    def known(self, mailbox: Path | None, sender: str | None, *, client: str, session: str = "") -> CallbackVerdict:  # noqa: ARG002 - as the verifier is called
        self.asked.append((mailbox.spoken if mailbox is not None else "", sender, client))
        return self.verdict

    async def verify(self, address: str, sender: str | None, *, client: str, session: str = "") -> CallbackVerdict:  # noqa: ARG002 - as the verifier is called
        raise AssertionError(address, sender, client)


async def test_a_verdict_at_hand_comes_at_once_with_all_that_belongs_to_it() -> None:
    verifier, subject = Remembering(), session()
    asks = service(verifier)
    assert asks.ask(subject, ALICE) is FOUND
    assert asks.ask_for_recipient(subject, "Bob <bob@other.test>", "") is FOUND
    assert asks.ask(subject, "bob@Other.test", "") is FOUND
    assert verifier.asked == [(ALICE, None, "192.0.2.1"), ("", "", "192.0.2.1"), ("bob@Other.test", "", "192.0.2.1")]
    assert variables(subject)["smtp_cbv_reason"] == "no_such_user"
    with capture_logs() as logs:
        verdict = service(verifier, enforce=False).ask(subject, ALICE)
        await asks.close()
    assert isinstance(verdict, CallbackVerdict)
    assert (verdict.status, verdict.reason) == (Status.PASS, "shadow")
    assert [each["event"] for each in logs] == ["shadow", "callbacks"]
    assert logs[1]["asked"] == 3


def authenticated(subject: Session) -> None:
    subject.authenticate("alice")


def may_relay(subject: Session) -> None:
    subject.can_relay = True


def forged_message(subject: Session) -> None:
    subject.transaction.context["spf_status"] = "Fail"


def forged_connection(subject: Session) -> None:
    subject.context["dmarc_status"] = "fail"


@pytest.mark.parametrize(
    ("known", "status", "reason", "text"),
    [
        (authenticated, Status.PASS, "authenticated", "not asked: the client is authenticated"),
        (may_relay, Status.PASS, "relay_client", "not asked: the client may relay to any domain"),
        (forged_message, Status.ERROR, "forged", "not asked: spf_status says that the sender is forged"),
        (forged_connection, Status.ERROR, "forged", "not asked: dmarc_status says that the sender is forged"),
    ],
)
async def test_the_sender_of_a_session_that_is_known_is_not_asked_about(
    known: Any, status: Status, reason: str, text: str
) -> None:
    verifier, subject = Verifier(), session()
    known(subject)
    asks = service(verifier, skip_variables=FORGED)
    assert await settled(asks.ask(subject, ALICE)) == CallbackVerdict(status, reason, text)
    assert verifier.asked == []
    assert variables(subject)["smtp_cbv_reason"] == reason
    assert await settled(asks.ask(subject, "bob@other.test")) is FOUND


@pytest.mark.parametrize("value", ["pass", "softfail", "none", ""])
async def test_a_variable_with_another_value_says_nothing(value: str) -> None:
    verifier, subject = Verifier(), session()
    subject.transaction.context["spf_status"] = value
    assert await settled(service(verifier, skip_variables=FORGED).ask(subject, ALICE)) is FOUND


async def test_a_variable_of_the_message_comes_before_the_connections() -> None:
    verifier, subject = Verifier(), session()
    subject.context["spf_status"] = "fail"
    subject.transaction.context["spf_status"] = "pass"
    assert await settled(service(verifier, skip_variables=FORGED).ask(subject, ALICE)) is FOUND


async def test_the_null_sender_has_no_mailbox() -> None:
    verifier, subject = Verifier(), session("")
    verdict = await settled(service(verifier).ask(subject, ""))
    assert (verdict.status, verdict.reason, verifier.asked) == (Status.ERROR, "null_sender", [])


@pytest.mark.parametrize("address", ["bob@example.com", "bob@EXAMPLE.com", "bob@mail.example.org"])
async def test_a_domain_that_the_next_hop_serves_is_not_asked(address: str) -> None:
    verifier = Verifier()
    local = DomainPatterns(("example.com", "*.example.org"))
    verdict = await settled(service(verifier, local_domains=local).ask(session(), address))
    assert (verdict.status, verdict.reason, verifier.asked) == (Status.PASS, "local_domain", [])


async def test_a_domain_of_ours_is_asked_where_the_operator_named_a_host_for_it() -> None:
    verifier = Verifier()
    asks = service(
        verifier, local_domains=DomainPatterns(("example.com",)), is_routed=lambda domain: domain == "example.com"
    )
    assert await settled(asks.ask(session(), "bob@Example.com")) is FOUND


async def test_while_no_mta_takes_mail_nobody_is_asked() -> None:
    verifier, subject = Verifier(), session()
    verdict = await settled(service(verifier, down=True).ask(subject, ALICE))
    assert (verdict.status, verdict.reason, verifier.asked) == (Status.TRANSIENT, "upstream_down", [])
    assert variables(subject)["smtp_cbv_result"] == "transient"


async def test_while_no_mta_takes_mail_what_is_remembered_is_told() -> None:
    verifier = Verifier()
    verifier.at_hand = FOUND
    assert await settled(service(verifier, down=True).ask(session(), ALICE)) is FOUND
    assert verifier.asked == []


async def test_other_rules_hold_for_a_domain_that_was_asked_about_before() -> None:
    verifier = Verifier()
    asks = service(verifier, local_domains=DomainPatterns(("example.com",)))
    assert (await settled(asks.ask(session(), "bob@example.com"))).reason == "local_domain"
    asks.turn_to(Rules())
    assert await settled(asks.ask(session(), "bob@example.com")) is FOUND


# ---------------------------------------------------------------- recipients


@pytest.mark.parametrize("recipient", ["postmaster@example.com", "Postmaster", "ABUSE@example.com"])
async def test_mail_for_an_exempt_recipient_is_always_taken_and_the_script_can_see_why(recipient: str) -> None:
    verifier, subject = Verifier(), session()
    subject.current_recipient = Recipient(path_of(recipient))
    asks = service(verifier, exempt_recipients=frozenset({"postmaster", "abuse"}))
    verdict = await settled(asks.ask_for_recipient(subject, ALICE))
    assert (verdict.status, verdict.reason, verifier.asked) == (Status.PASS, "exempt", [])
    assert verdict.text == f"not asked: mail for {recipient.partition('@')[0].lower()} is always accepted"
    assert (variables(subject)["smtp_cbv_result"], variables(subject)["smtp_cbv_reason"]) == ("pass", "exempt")
    assert await settled(asks.ask(subject, ALICE)) is FOUND


async def test_mail_for_others_is_judged() -> None:
    verifier, subject = Verifier(), session()
    subject.current_recipient = Recipient(path_of("bob@example.com"))
    asks = service(verifier, exempt_recipients=frozenset({"postmaster"}))
    assert await settled(asks.ask_for_recipient(subject, ALICE, "")) is FOUND
    assert verifier.asked == [(ALICE, "", "192.0.2.1")]


# ---------------------------------------------------------------- the variables


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (
            CallbackVerdict(Status.PASS, "accepted", "ok", "rcpt", 250, "mx.test", cached=True, age=5.0),
            ("pass", "pass", "accepted", "250", "mx.test", "true"),
        ),
        (FOUND, ("error", "fail", "no_such_user", "550", "mx.test", "false")),
        (
            CallbackVerdict(Status.TRANSIENT, "greylist", "later", "rcpt", 450, "mx.test"),
            ("transient", "transient", "greylist", "450", "mx.test", "false"),
        ),
        (
            CallbackVerdict(Status.ERROR, "policy", "5.7.1 no", "rcpt", 550, "mx.test"),
            ("transient", "error", "policy", "550", "mx.test", "false"),
        ),
        (CallbackVerdict(Status.FAIL, "nxdomain", "no", "dns"), ("error", "fail", "nxdomain", "", "", "false")),
    ],
)
async def test_six_variables_say_what_was_found(verdict: CallbackVerdict, expected: tuple[str, ...]) -> None:
    subject = session()
    await settled(service(Verifier(verdict)).ask(subject, ALICE))
    names = ("result", "status", "reason", "code", "mx", "cached")
    assert variables(subject) == dict(zip((f"smtp_cbv_{each}" for each in names), expected, strict=True))


async def test_a_later_answer_replaces_all_of_them() -> None:
    verifier, subject = Verifier(), session()
    asks = service(verifier, local_domains=DomainPatterns(("example.com",)))
    await settled(asks.ask(subject, ALICE))
    await settled(asks.ask(subject, "bob@example.com"))
    assert variables(subject) == {
        "smtp_cbv_result": "pass",
        "smtp_cbv_status": "pass",
        "smtp_cbv_reason": "local_domain",
        "smtp_cbv_code": "",
        "smtp_cbv_mx": "",
        "smtp_cbv_cached": "false",
    }


# ---------------------------------------------------------------- shadow mode


@pytest.mark.parametrize("status", [Status.FAIL, Status.TRANSIENT, Status.ERROR])
async def test_where_nothing_is_enforced_every_answer_is_pass_and_the_log_says_what_it_would_have_been(
    status: Status,
) -> None:
    verifier = Verifier(CallbackVerdict(status, "a_reason", "5.1.1 no\x1b", "rcpt", 550, "mx.test"))
    subject = session()
    with capture_logs() as log:
        verdict = await settled(service(verifier, enforce=False).ask(subject, ALICE))
    assert verdict == CallbackVerdict(Status.PASS, "shadow", f"not enforced: {status.value} (a_reason)")
    assert verifier.asked == [(ALICE, None, "192.0.2.1")]
    assert (variables(subject)["smtp_cbv_result"], variables(subject)["smtp_cbv_reason"]) == ("pass", "shadow")
    (line,) = log
    assert {name: line[name] for name in ("event", "session", "address", "status", "reason")} == {
        "event": "shadow",
        "session": subject.id,
        "address": ALICE,
        "status": status.value,
        "reason": "a_reason",
    }
    assert line["text"].isprintable()


async def test_a_verdict_that_module_and_script_both_ask_for_is_logged_once_in_shadow_mode() -> None:
    asks, subject = service(Verifier(CallbackVerdict(Status.FAIL, "a_reason", "")), enforce=False), session()
    with capture_logs() as log:
        told = [await settled(asks.ask(subject, ALICE)) for _ in range(2)]
    assert [each.reason for each in told] == ["shadow", "shadow"]
    assert [each["event"] for each in log] == ["shadow"]


async def test_a_pass_is_itself_in_shadow_mode() -> None:
    accepted = CallbackVerdict(Status.PASS, "accepted", "ok", "rcpt", 250)
    assert await settled(service(Verifier(accepted), enforce=False).ask(session(), ALICE)) is accepted


# ---------------------------------------------------------------- the end


async def test_closing_ends_the_verifier_first_and_then_what_it_stood_on() -> None:
    verifier, closed = Verifier(), []

    async def close(name: str) -> None:
        closed.append((name, verifier.closed))

    asks = CallbackService(
        cast(CallbackVerifier, verifier), Rules(), lambda: False, closing=(lambda: close("store"), lambda: close("dns"))
    )
    await asks.close()
    assert closed == [("store", True), ("dns", True)]
