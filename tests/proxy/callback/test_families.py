"""Which local parts mean the same mailbox."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.callback import families
from proxy.callback.families import families_about, family_of


@pytest.mark.parametrize(
    ("local_part", "family"),
    [
        ("prvs=0123abcdef=bob", "batv:bob"),
        ("PRVS=0123ABCDEF=Bob", "batv:bob"),
        ("btv1==123abc==bob", "batv:bob"),
        ("SRS0=HHH=TT=example.com=bob", "srs:example.com=bob"),
        ("SRS0+HHHH=TT=example.com=bob", "srs:example.com=bob"),
        ("srs0=zzz=aa=example.com=bob", "srs:example.com=bob"),
        ("SRS1=HHH=example.net==HHH=TT=example.com=bob", "srs:example.net=example.com=bob"),
        ("list-owner+reader=example.org", "verp:list-owner"),
        ("bounce-12345-reader=example.org", "verp:bounce"),
        ("bob+news", "tag:bob"),
        ("bob+2024-01", "tag:bob"),
        ("bounces-123456-7890", "verp:bounces"),
        ("bounce_1a2b3c4d_5e6f", "verp:bounce"),
    ],
)
def test_a_local_part_that_changes_with_every_message_belongs_to_a_family(local_part: str, family: str) -> None:
    assert family_of(local_part) == family


@pytest.mark.parametrize(
    "local_part",
    [
        "bob",
        "bob.smith",
        "bob-smith",
        "mary-ann.o-neil",
        "info2024",
        "bob1",
        "a=b",
        "+news",
        "bob+",
        "prvs=bob",
        "SRS0=bob",
        "bounces-1",
        "face-bead-cafe",
        "",
        "b\u00fc",
    ],
)
def test_others_stand_for_themselves(local_part: str) -> None:
    assert family_of(local_part) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("prvs=0123abcdef=bob", "prvs=0123abcdef=rob"),
        ("SRS0=HHH=TT=example.com=bob", "SRS0=HHH=TT=example.org=bob"),
        ("bob+news", "rob+news"),
        ("bob-smith+reader=example.org", "bob-jones+reader=example.org"),
        ("bounces-123456-7890", "returns-123456-7890"),
    ],
)
def test_members_of_different_mailboxes_are_of_different_families(one: str, other: str) -> None:
    assert family_of(one) != family_of(other)


@given(st.text(max_size=64))
def test_any_local_part_has_an_answer(local_part: str) -> None:
    family = family_of(local_part)
    assert family is None or family == family.lower()


@pytest.mark.parametrize(
    ("local_part", "families"),
    [("Bob", ["batv:bob", "verp:bob", "tag:bob"]), ("bob+x", ["tag:bob"]), ("prvs=0123abcdef=bob", ["batv:bob"])],
)
def test_the_families_that_hold_something_of_a_mailbox(local_part: str, families: list[str]) -> None:
    assert families_about(local_part) == families


@pytest.mark.parametrize("piece", ["-", "a-", "-0", "_a", "a.", "=", "+", "prvs=", "-a=b.c"])
def test_a_long_local_part_takes_a_linear_time(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "LONGEST", 10**6, raising=False)  # the form's time, not what is refused unread

    def seconds(length: int) -> float:
        took = []
        for _ in range(5):
            began = time.thread_time()
            family_of((piece * length)[:length] + "=")
            took.append(time.thread_time() - began)
        return min(took)

    length = 250
    while seconds(length) < 0.005 and length < 10**5:
        length *= 2
    assert seconds(4 * length) < 6 * max(0.005, seconds(length))


def test_a_local_part_beyond_any_path_stands_for_itself() -> None:
    assert family_of("bob+" + "x" * 252) == "tag:bob"
    assert family_of("bob+" + "x" * 253) is None


def test_octets_that_are_no_text_stand_for_themselves() -> None:
    assert family_of("bob+\udcff") is None


@given(st.text("abef019-_.=+x", max_size=24))
def test_numbers_behind_a_name_hold_a_digit(local_part: str) -> None:
    family = family_of(local_part)
    if family is not None and family.startswith("verp:") and "=" not in local_part and "+" not in local_part:
        assert any(char.isdigit() for char in local_part[len(family) - len("verp:") :])
