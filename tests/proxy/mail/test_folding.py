"""Fields that scripts add or change: no line is too long, and no octet but line breaks is added or lost."""

from __future__ import annotations

import re

import pytest

from proxy.mail.message import Message


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("word\t" * 300, id="tabs"),
        pytest.param("word  " * 250, id="two_blanks"),
        pytest.param("word \t " * 215, id="mixed"),
        pytest.param("x" * 900 + " and words" * 60, id="first_word_of_900"),
        pytest.param("words and " * 60 + "x" * 900 + " words" * 60, id="word_of_900_within"),
        pytest.param("x" * 996, id="one_word_that_fits_in_a_line_of_its_own"),
        pytest.param("a " + "=?UTF-8?B?w7zDvMO8w7w=?= " * 60, id="encoded_words"),
        pytest.param("a" + " " * 1500 + "b", id="run_of_1500_blanks"),
        pytest.param("a" + " " * 1500 + "b" * 200, id="run_of_1500_blanks_before_a_word_of_200"),
        pytest.param("\t".join("x" * 900 + "   " for _ in range(3)), id="words_of_900_behind_several_blanks"),
        pytest.param("a  " + "x" * 997, id="two_blanks_before_a_word_of_997"),
        pytest.param("x" * 960 + "\t" * 30 + "y" * 990, id="blanks_between_words_that_fill_their_lines"),
        pytest.param("\u00fc\u00fc\t" * 250, id="utf_8"),
        pytest.param('"quoted\twords" ' * 80, id="quoted_strings"),
    ],
)
def test_a_field_that_is_written_has_lines_of_998_octets_at_most_and_the_octets_that_it_had(body: str) -> None:
    """RFC 5322 section 2.1.1; unfolding (section 2.2.3) only takes line breaks away."""
    body = body.strip()
    added, changed = Message(b""), Message(b"Subject: a\r\n\tb\r\n")
    added.add_header("Subject", body)
    changed.change_header("subject", 0, body)
    for message in (added, changed):
        written = message.head_bytes()
        assert max(map(len, written.split(b"\r\n"))) <= 998
        assert written.replace(b"\r\n", b"") == f"Subject: {body}".encode()
        assert not re.search(rb"\r\n[ \t]*\r\n", written)


def test_a_word_of_more_than_998_octets_stays_whole_on_a_line_of_its_own() -> None:
    message = Message(b"")
    message.add_header("X", "a " + "x" * 2000 + " b")
    assert message.head_bytes() == b"X: a\r\n " + b"x" * 2000 + b"\r\n b\r\n"


def test_blanks_at_the_end_make_no_line_too_long() -> None:
    message = Message(b"")
    message.add_header("X", "a" + " " * 1500)
    assert message.head_bytes() == b"X: a\r\n"


def test_a_field_that_was_folded_keeps_lines_of_78_octets_when_it_is_changed() -> None:
    message = Message(b"Subject: " + b"\r\n\t".join([b"some words"] * 30) + b"\r\n")
    message.change_header("subject", 0, "[spam] " + message.header("subject")[0])
    assert max(map(len, message.head_bytes().split(b"\r\n"))) <= 78


def test_a_field_of_one_line_is_not_folded_below_900_octets() -> None:
    message = Message(b"")
    message.add_header("X", "some words " * 70)
    assert message.head_bytes().count(b"\r\n") == 1
