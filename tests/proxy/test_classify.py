"""What an exchanger's answer to RCPT says of the address: fail only on evidence about it."""

from __future__ import annotations

import pytest

from proxy.callback.classify import Classifier, enhanced_subject
from proxy.callback.verdict import CallbackVerdict, Status, printable_text
from proxy.replies import Reply


def answer(code: int, *lines: str) -> Reply:
    return Reply(code, tuple(line.encode("latin-1") for line in lines))


@pytest.mark.parametrize(
    ("reply", "status", "reason"),
    [
        (answer(250, "ok"), Status.PASS, "accepted"),
        (answer(251, "User not local; will forward"), Status.PASS, "accepted"),
        (answer(252, "Cannot verify"), Status.PASS, "accepted"),
        # evidence about the address
        (answer(550, "5.1.1 no such user"), Status.FAIL, "no_such_user"),
        (answer(550, "5.1.0 address rejected"), Status.FAIL, "no_such_user"),
        (answer(550, "5.1.2 bad host"), Status.FAIL, "no_such_user"),
        (answer(551, "5.1.6 has moved"), Status.FAIL, "no_such_user"),
        (answer(556, "5.1.10 null MX"), Status.FAIL, "no_such_user"),
        (answer(550, "5.2.1 mailbox disabled"), Status.FAIL, "disabled"),
        (answer(550, "5.4.1 Recipient address rejected: Access denied. AS(201806281)"), Status.FAIL, "no_such_user"),
        (answer(550, "please read on", "5.1.1 user unknown"), Status.FAIL, "no_such_user"),
        (answer(550, "User unknown"), Status.FAIL, "no_such_user"),
        (answer(550, "unknown user"), Status.FAIL, "no_such_user"),
        (answer(550, "No such user here"), Status.FAIL, "no_such_user"),
        (answer(550, "Requested action not taken: mailbox does not exist"), Status.FAIL, "no_such_user"),
        (answer(553, "sorry, no mailbox here by that name"), Status.FAIL, "no_such_user"),
        (answer(554, "Recipient not found"), Status.FAIL, "no_such_user"),
        # about us, or our policy
        (answer(550, "5.7.1 Email does not exist"), Status.ERROR, "policy"),
        (answer(554, "5.7.1 Service unavailable; Client host blocked"), Status.ERROR, "policy"),
        (answer(550, "5.7.25 no PTR"), Status.ERROR, "policy"),
        (answer(550, "5.1.7 bad sender"), Status.ERROR, "policy"),
        (answer(550, "5.1.8 bad sender domain"), Status.ERROR, "policy"),
        (answer(550, "5.1.3 bad address syntax"), Status.ERROR, "policy"),
        (answer(550, "5.4.1 No answer from host"), Status.ERROR, "policy"),
        (answer(550, "5.1.11 something new"), Status.ERROR, "policy"),
        (answer(550, "Blocked"), Status.ERROR, "policy"),
        (answer(554, "Transaction failed"), Status.ERROR, "policy"),
        (answer(550, ""), Status.ERROR, "policy"),
        (answer(550, "bounces are not accepted: missing BATV signature"), Status.ERROR, "policy"),
        # the wrong class of enhanced code counts as none
        (answer(550, "4.1.1 odd"), Status.ERROR, "policy"),
        (answer(550, "2.1.5 user unknown"), Status.FAIL, "no_such_user"),
        # the protocol
        *((answer(code, "user unknown"), Status.ERROR, "protocol") for code in range(500, 505)),
        (answer(354, "go ahead"), Status.ERROR, "protocol"),
        # later
        (answer(552, "Mailbox full"), Status.TRANSIENT, "mailbox_full"),
        (answer(552, "5.2.2 over quota"), Status.TRANSIENT, "mailbox_full"),
        (answer(550, "5.2.2 over quota"), Status.TRANSIENT, "mailbox_full"),
        (answer(452, "4.2.2 over quota"), Status.TRANSIENT, "mailbox_full"),
        (answer(450, "4.2.0 Greylisted, see http://x"), Status.TRANSIENT, "greylist"),
        (answer(451, "grey-listed"), Status.TRANSIENT, "greylist"),
        (answer(450, "try again in 300 seconds"), Status.TRANSIENT, "greylist"),
        (answer(450, "4.7.1 too many connections"), Status.TRANSIENT, "rate"),
        (answer(450, "Rate limit exceeded"), Status.TRANSIENT, "rate"),
        (answer(450, "5.1.1 odd"), Status.TRANSIENT, "deferred"),
        (answer(451, "local error in processing"), Status.TRANSIENT, "deferred"),
        (answer(450, "user unknown"), Status.TRANSIENT, "deferred"),
    ],
)
def test_the_answer_to_rcpt_is_judged(reply: Reply, status: Status, reason: str) -> None:
    assert Classifier().recipient(reply) == (status, reason)


@pytest.mark.parametrize(
    "text", ["temporary failure while generating mail", "the operation is moderately slow", "separate queue"]
)
def test_a_word_that_only_contains_rate_is_no_rate_limit(text: str) -> None:
    assert Classifier().recipient(answer(451, text)) == (Status.TRANSIENT, "deferred")


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("5.1.1 x", (1, 1)),
        ("5.1.10", (1, 10)),
        ("5.7.999 x", (7, 999)),
        ("5.1.1.1 x", None),
        ("5.1.1234", None),
        ("no such user (#5.1.1)", (1, 1)),
        ("4.1.1 x", None),
        ("5.1", None),
    ],
)
def test_the_enhanced_code_stands_anywhere_and_fits_the_code(text: str, subject: tuple[int, int] | None) -> None:
    assert enhanced_subject(answer(550, text)) == subject


def test_foreign_text_becomes_one_line_of_printable_ascii() -> None:
    assert printable_text("a\r\nb\tc\x1b[0m\x7fé\u2028") == "a  b c?[0m???"
    assert len(printable_text("x" * 5000)) == 1000


def test_the_message_is_the_reply_with_its_code_or_our_own_finding() -> None:
    assert CallbackVerdict(Status.FAIL, "no_such_user", "5.1.1 no", code=550).message == "550 5.1.1 no"
    assert CallbackVerdict(Status.FAIL, "nxdomain", "x: no such domain").message == "x: no such domain"
