"""Each operation, on each backing: memory, two workers and their keeper, two machines and their Redis."""

from __future__ import annotations

import asyncio

import pytest

from proxy.counting.base import answered
from proxy.counting.operations import (
    Add,
    Delivered,
    Forget,
    Gauge,
    Get,
    Greylist,
    Hold,
    Lease,
    Places,
    Put,
    Reserve,
    Return,
    Show,
    Sum,
    Take,
    Window,
)
from sieve.shared import MOST_AMOUNT
from tests.support.counting import Backing

ONE, NINE = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 9))


async def test_a_window_exceeds_its_count_only_with_the_event_after_it(backing: Backing) -> None:
    here, there = await backing.process(), await backing.process()
    assert await answered(here, Window("t", b"k")) is None
    totals = [await answered(each, Window("t", b"k", 2, 60.0, 1)) for each in (here, there, here)]
    assert [each.total > each.count for each in totals if each] == [False, False, True]
    for change, total in ((-1, 2), (-5, 0), (0, 0), (3, 3)):
        counted = await answered(there, Window("t", b"k", change=change))
        assert counted is not None
        assert (counted.total, counted.count) == (total, 2)


async def test_the_numbers_of_a_window_are_those_of_whoever_made_it(backing: Backing) -> None:
    counting = await backing.process()
    await answered(counting, Window("t", b"k", 2, 60.0, 1))
    counted = await answered(counting, Window("t", b"k", 5, 1.0, 1))
    assert counted is not None
    assert counted.count == 2


async def test_nothing_above_the_limit_is_counted_within_it(backing: Backing) -> None:
    counting = await backing.process()
    within = [await answered(counting, Window("t", b"k", 2, 16.0, 1, within=True)) for _ in range(4)]
    assert [(each.allowed, each.total) for each in within if each] == [(True, 1), (True, 2), (False, 2), (False, 2)]
    assert [each.wait for each in within if each] == [0.0, 17.0, 17.0, 17.0]
    await backing.at(16.9)
    assert not (await answered(counting, Window("t", b"k", change=1, within=True))).allowed  # type: ignore[union-attr]
    await backing.at(17.0)
    assert (await answered(counting, Window("t", b"k", change=2, within=True))).allowed  # type: ignore[union-attr]


async def test_what_is_told_is_performed_before_what_is_asked_after_it(backing: Backing) -> None:
    counting = await backing.process()
    for _ in range(3):
        counting.tell(Window("t", b"k", 2, 60.0, 1))
    counted = await answered(counting, Window("t", b"k"))
    assert counted is not None
    assert counted.total == 3


async def test_reserved_moments_are_given_out_in_order_and_not_beyond_the_patience(backing: Backing) -> None:
    counting = await backing.process()
    await backing.at(1000.0)
    reserved = [await answered(counting, Reserve("t", b"k", 3.0, 1, 1.0)) for _ in range(5)]
    assert [round(each.wait, 4) for each in reserved if each] == [0.0, 1.0625, 2.125, 3.1875, 3.1875]
    assert [each.allowed for each in reserved if each] == [True, True, True, False, False]
    within = await answered(counting, Window("t", b"k", change=1, within=True))
    assert within is not None
    assert not within.allowed


async def test_the_window_that_was_used_longest_ago_leaves_a_full_room(backing: Backing) -> None:
    counting = await backing.process()
    for at, key in enumerate((b"a", b"b", b"a", b"c")):
        await backing.at(float(at))
        await answered(counting, Window("t", key, 2, 600.0, most=2))
    known = [await answered(counting, Window("t", key, most=2)) is not None for key in (b"a", b"b", b"c")]
    assert known == [True, False, True]


async def test_a_full_cache_of_gauges_drops_the_one_that_changed_longest_ago(backing: Backing) -> None:
    here, there = await backing.process(), await backing.process()
    assert await answered(here, Gauge("c", b"0")) is None
    for each in range(11):
        await backing.at(float(each))
        await answered(here, Gauge("c", b"%d" % each, 1, 10, 300.0))
    assert [await answered(there, Gauge("c", b"%d" % each)) for each in (0, 1, 10)] == [0, 1, 1]
    assert await answered(there, Gauge("c", b"1", -3)) == -2
    await backing.at(302.0)
    assert [await answered(there, Gauge("c", b"%d" % each)) for each in (1, 2, 10)] == [-2, 1, 1]
    await backing.at(303.0)
    assert [await answered(there, Gauge("c", b"%d" % each)) for each in (1, 2, 10)] == [-2, 0, 1]


async def test_sums_of_a_series_are_of_the_asked_windows_and_networks(backing: Backing) -> None:
    here, there = await backing.process(), await backing.process()
    await answered(here, Add("s", 300, 6, ONE, 2))
    await backing.at(310.0)
    await answered(here, Add("s", 300, 6, ONE))
    windows = ((0, 0), (1, 1), (0, 1), (0, 5))
    assert [await answered(there, Sum("s", 300, 6, ONE, 32, *each)) for each in windows] == [1, 2, 3, 3]
    await answered(there, Add("s", 300, 6, NINE, 4))
    await answered(there, Add("s", 300, 6, bytes(16), 100))
    for mask, total in ((32, 1), (24, 5), (0, 5), (31, 1), (28, 5), (29, 1)):
        assert await answered(here, Sum("s", 300, 6, ONE, mask)) == total
    await answered(here, Add("s", 300, 6, NINE, -1))
    assert [await answered(here, Sum("s", 300, 6, ONE, mask)) for mask in (32, 24, 28)] == [1, 4, 4]
    assert await answered(here, Sum("s", 300, 6, bytes(15) + b"\x01", 64)) == 100
    await backing.at(1799.0)
    assert await answered(there, Sum("s", 300, 6, ONE, 32, 5, 5)) == 2
    await backing.at(2101.0)
    assert await answered(there, Sum("s", 300, 6, ONE, 32, 0, 5)) == 0
    assert await answered(there, Sum("s", 300, 5, ONE, 32)) == 0


async def test_a_smooth_sum_weighs_the_window_before_by_what_is_left_of_it(backing: Backing) -> None:
    counting = await backing.process()
    await answered(counting, Add("s", 300, 6, ONE, 10))
    await backing.at(400.0)
    await answered(counting, Add("s", 300, 6, ONE, 4))
    assert await answered(counting, Sum("s", 300, 6, ONE, 32, smooth=True)) == 10
    assert await answered(counting, Sum("s", 300, 6, ONE, 32, 0, 2)) == 14


async def test_a_series_ends_at_its_largest_amount_and_no_number_is_an_error(backing: Backing) -> None:
    counting = await backing.process()
    await backing.at(1200.0)
    for address in (ONE, NINE):
        for _ in range(3):
            await answered(counting, Add("s", 300, 6, address, MOST_AMOUNT))
    assert await answered(counting, Sum("s", 300, 6, ONE, 32)) == MOST_AMOUNT
    assert await answered(counting, Sum("s", 300, 6, ONE, 24)) == MOST_AMOUNT
    assert await answered(counting, Sum("s", 300, 6, ONE, 32, smooth=True)) == MOST_AMOUNT
    for _ in range(5):
        await answered(counting, Add("s", 300, 6, ONE, -MOST_AMOUNT))
    assert await answered(counting, Sum("s", 300, 6, ONE, 32)) == -MOST_AMOUNT


async def test_a_value_is_there_until_its_time_is_over_in_its_room_only(backing: Backing) -> None:
    here, there = await backing.process(), await backing.process()
    await answered(here, Put("a:b", b"c", b"\xffv", 0.0))
    await answered(here, Put("a", b"b:d", b"w", 3600.0))
    found = [await answered(there, Get(*each)) for each in (("a:b", b"c"), ("a", b"b:c"), ("a", b"b:d"), ("a:b", b"d"))]
    assert found == [b"\xffv", None, b"w", None]


async def test_a_bucket_says_whether_it_had_the_tokens_and_what_is_left(backing: Backing) -> None:
    here, there = await backing.process(), await backing.process()
    taken = [await answered(each, Take("r", b"k", 2, 60)) for each in (here, there, here)]
    assert [(each.allowed, round(each.left, 6)) for each in taken] == [(True, 1.0), (True, 0.0), (False, 0.0)]
    await backing.at(30.0)
    assert (await answered(there, Take("r", b"k", 2, 60))).allowed
    assert not (await answered(there, Take("r", b"k", 2, 60))).allowed


async def test_places_are_leased_all_or_none(backing: Backing) -> None:
    counting = await backing.process()
    assert (await answered(counting, Lease([(b"client", 2), (b"network", 0)]))).full == -1
    assert (await answered(counting, Lease([(b"client", 2), (b"network", 0)]))).totals == [2, 2]
    refused = await answered(counting, Lease([(b"other", 2), (b"client", 2)]))
    assert (refused.full, refused.totals) == (1, [0, 2])
    counting.tell(Return([b"client", b"client", b"client"]))
    assert [await answered(counting, Places(each)) for each in (b"client", b"network", b"other")] == [0, 2, 0]


async def test_a_triplet_passes_after_the_delay_and_begins_anew_after_the_window(backing: Backing) -> None:
    here, there = await backing.process(), await backing.process()
    await backing.at(100.0)
    greylist = Greylist("g", b"k", 60.0, 1000.0, 5000.0, b"c", 2)
    first = await answered(here, greylist)
    assert (first.passes, first.wait, first.passed, first.client) == (False, 60.0, 0, 0)
    await backing.at(159.0)
    again = await answered(there, greylist)
    assert (again.passes, again.wait, again.first) == (False, 1.0, 100.0)
    await backing.at(160.0)
    look = Greylist("g", b"k", 60.0, 1000.0, 5000.0, b"c", 2, look=True)
    for _ in range(2):  # a look is not an attempt
        seen = await answered(here, look)
        assert (seen.passes, seen.last, seen.passed) == (True, 159.0, 1)
    unseen = Greylist("g", b"unseen", 60.0, 1000.0, 5000.0, b"c", 2, look=True)
    assert [(await answered(here, unseen)).wait for _ in range(2)] == [60.0, 60.0]
    assert [each.key for each in await answered(here, Show("greylist", "g"))] == [b"k"]
    passed = await answered(there, greylist)
    assert (passed.passes, passed.wait, passed.first, passed.last, passed.passed) == (True, 0.0, 100.0, 159.0, 1)
    assert (await answered(here, greylist)).passed == 2
    other = Greylist("g", b"other", 60.0, 1000.0, 5000.0, b"c", 2)
    assert not (await answered(here, other)).passes
    assert await answered(here, Delivered("g", b"c", 2, 5000.0)) == 2
    assert (await answered(there, other)).passes
    assert await answered(there, Delivered("g", b"c", -5, 5000.0)) == 0
    assert not (await answered(there, other)).passes


async def test_operators_see_and_forget_what_was_counted(backing: Backing) -> None:
    counting = await backing.process()
    await answered(counting, Window("t", b"k1", 2, 60.0, 1))
    await answered(counting, Window("t", b"k2", 2, 60.0, 2))
    await answered(counting, Gauge("c", b"g", 5, 10))
    await answered(counting, Take("r", b"bucket", 4, 60))
    await answered(counting, Lease([(b"place", 0)]))
    await answered(counting, Put("v", b"value", b"1", 60.0))
    await answered(counting, Greylist("g", b"triplet", 60.0, 1000.0, 5000.0))
    await answered(counting, Delivered("g", b"client", 2, 5000.0))
    expected = {
        ("window", "t"): {b"k1": 1.0, b"k2": 2.0},
        ("gauge", "c"): {b"g": 5.0},
        ("bucket", "r"): {b"bucket": 3.0},
        ("lease", ""): {b"place": 1.0},
        ("greylist", "g"): {b"triplet": 0.0},
        ("client", "g"): {b"client": 2.0},
    }
    for (kind, room), found in expected.items():
        shown = await answered(counting, Show(kind, room))
        assert {each.key: each.numbers[0] for each in shown} == found
        assert await answered(counting, Show(kind, "elsewhere")) == [] or kind == "lease"
    assert [each.key for each in await answered(counting, Show("value", "v"))] == [b"value"]
    assert await answered(counting, Forget("window", "t", b"k", exact=True)) == 0
    assert await answered(counting, Forget("window", "t", b"k1", exact=True)) == 1
    assert [each.key for each in await answered(counting, Show("window", "t", b"k"))] == [b"k2"]
    for kind, room in (*list(expected)[1:], ("value", "v")):
        if kind != "lease":
            assert await answered(counting, Forget(kind, room)) == 1
            assert await answered(counting, Show(kind, room)) == []


@pytest.mark.parametrize(
    "backing", ["keeper", pytest.param("redis", marks=pytest.mark.real("redis-server"))], indirect=True
)
async def test_the_processes_of_a_truth_share_its_places(backing: Backing) -> None:
    here, there = await backing.process(), await backing.process()
    leased = await asyncio.gather(*(answered(each, Lease([(b"client", 10)])) for each in [here, there] * 10))
    assert sum(each.full < 0 for each in leased) == 10
    assert await answered(here, Places(b"client")) == 10
    held = [sum(each.full < 0 for each in leased[at::2]) for at in (0, 1)]
    await answered(here, Return([b"client"] * 20))
    assert await answered(there, Places(b"client")) == held[1]
    await answered(there, Return([b"client"] * 20))
    assert (await answered(there, Lease([(b"client", 1)]))).totals == [1]
    assert await answered(there, Hold(held=[(b"client", 3)])) is True
    assert await answered(here, Places(b"client")) == 3


async def test_an_address_of_a_series_is_forgotten_in_all_windows(backing: Backing) -> None:
    counting = await backing.process()
    for at in (0.0, 310.0):
        await backing.at(at)
        await answered(counting, Add("s", 300, 6, ONE, 2))
        await answered(counting, Add("s", 300, 6, NINE, 4))
    assert await answered(counting, Sum("s", 300, 6, ONE, 24, 0, 5)) == 12
    assert await answered(counting, Forget("series", "s\x00300,6", ONE, exact=True)) == 2
    assert await answered(counting, Sum("s", 300, 6, ONE, 32, 0, 5)) == 0
    assert await answered(counting, Sum("s", 300, 6, ONE, 24, 0, 5)) == 8
