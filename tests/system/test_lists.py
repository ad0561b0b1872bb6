"""Lists in a running server with two workers: what operators add holds everywhere at once, and outlives everything."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.consoles import refused
from tests.support.conversation import Conversation
from tests.support.house import greeted
from tests.support.ringback import ended
from tests.support.waiting import eventually, eventually_answered
from tests.support.world import Stage
from tests.system.test_console import Desk, _answers, desk, of

pytestmark = pytest.mark.real("dnsmasq")

SCRIPT = """\
$def = hash_create;
hash_set $def "cidrname" "static";
hash_set $def "dstype" "rbldnsd";
hash_set $def "query" "FILE?want=txt";
hash_set $def "type" "value";
hash_set $def "interpolate" "true";
define_cidr $def;
if check_cidr "asked" {
  $why = ec_list_reason "asked";
  ec_action 550 "5.7.1 asked: ${why}";
}
$text = query_cidr "static";
if not ec_test :is $text "" { ec_action 550 "5.7.1 ${text}"; }
"""


async def banners(at: Desk, source: str, count: int = 12) -> set[str]:
    """Return what several connections hear, so that every worker is asked."""
    found = []
    for _ in range(count):
        async with await Conversation.open("127.0.0.1", at.ringback.port, source=source) as client:
            found.append(client.banner)
    return set(found)


def refusals(at: Desk) -> list[dict[str, Any]]:
    return [each for each in of(at, "refused") if each["client"] == "127.0.0.2"]


async def to_mail(at: Desk, source: str, count: int = 8) -> set[str]:
    found = []
    for _ in range(count):
        async with await greeted(at.ringback, source=source) as client:
            found.append(await client.ask("MAIL FROM:<a@ok.test>"))
    return set(found)


async def test_an_operator_lists_a_network_for_all_workers_and_it_outlives_them(stage: Stage, tmp_path: Path) -> None:
    static = tmp_path / "static.txt"
    static.write_text("127.0.0.7:2:Static $\n")
    script = SCRIPT.replace("FILE", str(static))
    lines = ["Workers = 2", 'Refuse_Lists = ( "blocked" )', 'Client_Lists = ( "asked" )']
    at = await desk(stage, tmp_path, *lines, scripts={"mailfrom_phase1": script})
    usual = await banners(at, "127.0.0.2")
    assert all(each.startswith("220 ") for each in usual)

    assert await at("list add blocked 127.0.0.2/32 1h sends viruses") == "127.0.0.2/32 is in blocked for 1h"
    hears = {"554 5.7.1 sends viruses"}
    assert await banners(at, "127.0.0.2") == hears
    assert await banners(at, "127.0.0.3") == usual
    await eventually(lambda: {each["worker"] for each in refusals(at)} == {1, 2}, "both workers refused it")
    assert {each["decided_by"] for each in refusals(at)} == {"list blocked"}
    (row,) = await at.of("list show")
    assert (row["list"], row["network"], row["reason"]) == ("blocked", "127.0.0.2/32", "sends viruses")
    assert 3500 < row["seconds_left"] <= 3600
    await eventually_answered(lambda: _why(at, "127.0.0.2"), "the history tells who decided and why")

    # a worker and the control process crash; then the file is loaded again; then the service restarts
    for pid in (at.ringback.workers[0], at.ringback.controls[0]):
        os.kill(pid, signal.SIGKILL)
    await eventually_answered(lambda: _restarted(at), "both are replaced")
    assert await banners(at, "127.0.0.2") == hears
    at.ringback.program.process.send_signal(signal.SIGHUP)
    await eventually(lambda: of(at, "reloaded"), "the file is loaded again")
    await eventually(lambda: len(of(at, "worker_ended")) == 2, "the old workers have ended")
    assert await banners(at, "127.0.0.2") == hears
    await eventually_answered(lambda: _answers(at), "the console answers again")
    at.ringback.stop()
    await at.ringback.started()
    assert await banners(at, "127.0.0.2") == hears

    # a script asks a list, and a static one that is defined in it
    await eventually_answered(lambda: _answers(at), "the console answers again")
    await at("list add asked 127.0.0.4 1h tests us")
    assert await to_mail(at, "127.0.0.4") == {"550 5.7.1 asked: tests us"}
    assert await to_mail(at, "127.0.0.7") == {"550 5.7.1 Static 127.0.0.7"}
    static.write_text("127.0.0.8:2:Static $\n")
    assert (await at("cidrdb list")).startswith("static [refresh in ")
    assert await at("cidrdb reload static") == "static is loaded: 1 networks"
    await eventually_answered(lambda: _hears(at, "127.0.0.7", "250 "), "all workers have the new list")
    assert await to_mail(at, "127.0.0.8") == {"550 5.7.1 Static 127.0.0.8"}

    # an open session is refused at its next message, and the removed client is welcome again
    async with await greeted(at.ringback, source="127.0.0.5") as client:
        await at("list add blocked 127.0.0.0/29 1h")
        assert await client.ask("MAIL FROM:<a@ok.test>") == "554 5.7.1 Your address is not welcome here"
    await at("list remove blocked 127.0.0.0/29")
    await at("list remove blocked 127.0.0.2")
    assert await banners(at, "127.0.0.2") == usual
    assert await at("list show blocked") == "nothing is listed"


async def _why(at: Desk, client: str) -> bool:
    _, told, _ = await asyncio.to_thread(ended, "why", "-c", at.ringback.configuration, client)
    return "list blocked" in told and "sends viruses" in told and "operator=" in told


async def _restarted(at: Desk) -> bool:
    found = await at.of("workers")
    return found["restarts"]["died"] >= 1 and await _answers(at)


async def _hears(at: Desk, source: str, wanted: str) -> bool:
    return all(each.startswith(wanted) for each in await to_mail(at, source))


async def test_an_entry_ends_and_mistakes_are_refused(stage: Stage, tmp_path: Path) -> None:
    at = await desk(stage, tmp_path, 'Refuse_Lists = ( "blocked" )')
    await at("list add blocked 127.0.0.2 1s short")
    await eventually_answered(lambda: _ended(at), "it has ended")
    assert (await banners(at, "127.0.0.2", 1)).pop().startswith("220 ")
    for line, why in (
        (
            "list add bloked 127.0.0.2 1h",
            'no list is called "bloked": there is blocked; name it in Client_Lists or Refuse_Lists',
        ),
        ("list add blocked 127.0.0 1y", '"1y" is not a time: write 30m, 1h, 2d or forever'),
        ("list add blocked mail.test 1h", '"mail.test" is not a network: write 192.0.2.1'),
        ("list remove blocked 192.0.2.1", 'no network in blocked is called "192.0.2.1/32": there is none'),
        ("cidrdb reload blocked", 'no list is called "blocked"'),
    ):
        assert why in await refused(at.folder, line)
    assert await at("cidrdb list") == "no list is defined"
    explained = await at("explain client=127.0.0.2 from=a@ok.test rcpt=b@example.com")
    assert "554 5.7.1" not in explained
    await at("list add blocked 127.0.0.2 forever \x1b[2Jx")
    assert "554 5.7.1" in await at("explain client=127.0.0.2 from=a@ok.test rcpt=b@example.com")
    assert "\x1b" not in await at("list show")


async def _ended(at: Desk) -> bool:
    return any(each["change"] == "ended" for each in of(at, "list_changed"))


DATABASE = """\
Datasource "db" {{ uri = ( "sqlite:{path}" ) }}
"""

BY_QUERY = """\
define_cidr "bad" "db" "select net from listed" 600;
if check_cidr "bad" { ec_action 550 "5.7.1 listed"; }
"""


async def test_a_list_comes_from_a_database(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "lists.db"
    with closing(sqlite3.connect(path)) as made:
        made.execute("create table listed (net text)")
        made.execute("insert into listed values ('127.0.0.6'), (null), ('2001:db8::/32')")
        made.commit()
    at = await desk(stage, tmp_path, DATABASE.format(path=path), scripts={"mailfrom_phase1": BY_QUERY})
    assert await to_mail(at, "127.0.0.6", 2) == {"550 5.7.1 listed"}
    assert all(each.startswith("250 ") for each in await to_mail(at, "127.0.0.2", 2))
    with closing(sqlite3.connect(path)) as changed:
        changed.execute("drop table listed")
        changed.commit()
    assert "it stays as it was" in await refused(at.folder, "cidrdb reload bad")
    assert await to_mail(at, "127.0.0.6", 2) == {"550 5.7.1 listed"}
