"""Greylisting in running servers: one list for all workers, after a restart, and for two servers with one Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.house import greeted, opened
from tests.support.ringback import Ringback
from tests.support.servers import RedisServer
from tests.support.waiting import eventually_answered
from tests.support.world import Stage
from tests.system.test_console import Desk, _answers, state
from tests.system.test_history import told

pytestmark = pytest.mark.real("dnsmasq")

STANZA = 'greylist "main" {\n  delay = 2\n  window = 1h\n  exempt_recipients = ( )\n}'
PASSIVE = 'greylist "main" passive {\n  delay = 2\n  window = 1h\n}'
SCRIPT = """\
($wait) = greylist "main";
if not ec_test :is "${wait}" "0" { ec_action 451 "4.7.1 wait ${wait}"; }
"""
DEFERRED = "451 4.7.1 Greylisted, try again in 2 seconds"


async def _rcpt(ringback: Ringback, recipient: str = "b@example.com") -> str:
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<a@sender.test>")
        return await client.ask(f"RCPT TO:<{recipient}>")


async def _passes(ringback: Ringback, recipient: str = "b@example.com") -> bool:
    return (await _rcpt(ringback, recipient)).startswith("250 ")


async def test_all_workers_have_one_list_that_outlives_a_restart(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    lines = (f'State_Directory = "{state(tmp_path)}"', "Workers = 2", STANZA)
    ringback = await opened(stage, tmp_path, *lines, upstream_port=upstream.port)
    at = Desk(ringback, upstream, state(tmp_path))
    assert await _rcpt(ringback) == DEFERRED
    await eventually_answered(lambda: _passes(ringback), "another attempt passes")
    assert [await _passes(ringback) for _ in range(6)] == [True] * 6  # whichever worker they come to
    await told(ringback, "b@example.com", ("was deferred", "Greylisted, try again in ", "Decided by main, a module."))

    await eventually_answered(lambda: _answers(at), "the console answers")
    (row,) = await at.of("greylist show 127.0.0.")
    assert (row["client"], row["sender"], row["recipient"]) == ("127.0.0.0/24", "a@sender.test", "b@example.com")
    assert row["passed"] >= 7

    await asyncio.to_thread(ringback.stop)
    await asyncio.to_thread(ringback.start)
    assert await _passes(ringback)
    await eventually_answered(lambda: _answers(at), "the console answers")
    assert await at("greylist forget 127.0.0.0/24") == "forgot 1 entries"
    assert await at("greylist show") == "nothing is known"
    assert await _rcpt(ringback) == DEFERRED


@pytest.mark.real("redis-server")
async def test_a_retry_may_come_to_another_server_with_the_same_redis(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    with RedisServer() as redis:
        made = []
        for name, stanza in (("one", STANZA), ("other", PASSIVE)):
            folder = tmp_path / name
            folder.mkdir()
            lines = (f'State_Directory = "{state(folder)}"', f'Script_Store = "redis://{redis.address}/0"', stanza)
            scripts = {"rcptto_phase1": SCRIPT} if name == "other" else {}
            made.append(await opened(stage, folder, *lines, upstream_port=upstream.port, scripts=scripts))
        one, other = made
        assert await _rcpt(one) == DEFERRED
        assert (await _rcpt(other)).startswith("451 4.7.1 wait ")
        await eventually_answered(lambda: _passes(other), "another attempt passes there, by the script")
        assert await _passes(one)
        await asyncio.to_thread(redis.kill)
        assert await _passes(one, "new@example.com")  # on_store_error = accept
