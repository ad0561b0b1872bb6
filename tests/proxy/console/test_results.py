"""What a command prints, as text, JSON and XML."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.console.results import as_xml, form_of, shown


def test_a_value_as_xml() -> None:
    value = {
        "sessions": [{"id": "1-a", "helo": "<&>\x1b\u202e", "up": True, "errors": 0, "user": None}],
        "192.0.2.1 x": 1,
    }
    assert as_xml("list sessions", value) == (
        "<list_sessions><sessions><item><id>1-a</id><helo>&lt;&amp;&gt;\\x1b&#8238;</helo><up>true</up>"
        '<errors>0</errors><user /></item></sessions><item name="192.0.2.1 x">1</item></list_sessions>'
    )


@given(st.recursive(st.text() | st.integers() | st.booleans() | st.none(), lambda each: st.lists(each, max_size=3)
       | st.dictionaries(st.text(), each, max_size=3), max_leaves=10))  # fmt: skip
def test_whatever_a_value_has_its_xml_is_well_formed_and_ascii(value: Any) -> None:
    written = as_xml("version", value)
    assert written.isascii()
    assert fromstring(written).tag == "version"  # noqa: S314 - it is our own


@pytest.mark.parametrize(
    ("line", "command", "has_form"),
    [("json version", "version", True), ("xml  list sessions ", "list sessions", True), ("xml", "xml", False),
     ("xmlx y", "xmlx y", False), ("version", "version", False)],
)  # fmt: skip
def test_the_form_is_the_first_word(line: str, command: str, *, has_form: bool) -> None:
    form, rest = form_of(line)
    assert (rest, form is not None) == (command, has_form)


def test_our_own_signs_are_typed_and_foreign_ones_escaped() -> None:
    assert shown("smtp_cbv … → x \u202e\x1b") == "smtp_cbv ... -> x \\u202e\\x1b"
