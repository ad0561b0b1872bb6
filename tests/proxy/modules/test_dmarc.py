"""The module dmarc: what it tells, writes and refuses, by its options and by what other modules found."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest

from config.diagnostics import render
from proxy.app import load
from proxy.base.tasks import TaskOwner, spawn
from proxy.dmarc.author import Authors, authors
from proxy.mail.evidence import Property, Result, report
from proxy.mail.message import Message
from proxy.mail.session import Session
from proxy.modules.dmarc import module
from proxy.modules.dmarc.module import DmarcValidator
from proxy.modules.dmarc.options import DmarcOptions, Finding, Forwarders
from sieve.phases import Phase
from tests.proxy.modules.test_mail_loop import CORE
from tests.support.lookups import Records, Zonefile, asked, has_message, stranger

REJECT: Records = {("_dmarc.bank.test", "TXT"): ["v=DMARC1; p=reject"]}
QUARANTINE: Records = {("_dmarc.bank.test", "TXT"): ["v=DMARC1; p=quarantine; sp=none; adkim=s"]}
FORGED = b"From: Bank <service@bank.test>\r\nX-DMARC-Policy: none of yours\r\n\r\nx\r\n"
BOB = "bob@example.com"
OWNER = TaskOwner("test")


def checking(records: Records | None = None, **options: object) -> DmarcValidator:
    return DmarcValidator("dmarc", DmarcOptions.model_validate(options), Zonefile(records or {}).lookups, OWNER)


def mail(
    content: bytes = FORGED, *, spf: str = "", domain: str = "forger.test", sender: str = "a@forger.test"
) -> Session:
    session = has_message(stranger(BOB, sender=sender), content)
    if spf:
        about = Property("smtp", "mailfrom", f"a@{domain}") if sender else Property("smtp", "helo", domain)
        report(session.transaction, "spf", Result("spf", spf, (about,)))
    return session


def signed(session: Session, *results: tuple[str, str]) -> Session:
    found = [Result("dkim", value, (Property("header", "d", domain),)) for value, domain in results]
    report(session.transaction, "dkim", *found)
    return session


async def reply(validator: DmarcValidator, session: Session) -> str:
    verdict = await asked(validator, session, Phase.DATA)
    return "" if verdict.reply is None else f"{verdict.reply.code} {verdict.reply.text}"


def message_of(session: Session) -> Message:
    message = session.transaction.message
    assert message is not None
    return message


def done(session: Session) -> None:
    message_of(session).close()


async def test_by_default_a_forged_message_passes_with_a_tag() -> None:
    session = mail(spf="fail")
    assert await reply(checking(REJECT), session) == ""
    context = session.transaction.context
    assert (context["dmarc_status"], context["dmarc_policy"], context["dmarc_domain"]) == (
        "fail",
        "reject",
        "bank.test",
    )
    assert message_of(session).header("X-DMARC-Policy") == ["reject bank.test"]
    (field,) = message_of(session).header("Authentication-Results")
    assert "dmarc=fail header.from=bank.test policy.dmarc=reject" in field
    done(session)


async def test_action_none_changes_nothing_in_the_message() -> None:
    session = mail(spf="fail")
    assert await reply(checking(REJECT, action="none"), session) == ""
    assert message_of(session).header("X-DMARC-Policy") == ["none of yours"]
    assert not message_of(session).header("Authentication-Results")
    assert session.transaction.context["dmarc_status"] == "fail"
    done(session)


@pytest.mark.parametrize(
    ("finding", "refused"),
    [
        ("spf_fail", True), ("dnsbl", True), ("iprev_fail", True), ("dkim_fail", True), ("spf_softfail", False),
        ("iprev_permerror", False), ("arc_fail", True), ("early_talker", True), ("callback_fail", True),
    ],
)  # fmt: skip
async def test_enforce_refuses_if_a_second_finding_agrees(finding: str, *, refused: bool) -> None:
    session = signed(mail(spf="fail"), ("fail", "bank.test"))
    session.transaction.context |= {"dnsbl_status": "listed", "smtp_cbv_status": "fail"}
    session.context["early_talker"] = "yes"
    report(session, "iprev", Result("iprev", "fail"))
    report(session.transaction, "arc", Result("arc", "fail"))
    said = await reply(checking(REJECT, action="enforce", enforce_with=(finding,)), session)
    assert said == ("550 5.7.1 Refused by the DMARC policy of bank.test" if refused else "")
    done(session)


async def test_a_callback_under_way_is_waited_for_if_it_may_agree_and_nothing_else_does() -> None:
    def asking(session: Session, answer: asyncio.Event) -> Session:
        async def finished() -> None:
            await answer.wait()
            session.transaction.context["smtp_cbv_status"] = "fail"

        session.transaction.pending.append(spawn(finished(), name="callback", owner=OWNER))
        return session

    answer, never = asyncio.Event(), asyncio.Event()
    validator = checking(REJECT, action="enforce", enforce_with=("callback_fail", "spf_fail"), timeout=0.1)
    for spf in ("fail", "none"):  # with SPF's fail, the callback's answer is not needed; without, it comes too late
        session = asking(mail(spf=spf), never)
        assert (await reply(validator, session) != "") == (spf == "fail")
        session.transaction.pending[0].cancel()
        done(session)
    session = asking(mail(), answer)
    asyncio.get_running_loop().call_soon(answer.set)
    assert (await reply(validator, session)).startswith("550")
    done(session)


@pytest.mark.parametrize("finding", get_args(Finding))
async def test_no_finding_agrees_with_a_message_of_which_nothing_was_found(finding: str) -> None:
    session = mail()
    assert await reply(checking(REJECT, action="enforce", enforce_with=(finding,)), session) == ""
    done(session)


async def test_enforce_does_not_refuse_by_the_policy_alone() -> None:
    session = mail(spf="none")
    assert await reply(checking(REJECT, action="enforce"), session) == ""
    assert message_of(session).header("X-DMARC-Policy") == ["reject bank.test"]
    told = session.transaction.dmarc
    assert told is not None
    assert (told["disposition"], told["override"]) == ("none", "local_policy")
    done(session)


async def test_enforce_with_nothing_refuses_by_the_policy_alone() -> None:
    session = mail()
    assert (await reply(checking(REJECT, action="enforce", enforce_with=()), session)).startswith("550 5.7.1")
    done(session)


async def test_quarantine_adds_a_header_and_none_adds_nothing() -> None:
    for records, tags in (
        (QUARANTINE, ["quarantine bank.test"]),
        ({}, []),
        ({("_dmarc.bank.test", "TXT"): ["v=DMARC1"]}, []),
    ):
        session = mail(spf="fail")
        assert await reply(checking(records, action="enforce"), session) == ""
        assert message_of(session).header("X-DMARC-Policy") == tags
        done(session)


async def test_an_aligned_message_passes() -> None:
    for session in (
        mail(spf="pass", domain="bank.test"),
        mail(spf="pass", domain="bank.test", sender=""),
        signed(mail(), ("fail", "bank.test"), ("pass", "mail.bank.test")),
    ):
        assert await reply(checking(REJECT, action="enforce", enforce_with=()), session) == ""
        assert session.transaction.context["dmarc_status"] == "pass"
        assert message_of(session).header("X-DMARC-Policy") == []
        done(session)


async def test_a_result_that_is_not_pass_authenticates_nothing() -> None:
    for session in (mail(spf="softfail", domain="bank.test"), signed(mail(), ("policy", "bank.test"))):
        assert await reply(checking(REJECT), session) == ""
        assert session.transaction.context["dmarc_status"] == "fail"
        done(session)


async def test_trusted_forwarders_are_never_refused() -> None:
    options = {"action": "enforce", "enforce_with": ("spf_fail", "iprev_fail")}
    by_network = Forwarders((__import__("ipaddress").ip_network("192.0.2.0/24"),))
    by_domain = Forwarders((), type(DmarcOptions().trusted_forwarders.domains)(("*.lists.test", "lists.test")))
    session = mail(spf="fail")
    assert await reply(checking(REJECT, trusted_forwarders=by_network, **options), session) == ""
    done(session)
    for confirm in (
        lambda each: report(
            each.transaction, "spf", Result("spf", "pass", (Property("smtp", "mailfrom", "b@lists.test"),))
        ),
        lambda each: report(each, "iprev", Result("iprev", "pass", comment="mx.lists.test")),
    ):
        session = mail()
        confirm(session)
        assert (
            await reply(checking(REJECT, trusted_forwarders=by_domain, **{**options, "enforce_with": ()}), session)
            == ""
        )
        assert (session.transaction.dmarc or {})["override"] == "trusted_forwarder"
        done(session)
    session = mail(spf="fail", domain="lists.test")  # it only claims to be the forwarder
    assert (await reply(checking(REJECT, trusted_forwarders=by_domain, **options), session)).startswith("550")
    done(session)


async def test_a_trusted_seal_is_a_trusted_forwarder() -> None:
    session = mail(spf="fail")
    session.transaction.context["arc_trusted"] = "yes"
    assert await reply(checking(REJECT, action="enforce"), session) == ""
    done(session)


async def test_temperror_is_accepted_or_deferred() -> None:
    for failing in ("SERVFAIL", "SILENT"):
        records: Records = {("_dmarc.bank.test", "TXT"): failing}
        session = mail(spf="fail")
        assert await reply(checking(records, timeout=0.1, action="enforce"), session) == ""
        assert session.transaction.context["dmarc_status"] == "temperror"
        done(session)
        session = mail(spf="fail")
        assert (await reply(checking(records, timeout=0.1, on_error="defer"), session)).startswith("451 4.7.1")
        done(session)


async def test_clients_that_may_relay_are_not_judged() -> None:
    session = mail(spf="fail")
    session.can_relay = True
    assert await reply(checking(REJECT, action="enforce", enforce_with=()), session) == ""
    assert "dmarc_status" not in session.transaction.context
    done(session)


async def test_the_event_has_what_a_report_needs() -> None:
    session = mail(spf="pass", domain="forger.test")
    await reply(checking(QUARANTINE), session)
    assert session.transaction.dmarc == {
        "header_from": "bank.test",
        "envelope_from": "forger.test",
        "status": "fail",
        "spf": "fail",
        "dkim": "fail",
        "disposition": "quarantine",
        "published": {"domain": "bank.test", "p": "quarantine", "sp": "none", "adkim": "s", "aspf": "r", "t": "n"},
    }
    done(session)


async def test_mail_from_does_not_wait_for_the_policy() -> None:
    session = stranger(BOB, sender="a@bank.test")
    silent: Records = {("_dmarc.bank.test", "TXT"): "SILENT"}
    assert (await asked(checking(silent), session, Phase.MAILFROM)).reply is None
    assert "dmarc_domain_policy" not in session.transaction.context
    await OWNER.cancel()


@pytest.mark.parametrize(
    ("records", "policy"),
    [(REJECT, "reject"), (QUARANTINE, "quarantine"), ({}, ""), ({("_dmarc.bank.test", "TXT"): "SERVFAIL"}, "")],
)
async def test_scripts_learn_the_policy_of_the_domain_in_mail_from(records: Records, policy: str) -> None:
    session = stranger(BOB, sender="a@bank.test")
    await asked(checking(records), session, Phase.MAILFROM)
    await session.transaction.settle()
    assert session.transaction.context["dmarc_domain_policy"] == policy
    null = stranger(BOB, sender="")
    await asked(checking(records), null, Phase.MAILFROM)
    await null.transaction.settle()
    assert "dmarc_domain_policy" not in null.transaction.context


async def test_what_is_foreign_is_escaped_in_fields_and_replies() -> None:
    session = mail(b"From: <a@b\xc3\xbccher.test>\r\n\r\nx\r\n")
    records: Records = {("_dmarc.xn--bcher-kva.test", "TXT"): ["v=DMARC1; p=reject"]}
    said = await reply(checking(records, action="enforce", enforce_with=()), session)
    assert said.endswith("policy of xn--bcher-kva.test")
    done(session)


def warnings(folder: Path, text: str) -> str:
    path = folder / "ecelerity.conf"
    path.write_text(f"{CORE}{text}\n")
    return render(load(path)[1])


def test_what_is_probably_not_meant_is_a_warning(tmp_path: Path) -> None:
    alone = warnings(tmp_path, "dmarc { action = enforce enforce_with = ( ) }")
    assert "neither spf_v1 nor dkim_validate is loaded" in alone
    assert "RFC 9989 section 7.4" in alone
    missing = warnings(tmp_path, 'spf_v1 "s" { }\ndmarc { action = enforce enforce_with = ( dnsbl spf_fail ) }')
    assert "nothing finds dnsbl" in missing
    assert "section 7.4" not in missing
    assert "comes before" not in missing
    assert "dmarc comes before spf_v1" in warnings(tmp_path, 'dmarc { }\nspf_v1 "s" { }')


def test_forwarders_are_networks_and_domains(tmp_path: Path) -> None:
    path = tmp_path / "ecelerity.conf"
    path.write_text(f"{CORE}dmarc {{ trusted_forwarders = ( 192.0.2.0/24 lists.example.org *.lists.test ) }}\n")
    (module,) = load(path)[0].settings.modules
    assert isinstance(module.options, DmarcOptions)
    forwarders = module.options.trusted_forwarders
    assert [str(each) for each in forwarders.networks] == ["192.0.2.0/24"]
    assert list(forwarders.domains) == ["lists.example.org", "*.lists.test"]


async def test_an_author_whose_name_servers_are_silent_does_not_hide_another() -> None:
    content = b"From: <a@silent.test>, Bank <service@bank.test>\r\n\r\nx\r\n"
    silent: Records = {**REJECT, ("_dmarc.silent.test", "TXT"): "SILENT"}
    session = mail(content, spf="temperror")
    said = await reply(checking(silent, action="enforce", enforce_with=(), timeout=0.1), session)
    assert said == "550 5.7.1 Refused by the DMARC policy of bank.test"
    done(session)


async def test_only_an_error_of_a_domain_that_aligns_makes_a_fail_uncertain() -> None:
    for domain, status in (("forger.test", "fail"), ("mail.bank.test", "temperror")):
        for session in (mail(spf="temperror", domain=domain), signed(mail(), ("temperror", domain))):
            await reply(checking(REJECT), session)
            assert session.transaction.context["dmarc_status"] == status
            done(session)


@pytest.mark.parametrize(
    "field",
    [
        b", ".join([b"a@bank.test", *[b"a@d%d.test" % at for at in range(20)]]),
        b"Bank <a@bank.test> (" + b"x" * 100_000 + b")",
    ],
)
async def test_a_from_field_beyond_the_bounds_does_not_prevent_a_refusal(field: bytes) -> None:
    session = mail(b"From: " + field + b"\r\n\r\nx\r\n", spf="fail")
    assert "DMARC policy of bank.test" in await reply(checking(REJECT, action="enforce"), session)
    done(session)


@pytest.mark.parametrize(
    ("more", "beside"), [(b"", False), (b"From:\r\n" * 140_000, True), (b"From: " + b"@" * 2000 + b"\r\n", True)]
)
async def test_long_or_many_from_fields_are_read_beside_the_loop(
    more: bytes, monkeypatch: pytest.MonkeyPatch, *, beside: bool
) -> None:
    threads = []

    def authors_here(fields: Sequence[str]) -> Authors:
        threads.append(threading.get_ident())
        return authors(fields)

    monkeypatch.setattr(module, "authors", authors_here)
    session = mail(FORGED.replace(b"From:", more + b"From:", 1))
    await reply(checking(REJECT), session)
    assert (threads != [threading.get_ident()]) == beside
    assert session.transaction.context["dmarc_status"] == ("permerror" if more[:7] == b"From:\r\n" else "fail")
    done(session)
