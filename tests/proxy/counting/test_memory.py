"""Counting in memory, by a clock that the test sets."""

from __future__ import annotations

from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import (
    Add,
    Delivered,
    Gauge,
    Greylist,
    Hold,
    Lease,
    Places,
    Reserve,
    Return,
    Sum,
    Take,
    Window,
)


class Clock:
    """A clock that stands still."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_a_window_exceeds_its_count_only_with_the_event_after_it() -> None:
    counting = MemoryCounting(Clock())
    totals = [counting.ask(Window("t", b"k", 2, 60.0, 1)) for _ in range(3)]
    assert [each.total > each.count for each in totals if each] == [False, False, True]
    taken_back = counting.ask(Window("t", b"k", change=-1))
    assert taken_back is not None
    assert taken_back.total == 2


def test_a_window_that_nobody_uses_is_forgotten_a_second_after_its_length() -> None:
    clock = Clock()
    counting = MemoryCounting(clock)
    counting.tell(Window("t", b"k", 2, 60.0, 1))
    clock.now = 61.0
    assert counting.ask(Window("t", b"k")) is not None
    clock.now += 61.1
    assert counting.ask(Window("t", b"k")) is None


def test_reserved_moments_are_given_out_in_order_and_not_beyond_the_patience() -> None:
    counting = MemoryCounting(Clock(1000.0))
    waits = [counting.ask(Reserve("t", b"k", 3.0, 1, 1.0)) for _ in range(5)]
    assert [round(each.wait, 4) for each in waits if each] == [0.0, 1.0625, 2.125, 3.1875, 3.1875]
    assert [each.allowed for each in waits if each] == [True, True, True, False, False]


def test_a_full_cache_of_gauges_drops_the_one_that_changed_longest_ago() -> None:
    counting = MemoryCounting(Clock())
    for each in range(11):
        counting.tell(Gauge("c", b"%d" % each, 1, 10, 300.0))
    assert [counting.ask(Gauge("c", b"%d" % each)) for each in (0, 1, 10)] == [0, 1, 1]
    assert counting.ask(Gauge("unknown", b"0")) is None


def test_sums_of_a_series_are_of_the_asked_windows_and_networks() -> None:
    clock = Clock()
    counting = MemoryCounting(clock)
    one, nine = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 9))
    counting.tell(Add("s", 300, 6, one, 2))
    clock.now = 310.0
    counting.tell(Add("s", 300, 6, one))
    windows = ((0, 0), (1, 1), (0, 1), (0, 5))
    assert [counting.ask(Sum("s", 300, 6, one, 32, *each)) for each in windows] == [1, 2, 3, 3]
    counting.tell(Add("s", 300, 6, nine, 4))
    assert [counting.ask(Sum("s", 300, 6, one, each)) for each in (32, 24, 0, 31, 28)] == [1, 5, 5, 1, 5]
    clock.now = 1799.0
    assert counting.ask(Sum("s", 300, 6, one, 32, 5, 5)) == 2
    clock.now = 2101.0
    assert counting.ask(Sum("s", 300, 6, one, 32, 0, 5)) == 0


def test_a_bucket_says_whether_it_had_the_tokens_and_what_is_left() -> None:
    counting = MemoryCounting(Clock())
    taken = [counting.ask(Take("r", b"k", 2, 60)) for _ in range(3)]
    assert [(each.allowed, each.left) for each in taken] == [(True, 1.0), (True, 0.0), (False, 0.0)]


def test_places_are_leased_all_or_none_and_free_after_their_process_has_been_silent() -> None:
    clock = Clock()
    counting = MemoryCounting(clock)
    assert counting.ask(Lease([(b"client", 2), (b"network", 3)], "w1")).full == -1
    assert counting.ask(Lease([(b"client", 2), (b"network", 3)], "w2")).totals == [2, 2]
    assert counting.ask(Lease([(b"other", 2), (b"client", 2)], "w2")).full == 1
    assert counting.ask(Places(b"other")) == 0
    clock.now = 4.0
    counting.tell(Hold("w2"))
    clock.now = 6.0
    assert counting.ask(Places(b"client")) == 1
    counting.tell(Return([b"client", b"client"], "w2"))
    assert counting.ask(Places(b"client")) == 0
    assert counting.ask(Places(b"network")) == 1


def test_a_triplet_passes_after_the_delay_and_begins_anew_after_the_window() -> None:
    clock = Clock(100.0)
    counting = MemoryCounting(clock)
    greylist = Greylist("g", b"k", 60.0, 1000.0, 5000.0, b"c", 2)
    first = counting.ask(greylist)
    assert (first.passes, first.wait) == (False, 60.0)
    clock.now = 159.0
    assert counting.ask(greylist).wait == 1.0
    clock.now = 160.0
    assert counting.ask(greylist).passes
    assert counting.ask(greylist).passed == 2
    clock.now = 5161.0
    assert not counting.ask(greylist).passes
    clock.now = 6162.0
    assert counting.ask(greylist).wait == 60.0
    counting.tell(Delivered("g", b"c", 2, 5000.0))
    assert counting.ask(greylist).passes
