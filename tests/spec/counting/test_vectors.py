"""What scripts count over time, in several processes: in memory, a keeper, and a Redis of two machines.

The times are the test's. Redis forgets a whole window by its own clock, so that is shown on the others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest

from config.diagnostics import Source
from proxy.counting.base import answered
from proxy.counting.operations import Add, Get, Lease, Return
from proxy.counting.presence import key_of
from proxy.counting.traffic import series_of
from proxy.modules.sieve_policy.counters import ScriptCounters
from sieve.compile.compiler import compile_script
from sieve.host import ConnectionEnd
from sieve.phases import Phase
from sieve.run import reasons
from tests.sieve.plain_host import PlainHost, plain_counters
from tests.support.counting import KINDS, Backing, counting_on
from tests.support.servers import RedisServer

ADDRESS = bytes((192, 0, 2, 3))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@dataclass
class Process:
    """A process that runs scripts, and what its worker remembers."""

    counters: ScriptCounters
    backing: Backing
    done: list[str] = field(default_factory=list)

    async def runs(self, text: str, client: str = "192.0.2.3") -> list[str]:
        """Run a script; return its log, its run-time errors, its waits, and its reply."""
        modules = frozenset({"inbound_audit"})
        compiled = compile_script(Source("case.siv", text), phase=Phase.RCPTTO, modules=modules)
        assert compiled.script is not None, compiled.diagnostics
        host = PlainHost(counting=self.counters)
        host.connection.client = ConnectionEnd(client, 40025)
        outcome = await compiled.script.run(host)
        reply = [f"reply: {outcome.code} {outcome.text}".rstrip()] if outcome.code != 250 else []
        await answered(self.counters.counting, Get("settled", b""))  # so that other processes see what it told
        return [each.removeprefix("log: ") for each in host.done if not each.startswith("count: ")] + reply


@pytest.fixture(params=KINDS)
async def backing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Backing]:
    server = request.getfixturevalue("redis_server") if request.param == "redis" else None
    async with counting_on(request.param, monkeypatch, server) as made:
        yield made


LOCAL = pytest.mark.parametrize("backing", ["memory", "sqlite", "keeper"], indirect=True)


async def process(backing: Backing, **options: object) -> Process:
    counting = await backing.process()
    return Process(plain_counters(counting, backing.clock, shares_counts=backing.for_machines, **options), backing)


# ---------------------------------------------------------------- throttles

CHECK = 'ec_throttle_create "t" "2/60";\n%s\n$x = ec_throttle_check "t";\nec_log "${x}";'


async def test_a_throttle_of_two_a_minute_is_exceeded_by_the_third_wherever_it_comes(backing: Backing) -> None:
    here, there = await process(backing), await process(backing)
    inc = 'ec_throttle_inc "t";'
    assert await here.runs(CHECK % (inc + inc)) == ["false"]
    assert await there.runs(CHECK % inc) == ["true"]
    assert await here.runs(CHECK % "") == ["true"]
    assert await here.runs(CHECK % 'ec_throttle_dec "t";') == ["false"]
    await backing.at(59.0)
    assert await there.runs(CHECK % inc) == ["true"]
    await backing.at(64.0)
    assert await there.runs(CHECK % "") == ["false"]


async def test_a_process_uses_a_throttle_that_another_has_created(backing: Backing) -> None:
    here, there = await process(backing), await process(backing)
    await here.runs('ec_throttle_create "t" "1/60"; ec_throttle_inc "t";')
    assert await there.runs('ec_throttle_inc "t"; $x = ec_throttle_check "t"; ec_log "${x}";') == ["true"]


async def test_tarpits_of_two_processes_get_their_moments_in_turn(backing: Backing) -> None:
    here, there = await process(backing), await process(backing)
    tarpit = 'ec_throttle_create "t" "1/1"; ec_throttle_tarpit "t";'
    assert [await each.runs(tarpit) for each in (here, there, here)] == [[], ["tarpit: 1.0625 s"], ["tarpit: 2.125 s"]]
    await backing.at(2.125)
    assert await there.runs(tarpit) == ["tarpit: 1.0625 s"]


@LOCAL
async def test_a_throttle_is_forgotten_when_nobody_has_used_it_for_its_time_and_a_second(backing: Backing) -> None:
    counting = await process(backing)
    inc = 'ec_throttle_create "t" "2/60"; ec_throttle_inc "t";'
    await counting.runs(inc)
    await counting.runs('ec_throttle_create "t" "5/1"; ec_throttle_inc "t"; ec_throttle_inc "t";')
    await backing.at(61.0)
    assert await counting.runs('$x = ec_throttle_check "t"; ec_log "${x}";') == ["true"]
    await backing.at(123.0)
    assert await counting.runs('$x = ec_throttle_check "t"; ec_log "${x}";') == [
        "error: case.siv:1: there is no throttle 't'; call ec_throttle_create first, in every run",
        "reply: 451",
    ]
    await counting.runs(inc)
    assert await counting.runs('$x = ec_throttle_check "t"; ec_log "${x}";') == ["false"]


async def test_the_throttle_that_was_used_longest_ago_leaves_a_full_cache(backing: Backing) -> None:
    counting = await process(backing, siv_throttle_cache_size=2)
    for at, name in enumerate("abc"):
        await backing.at(float(at))
        await counting.runs(f'ec_throttle_create "{name}" "2/600";')
    found = [(await counting.runs(f'$x = ec_throttle_check "{name}"; ec_log "${{x}}";'))[0] for name in "abc"]
    assert found[0].startswith("error: case.siv:1: there is no throttle 'a'")
    assert found[1:] == ["false", "false"]


async def test_a_shared_throttle_counts_for_all(backing: Backing) -> None:
    here, there = await process(backing), await process(backing)
    inc = 'ec_shared_throttle_create "t" "2/60" 0.5; ec_shared_throttle_inc "t"; '
    check = '$x = ec_shared_throttle_check "t"; ec_log "${x}";'
    assert [await each.runs(inc + check) for each in (here, there, here)] == [["false"], ["false"], ["true"]]


# ---------------------------------------------------------------- gauges

SPAMMING = """\
ec_gauge_cache_init "cache1" 10 300;
ec_gauge_cache_inc "cache1" "user@example.com";
$count = ec_gauge_cache_get "cache1" "user@example.com";
if ec_test :value "gt" :comparator "i;ascii-numeric" "${count}" "10" {
  ec_action 550 "Too much spamming";
}
"""


async def test_the_manuals_example_refuses_the_eleventh_message_of_a_user(backing: Backing) -> None:
    processes = [await process(backing), await process(backing)]
    for number in range(10):
        await backing.at(100.0 * number)
        assert await processes[number % 2].runs(SPAMMING) == []
    await backing.at(900.0 + 299.0)
    assert await processes[0].runs(SPAMMING) == ["reply: 550 Too much spamming"]
    await backing.at(900.0 + 299.0 + 301.0)
    assert await processes[1].runs(SPAMMING) == []


async def test_the_eleventh_key_of_a_cache_of_ten_takes_the_place_of_the_first(backing: Backing) -> None:
    here, there = await process(backing), await process(backing)
    for number in range(11):
        await backing.at(float(number))
        await here.runs(f'ec_gauge_cache_init "c" 10 300; ec_gauge_cache_inc "c" "k{number}";')
    get = 'ec_gauge_cache_init "c" 10 300; $a = ec_gauge_cache_get "c" "k0"; $b = ec_gauge_cache_get "c" "k1"; '
    assert await there.runs(get + 'ec_log "${a} ${b}";') == ["0 1"]


# ---------------------------------------------------------------- series


def sums(*windows: str) -> str:
    asked = "".join(f'$x = audit_series "s" "300,6" 32 {each}; ec_log "${{x}}"; ' for each in windows)
    return asked.strip()


async def test_a_series_keeps_six_windows_of_five_minutes(backing: Backing) -> None:
    here, there = await process(backing), await process(backing)
    await here.runs('audit_series_add "s" "300,6" 2;')
    await backing.at(310.0)
    await there.runs('audit_series_add "s" "300,6";')
    assert await here.runs(sums("0", "1", "0 1", "0 5")) == ["1", "2", "3", "3"]
    await backing.at(1799.0)  # at 1800 the sixth window after the first begins
    assert await there.runs(sums("5", "0 5")) == ["2", "3"]
    await backing.at(1801.0)
    assert await there.runs(sums("5", "0 5")) == ["1", "1"]
    await backing.at(2101.0)
    assert await here.runs(sums("5", "0 5")) == ["0", "0"]


async def test_a_series_sums_up_networks(backing: Backing) -> None:
    here, there = await process(backing), await process(backing)
    await here.runs('audit_series_add "s" "300,6" 3;', client="192.0.2.1")
    await there.runs('audit_series_add "s" "300,6" 4;', client="192.0.2.9")
    asked = "".join(f'$x = audit_series "s" "300,6" {mask}; ec_log "${{x}}"; ' for mask in (32, 24, 0))
    assert await there.runs(asked, client="192.0.2.1") == ["3", "7", "7"]


@pytest.mark.parametrize("name", ["connections", "receptions", "rejections"])
async def test_what_came_from_a_client_is_smooth_by_index_and_plain_by_hash(backing: Backing, name: str) -> None:
    here, there = await process(backing), await process(backing)
    kind = {"connections": "connect", "receptions": "reception", "rejections": "rejection"}[name]

    def add(times: int) -> None:
        for whole in (True, False):
            counting = here.counters.counting
            counting.tell(Add(series_of(kind, here=whole), 300, 6, ADDRESS, times, here=whole))

    add(10)
    await here.runs("")
    await backing.at(400.0)
    add(4)
    for script in (f'$x = ec_ip_{name} "0" "32";', f'$x = ec_ip_{name}_cluster "0" "32";'):
        assert await here.runs(script + ' ec_log "${x}";') == ["10"]
    by_hash = f"""\
$h = hash_create;
hash_set $h "monitor" "300,6";
hash_set $h "period_start" 0;
hash_set $h "period_end" "2";
hash_set $h "mask" "24";
$a = ec_ip_{name} $h;
$b = ec_ip_{name}_cluster $h;
ec_log "${{a}} ${{b}}";
"""
    assert await here.runs(by_hash, client="192.0.2.99") == ["14 14"]
    own = "0" if backing.for_machines else "14"  # the other machine has seen none of them
    assert await there.runs(by_hash, client="192.0.2.99") == [f"{own} 14"]


# ---------------------------------------------------------------- open connections


async def test_a_session_counts_itself_and_those_of_its_network(backing: Backing) -> None:
    here, there = await process(backing), await process(backing)

    def opened(by: Process, address: tuple[int, ...], listener: tuple[str, int]) -> list[bytes]:
        keys = [key_of(listener) + bytes(address), key_of(None) + bytes(address)]
        by.counters.counting.tell(Lease([(key, 0) for key in keys]))
        return keys

    ours = opened(here, (192, 0, 2, 3), ("198.51.100.1", 25))
    count = '($n) = audit_connections_on_listener "/32"; ($m) = audit_service "SMTP" "/24"; ec_log "${n} ${m}";'
    assert await here.runs(count) == ["1 1"]
    opened(there, (192, 0, 2, 9), ("198.51.100.1", 587))
    opened(there, (198, 51, 100, 7), ("198.51.100.1", 25))
    await there.runs("")
    both = "1 1" if backing.for_machines else "1 2"  # two machines
    assert await here.runs(count) == [both]
    here.counters.counting.tell(Return(ours))
    assert (await here.runs(count))[0].startswith("0 ")


# ---------------------------------------------------------------- caches


async def test_a_cached_value_lives_as_long_as_it_says(backing: Backing) -> None:
    caches = {"replicated_caches": frozenset({"c"})}
    here, there = await process(backing, **caches), await process(backing, **caches)
    await here.runs('ec_cluster_cache_set "c" "k" "v" "1M";')
    get = '$v = ec_cluster_cache_get "c" "k"; ec_log "<${v}>";'
    assert await there.runs(get) == ["<v>"]
    if not backing.for_machines:  # its own clock
        await backing.at(59.0)
        assert await there.runs(get) == ["<v>"]
        await backing.at(61.0)
        assert await there.runs(get) == ["<>"]
    assert await here.runs('$v = ec_cluster_cache_get "d" "k"; ec_log "<${v}>";') == [
        f"error: case.siv:1: {reasons.unknown_cache('d')}",
        "reply: 451",
    ]
