"""inbound_audit: what is counted for a client, and how the stanza is written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from config.diagnostics import render
from proxy.app import load, load_service
from proxy.base.rejected import ConfigurationRejected
from proxy.counting.base import Counting, answered
from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import Present, Sum
from proxy.counting.presence import key_of
from proxy.counting.traffic import CONNECT, RECEPTION, REJECTION, series_of
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger, Step, says
from tests.support.waiting import eventually
from tests.support.worker import Configuration

ADDRESS = ip_address("127.0.0.1").packed
STANZA = 'inbound_audit "audit" { monitors = ( "3600,2" ) }'


@asynccontextmanager
async def served(folder: Path, upstream: Exchanger) -> AsyncIterator[tuple[Conversation, MemoryCounting]]:
    """Serve with the module; yield a client, and what the worker counts with."""
    made = Configuration(folder, upstream.port)
    made.lines += [STANZA, "Script_Store = memory"]
    worker = load_service(made.write())
    await worker.start()
    try:
        async with await Conversation.connect(*worker.addresses[0]) as client:
            await client.reply()
            await client.ehlo()
            assert isinstance(worker.counting, MemoryCounting)
            yield client, worker.counting
    finally:
        await worker.stop(now=True)


async def counted(counting: Counting) -> list[int]:
    series = [series_of(kind, here=True) for kind in (CONNECT, RECEPTION, REJECTION)]
    return [await answered(counting, Sum(each, 3600, 2, ADDRESS, 8, 0, 1, here=True)) for each in series]


async def test_connections_accepted_mail_and_refusals_by_policy_are_counted(tmp_path: Path) -> None:
    async with Exchanger() as upstream, served(tmp_path, upstream) as (client, counting):
        assert await counted(counting) == [1, 0, 0]
        open_now = Present(key_of(None), ADDRESS, 8)
        assert counting.ask(open_now) == 1
        assert (await client.deliver("a@sender.test", ["b@example.com"], b"Subject: x\r\n\r\nx\r\n")).startswith("250")
        assert await counted(counting) == [1, 1, 0]
        await client.ask("MAIL FROM:<a@sender.test>")
        assert (await client.ask("RCPT TO:<b@elsewhere.test>")).startswith("550")
        assert await counted(counting) == [1, 1, 1]
        await client.ask("NONSENSE")
        await client.ask("RSET")
        assert await counted(counting) == [1, 1, 1]
        await client.ask("QUIT")
        await eventually(lambda: counting.ask(open_now) == 0, "its connection is no longer open")


async def test_what_the_next_hop_refuses_is_no_rejection(tmp_path: Path) -> None:
    script = {Step.RCPT: says("550 5.1.1 no such user")}
    async with Exchanger(script=script) as upstream, served(tmp_path, upstream) as (client, counting):
        await client.ask("MAIL FROM:<a@sender.test>")
        assert (await client.ask("RCPT TO:<b@example.com>")).startswith("550")
        assert await counted(counting) == [1, 0, 0]


@pytest.mark.parametrize(
    "stanza",
    [
        'inbound_audit { monitors = ( "300,6" "1800,4" ) }',
        'Validate validate/inbound_audit inbound_audit { monitor = "300,6" monitor = "1800,4" }',
        'Validate validate/inbound_audit inbound_audit {\n  monitor = "300,6"\n  monitor = "1800,4"\n}',
    ],
)
def test_monitors_are_written_as_in_each_version_of_momentum(tmp_path: Path, stanza: str) -> None:
    made = Configuration(tmp_path, 25)
    made.lines.append(stanza)
    assembly, _ = load(made.write())
    assert assembly.monitors == [(300, 6), (1800, 4)]


@pytest.mark.parametrize("monitor", ["300", "0,6", "300,0", "a,b", ""])
def test_a_monitor_that_is_none_is_an_error_that_says_what_to_write(tmp_path: Path, monitor: str) -> None:
    made = Configuration(tmp_path, 25)
    made.lines.append(f'inbound_audit {{ monitor = "{monitor}" }}')
    with pytest.raises(ConfigurationRejected) as rejected:
        load(made.write())
    assert 'write the seconds of a window and their number: "300,6"' in render(rejected.value.diagnostics)


def warnings(folder: Path, *lines: str, script: str = "") -> str:
    made = Configuration(folder, 25)
    made.lines += lines
    if script:
        made = made.scripts(mailfrom_phase1=script)
    _, found = load(made.write())
    return render([each for each in found if "Script_Store shares nothing" in each.message])


def test_check_warns_if_what_machines_should_share_is_not_shared(tmp_path: Path) -> None:
    shares = 'Script_Store = "redis://redis.example.com/0"'
    cluster = 'Cluster { Replicate "shared_named_throttles" { } }'
    line_of_2_2 = 'Logger cluster/ec_cluster cluster { replicate [ type = "metrics" ] }'
    throttle = 'ec_shared_throttle_create "t" "1/60";'
    own = 'ec_throttle_create "t" "1/60";'
    assert "Cluster replicates shared_named_throttles" in warnings(tmp_path, cluster)
    assert "Cluster replicates metrics" in warnings(tmp_path, line_of_2_2)
    assert "scripts use shared throttles" in warnings(tmp_path, script=throttle)
    assert warnings(tmp_path, script=own) == ""
    assert warnings(tmp_path, cluster, shares, script=throttle) == ""
