"""A good neighbour by measurement: thousands of forged messages, two thousand domains, no exchanger asked too often.

The stream is made from a seed: most senders are forged, in domains that many others use as well, on behalf of clients
all over the world. The exchangers behave as real ones do. The bounds are the product's own defaults.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from proxy.callback.limits.budgets import network_of
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.options.throttle import Throttle
from tests.support.farm import Farm, Habit, most
from tests.support.names import Known
from tests.support.programs import Program, free_port
from tests.support.replica import Plan, Report
from tests.support.ringback import environment
from tests.support.servers import RedisServer
from tests.support.waiting import eventually

SEED = 7
DOMAINS, GIANTS, OTHERS = 2000, 8, 392
"""Domains, providers who have many of them, and providers who have a few. Each provider has a network of its own."""

MESSAGES, FORGED, EXISTING, GENUINE = 4000, 0.6, 0.2, 800
"""Messages; the part with a forged sender; the part of those whose sender exists; senders of the other mail."""

WITHIN = 300.0
"""Seconds for a run; reached only by a defect."""

LIMITS = SmtpCbvOptions()
"""What the machines keep to."""

EXCHANGERS = 2
"""Of each domain; one question may be put to both."""


def _habit(**habit: object) -> Habit:
    # Beyond the budgets an exchanger turns us away for good.
    return Habit(connections=LIMITS.probes_per_mx, unknown=LIMITS.unknown_users_per_mx, **habit)  # type: ignore[arg-type]


_FAST, _SLOW, _GREY, _TARPIT = _habit(), _habit(rcpt_delay=0.5), _habit(greylists=True), _habit(tarpit=True)
_BROKEN_TLS = _habit(broken_tls=True)
_HOSTILE, _BUSY = _habit(turns_away="554 5.7.1 Go away"), _habit(turns_away="421 4.3.2 Too busy")
HABITS = (*[_FAST] * 9, *[_SLOW] * 3, *[_GREY] * 2, _BROKEN_TLS, _TARPIT, _HOSTILE, _BUSY)


@dataclass(frozen=True, slots=True)
class World:
    """Who lives where, by number of the provider: what is behind the giants and the others is by chance of the seed."""

    habits: dict[str, Habit]
    dead: frozenset[str]
    """Addresses on which nothing listens."""
    mute: tuple[str, ...]
    """Addresses where packets are dropped."""

    def known(self, name: str) -> Known | None:
        """Answer the name server's question: `d7.test` is a domain, `a.p3.test` an exchanger of a provider."""
        first, *rest = name.split(".")
        if rest == ["test"] and first[:1] == "d" and first[1:].isdigit() and int(first[1:]) < DOMAINS:
            provider = provider_of(int(first[1:]))
            return Known(exchangers=((10, f"a.p{provider}.test"), (20, f"b.p{provider}.test")))
        if first in {"a", "b"} and len(rest) == 2:
            return Known(addresses=(address_of(int(rest[0][1:]), first),))
        return None


def provider_of(domain: int) -> int:
    """Return the provider of a domain: two domains of five are at the giants."""
    return domain % GIANTS if domain % 5 < 2 else GIANTS + domain % OTHERS


def address_of(provider: int, exchanger: str) -> str:
    """Return the address of one of a provider's two exchangers, which share a network."""
    return f"127.{20 + provider // 200}.{provider % 200}.{10 if exchanger == 'a' else 11}"


def world() -> World:
    """Return the same world each time."""
    chance = random.Random(SEED)  # noqa: S311 - the same each time
    habits, dead, mute = {}, set(), []
    for provider in range(GIANTS + OTHERS):
        first, second = address_of(provider, "a"), address_of(provider, "b")
        habit = _FAST if provider < GIANTS else chance.choice(HABITS)
        habits |= {first: habit, second: habit}
        fate = chance.random() if provider >= GIANTS else 1.0
        if fate < 0.08:  # the first exchanger is dead, every other time the second too
            gone = [first] if fate < 0.04 else [first, second]
            for each in gone:
                del habits[each]
            if provider % 3:
                dead.update(gone)
            else:
                mute += gone
    return World(habits, frozenset(dead), tuple(mute))


def stream() -> list[tuple[str, str]]:
    """Return senders and clients, the same each time. A local part that begins with x does not exist."""
    chance = random.Random(SEED)  # noqa: S311 - the same each time
    genuine = [(f"u{n}@d{chance.randrange(DOMAINS)}.test", f"198.51.{n % 250}.1") for n in range(GENUINE)]
    messages = []
    for number in range(MESSAGES):
        if chance.random() >= FORGED:
            messages.append(chance.choice(genuine))
            continue
        # Some domains are forged far more than others; the first one is in a storm.
        domain = min(int(chance.paretovariate(0.35)) - 1, chance.randrange(DOMAINS))
        local_part = f"{'u' if chance.random() < EXISTING else 'x'}{number}"
        messages.append((f"{local_part}@d{domain}.test", f"203.{chance.randrange(250)}.{chance.randrange(250)}.1"))
    return messages


# ---------------------------------------------------------------- a run


@asynccontextmanager
async def farmed(here: World) -> AsyncIterator[tuple[Farm, int, str]]:
    """Put up the exchangers; yield them with their port and their name server."""
    farm = Farm(here.known, here.habits)
    port = free_port("127.0.0.1", "127.20.0.10")
    nameserver = "127.0.0.1", free_port()
    await farm.start(port, nameserver, mute_addresses=here.mute)
    try:
        yield farm, port, f"{nameserver[0]}:{nameserver[1]}"
    finally:
        farm.stop()


async def asked(plans: Sequence[Plan], folder: Path) -> list[Report]:
    """Run a machine for each plan and return their reports."""
    machines = []
    for number, plan in enumerate(plans):
        path = folder / f"plan{number}.json"
        path.write_text(json.dumps(asdict(plan)))
        arguments = [sys.executable, "-m", "tests.support.replica", str(path)]
        machines.append(Program(arguments, folder=folder, name=f"machine{number}", environment=environment()))
    try:
        for each in machines:
            await eventually(lambda: not each.is_running, "the machine has asked about its mail", within=WITHIN)  # noqa: B023
        return [Report(**json.loads(each.stdout.read_text())) for each in machines]
    finally:
        for each in machines:
            each.stop()


# ---------------------------------------------------------------- what must hold


def beyond(times: Sequence[float], limit: Throttle, began: float) -> float:
    """Return by how much the events were more than a full bucket gives, at the worst moment; none is 0 or less."""
    allowed = (most(limit, at - began) for at in sorted(times))
    return max(number - given for number, given in enumerate(allowed, start=1))


def check(farm: Farm, reports: Sequence[Report], here: World) -> None:
    """See that no exchanger was asked too often, and that no existing user was called unknown."""
    began, elapsed = min(each.began for each in reports), time.time() - min(each.began for each in reports)
    connections = [connection for each in reports for connection in each.connections]
    assert len(connections) <= MESSAGES, "one connection a message, over the run"

    spent: dict[str, list[float]] = defaultdict(list)
    for report in reports:
        for at, bucket in report.spent:
            spent[bucket].append(at)
    for kind, limit in (("cbv mx ", LIMITS.probes_per_mx), ("cbv domain ", LIMITS.probes_per_domain)):
        excess = {name: beyond(times, limit, began) for name, times in spent.items() if name.startswith(kind)}
        assert excess, kind
        assert {name: more for name, more in excess.items() if more > 0} == {}
    arrived = Counter(f"cbv mx {network_of(address)}" for _, address in connections)
    arrived += Counter(f"cbv domain {domain}" for _, domain in farm.asked)
    unpaid = {name: count for name, count in arrived.items() if count > EXCHANGERS * len(spent[name])}
    assert unpaid == {}, "whatever left was paid for"

    unknown: dict[str, int] = defaultdict(int)
    for address, each in farm.exchangers.items():
        unknown[network_of(address)] += each.unknown
    allowed = most(LIMITS.unknown_users_per_mx, elapsed)
    assert {network: count for network, count in unknown.items() if count > allowed} == {}

    away = {address for address, each in farm.exchangers.items() if each.turned_away}
    unfriendly = {address for address, habit in here.habits.items() if habit.turns_away}
    assert away <= unfriendly, "no exchanger turns us away for what we did"
    assert {each for report in reports for each in report.breakers} <= unfriendly
    assert [address for each in reports for address in each.failed if not address.startswith("x")] == []
    assert [error for each in reports for error in each.errors] == []
    assert sum(sum(each.verdicts.values()) for each in reports) == MESSAGES


def check_it_was_a_trial(reports: Sequence[Report], farm: Farm) -> None:
    """See that the run came to every limit that the bounds are about."""
    verdicts = {name for each in reports for name in each.verdicts}
    wanted = {"pass accepted", "fail no_such_user", "transient greylist", "transient throttled", "transient storm"}
    assert wanted <= verdicts
    assert any(each.breakers for each in reports)
    networks = [network_of(address) for each in reports for _, address in each.connections]
    assert max(networks.count(each) for each in set(networks)) >= LIMITS.probes_per_mx.count
    assert max(each.unknown for each in farm.exchangers.values()) >= LIMITS.unknown_users_per_mx.count - 1


async def test_one_machine_keeps_to_its_budgets_and_nobody_turns_it_away(tmp_path: Path) -> None:
    here = world()
    async with farmed(here) as (farm, port, nameserver):
        plan = Plan(stream(), port, nameserver, f"sqlite:///{tmp_path}/callback.db")
        reports = await asked([plan], tmp_path)
        check(farm, reports, here)
        check_it_was_a_trial(reports, farm)


@pytest.mark.real("redis-server")
async def test_two_machines_with_one_redis_keep_the_same_budgets_together(tmp_path: Path) -> None:
    here, messages = world(), stream()
    with RedisServer() as redis:
        async with farmed(here) as (farm, port, nameserver):
            store = f"redis://127.0.0.1:{redis.port}"
            plans = [Plan(messages[half::2], port, nameserver, store) for half in range(2)]
            reports = await asked(plans, tmp_path)
            check(farm, reports, here)
            check_it_was_a_trial(reports, farm)
