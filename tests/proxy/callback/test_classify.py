"""What an exchanger's answer to RCPT says of the address: fail only on evidence about it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.callback.classify import REASONS, BadTable, Classifier, Judgement, Words, alike, enhanced_subject, shipped
from proxy.callback.verdict import CallbackVerdict, Status, printable_text
from proxy.mail.replies import Reply
from proxy.outgoing.wire import ReplyParser

TABLE = Path(__file__).parents[2] / "spec/callback/refusals.tsv"
CLASSIFIER = Classifier()
STRANGER = "user@example.com"
HOSTILE = [
    "spam@dnsbl.test",
    "sender@policy.test",
    "prvs=0123abcdef=bob@batv.test",
    "starttls@quota.test",
    "greylist@rate.test",
    "blocked@spamhaus.test",
    "unknown@user.test",
    "a-5.7.1@x.test",
    "a-5.1.1@x.test",
    "4.2.2@disabled.test",
]


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
        (answer(550, "bounces are not accepted: missing BATV signature"), Status.ERROR, "null_sender"),
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
    assert CLASSIFIER.recipient(reply) == (status, reason)


@pytest.mark.parametrize(
    "text", ["temporary failure while generating mail", "the operation is moderately slow", "separate queue"]
)
def test_a_word_that_only_contains_rate_is_no_rate_limit(text: str) -> None:
    assert CLASSIFIER.recipient(answer(451, text)) == (Status.TRANSIENT, "deferred")


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("5.1.1 x", (1, 1)),
        ("5.1.10", (1, 10)),
        ("5.7.999 x", (7, 999)),
        ("5.1.1.1 x", None),
        ("5.1.1. Full stop", (1, 1)),
        ("host 5.1.1.9 said 5.7.1", (7, 1)),
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


# ---------------------------------------------------------------- real refusals


def rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))


ROWS = rows()


def reply_of(text: str) -> Reply:
    (found,) = ReplyParser().feed("".join(f"{line}\r\n" for line in text.split("\\n")).encode())
    return found


def judged(stage: str, text: str, address: str = STRANGER) -> Judgement:
    """Judge a reply as the probe does at that stage."""
    found = reply_of(text)
    if stage == "mail":
        return CLASSIFIER.sender(found)
    if stage == "rcpt":
        return CLASSIFIER.recipient(found, address)
    return CLASSIFIER.greeting(found.code, "\n".join(line.decode() for line in found.lines))


@pytest.mark.parametrize("row", ROWS, ids=[f"{number}-{row['system']}" for number, row in enumerate(ROWS, 2)])
def test_a_real_refusal_is_judged_as_the_table_says(row: dict[str, str]) -> None:
    status, reason = judged(row["stage"], row["reply"])
    assert (status.value, reason) == (row["status"], row["reason"]), row["reply"]


def test_no_refusal_by_policy_reputation_or_authentication_is_a_fail() -> None:
    about_us = [row for row in ROWS if row["reason"] not in {"no_such_user", "disabled"}]
    assert len(about_us) > 300
    assert [row["reply"] for row in about_us if judged(row["stage"], row["reply"])[0] is Status.FAIL] == []


@pytest.mark.parametrize("address", HOSTILE)
def test_an_address_that_a_real_refusal_echoes_does_not_change_its_verdict(address: str) -> None:
    echoing = [row for row in ROWS if row["stage"] == "rcpt" and STRANGER in row["reply"]]
    assert len(echoing) > 50
    said = {row["reply"]: judged("rcpt", row["reply"].replace(STRANGER, address), address) for row in echoing}
    assert said == {row["reply"]: (Status(row["status"]), row["reason"]) for row in echoing}


# ---------------------------------------------------------------- whatever is said

WORDS = st.sampled_from(
    ["user unknown", "no such user", "5.1.1", "5.7.1", "5.2.1", "spam", "sender", "blocked", "mailbox full", "disabled"]
)
TEXTS = st.lists(WORDS | st.text(max_size=20), max_size=6).map(" ".join)
LINES = st.lists(TEXTS, min_size=1, max_size=3).map(lambda lines: tuple(line.encode() for line in lines))
LOCAL_PARTS = st.from_regex(r"[a-zA-Z0-9=+._-]{1,16}", fullmatch=True)


@given(st.integers(400, 499), LINES)
def test_a_temporary_refusal_is_never_a_fail(code: int, lines: tuple[bytes, ...]) -> None:
    own = Classifier(Words("no_such_user .\ndisabled ."))
    for each in (CLASSIFIER, own):
        assert each.recipient(Reply(code, lines))[0] in {Status.TRANSIENT, Status.ERROR}
        assert each.sender(Reply(code, lines))[0] in {Status.TRANSIENT, Status.ERROR}


@given(st.sampled_from([550, 551, 553, 554, 571]), st.integers(0, 99).filter(lambda detail: detail != 17), LINES)
def test_a_refusal_with_a_code_of_policy_is_never_a_fail(code: int, detail: int, lines: tuple[bytes, ...]) -> None:
    said = Reply(code, (b"5.7.%d %b" % (detail, lines[0]), *lines[1:]))
    assert CLASSIFIER.recipient(said)[0] in {Status.TRANSIENT, Status.ERROR}


@given(st.integers(200, 599), LINES)
def test_neither_greeting_nor_mail_from_says_anything_of_an_address(code: int, lines: tuple[bytes, ...]) -> None:
    assert CLASSIFIER.greeting(code, b" ".join(lines).decode())[0] in {Status.TRANSIENT, Status.ERROR}
    assert CLASSIFIER.sender(Reply(code, lines))[0] in {Status.TRANSIENT, Status.ERROR}


@given(
    st.sampled_from(
        ["550 5.1.1 <%s>: no such user", "550 %s is not a known user", "550 5.7.1 <%s> denied", "550 <%s>"]
    ),
    LOCAL_PARTS | st.sampled_from([each.rpartition("@")[0] for each in HOSTILE]),
    st.sampled_from(["example.com", *(each.rpartition("@")[2] for each in HOSTILE)]),
)
def test_an_echoed_address_never_changes_a_verdict(form: str, local_part: str, domain: str) -> None:
    address = f"{local_part}@{domain}"
    plain = CLASSIFIER.recipient(reply_of(form % "x@example.org"), "x@example.org")
    for echo in (address, address.upper()):
        assert CLASSIFIER.recipient(reply_of(form % echo), address) == plain


@pytest.mark.parametrize("form", ["<%s>... User unknown", "no such user '%s' here", 'unknown user "%s"'])
@pytest.mark.parametrize("local_part", ["spam", "sender", "postmaster"])
def test_nor_does_a_local_part_in_brackets_or_quotes(form: str, local_part: str) -> None:
    said = answer(550, form % local_part)
    assert CLASSIFIER.recipient(said, f"{local_part}@example.com") == (Status.FAIL, "no_such_user")


# ---------------------------------------------------------------- other questions about a reply


@pytest.mark.parametrize(
    ("reply", "address", "about"),
    [
        (answer(550, "5.7.1 missing BATV signature"), "bob@example.com", True),
        (answer(554, "null sender not accepted"), "bob@example.com", True),
        (answer(550, "5.1.1 <prvs=0123abcdef=bob@example.com> unknown"), "prvs=0123abcdef=bob@example.com", False),
        (answer(451, "no bounces accepted now"), "bob@example.com", False),
        (answer(550, "5.1.1 user unknown"), "bob@example.com", False),
    ],
)
def test_a_refusal_is_about_the_null_sender_where_its_own_words_say_so(reply: Reply, address: str, about: bool) -> None:  # noqa: FBT001 - a parameter
    assert CLASSIFIER.is_about_null_sender(reply, address) is about


def test_words_of_a_block_are_the_exchangers_own() -> None:
    assert CLASSIFIER.is_block("5.7.1 listed at spamhaus", "bob@example.com")
    assert not CLASSIFIER.is_block("5.1.1 <spamhaus@example.com> unknown", "spamhaus@example.com")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (answer(550, "<a@x.test> rejected"), answer(550, "<b@x.test> rejected"), True),
        (answer(550, "User unknown"), answer(550, "User unknown"), True),
        (answer(550, "User unknown"), answer(554, "User unknown"), False),
        (answer(550, "User unknown"), answer(550, "Relay denied"), False),
        (answer(550, "5.1.1 User unknown"), answer(550, "5.1.1 User unknown"), False),
        (answer(550, "5.2.1 User disabled"), answer(550, "5.2.1 User disabled"), False),
    ],
)
def test_two_answers_are_alike_by_their_words_unless_a_code_names_the_address(
    one: Reply,
    other: Reply,
    same: bool,  # noqa: FBT001 - a parameter
) -> None:
    assert alike(one, "a@x.test", other, "b@x.test") is same


# ---------------------------------------------------------------- the operator's own table


def test_the_operators_table_comes_before_the_code_and_before_ours() -> None:
    own = Classifier(
        Words("# ours first\n\npolicy   house rule \\d+\nno_such_user  5\\.7\\.1 gone\nmailbox_full  unknown")
    )
    assert own.recipient(answer(550, "5.1.1 House rule 7")) == (Status.ERROR, "policy")
    assert own.recipient(answer(550, "5.7.1 gone")) == (Status.FAIL, "no_such_user")
    assert own.recipient(answer(550, "5.1.1 unknown")) == (Status.TRANSIENT, "mailbox_full")
    assert own.recipient(answer(550, "5.1.1 no such user")) == (Status.FAIL, "no_such_user")
    assert own.recipient(answer(250, "unknown")) == (Status.PASS, "accepted")


def test_the_first_of_the_operators_rules_that_is_found_decides() -> None:
    assert Words("disabled gone\nno_such_user gone").first("it is gone") == "disabled"
    assert Words("disabled gone\nno_such_user gone").first("here") is None


def test_a_rule_of_the_operators_for_a_fail_leaves_a_temporary_refusal_alone() -> None:
    own = Classifier(Words("no_such_user gone\nrate hurry"))
    assert own.recipient(answer(450, "gone")) == (Status.TRANSIENT, "deferred")
    assert own.recipient(answer(450, "do not hurry")) == (Status.TRANSIENT, "rate")


def test_a_rule_of_the_operators_about_the_null_sender_asks_for_another() -> None:
    own = Classifier(Words("null_sender write to us by name\npolicy batv"))
    assert own.is_about_null_sender(answer(550, "Write to us by name"))
    assert not own.is_about_null_sender(answer(550, "no BATV here"))


def test_the_shipped_table_has_a_rule_for_every_reason_and_none_for_others() -> None:
    assert {reason for reason, _ in shipped().rules} == {*REASONS, "policy?", "no_domain"}


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        ("no_such_user x\n  nonsense x", 2, 2, "unknown reason: nonsense; use one of " + ", ".join(REASONS)),
        ("# remark\n\npolicy", 3, 6, "the regular expression is missing"),
        ("policy  (x", 1, 8, "not a regular expression (RE2): missing ): (x"),
        ("policy x\x0cy\npolicy *", 2, 7, "not a regular expression (RE2): no argument for repetition operator: *"),
        ("policy (?=x)", 1, 7, "not a regular expression (RE2): invalid perl operator: (?="),
    ],
)
def test_a_line_that_is_no_rule_is_told_by_line_and_column(text: str, line: int, column: int, problem: str) -> None:
    with pytest.raises(BadTable) as bad:
        Words(text)
    assert (bad.value.line, bad.value.column, bad.value.problem) == (line, column, problem)


def test_line_breaks_of_any_system_end_a_rule() -> None:
    assert Words("policy one\r\ndisabled two\r\n").first("one\r two") == "policy"
    assert Words("policy one\r\ndisabled two\r\n").first("two") == "disabled"
