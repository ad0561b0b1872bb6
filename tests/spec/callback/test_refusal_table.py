"""The table of real refusals is whole: enough rows, each a reply by the grammar, with a verdict and a source."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from proxy.outgoing.wire import ReplyParser

TABLE = Path(__file__).with_name("refusals.tsv")
COLUMNS = ["system", "language", "stage", "reply", "status", "reason", "source"]

VERDICTS = {
    ("fail", "no_such_user"),
    ("fail", "disabled"),
    ("transient", "greylist"),
    ("transient", "mailbox_full"),
    ("transient", "rate"),
    ("transient", "deferred"),
    ("transient", "busy"),
    ("error", "policy"),
    ("error", "null_sender"),
    ("error", "protocol"),
    ("error", "tls_required"),
    ("error", "refused_us"),
    ("error", "mail_refused"),
}

NAMED_BY_OPERATORS = {
    "Barracuda",
    "Cisco IronPort",
    "Courier",
    "Cyrus",
    "Dovecot LMTP",
    "Exchange Online",
    "Exim",
    "Gmail",
    "GMX",
    "Mail.ru",
    "Mimecast",
    "OpenSMTPD",
    "Outlook.com",
    "Postfix",
    "Proofpoint",
    "QQ",
    "Sendmail",
    "Yahoo",
    "iCloud",
    "qmail",
}

OTHERS_ADDRESS = re.compile(r"[\w.+-]+@(?!example\.(?:com|net)\b)[\w-]+(?:\.[\w-]+)+", re.IGNORECASE)
OF_ABUSE_DESKS = {
    "abuse@corp.mail.ru",
    "abuse_rbl@abuse-att.net",
    "delist@messaging.microsoft.com",
    "tosa@rx.t-online.de",
}
SECTIONS_AND_VERSIONS = {"4.1.1.1", "4.16.55.1"}
OF_A_BLOCK_LIST = {"127.24.0.2"}
NETWORK_ADDRESS = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")


def rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))


ROWS = rows()


def test_the_columns_are_named_and_every_row_fills_them() -> None:
    assert TABLE.read_text("utf-8").splitlines()[0].split("\t") == COLUMNS
    assert [row for row in ROWS if None in row or not all(row.values())] == []


def test_there_are_nine_hundred_refusals_or_more() -> None:
    assert len(ROWS) >= 900


def test_no_reply_stands_twice() -> None:
    replies = [row["reply"].lower() for row in ROWS]
    assert sorted({each for each in replies if replies.count(each) > 1}) == []


def test_every_refusal_is_a_reply_by_the_letter() -> None:
    for row in ROWS:
        lines = row["reply"].split("\\n")
        (answer,) = ReplyParser().feed("".join(f"{line}\r\n" for line in lines).encode())
        assert (answer.code, len(answer.lines)) == (int(row["reply"][:3]), len(lines)), row["reply"]
        assert 400 <= answer.code <= 599, row["reply"]


def test_every_verdict_is_one_that_exists() -> None:
    assert {(row["status"], row["reason"]) for row in ROWS} == VERDICTS


def test_every_stage_is_one_of_a_conversation() -> None:
    assert {row["stage"] for row in ROWS} == {"banner", "ehlo", "mail", "rcpt"}


def test_a_temporary_reply_is_never_permanent_but_for_tls() -> None:
    temporary = [row for row in ROWS if row["reply"].startswith("4") and row["status"] != "transient"]
    assert {row["reason"] for row in temporary} == {"tls_required"}


def test_busy_is_the_closing_reply_or_a_temporary_greeting_and_nothing_else() -> None:
    closing = [
        r for r in ROWS if r["reply"].startswith("421") or (r["stage"] == "banner" and r["reply"].startswith("4"))
    ]
    assert closing == [row for row in ROWS if row["reason"] == "busy"]


@pytest.mark.parametrize(("stages", "reason"), [({"banner", "ehlo"}, "refused_us"), ({"mail"}, "mail_refused")])
def test_what_is_refused_before_the_recipient_judges_no_address(stages: set[str], reason: str) -> None:
    early = [row for row in ROWS if row["stage"] in stages and row["reply"].startswith("5")]
    assert early == [row for row in ROWS if row["reason"] == reason]


def test_a_code_of_security_or_policy_is_never_a_fail() -> None:
    policy = re.compile(r"\b5\.7\.(?!17\b)\d")  # RFC 7293: 5.7.17 is about the mailbox
    assert [row for row in ROWS if row["status"] == "fail" and policy.search(row["reply"])] == []


def test_every_row_names_where_it_was_seen() -> None:
    place = re.compile(r"(?:https?://\S+|[\w.-]+/[\w.-]+ [\w./-]+)(?: \((?:shortened|asked|strings|words)\))?")
    assert [row for row in ROWS if not place.fullmatch(row["source"])] == []


def test_the_systems_that_operators_name_are_there() -> None:
    assert NAMED_BY_OPERATORS - {row["system"] for row in ROWS} == set()


def test_several_languages_are_there() -> None:
    assert len({row["language"] for row in ROWS}) >= 8


def test_nobodys_address_or_network_stands_in_a_reply() -> None:
    addresses = {each for row in ROWS for each in OTHERS_ADDRESS.findall(row["reply"])}
    networks = {each for row in ROWS for each in NETWORK_ADDRESS.findall(row["reply"])}
    assert addresses - OF_ABUSE_DESKS == set()
    assert networks - SECTIONS_AND_VERSIONS - OF_A_BLOCK_LIST == {"192.0.2.1"}
