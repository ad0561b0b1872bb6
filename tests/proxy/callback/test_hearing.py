"""A reply taken apart: its words, its codes, and whether it is about another address."""

from __future__ import annotations

import pytest

from proxy.callback.hearing import hear, same_mailbox

ASKED = "user@example.com"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        pytest.param("user@example.com", "USER@Example.COM", id="case"),
        pytest.param("user@example.com", '"user"@example.com', id="quotes"),
        pytest.param('"us er"@example.com', '"us\\ er"@example.com', id="quoted-pair"),
        pytest.param("user@example.com", "user@example.com.", id="trailing-dot"),
        pytest.param("user+tag@example.com", "user@example.com", id="tag-asked"),
        pytest.param("user@example.com", "user+tag@example.com", id="tag-said"),
        pytest.param("prvs=0123abcdef=user@example.com", "user@example.com", id="batv"),
        pytest.param("user@bücher.example", "user@xn--bcher-kva.example", id="idn"),
        pytest.param("SRS0=abcd=ef=example.org=user@example.com", "user@example.org", id="srs"),
    ],
)
def test_one_mailbox_has_many_spellings(asked: str, said: str) -> None:
    assert same_mailbox(asked, said)
    assert same_mailbox(said, asked)


@pytest.mark.parametrize(
    "other",
    ["xuser@example.com", "user@example.org", "user2@example.com", "prvs=0123abcdef=other@example.com", "user@com"],
)
def test_other_mailboxes_are_others(other: str) -> None:
    assert not same_mailbox(ASKED, other)
    assert not same_mailbox(other, ASKED)


def test_what_was_said_is_kept_apart_from_what_is_read() -> None:
    heard = hear(550, (b"5.1.1 No_Such_User,", b"see https://a.example/x"), ASKED)
    assert heard.said == "5.1.1 No_Such_User, see https://a.example/x"
    assert heard.words == "5.1.1 No Such User,"
    assert "https://a.example/x" in heard.links
    assert list(heard.codes) == [(1, 1)]
