"""What is never shown of an operator's text: passwords, wherever a line, a message or a hint quotes them."""

from __future__ import annotations

import json

import pytest

from config.diagnostics import Diagnostic, Note, Source, Span, quoted_line, render
from config.masking import masked
from config.tools.report import as_records

SECRET = "hunter2"

QUOTED = {
    "user": 'store = "redis://user:hunter2@store.test/0"',
    "no_user": 'store = "redis://:hunter2@store.test/0"',
    "token": "store = rediss://hunter2@store.test",
    "at": 'store = "redis://:hun@hunter2@store.test"',
    "slash": 'store = "redis://:a/hunter2@store.test"',
    "hash": 'store = "redis://:#hunter2@store.test"',
    "colon": 'store = "redis://u:a:hunter2@store.test"',
    "blank": 'store = "redis://:a hunter2@store.test"',
    "blank_unquoted": "store = redis://:a hunter2@store.test",
    "quote": """store = "redis://:a"hunter2@store.test\"""",
    "host_forgotten": 'store = "redis://:hunter2"',
    "port_no_number": "store = redis://host:hunter2/0",
    "query": 'x = "https://api.test/v1?password=hunter2&b=1"',
    "commented": "Hostname = a b # was redis://:hunter2@old.test",
    "script": 'ec_log "https://joe:hunter2@api.test";',
    "two": "a redis://:hunter2@a.test redis://:hunter2@b.test",
}


@pytest.mark.parametrize("line", QUOTED.values(), ids=QUOTED.keys())
def test_a_password_is_shown_nowhere(line: str) -> None:
    source = Source("r.conf", f"one\n{line}\n")
    span = Span(source, 4, len(source.text) - 1)
    found = Diagnostic(line, span, hint=line, notes=(Note(line, span),))
    assert SECRET not in render([found])
    assert SECRET not in json.dumps(as_records([found]))
    assert SECRET not in quoted_line(span)


@pytest.mark.parametrize(
    "text",
    [
        "redis://store.test:6379/0",
        "redis://[::1]:6379/0",
        'Gateway = "smtp://mx.test:25?pref=10"',
        "unix:/run/lmtp",
        "mail from joe@example.com: no",
        "https://example.com/a:b@c",
    ],
)
def test_what_is_no_password_is_shown(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize(("column", "caret"), [(0, 0), (9, 9), (26, 22), (35, 31)])
def test_the_caret_stands_under_its_word(column: int, caret: int) -> None:
    line = 'store = "redis://u:hunter2@h.test" x'
    source = Source("r.conf", line)
    _, shown, marks = render([Diagnostic("here", Span(source, column, column + 1))]).splitlines()
    assert marks.index("^") - len("    1 | ") == caret
    assert shown.endswith('"redis://u:***@h.test" x')


def test_what_an_option_declares_as_secret_is_hidden_as_a_whole() -> None:
    source = Source("r.conf", "key = hunter2\nother = 1\n")
    source.hide(6, 13)
    assert "key = ***\n" in render([Diagnostic("wrong", Span(source, 6, 13))])
    assert "***" not in render([Diagnostic("wrong", Span(source, 14, 19))])
