"""However a person writes a subject, it is found as the history has it."""

from __future__ import annotations

import pytest

from proxy.history.subjects import beginning_of, is_nobody, spellings

ASKED = (
    ("Anna@Example.COM", "anna@example.com"),
    ("<anna@example.com>,", "anna@example.com"),
    (" anna@example.com. ", "anna@example.com"),
    ('"anna"@example.com', "anna@example.com"),
    ('"a b"@Example.com', '"a b"@example.com'),
    ("<@relay.test:anna@example.com>", "anna@example.com"),
    ("J\u00dcRGEN@B\u00dcCHER.example", "j\\xfcrgen@xn--bcher-kva.example"),
    ("ju\u0308rgen@example.com", "j\\xfcrgen@example.com"),
    ("anna@[IPv6:2001:DB8:0::1]", "anna@[ipv6:2001:db8::1]"),
    ("2001:0DB8:0::1", "2001:db8::1"),
    ("[IPv6:2001:db8::1]", "2001:db8::1"),
    ("[192.0.2.7]", "192.0.2.7"),
    ("::ffff:192.0.2.7", "192.0.2.7"),
    ("6h2nqesjk01-2461.7", "6h2nqesjk01-2461"),
    ("6H2NQESJK01-2461", "6h2nqesjk01-2461"),
    ("<1234.5678@Client.example>", "1234.5678@client.example"),
    ("4F2Q7z1Xy2z3", "4f2q7z1xy2z3"),
    ("postmaster", "postmaster"),
)


@pytest.mark.parametrize(("asked", "kept"), ASKED, ids=[asked for asked, _ in ASKED])
def test_it_is_found(asked: str, kept: str) -> None:
    assert kept in [each.lower() for each in spellings(asked)]


@pytest.mark.parametrize(
    "asked", ["@", "a@", "@b", "<x y@z>", "\x1b[31m@x.test", "a" * 9000 + "@x.test", "\ud800@x", "%"]
)
def test_what_is_no_subject_is_escaped_bounded_and_no_failure(asked: str) -> None:
    for each in spellings(asked):
        assert each.isascii()
        assert each.isprintable()
        assert len(each) <= 250


@pytest.mark.parametrize("asked", ["", "<>", " < > ", ",", "\t"])
def test_the_null_sender_names_nobody(asked: str) -> None:
    assert is_nobody(asked)


@pytest.mark.parametrize(
    ("asked", "beginning"),
    [
        ("6h2nqesj", "6h2nqesj"),
        ("6H2NQESJK01-24", "6h2nqesjk01-24"),
        ("6h2nqes", ""),
        ("zzzzzzzzz", ""),
        ("a@b.test", ""),
    ],
)
def test_the_beginning_of_a_session_is_told_from_other_words(asked: str, beginning: str) -> None:
    assert beginning_of(asked) == beginning
