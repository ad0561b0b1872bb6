"""What the messages that Ringback makes contain: forwards, messages that scripts wrote, reports."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast

import pytest

from proxy.mail.replies import Reply
from proxy.modules.sieve_policy.effects import path_of
from proxy.outbox import composing
from proxy.outbox.reports import Failure, Occasion, report, status_of, wants_all

HOST = "mx.example.com"
NOW = 1_750_000_000.0
ORIGINAL = b"From: a@x.test\r\nSubject: \xe4 raw\r\n\r\nbody \xff\r\n.dot\r\n"


def parsed(content: bytes) -> EmailMessage:
    message = cast(EmailMessage, message_from_bytes(content, policy=policy.default))
    assert [part.defects for part in message.walk()] == [[] for _ in message.walk()]
    assert b"\n" not in content.replace(b"\r\n", b"")
    return message


def forward(**parts: str) -> bytes:
    given = {"sender": "me@here.test", "recipient": "you@there.test", "text": "look", "subject": "Fwd: x"} | parts
    return composing.forward(**given, original=ORIGINAL, hostname=HOST, now=NOW)


@pytest.mark.parametrize("head", [True, False], ids=["header-section", "message"])
def test_a_binary_original_brings_no_bare_line_break_into_a_letter(head: bool) -> None:  # noqa: FBT001 — a case
    """A letter goes by DATA: `LF . CR LF` in it would end the message for some servers, and begin another."""
    original = b"A: 1\r\nB: 2\n.\r\n\r\nx\n.\r\nMAIL FROM:<>\r.\ry"
    kind = "text/rfc822-headers" if head else "message/rfc822"
    part = composing.message_part(original, kind)
    assert part.count(b"\r\n") == part.count(b"\r") == part.count(b"\n")
    assert part.endswith(b"A: 1\r\nB: 2\r\n.\r\n\r\nx\r\n.\r\nMAIL FROM:<>\r\n.\r\ny")


def test_a_forward_holds_the_text_and_the_original_octet_for_octet() -> None:
    content = forward()
    message = parsed(content)
    assert {name: message[name] for name in ("From", "To", "Subject", "Auto-Submitted", "MIME-Version")} == {
        "From": "me@here.test",
        "To": "you@there.test",
        "Subject": "Fwd: x",
        "Auto-Submitted": "auto-generated",
        "MIME-Version": "1.0",
    }
    assert message["Date"].datetime.timestamp() == NOW
    assert message["Message-ID"].endswith(f"@{HOST}>")
    text, attached = message.iter_parts()
    assert (text.get_content_type(), text.get_content()) == ("text/plain", "look")
    assert attached.get_content_type() == "message/rfc822"
    assert b"\r\n\r\n" + ORIGINAL + b"\r\n--" in content


@pytest.mark.parametrize(
    ("subject", "shown"),
    [
        ("Fwd: Grüße", "Fwd: Grüße"),
        ("two\r\nBcc: victim@x.test", "two Bcc: victim@x.test"),
        ("long " * 60, ("long " * 60).strip()),
        ("", ""),
    ],
)
def test_a_subject_stays_a_subject(subject: str, shown: str) -> None:
    message = parsed(forward(subject=subject))
    assert message["Subject"].strip() == shown
    assert message["Bcc"] is None


def test_a_text_beyond_ascii_or_with_long_lines_arrives_as_it_is() -> None:
    text = "Grüße\n" + "word " * 400 + "\nend"
    (part, _) = parsed(forward(text=text)).iter_parts()
    assert part.get_content().replace("\r\n", "\n") == text
    assert max(map(len, forward(text=text).split(b"\r\n"))) <= composing.LONGEST_LINE


def test_the_null_sender_has_a_from_field_all_the_same() -> None:
    assert parsed(forward(sender=""))["From"] == f"Mail Delivery System <MAILER-DAEMON@{HOST}>"


def test_a_message_that_a_script_wrote_gets_only_what_is_missing() -> None:
    content = composing.generated("me@here.test", "Subject: hi\nmessage-id: <1@x>\n\nbody\r", hostname=HOST, now=NOW)
    message = parsed(content)
    assert message.keys() == ["From", "Date", "Auto-Submitted", "Subject", "message-id"]
    assert content.endswith(b"Subject: hi\r\nmessage-id: <1@x>\r\n\r\nbody\r\n")


def test_a_message_of_a_script_without_any_field_has_a_body_only() -> None:
    content = composing.generated("", "\nDate: is body\n", hostname=HOST, now=NOW)
    assert parsed(content).keys() == ["From", "Date", "Message-ID", "Auto-Submitted"]
    assert content.endswith(b"\r\n\r\nDate: is body\r\n")


# ---------------------------------------------------------------- reports

REFUSED = Reply(550, (b"5.7.1 not", b"5.7.1 wanted"))


def occasion(sender: str = "alice@sender.test", **parameters: str) -> Occasion:
    given: dict[str, str | None] = {**parameters}
    return Occasion(path_of(sender), HOST, NOW, NOW - 60, given, "client.test (192.0.2.1)")


def failure(address: str = "bob@example.com", reply: Reply = REFUSED, **parameters: str) -> Failure:
    given: dict[str, str | None] = {**parameters}
    return Failure(path_of(address), reply, given)


def test_a_report_is_a_multipart_report_from_the_null_sender() -> None:
    made = report(occasion(), [failure()], b"Subject: x\r\n", whole=False)
    message = parsed(made.content)
    assert (made.sender.raw, [path.text for path in made.recipients], made.purpose) == (
        b"",
        ["alice@sender.test"],
        "report",
    )
    assert (message.get_content_type(), message.get_param("report-type")) == ("multipart/report", "delivery-status")
    assert (message["To"], message["Auto-Submitted"]) == ("alice@sender.test", "auto-replied")
    kinds = [part.get_content_type() for part in message.iter_parts()]
    assert kinds == ["text/plain", "message/delivery-status", "text/rfc822-headers"]


def groups(content: bytes) -> list[dict[str, str]]:
    """Return the field groups of a report's second part."""
    _, status, _ = parsed(content).iter_parts()
    return [dict(group.items()) for group in cast(list[EmailMessage], status.get_payload())]


def test_its_fields_are_those_of_rfc_3464() -> None:
    made = report(
        occasion(ENVID="QQ+2B314159"),
        [failure(ORCPT="rfc822;Bob+2Btag@example.com"), failure("carol@example.com", Reply(452, (b"later",)))],
        b"",
        whole=False,
    )
    about, bob, carol = groups(made.content)
    assert about == {
        "Original-Envelope-Id": "QQ+314159",
        "Reporting-MTA": f"dns; {HOST}",
        "Received-From-MTA": "dns; client.test (192.0.2.1)",
        "Arrival-Date": about["Arrival-Date"],
    }
    assert bob == {
        "Original-Recipient": "rfc822; Bob+tag@example.com",
        "Final-Recipient": "rfc822; bob@example.com",
        "Action": "failed",
        "Status": "5.7.1",
        "Diagnostic-Code": "smtp; 550 5.7.1 not / 5.7.1 wanted",
        "Last-Attempt-Date": bob["Last-Attempt-Date"],
    }
    assert (carol["Final-Recipient"], carol["Status"]) == ("rfc822; carol@example.com", "4.0.0")


def test_people_read_who_did_not_get_it_and_why() -> None:
    text, *_ = parsed(report(occasion(), [failure()], b"", whole=False).content).iter_parts()
    assert "\n<bob@example.com>\n    550 5.7.1 not / 5.7.1 wanted\n" in text.get_content().replace("\r\n", "\n")


def test_the_whole_message_goes_back_octet_for_octet_where_it_is_asked_for() -> None:
    content = report(occasion(RET="FULL"), [failure()], ORIGINAL, whole=True).content
    assert [part.get_content_type() for part in parsed(content).iter_parts()][-1] == "message/rfc822"
    assert b"\r\n\r\n" + ORIGINAL + b"\r\n--" in content


@pytest.mark.parametrize(("ret", "wanted"), [("FULL", True), ("full", True), ("HDRS", False), (None, False)])
def test_ret_says_what_goes_back(ret: str | None, *, wanted: bool) -> None:
    assert wants_all({} if ret is None else {"RET": ret}) is wanted


@pytest.mark.parametrize(
    ("notify", "wanted"),
    [
        (None, True),
        ("NEVER", False),
        ("SUCCESS", False),
        ("DELAY", False),
        ("SUCCESS,FAILURE", True),
        ("failure", True),
    ],
)
def test_notify_says_whether_a_failure_is_reported(notify: str | None, *, wanted: bool) -> None:
    parameters = {} if notify is None else {"NOTIFY": notify}
    assert failure(**parameters).is_wanted is wanted


@pytest.mark.parametrize(
    ("code", "line", "status"),
    [
        (550, b"5.1.1 No such user", "5.1.1"),
        (550, b"No such user", "5.0.0"),
        (451, b"4.7.1", "4.7.1"),
        (550, b"4.1.1 mixed", "5.0.0"),
        (550, b"5.1.1234 no", "5.0.0"),
    ],
)
def test_the_status_is_the_replys_own_where_it_has_one(code: int, line: bytes, status: str) -> None:
    assert status_of(Reply(code, (line,))) == status


def test_what_strangers_said_cannot_add_a_field() -> None:
    hostile = occasion(ENVID="x+0D+0AInjected: yes")
    made = report(hostile, [failure("bob@example.com", Reply(550, (b"\x1b[31m\xff",)))], b"", whole=False)
    about, bob = groups(made.content)
    assert about["Original-Envelope-Id"] == r"x\r\nInjected: yes"
    assert bob["Diagnostic-Code"].startswith("smtp; 550 ")
    assert "Injected" not in about


def test_an_address_beyond_ascii_stands_in_ascii() -> None:
    _, bob = groups(report(occasion(), [failure("jürgen@example.com")], b"", whole=False).content)
    assert bob["Final-Recipient"] == r"utf-8; j\x{FC}rgen@example.com"
