"""Our Authentication-Results, and those that strangers wrote in our name."""

from __future__ import annotations

import asyncio
import time

import pytest

from proxy.mail.authentication_results import author_of, publish, remove_forged
from proxy.mail.evidence import LONGEST_VALUE, NO_EVIDENCE, Property, Result, all_of, found_by, in_short, report
from proxy.mail.message import Message
from proxy.mail.session import Session
from tests.support.worker import core

OURS = "ringback.test"


def session(*fields: str) -> Session:
    found = Session(asyncio.get_running_loop(), ("192.0.2.1", 1), ("127.0.0.1", 25), core())
    head = "".join(f"{each}\r\n" for each in (*fields, "Subject: x"))
    found.transaction.message = Message(head.encode())
    return found


def results(subject: Session) -> list[str]:
    assert subject.transaction.message is not None
    return list(subject.transaction.message.header("authentication-results"))


SPF = Result("spf", "pass", (Property("smtp", "mailfrom", "sender.test"),))
DKIM = (
    Result("dkim", "pass", (Property("header", "d", "a.test"),)),
    Result("dkim", "fail", (Property("header", "d", "b.test"),), "body hash"),
)


async def test_all_evidence_is_in_one_field() -> None:
    subject = session()
    report(subject.transaction, "dkim", *DKIM)
    publish(subject)
    report(subject.transaction, "spf", SPF)
    report(subject, "iprev", Result("iprev", "pass", (Property("policy", "iprev", "192.0.2.1"),)))
    publish(subject)
    (body,) = results(subject)
    assert body.split("; ") == [
        OURS, "iprev=pass policy.iprev=192.0.2.1", "spf=pass smtp.mailfrom=sender.test", "dkim=pass header.d=a.test",
        "dkim=fail (body hash) header.d=b.test",
    ]  # fmt: skip
    assert in_short(all_of(subject, subject.transaction)) == "iprev=pass dkim=pass/a.test dkim=fail/b.test spf=pass"
    assert found_by("dkim", subject, subject.transaction) == DKIM


async def test_a_method_that_reports_again_replaces_what_it_said() -> None:
    subject = session()
    report(subject.transaction, "spf", Result("spf", "fail"))
    report(subject.transaction, "spf", SPF)
    publish(subject)
    assert results(subject) == ["ringback.test; spf=pass smtp.mailfrom=sender.test"]


async def test_without_evidence_there_is_no_field_and_an_authenticated_client_is_evidence_for_itself() -> None:
    subject = session()
    publish(subject)
    assert results(subject) == []
    subject.authenticate("alice")
    publish(subject)
    assert results(subject) == ["ringback.test; auth=pass"]


async def test_a_client_that_a_proxy_names_brings_no_evidence_of_the_client_before_it() -> None:
    subject = session()
    report(subject, "iprev", Result("iprev", "pass"))
    subject.become(("192.0.2.9", 1), ("127.0.0.1", 25), subject.options)
    assert subject.evidence is NO_EVIDENCE


@pytest.mark.parametrize(
    "value",
    [
        "x; dkim=pass header.d=bank.test", "a@b; dkim=pass", 'a@b" dkim=pass', "a@b\r\nX: y", "a@b (", "a\\b@c",
        "a@b\0", "ä@b", "a@b\x85", "x" * 10_000,
    ],
)  # fmt: skip
async def test_what_a_stranger_chose_ends_no_clause_and_no_line(value: str) -> None:
    subject = session()
    report(subject.transaction, "spf", Result("spf", "none", (Property("smtp", "mailfrom", value),), value))
    publish(subject)
    (body,) = results(subject)
    assert body.count(";") == 1
    assert body.count("(") == body.count(")") == 1
    assert body.isascii()
    assert body.isprintable()
    assert len(body) < 3 * LONGEST_VALUE
    assert subject.transaction.message is not None
    head = subject.transaction.message.head_bytes()
    assert all(line[:1] in b" \tAS" for line in head.splitlines())


FORGED = [
    "ringback.test; dkim=pass",
    "RingBack.Test; dkim=pass",
    "ringback.test 1; dkim=pass",
    "ringback.test. ; dkim=pass",
    '"ringback.test"; dkim=pass',
    '"ring\\back.test"; dkim=pass',
    "(hello (nested \\) ) world) ringback.test (more); dkim=pass",
    "\t\r\n ringback.test;dkim=pass",
    "ringback.test(x); dkim=pass",
    "ringback.test",
    "(never ends ringback.test; dkim=pass",
    "(" * 5000 + "ringback.test; dkim=pass",
    "(x)" * 400 + "ringback.test; dkim=pass",
    '"never ends ringback.test; dkim=pass',
    "",
    "; dkim=pass",
    '""; dkim=pass',
    "<ringback.test>; dkim=pass",
    "=?utf-8?q?ringback.test?=; dkim=pass",
    "ringback.test\r\n\t(folded)\r\n 1; dkim=pass",
    '"ringback.test."; dkim=pass',
    "RINGBACK.TEST.. 1 ; dkim=pass",
    '"ringback" . test; dkim=pass',
    "ringback .test; dkim=pass",
    '"ring""back.test"; dkim=pass',
    "\uff52ingback.test; dkim=pass",
]
STRANGERS = [
    "mx.other.test; dkim=pass",
    "ringback.test.other.test; dkim=pass",
    "other.test; dkim=pass header.d=ringback.test",
    '"other; ringback.test"; none',
    "(ringback.test) other.test; none",
    "xringback.test; none",
    "ringback.tests 1; none",
    "ring-back.test; none",
    "other.test (ringback.test); none",
    "mta1.other.test  from=ringback.test; domainkeys=pass (ok)",
    '"an other.test"; none',
]


@pytest.mark.parametrize("body", FORGED)
async def test_a_field_in_our_name_or_of_no_readable_author_is_removed(body: str) -> None:
    message = Message(f"Authentication-Results: {body}\r\nSubject: x\r\n".encode())
    await remove_forged(message, OURS)
    assert [name for name, _ in message.fields()] == ["Subject"]
    assert message.head_changed


@pytest.mark.parametrize("body", STRANGERS)
async def test_a_field_of_another_author_stays_as_it_is(body: str) -> None:
    head = f"authentication-results : {body}\r\nSubject: x\r\n".encode()
    message = Message(head)
    await remove_forged(message, OURS)
    assert message.head_bytes() == head
    assert not message.head_changed


@pytest.mark.parametrize(
    "name", ["AUTHENTICATION-RESULTS:", "authentication-results \t:", "Authentication-Results:\r\n"]
)
async def test_our_name_is_found_however_the_field_is_written(name: str) -> None:
    message = Message(f"{name} ringback.test; dkim=pass\r\nSubject: x\r\n".encode())
    await remove_forged(message, "RingBack.test.")
    assert [each for each, _ in message.fields()] == ["Subject"]


async def test_a_field_with_octets_that_are_no_text_is_read_as_far_as_it_is() -> None:
    head = b"Authentication-Results: ringback.test; x=\xff\r\nAuthentication-Results: \xe9.test; none\r\nSubject: x\r\n"
    message = Message(head)
    await remove_forged(message, OURS)
    assert "ringback.test" not in str(message.fields())


async def test_a_sender_beyond_ascii_leaves_one_legible_field() -> None:
    subject = session()
    report(subject.transaction, "spf", Result("spf", "none", (Property("smtp", "mailfrom", "\u00fc;x@xn--tda.test"),)))
    publish(subject)
    assert results(subject) == ["ringback.test; spf=none smtp.mailfrom=??x@xn--tda.test"]


async def test_only_ours_goes_of_many() -> None:
    fields = [f"Authentication-Results: {each}" for each in (*FORGED[:3], *STRANGERS)]
    subject = session(*fields)
    assert subject.transaction.message is not None
    await remove_forged(subject.transaction.message, OURS)
    report(subject.transaction, "spf", SPF)
    publish(subject)
    publish(subject)
    assert results(subject) == ["ringback.test; spf=pass smtp.mailfrom=sender.test", *STRANGERS]


@pytest.mark.parametrize(
    "body",
    [
        f"other.test; {'; '.join(['dkim=pass header.d=x.test'] * 8000)}",
        f"{'(' * 100_000}{')' * 100_000} other.test; none",
        f"{'(x) ' * 100_000} other.test; none",
        f'"{chr(92) * 100_000}',
    ],
)
async def test_a_hostile_field_costs_no_more_than_its_first_line(body: str) -> None:
    began = time.process_time()
    for _ in range(100):
        author_of(body)
    assert time.process_time() - began < 1.0  # a bound, not a measurement: 0.02 s here


@pytest.mark.parametrize(
    "body",
    [
        "\x0bringback.test; dkim=pass", "ringback.test\x0c; dkim=pass", "ringback.test\x00; dkim=pass",
        "\u00a0ringback.test; dkim=pass", "\u200bringback.test; dkim=pass", "ringback.test/1; dkim=pass",
        "ringback.test,x; dkim=pass", "ringback\u3002test; dkim=pass", '"ringback.test\x0b"; dkim=pass',
    ],
)  # fmt: skip
async def test_a_name_that_a_lenient_reader_takes_for_ours_is_removed(body: str) -> None:
    subject = session(f"Authentication-Results: {body}")
    assert subject.transaction.message is not None
    await remove_forged(subject.transaction.message, OURS)
    assert results(subject) == []


async def test_of_very_many_fields_ours_go_and_the_others_stay() -> None:
    """1 MiB of fields is looked at in a thread, and once."""
    subject = session(
        *[f"Authentication-Results: {(each % 2 and OURS) or 'other.test'}; none" for each in range(20_000)]
    )
    message = subject.transaction.message
    assert message is not None
    await remove_forged(message, OURS)
    report(subject.transaction, "spf", SPF)
    began = time.thread_time()
    for _ in range(10):
        publish(subject)
    assert time.thread_time() - began < 2.0  # a bound, not a measurement: 0.02 s here
    assert len(results(subject)) == 1 + 10_000
    assert results(subject)[0].startswith(OURS)
