"""The policy that sites can start from (etc/start_policy.conf), unchanged, with two workers and real callbacks.

Only the delay of greylisting, and where exchangers are, are changed.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.exchanger import Exchanger, says
from tests.support.house import greeted, opened
from tests.support.ringback import Ringback
from tests.support.waiting import eventually_answered
from tests.support.warm import ROOT
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

KNOWN, FORGED = "known@ok.test", "forged@ok.test"
BOB = "b@example.com"
LETTER = b"Subject: x\r\n\r\nx\r\n"


async def _house(stage: Stage, folder: Path, upstream: Exchanger, *lines: str, delay: float = 1) -> Ringback:
    (folder / "state").mkdir()
    await stage.exchanger("ok.test", recipients={FORGED: says("550 5.1.1 no such user")})
    given: dict[str, Any] = {"nameserver": stage._nameserver.address, "upstream_port": upstream.port}
    return await opened(
        stage, folder,
        f'State_Directory = "{folder}/state"', "Workers = 2", "Relay_Domains = ( example.com )",
        f'include "{ROOT}/etc/start_policy.conf"',
        f'greylist "start" {{ delay = {delay} }}',
        f'smtp_cbv "callback" {{\n  port = {stage.exchanger_port}\n  allow_networks = ( 127.0.0.0/8 )\n}}',
        *lines, **given,
    )  # fmt: skip


async def _rcpt(ringback: Ringback, sender: str = KNOWN, recipient: str = BOB, source: str | None = None) -> str:
    async with await greeted(ringback, source=source) as client:
        await client.ask(f"MAIL FROM:<{sender}>")
        return await client.ask(f"RCPT TO:<{recipient}>")


async def test_mail_is_greylisted_first_and_its_sender_asked_about_last(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    ringback = await _house(stage, tmp_path, upstream)
    assert (await _rcpt(ringback)).startswith("451 4.7.1 Greylisted, try again in 1 seconds")
    assert [each for each in ringback.log if each["event"] == "probe"] == []

    await asyncio.sleep(1.1)  # not by polling: a client without a host name may make 60 connections in an hour
    assert (await _rcpt(ringback)).startswith("250 ")
    assert (await _rcpt(ringback, FORGED)).startswith("451 4.7.1 Greylisted")
    await asyncio.sleep(1.1)
    assert (await _rcpt(ringback, FORGED)).startswith("550 5.1.7 Sender address rejected")
    async with await greeted(ringback) as client:
        assert (await client.deliver(KNOWN, [BOB], LETTER)).startswith("250 ")


async def test_mail_without_a_sender_waits_at_the_end_only(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    ringback = await _house(stage, tmp_path, upstream)
    assert (await _rcpt(ringback, "")).startswith("250 ")  # a callback of another site hears what it asks for

    async def delivered() -> bool:
        async with await greeted(ringback) as client:
            return (await client.deliver("", [BOB], LETTER)).startswith("250 ")

    async with await greeted(ringback) as client:
        assert (await client.deliver("", [BOB], LETTER)).startswith("451 4.7.1 Greylisted")
    await eventually_answered(delivered, "a retry passes")


async def test_a_client_that_guesses_addresses_is_put_off_in_all_workers(stage: Stage, tmp_path: Path) -> None:
    names = [f"u{number}@example.com" for number in range(21)]
    upstream = await stage.upstream(recipients={name: says("550 5.1.1 unknown user") for name in names})
    ringback = await _house(stage, tmp_path, upstream)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await greeted(ringback)) for _ in range(3)]
        for client in clients:
            await client.ask("MAIL FROM:<>")
        for number, name in enumerate(names):
            assert (await clients[number % 3].ask(f"RCPT TO:<{name}>")).startswith("550 5.1.1")
    assert await _rcpt(ringback, "") == "451 4.7.1 Too many unknown recipients, try again later"
    assert (await _rcpt(ringback, "", source="127.0.0.9")).startswith("250 ")


async def test_too_many_connections_at_once_are_refused_over_all_workers(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    ringback = await _house(stage, tmp_path, upstream)
    async with AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(await greeted(ringback))
        late = await ringback.conversation()
        assert late.banner.startswith("421 4.7.0 Too many connections from your address")
        late.abort()
        await stack.enter_async_context(await greeted(ringback, source="127.0.0.9"))


async def test_hosts_of_ones_own_are_not_held_up(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    ringback = await _house(stage, tmp_path, upstream, "Relay_Hosts = ( 127.0.0.1/32 )", delay=60)
    assert (await _rcpt(ringback, "anybody@unknown.test")).startswith("250 ")
    assert (await _rcpt(ringback, source="127.0.0.9")).startswith("451 4.7.1 Greylisted")
