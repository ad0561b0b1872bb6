"""What a remembered sender costs, and which ones are forgotten."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest

from proxy.callback.lives import CachedVerdict
from proxy.callback.memory import OCTETS_EACH, Packed, VerdictMemory, pack, unpack
from proxy.callback.question import CacheKeys, Question
from proxy.callback.verdict import CallbackVerdict, Status

MANY, DOMAINS = 25_000, 7_500
ACCEPTED = CallbackVerdict(
    Status.PASS,
    "accepted",
    "2.1.5 OK f4-20020a056000000000b003 - gsmtp",
    stage="rcpt",
    code=250,
    exchanger="gmail-smtp-in.l.google.com",
    address="2a00:1450:4013:c14::1b",
    seconds=0.734,
    tls=True,
)
LONG = replace(ACCEPTED, status=Status.FAIL, reason="no_such_user", text="no " * 333, code=550)


def held(verdict: CallbackVerdict = ACCEPTED, found: float = 1000.25) -> Packed:
    return Packed.of(CachedVerdict(verdict, found, found + 86_400.0), found + 60.0)


@pytest.mark.parametrize("secret", [b"", b"s" * 32], ids=["plain", "hashed"])
@pytest.mark.parametrize("verdict", [ACCEPTED, LONG], ids=["accepted", "long_refusal"])
def test_a_remembered_sender_costs_at_most_400_octets(secret: bytes, verdict: CallbackVerdict) -> None:
    keys = CacheKeys(secret)
    tracemalloc.start()
    try:
        memory = VerdictMemory(MANY)
        for number in range(MANY):
            domain = f"mail{number % DOMAINS}.example"
            memory.put(keys.of(Question(f"some.sender.{number}", domain, "")), held(verdict))
        cost = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert cost <= OCTETS_EACH * MANY
    assert (len(memory) == MANY) is (verdict is ACCEPTED)
    assert memory.octets <= cost * 1.1


@pytest.mark.parametrize(
    "verdict",
    [ACCEPTED, LONG, CallbackVerdict(Status.ERROR, "policy", "", listed=True, catchall=True, null_refused=True)],
    ids=["accepted", "long", "flags"],
)
@pytest.mark.parametrize(("streak", "doubted"), [(0, False), (3, True)])
def test_what_is_packed_comes_out_as_it_was(verdict: CallbackVerdict, streak: int, doubted: bool) -> None:  # noqa: FBT001 - a case
    record = CachedVerdict(verdict, 1.5, 86_401.123, streak, doubted)
    packed = unpack(pack(Packed.of(record, 61.5)))
    assert (packed.record, packed.until) == (record, 61.5)
    assert packed.answer(31.5) == record.answer(31.5)


def test_octets_of_a_name_that_are_not_text_are_shown() -> None:
    odd = replace(ACCEPTED, text="caf\udce9", exchanger="m\udcff.test")
    assert unpack(pack(held(odd))).verdict() == replace(odd, text="caf\\udce9", exchanger="m\\udcff.test")


def test_the_one_that_was_not_used_for_the_longest_time_goes_first() -> None:
    memory = VerdictMemory(3)
    for key in "abc":
        memory.put(key, held())
    memory.put("d", held())
    assert [memory.get(key) is None for key in "abcd"] == [True, False, False, False]
    memory.put("e", held())  # all were used since: the oldest goes
    assert len(memory) == 3
    assert memory.get("e") is not None


def test_as_many_as_fit_are_never_forgotten_in_whatever_order_they_are_used() -> None:
    memory = VerdictMemory(100)
    for number in [*range(100), *range(99, -1, -1), *range(0, 100, 3)]:
        memory.put(f"{number}", held())
    assert all(memory.get(f"{number}") is not None for number in range(100))


def test_one_that_is_used_again_and_again_outlives_a_thousand_strangers() -> None:
    memory = VerdictMemory(10)
    memory.put("known", held())
    for number in range(1000):
        memory.put(f"stranger {number}", held())
        assert memory.get("known") is not None
    assert len(memory) == 10


def test_what_was_forgotten_costs_nothing() -> None:
    memory = VerdictMemory(10)
    for number in range(50):
        memory.put(f"{number % 7}", held(LONG if number % 2 else ACCEPTED))
    for number in range(7):
        memory.drop(f"{number}")
    assert (len(memory), memory.octets, list(memory)) == (0, 0, [])
