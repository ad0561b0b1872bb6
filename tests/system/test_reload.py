"""SIGHUP: the configuration is loaded again, and clients notice nothing but what it says."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.house import opened
from tests.support.waiting import eventually
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")


async def test_sighup_puts_a_changed_configuration_in_force(stage: Stage) -> None:
    upstream = await stage.upstream()
    ringback = await stage.ringback(upstream.port)
    text = ringback.configuration.read_text()
    async with await ringback.conversation() as open_session:
        ringback.configuration.write_text(text + '\nStatic_Banner = "after the change"\n')
        ringback.program.process.send_signal(signal.SIGHUP)
        await ringback.logged("reloaded")
        assert await open_session.reply() == "421 4.3.2 Reconfiguration in progress"
    await ringback.logged("worker_ended")  # until then the old one may take a client, and tells it to come again
    async with await ringback.conversation() as client:
        assert client.banner == "220 after the change"
        assert (await client.deliver("", ["b@example.com"], b"Subject: later\r\n\r\n")).startswith("250 ")


async def test_the_operator_may_word_what_clients_hear_of_a_reload(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    lines = ('Reconfig_Message = "4.3.2 Back in a moment"',)
    ringback = await opened(stage, tmp_path, *lines, upstream_port=upstream.port)
    async with await ringback.conversation() as open_session:
        ringback.program.process.send_signal(signal.SIGHUP)
        assert await open_session.rest() == b"421 4.3.2 Back in a moment\r\n"


async def test_sighup_with_a_mistake_leaves_everything_as_it_was(stage: Stage) -> None:
    upstream = await stage.upstream()
    ringback = await stage.ringback(upstream.port)
    async with await ringback.conversation() as open_session:
        ringback.configuration.write_text("Relay_Domain = ( example.com )\n")
        ringback.program.process.send_signal(signal.SIGHUP)
        await eventually(lambda: any(each["event"] == "reload_rejected" for each in ringback.log), "it was rejected")
        assert (await open_session.deliver("", ["b@example.com"], b"Subject: still\r\n\r\n")).startswith("250 ")
