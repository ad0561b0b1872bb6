"""The canonical forms of bodies, in whatever pieces they arrive."""

from __future__ import annotations

import hashlib
import random
import re
import time

import pytest

from proxy.dkim.bodies import BodyHashes, Wanted
from proxy.dkim.canonical import PIECE, header_field
from proxy.mail.stuffing import stuffed

WORDS = (b"a", b"b", b" ", b"  ", b"\t", b"\r\n", b"\r\n", b"\r\n\r\n", b".", b"..", b" \r\n", b"\t\r\n")


def simple(body: bytes) -> bytes:
    """Return the form of RFC 6376 section 3.4.3, as the RFC words it."""
    return re.sub(rb"(\r\n)*\Z", b"", body, count=1) + b"\r\n"


def relaxed(body: bytes) -> bytes:
    """Return the form of RFC 6376 section 3.4.4, as the RFC words it."""
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


FORMS = {"simple": simple, "relaxed": relaxed}


def hashes(body: bytes, wanted: list[Wanted], pieces: list[int]) -> BodyHashes:
    found = BodyHashes(wanted)
    wire, at = b"\r\n" + stuffed(body), 0
    for size in [*pieces, len(wire)]:
        found.take(wire[at : at + size])
        at += size
    return found


@pytest.mark.parametrize("seed", range(300))
def test_a_form_does_not_depend_on_how_the_body_arrives(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test's
    body = b"".join(chance.choices(WORDS, k=chance.randrange(40)))
    pieces = [chance.choice((1, 1, 2, 3, 7)) for _ in range(60)]
    for canon, form in FORMS.items():
        lengths = (None, 0, 1, 5, len(form(body)), len(form(body)) + 1)
        wanted = [Wanted(canon, length=each) for each in lengths]
        found = hashes(body, wanted, pieces).finish()
        for each in wanted:
            assert found[each].digest == hashlib.sha256(form(body)[: each.length]).digest(), (body, canon, pieces)
            assert found[each].octets == len(form(body))


@pytest.mark.parametrize(
    "body", [b"", b"\r\n", b"\r\n\r\n", b" \r\n", b"x", b"x\r", b"\rx\r\n", b"x\n", b"x\n\r\n\r\n"]
)
def test_the_edges_of_bodies(body: bytes) -> None:
    wanted = [Wanted("simple"), Wanted("relaxed")]
    found = hashes(body, wanted, [1] * 10).finish()
    assert [found[each].digest for each in wanted] == [
        hashlib.sha256(simple(body)).digest(), hashlib.sha256(relaxed(body)).digest(),
    ]  # fmt: skip


def test_a_sender_who_leaves_out_the_empty_line_has_a_body_all_the_same() -> None:
    found = BodyHashes([Wanted("simple")])
    found.take(b"not a field\r\n")
    assert found.finish()[Wanted("simple")].digest == hashlib.sha256(b"not a field\r\n").digest()


def test_each_form_is_made_once_and_each_hash_once() -> None:
    wanted = [Wanted("relaxed"), Wanted("relaxed"), Wanted("simple"), Wanted("relaxed", length=3)]
    assert len(hashes(b"x\r\n", wanted, []).finish()) == 3


HOSTILE = {
    "one line of blanks": b" " * (4 * PIECE),
    "blanks and letters": b"a " * (2 * PIECE),
    "tabs and letters": b"a\t" * (2 * PIECE),
    "empty lines": b"\r\n" * (2 * PIECE) + b"x",
    "blank lines": b" \r\n" * PIECE + b"x",
    "dots": b".\r\n" * PIECE,
    "bare CR": b"\r" * (4 * PIECE),
    "bare LF": b"\n" * (4 * PIECE),
    "CR CR LF": b"\r\r\n" * PIECE,
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_piece_of_a_hostile_body_costs_little(body: bytes) -> None:
    found = BodyHashes([Wanted("relaxed"), Wanted("simple"), Wanted("relaxed", length=1)])
    longest = 0.0
    for at in range(0, len(body), PIECE):
        began = time.thread_time()
        found.take(body[at : at + PIECE])
        longest = max(longest, time.thread_time() - began)
    assert longest < 0.2  # a bound, not a measurement: below 1 ms here, and seconds if it were quadratic


@pytest.mark.parametrize(
    ("raw", "form"),
    [
        (b"A: X\r\n", b"a:X\r\n"),
        (b"B : Y\t\r\n\tZ  \r\n", b"b:Y Z\r\n"),
        (b"SubJect:\r\n a\r\n  b\t c \r\n", b"subject:a b c\r\n"),
        (b"Empty:\r\n", b"empty:\r\n"),
    ],
)
def test_fields_in_their_forms(raw: bytes, form: bytes) -> None:
    assert header_field(raw, "relaxed") == form
    assert header_field(raw, "simple") == raw
