"""How long a verdict is believed, and what a later one does to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.callback.lives import DOMAIN_REASONS, CachedVerdict, Lives, successor
from proxy.callback.memory import REFRESH_AT, is_due
from proxy.callback.verdict import CallbackVerdict, Status

LIVES = Lives()
NOW = 1_000_000.0
PASS = CallbackVerdict(Status.PASS, "accepted", "ok", "rcpt", 250)
FAIL = CallbackVerdict(Status.FAIL, "no_such_user", "5.1.1 no", "rcpt", 550)
UNKNOWN = CallbackVerdict(Status.TRANSIENT, "dns", "sender.test: SERVFAIL", "dns")
LATER = CallbackVerdict(Status.TRANSIENT, "greylist", "later", "rcpt", 450)
REFUSED = CallbackVerdict(Status.ERROR, "policy", "5.7.1 no", "rcpt", 550)


def found(verdict: CallbackVerdict, previous: CachedVerdict | None = None, now: float = NOW) -> CachedVerdict:
    return successor(previous, verdict, now, LIVES)


@pytest.mark.parametrize(
    ("verdict", "seconds"),
    [
        (PASS, 86400.0),
        (FAIL, 7200.0),
        (LATER, 300.0),
        (REFUSED, 3600.0),
        *((replace(FAIL, reason=reason), 3600.0) for reason in sorted(DOMAIN_REASONS)),
        (replace(REFUSED, reason="unroutable"), 3600.0),
    ],
)
def test_a_verdict_is_believed_as_long_as_its_kind(verdict: CallbackVerdict, seconds: float) -> None:
    record = found(verdict)
    assert record == CachedVerdict(verdict, NOW, NOW + seconds)
    assert record.fresh(NOW + seconds - 1)
    assert not record.fresh(NOW + seconds)


def test_each_transient_in_a_row_is_believed_twice_as_long_up_to_the_limit() -> None:
    record, now, seconds = None, NOW, []
    for _ in range(7):
        record = found(LATER, record, now)
        seconds.append(record.expires - now)
        now = record.expires
    assert seconds == [300, 600, 1200, 2400, 3600, 3600, 3600]


def test_what_may_be_our_own_resolvers_failure_is_believed_for_seconds_however_often_it_comes() -> None:
    record, now = None, NOW
    for _ in range(7):
        record = found(UNKNOWN, record, now)
        assert record.expires - now == 5.0
        now = record.expires
    later = found(LATER, record, now)
    assert (later.streak, later.expires - now) == (0, 300)
    assert found(UNKNOWN, later, now).expires == now + 5.0


@pytest.mark.parametrize("between", [PASS, FAIL, REFUSED])
def test_any_other_verdict_between_begins_the_row_anew(between: CallbackVerdict) -> None:
    streak = found(LATER, found(LATER))
    assert streak.streak == 1
    broken = found(between, streak)
    again = found(LATER, broken, broken.expires)
    assert (again.streak, again.expires - broken.expires) == (0, 300)


def test_a_row_of_any_length_can_be_counted() -> None:
    record = CachedVerdict(LATER, NOW, NOW, streak=100_000)
    assert found(LATER, record).expires == NOW + LIVES.transient_most


@pytest.mark.parametrize("verdict", [LATER, REFUSED])
def test_what_finds_out_nothing_never_hides_a_pass_that_is_believed(verdict: CallbackVerdict) -> None:
    before = found(PASS)
    assert found(verdict, before, NOW + 80_000) is before
    assert found(verdict, before, NOW + 86_400).verdict is verdict


def test_one_refusal_shortens_a_pass_and_the_second_decides() -> None:
    doubted = found(FAIL, found(PASS), NOW + 100)
    assert doubted == CachedVerdict(PASS, NOW, NOW + 400, doubted=True)
    assert found(LATER, doubted, NOW + 200) is doubted
    assert found(FAIL, doubted, NOW + 200) == CachedVerdict(FAIL, NOW + 200, NOW + 7400)


def test_a_refusal_at_the_end_of_a_passs_life_does_not_prolong_it() -> None:
    assert found(FAIL, found(PASS), NOW + 86_390).expires == NOW + 86_400


def test_a_pass_ends_the_doubt() -> None:
    doubted = found(FAIL, found(PASS), NOW + 100)
    assert found(PASS, doubted, NOW + 200) == CachedVerdict(PASS, NOW + 200, NOW + 86_600)


@pytest.mark.parametrize("before", [FAIL, LATER, REFUSED])
def test_a_pass_is_believed_at_once_whatever_was_before(before: CallbackVerdict) -> None:
    assert found(PASS, found(before), NOW + 1) == CachedVerdict(PASS, NOW + 1, NOW + 86_401)


def test_a_pass_is_due_for_another_look_in_its_last_quarter() -> None:
    record = found(PASS)
    assert not is_due(record, NOW + 86_400 * REFRESH_AT - 1)
    assert is_due(record, NOW + 86_400 * REFRESH_AT)
    assert not is_due(found(FAIL, record, NOW + 80_000), NOW + 80_000)  # in doubt: what ends it is not asked at once


def test_an_answer_from_memory_says_that_it_is_one_and_how_old() -> None:
    assert found(PASS).answer(NOW + 12.34) == replace(PASS, cached=True, age=12.3)
    assert found(PASS).answer(NOW - 5).age == 0.0  # another machine's clock may be ahead


def test_what_is_said_after_a_probe_is_its_verdict_unless_something_better_is_believed() -> None:
    assert found(FAIL).said(FAIL, NOW) is FAIL
    before = found(PASS)
    assert found(LATER, before, NOW + 100).said(LATER, NOW + 100) == replace(PASS, cached=True, age=100.0)
    assert found(FAIL, before, NOW + 100).said(FAIL, NOW + 100) == replace(PASS, cached=True, age=100.0)


@pytest.mark.parametrize(
    "record",
    [
        found(PASS),
        found(LATER, found(LATER)),
        found(FAIL, found(PASS), NOW + 100),
        found(CallbackVerdict(Status.ERROR, "policy", "", "rcpt", 550, "mx.test", "::1", 1.5, tls=True)),
        found(replace(PASS, catchall=True, null_refused=True)),
    ],
)
def test_a_record_is_read_as_it_was_kept(record: CachedVerdict) -> None:
    assert CachedVerdict.decoded(record.encoded()) == record


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"nonsense",
        b"\xff",
        b"[]",
        b"1",
        b"{}",
        b'{"v":[],"f":1,"e":2,"n":0,"d":false}',
        b'{"v":{"status":"perhaps","reason":"x","text":""},"f":1,"e":2,"n":0,"d":false}',
        b'{"v":{"status":"pass","reason":"x","text":"","novel":1},"f":1,"e":2,"n":0,"d":false}',
        b'{"v":{"status":"pass","reason":"x","text":""},"f":"soon","e":2,"n":0,"d":false}',
        b'{"v":{"status":"pass","reason":"x","text":""},"f":1,"e":null,"n":0,"d":false}',
    ],
)
def test_what_another_version_kept_is_no_record(stored: bytes) -> None:
    assert CachedVerdict.decoded(stored) is None
