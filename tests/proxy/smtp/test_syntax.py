"""Command lines: the usual form is read in one step, with the result that all forms have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.options.inbound import InboundOptions
from proxy.smtp import syntax

PIECES = st.sampled_from(
    [
        b"MAIL",
        b"rcpt",
        b"X",
        b"NOOP",
        b" ",
        b"  ",
        b"\t",
        b"FROM:<a@b>",
        b"\0",
        b"\r",
        b"\n",
        b"\r\n",
        b"\xff",
        b"=",
        b":",
    ]
)


@given(st.lists(PIECES, max_size=8).map(b"".join), st.booleans(), st.booleans())
def test_a_line_is_read_the_same_in_one_step_and_with_care(octets: bytes, blanks: bool, strict: bool) -> None:  # noqa: FBT001 — drawn
    options = InboundOptions(allow_trailing_whitespace_in_commands=blanks, strict_addresses=strict)
    line = octets + b"\r\n"
    assert syntax.parse(line, options) == syntax._careful(line, options)


@pytest.mark.parametrize("line", [b"NOOP\r\n", b"MAIL FROM:<a@b.test>\r\n", b"mail  from:<a@b.test> SIZE=1\r\n"])
def test_usual_lines_are_read_in_one_step(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(syntax, "_careful")
    assert type(syntax.parse(line, InboundOptions())) is tuple
