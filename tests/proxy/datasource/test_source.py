"""One datasource over drivers that do as they are told: caching, failing over, failing at once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest

from proxy.datasource.breaker import Breaker
from proxy.datasource.cache import LARGEST_KEPT, ResultCache, key_of
from proxy.datasource.errors import DatasourceError, QueryFailed, ServerLost
from proxy.datasource.parameters import Dialect, Parameters, bound
from proxy.datasource.rows import Rows
from proxy.datasource.server import Server
from proxy.datasource.source import Source
from proxy.datasource.sources import Datasources
from proxy.metrics.book import BOOK
from proxy.metrics.table import DATASOURCE, DATASOURCE_QUERIES
from proxy.options.datasource_uris import parse_uri
from proxy.options.datasources import DatasourceOptions


class Told:
    """A server: it answers with what it is told, an exception included, and `None` never."""

    def __init__(self, *answers: object) -> None:
        self.answers = itertools.chain(answers, itertools.repeat(answers[-1]))
        self.asked: list[tuple[str, Parameters, int | None]] = []
        self.connected = self.aborted = self.closed = 0
        self.is_usable = True

    async def connect(self) -> Told:
        self.connected += 1
        return self

    async def fetch(self, query: str, parameters: Parameters, most: int | None) -> Rows:
        self.asked.append((query, parameters, most))
        answer = next(self.answers)
        if answer is None:
            await asyncio.get_running_loop().create_future()
        if isinstance(answer, Exception):
            raise answer
        return Rows(("x",), ((str(answer),),), 1)

    async def execute(self, query: str, parameters: Parameters) -> None:
        await self.fetch(query, parameters, None)

    async def abort(self) -> None:
        self.aborted += 1

    async def close(self) -> None:
        self.closed += 1


def source(*servers: Told, **options: Any) -> Source:
    uri = parse_uri("pgsql:host=x;password=hunter2")
    made = [Server("d", uri, each.connect, 4) for each in servers]
    return Source(DatasourceOptions(name="d", uri=(uri,), **options), made)


async def first(subject: Source, query: str = "q", parameters: Parameters = None) -> str:
    found = subject.rows(query, parameters, None, fresh=False)
    rows = found if isinstance(found, Rows) else await found
    return str(rows.rows[0][0])


async def test_a_result_is_used_again_at_once_and_only_for_its_life() -> None:
    told = Told("a", "b", "c")
    subject = source(told, cache_life=60.0)
    before = [BOOK.counts[subject._hit], BOOK.counts[subject._ok]]
    now = [0.0]
    subject.cache = ResultCache(10, 60.0, lambda: now[0])
    assert [await first(subject), await first(subject)] == ["a", "a"]
    assert isinstance(subject.rows("q", None, None, fresh=False), Rows)
    now[0] = 61.0
    assert await first(subject) == "b"
    assert subject.cache.flush() == 1
    assert await first(subject) == "c"
    places = [DATASOURCE_QUERIES.at(BOOK.number(DATASOURCE, "d"), result) for result in ("hit", "ok")]
    assert [BOOK.counts[place] - old for place, old in zip(places, before, strict=True)] == [2, 3]
    counts = subject.cache.counts
    assert (counts.hits, counts.misses, counts.inserts, counts.ttl, counts.manual) == (2, 3, 3, 1, 1)


async def test_parameters_are_part_of_the_key_and_the_order_of_a_hash_is_not() -> None:
    assert key_of("q", {"a": "1", "b": "2"}, 1) == key_of("q", {"b": "2", "a": "1"}, 1)
    others = [key_of("q", None, 1), key_of("q", ("a", "1"), 1), key_of("q", ("a1",), 1), key_of("q", {"a": "1"}, 1)]
    others += [key_of("q", ("a",), 1), key_of("q", ("a", ""), 1), key_of("q2", None, 1), key_of("q", None, 2)]
    assert len(set(others)) == len(others)


async def test_an_empty_result_is_kept_and_an_error_is_not() -> None:
    subject = source(Told(QueryFailed("no"), "b"))
    with pytest.raises(DatasourceError, match="no"):
        await first(subject)
    assert await first(subject) == "b"


@pytest.mark.parametrize("options", [{"no_cache": True}, {"cache_life": 0.0}, {"cache_size": 0}])
async def test_nothing_is_kept_if_caching_is_off(options: dict[str, Any]) -> None:
    subject = source(Told("a", "b"), **options)
    assert [await first(subject), await first(subject)] == ["a", "b"]


def test_the_least_used_result_goes_first_and_a_very_large_one_is_not_kept() -> None:
    cache = ResultCache(2, 60.0)
    for key in (b"a", b"b"):
        cache.put(key, Rows(size=1))
    cache.get(b"a")
    cache.put(b"c", Rows(size=1))
    assert [cache.get(key) is not None for key in (b"a", b"b", b"c")] == [True, False, True]
    cache.put(b"d", Rows(size=LARGEST_KEPT + 1))
    assert cache.get(b"d") is None


async def test_one_question_is_asked_once_for_all_who_wait_even_if_the_first_leaves() -> None:
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    told = Told("a")
    told.fetch = waiting(gate, told)  # type: ignore[method-assign]
    subject = source(told)
    leaving, staying = (asyncio.ensure_future(first(subject)) for _ in range(2))  # noqa: TID251 - a test's own
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leaving.cancel()
    gate.set_result("a")
    assert await staying == "a"
    assert len(told.asked) == 1
    assert subject.cache.counts.pending == 1


def waiting(gate: asyncio.Future[str], told: Told) -> Callable[..., Any]:
    async def fetch(query: str, parameters: Parameters, most: int | None) -> Rows:
        told.asked.append((query, parameters, most))
        return Rows(("x",), ((await gate,),), 1)

    return fetch


async def test_servers_take_turns_and_a_dead_one_is_skipped() -> None:
    dead, alive = Told(ServerLost("refused, hunter2")), Told("a")
    subject = source(dead, alive, no_cache=True)
    assert [await first(subject) for _ in range(4)] == ["a"] * 4
    assert (len(dead.asked), len(alive.asked)) == (1, 4)
    both = (Told("a"), Told("b"))
    subject = source(*both, no_cache=True)
    assert [await first(subject) for _ in range(4)] == ["a", "b", "a", "b"]


async def test_a_refused_query_is_not_asked_elsewhere_and_no_text_has_the_password() -> None:
    one, other = Told(QueryFailed("syntax error near hunter2\n\x1b[0m")), Told("a")
    with pytest.raises(QueryFailed, match=r"syntax error near \*\*\* ") as refused:
        await first(source(one, other))
    assert "\x1b" not in str(refused.value)
    assert other.asked == []


async def test_a_server_that_is_late_leaves_time_for_the_next_one() -> None:
    hanging, alive = Told(None), Told("a")
    assert await first(source(hanging, alive, timeout=0.05)) == "a"
    await asyncio.sleep(0)
    assert hanging.aborted == 1


async def test_after_a_time_out_the_source_fails_at_once() -> None:
    hanging = Told(None, "a")
    subject = source(hanging, timeout=0.01)
    with pytest.raises(DatasourceError, match="no result within"):
        await first(subject)
    with pytest.raises(DatasourceError, match="not asked, because it failed a moment ago: no result within"):
        await first(subject)
    assert len(hanging.asked) == 1
    await subject.close()


async def test_waiting_for_a_connection_says_nothing_about_the_server() -> None:
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    told = Told("a")
    told.fetch = waiting(gate, told)  # type: ignore[method-assign]
    subject = source(told, timeout=0.05, no_cache=True)
    server = subject._servers[0]
    server._places = asyncio.Semaphore(0)
    with pytest.raises(DatasourceError, match="all connections were in use"):
        await first(subject)
    assert not server.breaker.is_open


def test_a_breaker_waits_1_2_4_to_30_seconds_and_lets_one_try() -> None:
    now = [100.0]
    breaker = Breaker(lambda: now[0])
    for seconds in (1, 2, 4, 8, 16, 30, 30):
        assert breaker.failed("x") is (seconds == 1)
        now[0] += seconds - 0.01
        assert not breaker.admits(10)
        now[0] += 0.02
        assert breaker.admits(10)
        assert not breaker.admits(10)
    assert breaker.worked()
    assert not breaker.worked()
    assert breaker.admits(10)


async def test_a_connection_that_was_closed_meanwhile_is_replaced_for_a_query_but_not_for_a_change() -> None:
    told = Told("a", ServerLost("gone"), "b", ServerLost("gone"), "c")
    subject = source(told, no_cache=True)
    assert [await first(subject), await first(subject)] == ["a", "b"]
    assert told.connected == 2
    with pytest.raises(DatasourceError, match="gone"):
        await subject.execute("insert", None)
    assert [query for query, *_ in told.asked] == ["q", "q", "q", "insert"]
    await subject.close()


async def test_a_change_is_never_sent_to_a_second_server_once_it_was_sent() -> None:
    one, other = Told(ServerLost("gone")), Told("a")
    with pytest.raises(DatasourceError, match="gone"):
        await source(one, other).execute("insert", None)
    assert other.asked == []


async def test_a_fault_of_a_driver_is_an_error_of_the_query() -> None:
    with pytest.raises(DatasourceError, match="a fault of the driver: KeyError"):
        await first(source(Told(KeyError("x"))))


@pytest.mark.parametrize("scheme", ["csv", "cdb", "odbc", "http", "iowrapper"])
async def test_what_only_momentum_can_query_fails_each_query(scheme: str) -> None:
    sources = Datasources([DatasourceOptions(name="d", uri=(parse_uri(f"{scheme}:/x"),))])
    with pytest.raises(DatasourceError, match=f"Ringback cannot query {scheme}"):
        await sources.rows("d", "x")


async def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.datasource.sources.find_spec", lambda _name: None)
    sources = Datasources([DatasourceOptions(name="d", uri=(parse_uri("pgsql:host=x"),))])
    with pytest.raises(DatasourceError, match=r"asyncpg is not installed: pip install 'ringback\[pgsql\]'"):
        await sources.rows("d", "select 1")
    ((_, server, reason),) = await sources.problems(1.0)
    assert (server, "asyncpg is not installed" in reason) == ("pgsql:host=x", True)


async def test_a_name_that_nobody_declared_names_those_that_are() -> None:
    with pytest.raises(DatasourceError, match="there is no datasource `x`: use d"):
        await Datasources([DatasourceOptions(name="d", uri=(parse_uri("sqlite:/x"),))]).rows("x", "q")


async def test_a_fault_of_a_driver_shows_no_password() -> None:
    subject = source(Told(ValueError("cannot parse host=x;password=hunter2")))
    with pytest.raises(DatasourceError, match=r"password=\*\*\*"):
        await first(subject)
    assert "***" in await subject._servers[0].problem(1.0)


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("text", ["a" * 60_000, "[" * 60_000, "$a" * 30_000, "/*" * 30_000])
def test_the_placeholders_of_a_long_query_are_found_in_linear_time(dialect: Dialect, text: str) -> None:
    began = time.thread_time()
    with contextlib.suppress(QueryFailed):
        bound(text, ("x",), dialect)
    assert time.thread_time() - began < 5.0  # a bound, not a measurement: 30 s when it was quadratic
