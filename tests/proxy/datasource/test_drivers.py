"""Every driver against its real server: results, parameters that try to be more, limits, and what is cancelled."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.datasource.drivers import redis as room
from proxy.datasource.errors import DatasourceError
from proxy.datasource.sources import Datasources
from tests.support.databases import MariaDb, Postgres, Silent, Slapd
from tests.support.servers import RedisServer

EVIL = [
    "' OR 1=1 --",
    "'; drop table users; --",
    '" or ""="',
    "\\' or 1=1 #",
    "joe\\",
    "\x1a%s%d?:a$b",
    "*)(uid=*",
    "*",
]
Make = Callable[..., Datasources]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.real("postgres")),
                        pytest.param("mariadb", marks=pytest.mark.real("mariadbd"))])  # fmt: skip
def database(request: pytest.FixtureRequest, sqlite: Path) -> str:
    """Return the URI of each database."""
    if request.param == "sqlite":
        return f"sqlite:{sqlite}"
    return str(request.getfixturevalue(request.param).uri())


@pytest.fixture
async def beat() -> AsyncIterator[Callable[[], int]]:
    """Count how often the event loop comes round: a loop that is blocked does not."""
    rounds = 0

    async def go() -> None:
        nonlocal rounds
        while True:
            await asyncio.sleep(0.005)
            rounds += 1

    task = asyncio.get_running_loop().create_task(go())
    yield lambda: rounds
    task.cancel()


async def test_a_result_is_text_and_null_is_empty(database: str, made: Make) -> None:
    rows = await made(database).rows("d", "select name, quota, note from users where quota > 1 order by quota")
    assert rows.columns == ("name", "quota", "note")
    assert rows.rows == (("joe", "5", ""), ("ann", "7", "x"))


@pytest.mark.parametrize(
    "query", ["select name from users where quota = :q", "select name from users where quota = $q"]
)
async def test_named_parameters_are_bound_to_columns_of_any_type(database: str, made: Make, query: str) -> None:
    assert (await made(database).rows("d", query, {"q": "7", "other": "1"})).rows == (("ann",),)


async def test_marks_are_bound_in_order_and_text_in_quotes_is_text(database: str, made: Make) -> None:
    rows = await made(database).rows(
        "d", "select name, '?:a$b', '%' from users where name = ? and quota = ? -- why? :x", ("joe", "5")
    )
    assert rows.rows == (("joe", "?:a$b", "%"),)


@pytest.mark.parametrize("evil", EVIL)
async def test_a_parameter_is_never_sql(database: str, made: Make, evil: str) -> None:
    sources = made(database)
    assert (await sources.rows("d", "select mail from users where name = :n", {"n": evil})).rows == ()
    assert (await sources.rows("d", "select mail from users where name = ?", (evil,))).rows == ()
    await sources.execute("d", "insert into users (name, note) values ('evil', ?)", (evil,))
    found = await sources.rows("d", "select note from users where name = 'evil'")
    await sources.execute("d", "delete from users where name = 'evil'")
    assert found.rows == ((evil,),)
    assert len((await sources.rows("d", "select * from users", fresh=True)).rows) == 2


async def test_octets_that_are_not_utf8_find_nothing_and_break_nothing(database: str, made: Make) -> None:
    assert (await made(database).rows("d", "select 1 from users where name = ?", ("j\udcff",))).rows == ()


async def test_a_bad_query_says_why_and_the_next_one_works(database: str, made: Make) -> None:
    sources = made(database)
    with pytest.raises(DatasourceError, match="nowhere"):
        await sources.rows("d", "select 1 from nowhere")
    for parameters in ((), ("a", "b")):
        with pytest.raises(DatasourceError, match=r"the query has 1 `\?`, but [02] parameters"):
            await sources.rows("d", "select 1 from users where name = ?", parameters)
    with pytest.raises(DatasourceError, match="the query uses `x`"):
        await sources.rows("d", "select 1 from users where name = :x", {"y": "1"})
    assert (await sources.rows("d", "select 1 from users where name = 'joe'")).rows == (("1",),)


MANY = {
    "sqlite": "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000) select i from n",
    "pgsql": "select i from generate_series(1, 1000000) as i",
    "mysql": "select seq from seq_1_to_1000000",
}


async def test_of_a_million_rows_only_the_wanted_ones_are_read(database: str, made: Make) -> None:
    sources, query = made(database), MANY[database.partition(":")[0]]
    rows = await sources.rows("d", query)
    assert len(rows.rows) == 100
    assert rows.rows[-1] == ("100",)
    assert len((await sources.rows("d", query, most=7, fresh=True)).rows) == 7


async def test_all_rows_are_read_if_they_are_wanted(database: str, made: Make, beat: Callable[[], int]) -> None:
    query = MANY[database.partition(":")[0]].replace("1000000", "30000")
    rows = await made(database).rows("d", query, most=-1)
    assert len(rows.rows) == 30_000
    assert rows.rows[-1] == ("30000",)
    assert beat() > 2


HANGS = {
    "sqlite": "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n where i < 0",
    "pgsql": "select pg_sleep(60)",
    "mysql": "select benchmark(2000000000000, md5('x'))",
}


async def test_a_query_that_hangs_is_ended_at_the_server(
    database: str, made: Make, beat: Callable[[], int], request: pytest.FixtureRequest
) -> None:
    driver = database.partition(":")[0]
    sources = made(database, timeout=1.0, connections=1)
    with pytest.raises(DatasourceError, match=r"no result within (1|0\.9[0-9]*) seconds"):
        await sources.rows("d", HANGS[driver])
    with pytest.raises(DatasourceError, match="not asked, because it failed a moment ago"):
        await sources.rows("d", "select 1")
    await sources.close()
    if driver == "pgsql":
        server: Postgres = request.getfixturevalue("postgres")
        alone = "do $$ begin assert not exists (select from pg_stat_activity where query like '%pg_sleep(6%'"
        alone += " and state = 'active' and pid <> pg_backend_pid()); end $$"
        await _becomes(lambda: server.sql(alone, check=False) == 0)
    if driver == "mysql":
        other: MariaDb = request.getfixturevalue("mariadb")
        await _becomes(lambda: "benchmark" not in other.sql("select info from information_schema.processlist where "
                                                            "info like 'select bench%'"))  # fmt: skip
    assert beat() > 2


async def _becomes(condition: Callable[[], bool]) -> None:
    for _ in range(100):
        if condition():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the query still runs at the server")


@pytest.mark.parametrize(
    "uri",
    [
        "pgsql:host=127.0.0.1;port={port};dbname=x;user=x;password=hunter2",
        "pgsql:host=127.0.0.1;port={port};dbname=x;user=x;password=hunter2;sslmode=require",
        "mysql:host=127.0.0.1;port={port};dbname=x;user=x;password=hunter2",
        "ldap://127.0.0.1:{port}/dc=x????bindname=cn=a%2cdc=x,x-bindpw=hunter2",
        "ldaps://127.0.0.1:{port}/dc=x",
        "redis://:hunter2@127.0.0.1:{port}/0",
        "rediss://:hunter2@127.0.0.1:{port}/0",
    ],
)
async def test_a_server_that_says_nothing_costs_the_deadline_and_stops_nobody(
    uri: str, made: Make, beat: Callable[[], int]
) -> None:
    silent = Silent()
    try:
        sources = made(uri.format(port=silent.port), timeout=1.0)
        with pytest.raises(DatasourceError, match=r"no result within (1|0\.9[0-9]*) seconds"):
            await sources.rows("d", "GET x" if "redis" in uri else "/dc=x" if "ldap" in uri else "select 1")
        await sources.close()
    finally:
        silent.close()
    assert beat() > 2


@pytest.mark.parametrize("driver", ["pgsql:host=127.0.0.1;port=1", "mysql:host=127.0.0.1;port=1", "ldap://127.0.0.1:1",
                                    "redis://127.0.0.1:1", "sqlite:/nowhere/at/all"])  # fmt: skip
async def test_a_server_that_is_not_there_is_an_error_of_the_source(driver: str, made: Make) -> None:
    with pytest.raises(DatasourceError):
        await made(driver).rows("d", "GET x")


async def test_ds_fetch_cannot_change_a_sqlite_file(sqlite: Path, made: Make) -> None:
    with pytest.raises(DatasourceError, match="readonly"):
        await made(f"sqlite:{sqlite}").rows("d", "delete from users")


# ---------------------------------------------------------------- LDAP


@pytest.mark.real("slapd")
async def test_ldap_finds_entries_and_columns_with_several_values(slapd: Slapd, made: Make) -> None:
    sources = made(slapd.uri("?mail?sub?(objectClass=inetOrgPerson)?x-return-dn=dn"))
    rows = await sources.rows("d", "ldap:///?mail,telephoneNumber,nothing??(uid=$user)", {"user": "joe"})
    assert rows.columns == ("dn", "mail", "telephoneNumber", "nothing")
    assert rows.rows == ((f"uid=joe,{slapd.base}", "joe@example.com", ("1", "2"), ""),)
    assert (
        await sources.rows("d", "ldap:///uid=$user,ou=people%2cdc=example%2cdc=com?mail?base", {"user": "ann"})
    ).rows
    assert len((await sources.rows("d", "ldap:///")).rows) == 100
    assert len((await sources.rows("d", "ldap:///", most=-1)).rows) == 302
    assert len((await sources.rows("d", "ldap:///", most=1)).rows) == 1


@pytest.mark.real("slapd")
@pytest.mark.parametrize(
    "evil", ["*)(uid=*", "*", "joe)(objectClass=*", "\\2a", "joe,ou=people", "joe+cn=x", "a=b", "#", ""]
)
async def test_a_parameter_is_never_a_filter_or_a_name(slapd: Slapd, made: Make, evil: str) -> None:
    sources = made(slapd.uri())
    assert (await sources.rows("d", "ldap:///?mail?sub?(uid=$rcpt)", {"rcpt": evil})).rows == ()
    assert (await sources.rows("d", f"ldap:///cn=$rcpt,{slapd.base}?mail?base", {"rcpt": evil or "x"})).rows == ()


@pytest.mark.real("slapd")
async def test_a_bind_alone_says_whether_a_password_is_right(slapd: Slapd, made: Make) -> None:
    sources = made(f"ldap://127.0.0.1:{slapd.port}/", no_cache=True)
    query = f"ldap:///????bindname=uid=$u%2c{slapd.base.replace(',', '%2c')},x-bindpw=$p"
    right = await sources.rows("d", query, {"u": "joe", "p": "joe-secret"})
    assert (right.columns, right.rows) == (("bind",), (("1",),))
    assert (await sources.rows("d", query, {"u": "joe", "p": "ann-secret"})).rows == ()
    assert (await sources.rows("d", query, {"u": "joe,ou=people", "p": "joe-secret"})).rows == ()
    with pytest.raises(DatasourceError, match="x-bindpw, which is empty"):
        await sources.rows("d", query, {"u": "joe", "p": ""})
    assert (await sources.rows("d", f"ldap:///{slapd.base}?mail?sub?(uid=joe)")).rows == (("joe@example.com",),)


@pytest.mark.real("slapd")
async def test_the_login_of_the_uri_is_taken_as_it_is(slapd: Slapd, made: Make) -> None:
    with pytest.raises(DatasourceError, match="LDAP takes parameters by name only"):
        await made(slapd.uri()).rows("d", "ldap:///?mail??(uid=$u)", ("joe",))
    login = f"????bindname=uid=joe%2c{slapd.base.replace(',', '%2c')},x-bindpw="
    rows = await made(slapd.uri(f"{login}joe-secret")).rows("d", "ldap:///?mail??(uid=$u)", {"u": "ann"})
    assert rows.rows == (("ann@example.com",),)
    with pytest.raises(DatasourceError, match=r"Invalid credentials"):
        await made(slapd.uri(f"{login}pa$word")).rows("d", "ldap:///?mail??(uid=$u)", {"u": "ann"})


# ---------------------------------------------------------------- Redis


@pytest.mark.real("redis-server")
async def test_redis_answers_commands(redis: RedisServer, made: Make) -> None:
    sources = made(f"redis://127.0.0.1:{redis.port}/3", no_cache=True)
    await sources.execute("d", "HSET $u quota 5 'full name' 'Joe Doe'", {"u": "user:joe"})
    await sources.execute("d", "RPUSH list a b c")
    hashed = await sources.rows("d", "HGETALL user:?", ("joe",))
    assert (hashed.columns, hashed.rows) == (("quota", "full name"), (("5", "Joe Doe"),))
    some = await sources.rows("d", "HMGET user:joe quota none")
    assert (some.columns, some.rows) == (("quota", "none"), (("5", ""),))
    assert (await sources.rows("d", "LRANGE list 0 -1")).rows == (("a",), ("b",), ("c",))
    assert (await sources.rows("d", "GET nothing")).rows == ()
    for evil in ("joe quota\r\nFLUSHALL", "x' 'y", "*"):
        await sources.execute("d", "SET $k $k", {"k": evil})
        assert (await sources.rows("d", "GET ?", (evil,))).rows == ((evil,),)
    with pytest.raises(DatasourceError, match="WRONGTYPE"):
        await sources.rows("d", "GET list")
    with pytest.raises(DatasourceError, match="SUBSCRIBE cannot be used here"):
        await sources.rows("d", "subscribe x")


@pytest.mark.real("redis-server")
async def test_a_long_list_of_redis_holds_up_nobody(
    redis: RedisServer, made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = room._Bounded._counted
    parts, most = 0, 0

    def counting(bounded: Any, octets: bytes) -> bytes:
        nonlocal parts, most
        parts += 1
        most = max(most, parts)
        return counted(bounded, octets)

    async def others() -> None:
        nonlocal parts
        while True:
            await asyncio.sleep(0)
            parts = 0

    monkeypatch.setattr(room._Bounded, "_counted", counting)
    sources = made(f"redis://127.0.0.1:{redis.port}/5", no_cache=True)
    await sources.execute("d", "EVAL \"for i=1,20000 do redis.call('RPUSH','long',i) end\" 0")
    task = asyncio.get_running_loop().create_task(others())
    rows = (await sources.rows("d", "LRANGE long 0 -1", most=-1)).rows
    task.cancel()
    assert rows[19_999] == ("20000",)
    assert 0 < most <= room.PARTS_TOGETHER, "parts that are read in one turn of the loop"


@pytest.mark.real("redis-server")
async def test_a_reply_of_redis_is_bounded(redis: RedisServer, made: Make, beat: Callable[[], int]) -> None:
    sources = made(f"redis://127.0.0.1:{redis.port}/4", no_cache=True)
    await sources.execute(
        "d", "EVAL \"local s=string.rep('x',100) for i=1,200000 do redis.call('RPUSH','big',s) end\" 0"
    )
    with pytest.raises(DatasourceError, match="the result is larger than 16 MiB"):
        await sources.rows("d", "LRANGE big 0 -1")
    assert len((await sources.rows("d", "LRANGE big 0 999")).rows) == 100
    assert beat() > 2
    with pytest.raises(DatasourceError, match=r"no result within (1|0\.9[0-9]*) seconds"):
        await made(f"redis://127.0.0.1:{redis.port}/4", timeout=1.0).rows("d", "BLPOP never 0")


# ---------------------------------------------------------------- all of them


async def test_a_result_that_was_kept_stays_although_a_statement_has_changed_it(sqlite: Path, made: Make) -> None:
    for life, found in ((3600.0, ()), (0.0, (("1",),))):  # as in the manual's script for senders of large messages
        sources = made(f"sqlite:{sqlite}", cache_life=life)
        query, who = "select 1 from users where name = :who", {"who": f"large {life}"}
        assert (await sources.rows("d", query, who)).rows == ()
        await sources.execute("d", "insert into users (name) values (:who)", who)
        assert (await sources.rows("d", query, who)).rows == found


@pytest.mark.real("postgres")
async def test_postgres_says_every_type_as_psql_does(postgres: Postgres, made: Make) -> None:
    values = {
        "boolean": "t", "bigint": "-9", "numeric(6,2)": "1.50", "double precision": "0.1", "date": "2026-02-28",
        "timestamptz": "2026-02-28 12:00:00+00", "interval": "1 day", "inet": "192.0.2.1", "cidr": "192.0.2.0/24",
        "uuid": "5b30857f-0bfa-48b5-ac0b-5c64e28078d1", "json": '{"a": 1}', "jsonb": '{"a": 1}', "bytea": "\\x00ff",
        "char(3)": "ab ", "time": "12:30:00", "money": "$5.00", "xml": "<a/>",
    }  # fmt: skip
    sources = made(postgres.uri())
    await sources.rows("d", "select set_config('TimeZone', 'UTC', false)", fresh=True)
    for kind, value in values.items():
        query = f"select :x::{kind}, (null::{kind}) is null"
        assert (await sources.rows("d", query, {"x": value})).rows == ((value, "t"),), kind
    rows = await sources.rows("d", "select array['a', 'b'], 1 as n where array[1, 2] @> array[$x::int]", {"x": "2"})
    assert rows.rows == ((("a", "b"), "1"),)


async def test_a_second_server_answers_for_a_first_that_is_gone(sqlite: Path, made: Make) -> None:
    sources = made("sqlite:/nowhere", f"sqlite:{sqlite}", "redis://127.0.0.1:1", no_cache=True)
    assert sources.most_connections == 12
    for _ in range(4):
        assert (await sources.rows("d", "select name from users where quota = ?", ("7",))).rows == (("ann",),)


def _with_children(first: int) -> list[int]:
    return [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]


@pytest.mark.real("postgres")
async def test_of_two_real_servers_the_other_answers_when_one_hangs_or_is_killed(
    postgres: Postgres, made: Make, beat: Callable[[], int]
) -> None:
    with Postgres() as other:
        sources = made(postgres.uri(), other.uri(), no_cache=True, timeout=4.0)
        port, seen = "select inet_server_port()::text", set()
        for _ in range(4):
            seen.add((await sources.rows("d", port)).rows[0][0])
        assert seen == {str(postgres.port), str(other.port)}
        hanging = _with_children(other.running.process.pid)
        for each in hanging:
            os.kill(each, signal.SIGSTOP)
        before = beat()
        found = [(await sources.rows("d", port)).rows[0][0] for _ in range(4)]  # one of them waits for half the time
        assert found == [str(postgres.port)] * 4
        assert beat() > before + 2
        for each in hanging:
            os.kill(each, signal.SIGKILL)
        assert [(await sources.rows("d", port)).rows[0][0] for _ in range(4)] == [str(postgres.port)] * 4
        await sources.close()


async def test_each_server_that_does_not_answer_is_named(sqlite: Path, made: Make) -> None:
    silent = Silent()
    sources = made(f"sqlite:{sqlite}", "sqlite:/nowhere", f"pgsql:host=127.0.0.1;port={silent.port};password=hunter2")
    found = await sources.problems(0.3)
    silent.close()
    assert [(server, reason) for _, server, reason in found] == [
        ("sqlite:/nowhere", "/nowhere: unable to open database file"),
        (f"pgsql:host=127.0.0.1;port={silent.port};password=***", "no answer within 0.3 seconds"),
    ]
