"""Limits that keep callbacks from becoming a nuisance: budgets, breakers, and domains that are being forged."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from proxy.callback.limits.budgets import Breakers, Budgets, Neighbour, Storms, network_of
from proxy.callback.limits.suffixes import organisational
from proxy.options.throttle import NO_THROTTLE, Throttle
from proxy.store.memory import MemoryStore
from tests.support.callbacks import Clock, budgets

CLIENT = "192.0.2.1"
MX = "198.51.100.7"


def neighbour(limits: Budgets, clock: Clock | None = None, store: MemoryStore | None = None) -> Neighbour:
    return Neighbour(limits, store or MemoryStore(clock or Clock()))


async def asks(kept: Neighbour, client: str, domain: str) -> bool:
    return await kept.may_ask(client, domain) is None


async def connects(kept: Neighbour, address: str, unknown: int = 1) -> bool:
    return await kept.may_connect(address, unknown) is None


# ---------------------------------------------------------------- budgets


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.100.7", "198.51.100.0/24"),
        ("198.51.101.7", "198.51.101.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("2001:db8:1:ffff::3", "2001:db8:1::/48"),
        ("2001:db8:2::3", "2001:db8:2::/48"),
    ],
)
def test_one_operators_network_is_a_24_or_a_48(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("domain", "registered"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("mail.example.co.uk", "example.co.uk"),
        ("example.github.io", "github.io"),
        ("co.uk", "co.uk"),
        ("sender.test", "sender.test"),
        ("localhost", "localhost"),
        ("xn--bcher-kva.example.de", "example.de"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[ipv6:2001:db8::1]", "[ipv6:2001:db8::1]"),
    ],
)
def test_the_domain_that_somebody_registered_has_the_budget(domain: str, registered: str) -> None:
    assert organisational(domain) == registered


async def test_a_domains_budget_holds_for_all_below_it_and_for_all_clients() -> None:
    clock = Clock()
    kept = neighbour(budgets(per_domain=Throttle(3, 60)), clock)
    assert [await asks(kept, f"192.0.2.{n}", f"d{n}.example.com") for n in range(4)] == [True, True, True, False]
    assert await asks(kept, CLIENT, "example.org")
    clock.now += 20
    assert [await asks(kept, CLIENT, "example.com") for _ in range(2)] == [True, False]


async def test_a_clients_budget_holds_for_all_domains() -> None:
    kept = neighbour(budgets(per_client=Throttle(2, 60)))
    assert [await asks(kept, CLIENT, f"d{n}.test") for n in range(3)] == [True, True, False]
    assert await asks(kept, "192.0.2.2", "d0.test")


async def test_who_asks_for_nobody_has_no_clients_budget() -> None:
    kept = neighbour(budgets(per_client=Throttle(1, 60)))
    assert [await asks(kept, "", "a.test") for _ in range(3)] == [True] * 3


async def test_a_client_beyond_its_budget_takes_nothing_from_a_domains() -> None:
    kept = neighbour(budgets(per_client=Throttle(1, 60), per_domain=Throttle(2, 60)))
    assert [await asks(kept, CLIENT, "a.test") for _ in range(3)] == [True, False, False]
    assert await asks(kept, "192.0.2.2", "a.test")


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        (["198.51.100.1", "198.51.100.200"], "198.51.101.1"),
        (["2001:db8:1::1", "2001:db8:1:ffff::1"], "2001:db8:2::1"),
    ],
)
async def test_an_exchangers_budget_is_its_networks(inside: list[str], outside: str) -> None:
    clock = Clock()
    kept = neighbour(budgets(per_exchanger=Throttle(2, 60)), clock)
    assert [await connects(kept, each) for each in [*inside, inside[0]]] == [True, True, False]
    assert await connects(kept, outside)
    clock.now += 30
    assert [await connects(kept, inside[1]) for _ in range(2)] == [True, False]


async def test_as_many_unknown_users_are_set_aside_as_a_conversation_may_hear_of() -> None:
    clock = Clock()
    kept = neighbour(budgets(unknown_users=Throttle(4, 400)), clock)
    assert [await connects(kept, each, 2) for each in (MX, "198.51.100.99", MX)] == [True, True, False]
    assert await connects(kept, "198.51.101.7", 2)
    clock.now += 199
    assert not await connects(kept, MX, 2)
    clock.now += 1
    assert await connects(kept, MX, 2)


async def test_what_was_set_aside_for_users_that_it_knew_is_given_back_to_the_network() -> None:
    kept = neighbour(budgets(unknown_users=Throttle(2, 400)))
    for _ in range(10):
        assert await connects(kept, MX, 2)
        assert not await connects(kept, MX)
        await kept.give_back("198.51.100.99", 2)
    assert await connects(kept, MX, 2)
    await kept.give_back(MX, 0)
    assert not await connects(kept, MX)


async def test_a_conversation_that_may_hear_of_more_than_the_budget_takes_it_whole() -> None:
    kept = neighbour(budgets(unknown_users=Throttle(1, 60)))
    assert [await connects(kept, MX, 2) for _ in range(2)] == [True, False]
    await kept.give_back(MX, 2)
    assert [await connects(kept, MX, 2) for _ in range(2)] == [True, False]


async def test_all_who_share_a_store_share_its_budgets() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    limits = budgets(per_domain=Throttle(1, 60), per_exchanger=Throttle(1, 60), unknown_users=Throttle(1, 60))
    here, there = neighbour(limits, store=store), neighbour(limits, store=store)
    assert (await asks(here, CLIENT, "a.test"), await asks(there, CLIENT, "a.test")) == (True, False)
    assert (await connects(here, MX), await connects(there, MX)) == (True, False)
    clock.now += 59
    assert not await connects(there, "198.51.100.8", 1)
    assert await connects(there, "198.51.101.8", 1)


async def test_a_count_of_zero_is_no_limit() -> None:
    kept = neighbour(budgets())
    for _ in range(200):
        assert await asks(kept, CLIENT, "a.test")
        await kept.give_back(MX, 1)
        assert await connects(kept, MX)


# ---------------------------------------------------------------- exchangers that turn us away


def test_an_exchanger_that_turned_us_away_is_left_alone_and_then_tried_by_one_probe() -> None:
    clock = Clock()
    breakers = Breakers(3600.0, clock)
    assert breakers.lets(MX)
    assert breakers.bad(MX) == 1
    assert not breakers.lets(MX)
    assert breakers.lets("198.51.100.8")
    clock.now += 3599
    assert not breakers.lets(MX)
    clock.now += 1
    assert [breakers.lets(MX) for _ in range(3)] == [True, False, False]


def test_a_trial_that_goes_well_closes_it() -> None:
    clock = Clock()
    breakers = Breakers(3600.0, clock)
    breakers.bad(MX)
    clock.now += 3600
    assert breakers.lets(MX)
    breakers.good(MX)
    assert [breakers.lets(MX) for _ in range(3)] == [True] * 3
    assert breakers.times(MX) == 0


def test_a_trial_that_goes_badly_opens_it_again() -> None:
    clock = Clock()
    breakers = Breakers(3600.0, clock)
    for times in (1, 2, 3):
        assert breakers.lets(MX)
        assert breakers.bad(MX) == breakers.times(MX) == times
        clock.now += 3599
        assert not breakers.lets(MX)
        clock.now += 1


def test_a_trial_that_nobody_hears_of_again_is_given_to_another() -> None:
    clock = Clock()
    breakers = Breakers(3600.0, clock)
    breakers.bad(MX)
    clock.now += 3600
    assert breakers.lets(MX)
    clock.now += 59
    assert not breakers.lets(MX)
    clock.now += 1
    assert breakers.lets(MX)


def test_those_that_were_under_way_when_it_opened_count_once() -> None:
    breakers = Breakers(3600.0, Clock())
    with capture_logs() as log:
        assert [breakers.bad(MX) for _ in range(4)] == [1, 1, 1, 1]
    assert log == [{"event": "breaker_opened", "log_level": "warning", "address": MX, "times": 1, "seconds": 3600.0}]


def test_without_a_time_none_opens() -> None:
    breakers = Breakers(0.0, Clock())
    assert breakers.bad(MX) == 0
    assert breakers.lets(MX)


# ---------------------------------------------------------------- storms


def asked(storms: Storms, local_parts: int, clients: int, questions: int = 100, domain: str = "a.test") -> bool:
    """Note unknown users with different local parts, from different networks; tell whether there is a storm then."""
    for number in range(questions):
        storms.note(domain, f"u{number % local_parts}", f"192.0.{number % clients}.7")
    return storms.rages(domain)


@pytest.mark.parametrize(
    ("local_parts", "clients", "storm"),
    [(5, 5, True), (4, 100, False), (100, 4, False), (100, 1, False), (1, 100, False), (100, 100, True)],
)
def test_a_storm_is_many_unknown_users_from_many_networks(local_parts: int, clients: int, storm: bool) -> None:  # noqa: FBT001 - a parameter
    assert asked(Storms(Throttle(5, 300), Clock()), local_parts, clients) is storm


@pytest.mark.parametrize(
    "clients",
    [[f"192.0.2.{n}" for n in range(100)], [f"2001:db8:1:{n:x}::/64" for n in range(100)]],
    ids=["a-24", "a-48"],
)
def test_one_network_makes_no_storm_however_many_addresses_it_has(clients: list[str]) -> None:
    storms = Storms(Throttle(5, 300), Clock())
    for number, client in enumerate(clients):
        storms.note("a.test", f"u{number}", client)
    assert not storms.rages("a.test")


def test_a_storm_is_over_one_domain_and_ends() -> None:
    clock = Clock()
    storms = Storms(Throttle(5, 300), clock)
    with capture_logs() as log:
        assert asked(storms, 5, 5)
    assert log == [{"event": "forgery_storm", "log_level": "warning", "domain": "a.test", "seconds": 300}]
    assert not storms.rages("b.test")
    clock.now += 299
    assert storms.rages("a.test")
    clock.now += 1
    assert not storms.rages("a.test")


def test_what_comes_slowly_is_no_storm() -> None:
    clock = Clock()
    storms = Storms(Throttle(5, 300), clock)
    for number in range(100):
        storms.note("a.test", f"u{number}", f"192.0.{number}.7")
        assert not storms.rages("a.test")
        clock.now += 75


def test_who_asks_for_nobody_makes_no_storm() -> None:
    storms = Storms(Throttle(2, 300), Clock())
    for number in range(10):
        storms.note("a.test", f"u{number}", "")
    assert not storms.rages("a.test")


def test_without_a_limit_there_is_no_storm() -> None:
    assert not asked(Storms(NO_THROTTLE, Clock()), 100, 100)


# ---------------------------------------------------------------- a client network's share


async def test_one_network_uses_a_quarter_of_a_domains_budget_and_the_others_keep_the_rest() -> None:
    clock = Clock()
    kept = neighbour(budgets(per_domain=Throttle(8, 80), share=25), clock)
    spam = [await kept.may_ask(f"192.0.2.{n}", f"d{n}.example.com") for n in range(5)]
    assert spam == [None, None, *["client_throttled"] * 3]
    assert [await kept.may_ask(f"198.51.{n}.7", "example.com") for n in range(7)] == [*[None] * 6, "throttled"]
    assert await kept.may_ask("192.0.2.1", "example.org") is None
    clock.now += 40
    assert [await kept.may_ask("192.0.2.200", "example.com") for _ in range(2)] == [None, "client_throttled"]


async def test_a_network_is_a_24_or_a_48_since_a_spammer_has_thousands_of_64s() -> None:
    kept = neighbour(budgets(per_domain=Throttle(8, 80), share=25))
    found = [await kept.may_ask(f"2001:db8:1:{n:x}::/64", "a.test") for n in range(3)]
    assert found == [None, None, "client_throttled"]
    assert await kept.may_ask("2001:db8:2::/64", "a.test") is None


@pytest.mark.parametrize(
    "limits",
    [budgets(per_exchanger=Throttle(8, 80), share=25), budgets(unknown_users=Throttle(8, 80), share=25)],
    ids=["conversations", "unknown-users"],
)
async def test_one_network_uses_a_quarter_of_an_exchangers_budgets(limits: Budgets) -> None:
    kept = neighbour(limits)
    assert [await kept.may_connect(MX, 1, CLIENT) for _ in range(4)] == [None, None, *["client_throttled"] * 2]
    others = [await kept.may_connect(MX, 1, f"198.51.{n}.7") for n in range(7)]
    assert others == [*[None] * 6, "throttled"]


async def test_a_client_beyond_its_share_takes_nothing_from_any_budget() -> None:
    kept = neighbour(budgets(per_exchanger=Throttle(8, 80), unknown_users=Throttle(4, 400), share=25))
    assert [await kept.may_connect(MX, 1, CLIENT) for _ in range(50)] == [None, *["client_throttled"] * 49]
    assert [await kept.may_connect(MX, 1, f"198.51.{n}.7") for n in range(4)] == [*[None] * 3, "throttled"]


async def test_where_the_budget_is_used_up_the_clients_share_is_given_back() -> None:
    clock = Clock()
    kept = neighbour(budgets(per_domain=Throttle(4, 40), share=25), clock)
    for number in range(4):
        assert await kept.may_ask(f"198.51.{number}.7", "a.test") is None
    assert [await kept.may_ask(CLIENT, "a.test") for _ in range(3)] == ["throttled"] * 3
    clock.now += 10
    assert await kept.may_ask(CLIENT, "a.test") is None


async def test_users_who_exist_cost_a_network_no_share_of_the_unknown() -> None:
    kept = neighbour(budgets(unknown_users=Throttle(8, 80), share=25))
    for _ in range(20):
        assert await kept.may_connect(MX, 1, CLIENT) is None
        await kept.give_back(MX, 1, CLIENT)
    assert [await kept.may_connect(MX, 1, CLIENT) for _ in range(3)] == [None, None, "client_throttled"]


async def test_a_share_that_is_less_than_what_is_set_aside_is_used_up_all_the_same() -> None:
    kept = neighbour(budgets(unknown_users=Throttle(4, 80), share=25))
    assert await kept.may_connect(MX, 2, CLIENT) is None
    await kept.give_back(MX, 1, CLIENT, of=2)
    assert await kept.may_connect(MX, 2, CLIENT) == "client_throttled"
    small = neighbour(budgets(unknown_users=Throttle(1, 80)))
    assert await connects(small, MX, 2)
    await small.give_back(MX, 1, of=2)
    assert not await connects(small, MX, 2)


@pytest.mark.parametrize(("count", "share", "most"), [(1, 25, 1), (3, 25, 1), (8, 50, 4), (8, 100, 8), (200, 1, 2)])
async def test_a_share_is_one_at_least(count: int, share: int, most: int) -> None:
    kept = neighbour(budgets(per_domain=Throttle(count, 60), share=share))
    assert sum([await kept.may_ask(CLIENT, "a.test") is None for _ in range(count + 1)]) == most


async def test_who_asks_for_nobody_has_the_whole_budget() -> None:
    kept = neighbour(budgets(per_domain=Throttle(8, 80), share=25))
    assert [await kept.may_ask("", "a.test") for _ in range(9)] == [*[None] * 8, "throttled"]


async def test_a_client_beyond_its_own_budget_is_throttled_alone() -> None:
    kept = neighbour(budgets(per_client=Throttle(1, 60)))
    assert [await kept.may_ask(CLIENT, f"d{n}.test") for n in range(2)] == [None, "client_throttled"]
