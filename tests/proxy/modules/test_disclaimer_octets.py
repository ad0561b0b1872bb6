"""The octets that `disclaimer_add` writes, whatever a stranger sends."""

from __future__ import annotations

import quopri

from hypothesis import given, settings
from hypothesis import strategies as st

from sieve.message.disclaimer import with_text
from sieve.message.mime import structure
from tests.proxy.modules.test_disclaimer import TEXT, message


@given(
    st.sampled_from(
        ["utf-8", "utf-16", "us-ascii", "iso-8859-1", "punycode", "x", "", "utf-32", "iso-2022-jp", "gb2312"]
    ),
    st.sampled_from(["", "7bit", "8bit", "base64", "quoted-printable", "x"]),
    st.sampled_from(["text/plain", "text/html", "text/plain; format=flowed"]),
    st.binary(max_size=60),
    st.text(max_size=20),
)
@settings(max_examples=300, deadline=None)
def test_no_part_raises_and_what_was_there_is_still_at_the_front(
    charset: str, encoding: str, kind: str, body: bytes, text: str
) -> None:
    raw = message(f"{kind}; charset={charset}" if charset else kind, encoding, body)
    found = with_text(structure(raw), text, text)
    if encoding in {"8bit", "7bit", ""} and not found.fields:
        assert found.body.startswith(structure(raw).body)


def test_quoted_printable_is_only_added_to() -> None:
    body = b"a=20b =3D=\r\n c\r\n"
    raw = message("text/plain; charset=utf-8", "quoted-printable", body)
    found = with_text(structure(raw), TEXT, "")
    assert found.body.startswith(body)
    assert TEXT.encode() in quopri.decodestring(found.body)
