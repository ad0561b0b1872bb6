"""The message as scripts read and edit it: what is not edited stays as it came, byte for byte."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.mail.folding import LONGEST_LINE
from proxy.mail.message import Message
from proxy.mail.stuffing import IN_MEMORY, StuffedBody, stuffed, unstuffed

HEAD = (
    b"Received: one\r\nSubject: a\r\n\tfolded\r\n  twice\r\nno colon here\r\n continued\r\n"
    b"SUBJECT:second\r\nSpaced : yes\r\nEmpty:\r\nX-Utf8: \xc3\xbc\r\nX-Raw: \xff\r\nColons: a:b:c"
)
ENDED = HEAD + b"\r\n"


@contextmanager
def kept(*blocks: bytes) -> Iterator[StuffedBody]:
    """Hold content that came in these blocks, still stuffed, its empty line first."""
    content = StuffedBody(None)
    for block in blocks:
        content.write(block)
    yield content
    content.close()


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
        ("", []),
    ],
)
def test_fields_are_found_by_name_unfolded_and_in_order(name: str, bodies: list[str]) -> None:
    assert [body for body in Message(HEAD).header(name) if name] == bodies


@pytest.mark.parametrize("raw", [b"", b" folded first", b"\r\n", b":", b":x", b"a\r\nb", b"\0:\0"])
def test_no_header_section_is_too_odd_to_be_read(raw: bytes) -> None:
    assert list(Message(raw).header("subject")) == []


def test_fields_are_listed_top_to_bottom_and_what_is_none_is_left_out() -> None:
    names = [name for name, _ in Message(HEAD).fields()]
    assert names == ["Received", "Subject", "SUBJECT", "Spaced", "Empty", "X-Utf8", "X-Raw", "Colons"]


# ---------------------------------------------------------------- edits


def test_a_field_is_added_above_the_others() -> None:
    message = Message(HEAD)
    message.add_header("X-New", "yes")
    assert message.head_bytes() == b"X-New: yes\r\n" + ENDED
    assert (message.head_changed, list(message.header("x-new"))) == (True, ["yes"])


def test_of_several_fields_added_the_last_one_stands_first() -> None:
    message = Message(HEAD)
    message.add_header("X-New", "one")
    message.add_header("X-New", "two")
    assert message.head_bytes() == b"X-New: two\r\nX-New: one\r\n" + ENDED
    assert list(message.header("x-new")) == ["two", "one"]


def test_every_field_of_a_name_is_deleted_with_its_folded_lines() -> None:
    message = Message(HEAD)
    message.delete_header("Subject")
    assert message.head_bytes() == ENDED.replace(b"Subject: a\r\n\tfolded\r\n  twice\r\n", b"").replace(
        b"SUBJECT:second\r\n", b""
    )
    assert list(message.header("subject")) == []


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, ENDED.replace(b"Subject: a\r\n\tfolded\r\n  twice\r\n", b"Subject: new\r\n")),
        (1, ENDED.replace(b"SUBJECT:second\r\n", b"SUBJECT: new\r\n")),
        (2, ENDED),
    ],
)
def test_the_field_of_that_number_gets_another_body_and_keeps_its_name(number: int, expected: bytes) -> None:
    message = Message(HEAD)
    message.change_header("subject", number, "new")
    assert message.head_bytes() == expected
    assert message.head_changed is (number < 2)


def test_raw_octets_in_a_changed_body_stay_what_they_were() -> None:
    message = Message(b"X: \xe4\xff\xc3\xbc\r\n")
    message.change_header("x", 0, f"<{message.header('x')[0]}>")
    assert message.head_bytes() == b"X: <\xe4\xff\xc3\xbc>\r\n"


@pytest.mark.parametrize("length", [LONGEST_LINE - 3, LONGEST_LINE - 2, LONGEST_LINE, 5 * LONGEST_LINE])
def test_a_long_body_is_folded_at_blanks_and_reads_as_before(length: int) -> None:
    body = ("word " * (length // 5 + 1))[:length].strip()
    message = Message(b"")
    message.add_header("X", body)
    assert all(len(line) <= 998 for line in message.head_bytes().split(b"\r\n"))
    assert not re.search(rb"\r\n[ \t]*\r\n", message.head_bytes()), "a folded line of blanks alone ends some readers"
    assert Message(message.head_bytes()).header("x") == [body]


def test_a_run_of_blanks_is_never_folded_into_a_line_of_blanks_alone() -> None:
    """RFC 5322 section 3.2.2: such a line is obsolete syntax, and some servers take it for the empty line."""
    message = Message(b"")
    message.add_header("X", "a" + " " * (3 * LONGEST_LINE) + "b")
    assert not re.search(rb"\r\n[ \t]*\r\n", message.head_bytes())


LINES = st.lists(
    st.one_of(
        st.sampled_from([b"A: 1", b"a:2", b"B : 3", b" folded", b"\tfolded", b"none", b".dot: x", b"", b": x", b"."]),
        st.binary(max_size=12).filter(lambda raw: b"\r" not in raw and b"\n" not in raw),
    ).filter(bool),
    max_size=8,
)


@given(LINES)
@settings(max_examples=200, deadline=None)
def test_an_edit_of_one_name_leaves_every_other_line_byte_for_byte(lines: list[bytes]) -> None:
    head = b"".join(line + b"\r\n" for line in lines)
    message = Message(head)
    message.delete_header("X-Nobody")
    assert message.head_bytes() == head
    message.add_header("X-New", "1")
    above = re.match(rb"(?:[ \t][^\r]*\r\n)*", head)  # it must not take a line that begins with a blank into it
    assert above is not None
    assert message.head_bytes() == above[0] + b"X-New: 1\r\n" + head[above.end() :]
    message.delete_header("x-new")
    assert message.head_bytes() == head


# ---------------------------------------------------------------- content


@given(st.binary(max_size=60), st.lists(st.integers(0, 80), max_size=4))
@settings(max_examples=300, deadline=None)
def test_size_and_stuffed_lines_add_up_to_the_octets_of_the_wire_however_it_came(body: bytes, cuts: list[int]) -> None:
    body = body.replace(b"\r", b".").replace(b"\n", b"\r\n") + b"\r\n"
    wire = b"\r\n" + stuffed(body)
    at = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    head = b".A: 1\r\nB: 2\r\n"
    with kept(*(wire[a:b] for a, b in itertools.pairwise(at))) as content:
        message = Message(head, content)
        assert b"".join(content.blocks()) == wire
        assert content.body() == body
        assert message.size == len(head) + 2 + len(body)
        assert message.size + message.stuffed_lines == len(stuffed(head)) + len(wire)


@pytest.mark.parametrize(
    ("wire", "unstuffed_octets", "dots"),
    [(b"\r\na\n.b\r\n", 8, 0), (b"..a\r\n", 4, 1), (b"\r\n..a\n.b\r\n..\r\n", 12, 2)],
    ids=["a-bare-line-feed-before-a-dot", "no-empty-line-before-a-dot", "both"],
)
def test_only_dots_that_were_stuffed_are_counted_as_stuffed(wire: bytes, unstuffed_octets: int, dots: int) -> None:
    for blocks in ((wire,), tuple(bytes((octet,)) for octet in wire)):
        with kept(*blocks) as content:
            message = Message(b"", content)
            assert (message.size, message.stuffed_lines) == (unstuffed_octets, dots)


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_stuffing_and_unstuffing_undo_each_other(body: bytes) -> None:
    body = body.replace(b"\r", b".").replace(b"\n", b"\r\n")
    assert unstuffed(stuffed(body)) == body
    assert not re.search(rb"(\A|\r\n)\.(\r\n|\Z)", stuffed(body)), "no line is a dot alone"


async def test_the_message_in_one_piece_shows_every_edit_and_is_the_same_object_until_the_next() -> None:
    with kept(b"\r\n..dot\r\n") as content:
        message = Message(b"A: 1\r\n", content)
        first = await message.raw()
        assert first == b"A: 1\r\n\r\n.dot\r\n"
        assert await message.raw() is first
        message.add_header("B", "2")
        assert await message.raw() == b"B: 2\r\nA: 1\r\n\r\n.dot\r\n"
        message.replace_body(b"new\r\n.\r\n")
        assert await message.raw() == b"B: 2\r\nA: 1\r\n\r\nnew\r\n.\r\n"
        assert (message.size, message.stuffed_lines) == (22, 1)


@pytest.mark.parametrize(
    ("body", "held"), [(b"", b""), (b"x", b"x\r\n"), (b"x\r\n", b"x\r\n"), (b"x\r\n.", b"x\r\n.\r\n")]
)
def test_a_new_body_ends_with_a_line_break_whatever_was_given(body: bytes, held: bytes) -> None:
    """Otherwise the dot at the end would follow its last line without a break, and the message would not end."""
    message = Message(b"")
    message.replace_body(body)
    assert message.new_body == held


def test_content_beyond_the_limit_goes_to_a_file_and_comes_back_whole() -> None:
    block = b"x" * 65_534 + b"\r\n"
    with kept(b"\r\n", *[block] * (IN_MEMORY // len(block) + 2)) as content:
        whole = b"".join(content.blocks())
        assert len(whole) == content.octets > IN_MEMORY
        assert content.body() == whole[2:]
        assert b"".join(content.blocks()) == whole, "it can be read again"


def test_a_field_that_is_added_folded_has_short_lines() -> None:
    message = Message(b"A: b\r\n")
    message.add_header("X-Long", " ".join(["word"] * 30), folded=True)
    lines = message.head_bytes().split(b"\r\n")
    assert max(map(len, lines)) <= 78
    assert message.header("x-long") == [" ".join(["word"] * 30)]


def test_a_field_is_added_below_the_others_and_one_of_several_is_removed() -> None:
    message = Message(b"A: 1\r\nB: 2\r\nA: 3\r\n")
    message.append_header("C", "4")
    message.delete_one_header("a", 1)
    message.delete_one_header("a", 5)
    assert message.head_bytes() == b"A: 1\r\nB: 2\r\nC: 4\r\n"


@pytest.mark.parametrize(("octets", "exceeds"), [(0, True), (17, True), (18, False), (19, False)])
def test_whether_the_fields_of_some_names_are_longer(octets: int, *, exceeds: bool) -> None:
    message = Message(b"X: 1\r\nx : 22\r\nZ:\r\nY: yyyyyyyy\r\n")
    assert message.exceeds(octets, "x", "z", "absent") is exceeds


def test_edits_keep_what_is_known_of_names() -> None:
    message = Message(b"X: 1\r\nY: 2\r\nX: 3\r\n")
    assert message.header("x") == ["1", "3"]
    added = message.add_header("x", "0")
    message.append_header("X", "4")
    message.delete_one_header("X", 1)
    assert message.header("x") == ["0", "3", "4"]
    message.delete(added)
    message.delete(added)
    message.delete_where("X", lambda body: body == "3")
    assert message.header("x") == ["4"]
    message.delete_header("x")
    assert (message.header("x"), message.has("x"), message.header("Y")) == ([], False, ["2"])
    assert message.head_bytes() == b"Y: 2\r\n"
