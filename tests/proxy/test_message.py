"""The header section of a message, as scripts read it."""

from __future__ import annotations

import pytest

from proxy.message import Message

HEAD = (
    b"Received: one\r\nSubject: a\r\n\tfolded\r\n  twice\r\nno colon here\r\n continued\r\n"
    b"SUBJECT:second\r\nSpaced : yes\r\nEmpty:\r\nX-Utf8: \xc3\xbc\r\nX-Raw: \xff\r\nColons: a:b:c"
)


@pytest.mark.parametrize(
    ("name", "bodies"),
    [
        ("subject", ["a\tfolded  twice", "second"]),
        ("Received", ["one"]),
        ("spaced", ["yes"]),
        ("empty", [""]),
        ("x-utf8", ["\u00fc"]),
        ("x-raw", ["\udcff"]),
        ("colons", ["a:b:c"]),
        ("no colon here", []),
        ("missing", []),
    ],
)
def test_fields_are_found_by_name_unfolded_and_in_order(name: str, bodies: list[str]) -> None:
    assert list(Message(HEAD).header(name)) == bodies


@pytest.mark.parametrize("raw", [b"", b" folded first", b"\r\n", b":", b":x", b"a\r\nb", b"\0:\0"])
def test_no_header_section_is_too_odd_to_be_read(raw: bytes) -> None:
    assert list(Message(raw).header("subject")) == []
