"""The policy to start from, in the demonstration's world: what its samples then hear."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.cli.serving import alone
from proxy.demo import world as of_world
from proxy.demo.client import ConversationResult, SampleMessage, send
from proxy.demo.samples import OURS, STAFF
from proxy.demo.timeline import Timeline
from proxy.demo.world import DemoWorld, open_world

ETC = Path(__file__).parents[3] / "etc"


def _shipped(folder: Path) -> Path:
    """Copy what ships, with the start policy in place of the callback script, and a delay of a second."""
    shutil.copytree(ETC, folder / "etc")
    main, policy = folder / "etc/ecelerity.conf", folder / "etc/start_policy.conf"
    text = main.read_text().replace('include "sender_callback.conf"', 'include "start_policy.conf"')
    main.write_text(re.sub(r"(?m)^smtp_cbv \{ enforce = false \}$", "", text))
    text = policy.read_text().replace("delay = 60", "delay = 1")
    policy.write_text(text.replace('smtp_cbv "callback"', 'smtp_cbv "smtp_cbv"'))  # which the world configures
    return main


@asynccontextmanager
async def _opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DemoWorld]:
    monkeypatch.setattr(of_world, "shipped_configuration", lambda: _shipped(folder))
    async with open_world(Timeline(), alone) as world:
        yield world


async def _sent(world: DemoWorld, sender: str) -> ConversationResult:
    return await send(world.address, SampleMessage(sender, OURS, "Lunch", "Noon?"), world.timeline)


async def test_the_start_policy_in_the_world_of_the_demonstration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _opened(tmp_path, monkeypatch) as world:
        for sender in (f"alice@{STAFF}", f"ghost@{STAFF}"):
            first = await _sent(world, sender)
            assert (first.stage, first.code) == ("RCPT", 451)
            assert first.text.startswith("4.7.1 Greylisted, try again in 1 seconds")
        assert world.asked() == ()
        await asyncio.sleep(1.1)
        known, forged = await _sent(world, f"alice@{STAFF}"), await _sent(world, f"ghost@{STAFF}")
        assert known.accepted
        assert (forged.stage, forged.code) == ("RCPT", 550)
        assert forged.text.startswith("5.1.7 Sender address rejected")
        assert world.asked() == (f"alice@{STAFF}", f"ghost@{STAFF}")
        bounce = await _sent(world, "")
        assert (bounce.stage, bounce.code) == ("dot", 451)
