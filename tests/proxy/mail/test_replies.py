"""Replies: their form on the wire, what policy may say, and that none of ours can be two."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mail import replies
from proxy.mail.replies import Reply, default_policy_text, from_policy, reply

OURS = {name: each for name, each in vars(replies).items() if isinstance(each, Reply)}


def test_every_line_has_the_code_and_all_but_the_last_a_hyphen() -> None:
    assert Reply(250, (b"one", b"", b"three")).wire == b"250-one\r\n250-\r\n250 three\r\n"


def test_the_text_is_all_lines_for_the_log_with_foreign_octets_escaped() -> None:
    assert Reply(550, (b"no", b"caf\xc3\xa9")).text == "no / caf\\xc3\\xa9"


@pytest.mark.parametrize(
    ("code", "accepted", "permanent"),
    [(220, True, False), (250, True, False), (354, False, False), (421, False, False), (500, False, True)],
)
def test_the_first_digit_says_what_a_reply_means(code: int, accepted: bool, permanent: bool) -> None:  # noqa: FBT001 - a case
    made = Reply(code, (b"x",))
    assert (made.accepted, made.permanent) == (accepted, permanent)


@pytest.mark.parametrize("name", OURS)
def test_our_own_replies_are_one_short_line_with_an_enhanced_code_of_their_class(name: str) -> None:
    wire = OURS[name].wire
    assert len(wire) <= 512
    if wire.startswith(b"3"):
        return  # RFC 2034 section 4: no enhanced code in a 3xx reply
    assert re.fullmatch(rb"([245])\d\d \1\.\d{1,3}\.\d{1,3} [\x20-\x7e]+\r\n", wire)


@pytest.mark.parametrize("name", [name for name, each in OURS.items() if each.code in {221, 421}])
def test_replies_that_say_so_end_the_session(name: str) -> None:
    assert OURS[name].close


def test_the_synchronization_error_ends_the_session() -> None:
    assert replies.SYNCHRONIZATION.close


def test_trouble_of_our_own_is_never_permanent() -> None:
    for each in (
        replies.INTERNAL,
        replies.UPSTREAM_UNREACHABLE,
        replies.UPSTREAM_LOST,
        replies.UPSTREAM_BUSY,
        replies.UPSTREAM_REFUSED_US,
    ):
        assert each.code == 451
    assert replies.INTERNAL.wire == b"451 4.3.0 Temporary failure, try again later\r\n"


# ---------------------------------------------------------------- what policy says


def test_policy_is_quoted_as_it_is() -> None:
    assert from_policy(550, "from address not reachable").wire == b"550 from address not reachable\r\n"


def test_each_line_of_policys_text_is_a_line_of_the_reply() -> None:
    assert from_policy(450, "one\ntwo").wire == b"450-one\r\n450 two\r\n"


def test_foreign_octets_in_policys_text_become_question_marks() -> None:
    assert from_policy(550, "caf\xe9 \0\x1b[31m\x7f\tx").wire == b"550 caf? ??[31m??x\r\n"


def test_a_carriage_return_cannot_form_a_second_reply() -> None:
    assert from_policy(550, "no\r\n250 yes").wire == b"550-no?\r\n550 250 yes\r\n"


@given(st.text())
def test_whatever_policy_says_every_line_bears_its_code(text: str) -> None:
    wire = from_policy(550, text).wire
    lines = wire.split(b"\r\n")
    assert lines.pop() == b""
    assert all(re.fullmatch(rb"550[ -][\x20-\x7e]*", line) for line in lines)
    assert [line[3:4] for line in lines] == [b"-"] * (len(lines) - 1) + [b" "]


@pytest.mark.parametrize(("code", "text"), [(550, "5.7.1 Refused by policy"), (450, "4.7.1 Deferred by policy")])
def test_a_code_without_a_text_gets_one_of_its_class(code: int, text: str) -> None:
    assert default_policy_text(code) == text


def test_our_own_replies_are_ascii() -> None:
    with pytest.raises(UnicodeEncodeError):
        reply(550, "5.7.1", "né")
