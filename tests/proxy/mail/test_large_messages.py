"""What scripts do with a large message is done by threads, in pieces: no other session waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from config.diagnostics import Source
from proxy.cli.circumstances import Facts, unconfigured
from proxy.cli.trial import Callback, TrialHost, trial_session
from proxy.mail import fields, message
from sieve.compile.compiler import compile_script
from sieve.dialects import DialectName
from sieve.functions import headers
from sieve.message import disclaimer, mime
from sieve.phases import Phase
from sieve.rfc5228 import tests as rfc5228
from sieve.run import matching, message_macros, patterns
from sieve.standard import standard_library

LINES = 20_000


def body(line: bytes) -> bytes:
    return b"From: a@sender.test\r\nSubject: x\r\n\r\n" + line * LINES


TEXT = body(b"hello\r\n")
FOREIGN = body(b"\xe9\r\n")
FIELDS = b"X: y\r\n" * LINES + b"\r\nhello\r\n"
TO = b"To: " + b"a <b@c.test>,\r\n " * LINES + b"d@e.test\r\n\r\nhello\r\n"
WORDS = b"Subject: " + b"=?utf-8?q?=41?=\r\n " * LINES + b"x\r\n\r\nhello\r\n"

CASES: dict[str, tuple[str, bytes, object, str]] = {
    "body_contains": (
        'if body :comparator "i;ascii-casemap" :contains ["zz"] { discard; }', FOREIGN, matching, "_casemapped",
    ),
    "body_regex": ('if body :regex "z+" { discard; }', TEXT, patterns.Pattern, "found"),
    "body_regex_of_foreign_octets": ('if body :raw :regex "z+" { discard; }', FOREIGN, patterns.Pattern, "found"),
    "body_regex_from_a_variable": (
        '$p = "z+"; if body :regex "$p" { discard; }', TEXT, patterns.Pattern, "found",
    ),
    "ec_pcre_match": ('$x = ec_pcre_match "%{rfc2822:body}" "z+";', TEXT, patterns.Pattern, "groups"),
    "macro_body": ('$x = "%{rfc2822:body,3}";', TEXT, message_macros, "_end_of_lines"),
    "macro_message": ('$x = "%{rfc2822:message}";', TEXT, message_macros, "_shown"),
    "macro_headers": ('$x = "%{rfc2822:headers}";', TEXT, message_macros, "_shown"),
    "macro_text": ('$x = "%{rfc2822:text}";', TEXT, mime.Structure, "text"),
    "macro_text_lines": ('$x = "%{rfc2822:text,1,3}";', TEXT, mime.Structure, "text"),
    "macro_part": ('$x = "%{rfc2822:part,1}";', TEXT, message_macros, "_shown"),
    "disclaimer": (
        '$h = hash_create; hash_set $h "plain" "x"; disclaimer_add $h;', TEXT, disclaimer, "_extended",
    ),
    "content_in_one_piece": ('if body :contains "zz" { discard; }', TEXT, message.StuffedBody, "body"),
    "fields": ('if header :is "subject" "x" { discard; }', FIELDS, fields, "parse"),
    "addresses": ('if address :domain :is "to" "x" { discard; }', TO, headers, "mailboxes"),
    "standard_addresses": ('if address :domain :is "to" "x" { discard; }', TO, rfc5228, "mailboxes"),
    "standard_encoded_words": ('if header :is "subject" "x" { discard; }', WORDS, rfc5228, "decoded_words"),
}  # fmt: skip


class Watched:
    """A function that notes in which threads it ran on something long."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.threads: set[str] = set()

    def called(self, *given: Any, **named: Any) -> Any:
        self.threads.add(threading.current_thread().name)
        return self._function(*given, **named)


@pytest.mark.parametrize("name", CASES)
async def test_a_large_message_is_read_beside_the_event_loop(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script, raw, owner, attribute = CASES[name]
    watched = Watched(getattr(owner, attribute))
    monkeypatch.setattr(owner, attribute, lambda *given, **named: watched.called(*given, **named))  # noqa: PLW0108 — a function becomes a method
    dialect: DialectName = "rfc5228" if name.startswith("standard") else "sieve++"
    compiled = compile_script(
        Source("test.siv", script), phase=Phase.DATA, library=standard_library(), dialect=dialect
    ).script
    assert compiled is not None
    session = trial_session(Facts("192.0.2.1", "a@sender.test", ["b@example.com"]), unconfigured(frozenset()), raw)
    host = TrialHost(session, Phase.DATA, Callback.PASS, around=unconfigured(frozenset()))
    try:
        assert session.transaction.message is not None
        await session.transaction.message.take_apart()  # as a reception does
        outcome = await compiled.run(host)
    finally:
        await host.close()
    assert not outcome.failed
    assert watched.threads, "it never ran"
    assert not any(each == "MainThread" for each in watched.threads), watched.threads


def test_lines_of_a_long_text_are_cut_as_python_cuts_them() -> None:
    for text in ("a\r\nb\rc\nd", "\r" * 70_000, "x" * 200_000 + "\r\ny", "y\n" * 65_535 + "\r\nz", "", "\u2028a"):
        for count in (0, 1, 2, 3, 40_000, 10**9):
            expected = "".join(text.splitlines(keepends=True)[:count])
            assert text[: message_macros._end_of_lines(text, count)] == expected, (text[:10], count)


def test_letter_case_and_foreign_octets_are_the_same_in_pieces() -> None:
    text = ("a\u00e9\udce9Z\u0131\u00df" * 10_000) + "\ud800"
    assert matching.casemapped(text) == "".join(each.upper() if each.isascii() else each for each in text)
    assert patterns.decoded(patterns.encoded(text[:-1])) == text[:-1]


async def test_a_long_header_section_that_was_edited_is_put_together_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Watched(message.stuffed)
    monkeypatch.setattr(message, "stuffed", watched.called)
    for raw in (b"a:\r\n" * 20_000, b".a: b\r\n" * 20_000):
        letter = message.Message(raw)
        await letter.take_apart()
        letter.add_header("X", "y")
        assert await letter.stuffed_head() == b"X: y\r\n" + raw.replace(b".", b"..")
    assert "MainThread" not in watched.threads
    short = message.Message(b"a: b\r\n")
    short.add_header("X", "y")
    assert await short.stuffed_head() == b"X: y\r\na: b\r\n"
    assert "MainThread" in watched.threads
