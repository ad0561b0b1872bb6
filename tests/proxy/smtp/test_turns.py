"""`Inbound_Throttle_Messages`: messages of all clients take turns at MAIL."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from proxy.app import load
from proxy.counting.base import CountingUnavailable
from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import Counted, Operation, Reserve
from proxy.options.core import CoreOptions
from proxy.options.throttle import Throttle
from proxy.smtp.entrance import Entrance
from proxy.smtp.turns import PATIENCE_SECONDS
from tests.support.exchanger import Exchanger
from tests.support.waiting import eventually
from tests.support.worker import BOB, LETTER, WorkerStage, serving

TOO_MUCH = "450 4.7.1 Too much mail, try again later"


class Waiting(MemoryCounting):
    """Makes each message wait for some seconds."""

    def __init__(self, *waits: float) -> None:
        super().__init__()
        self.waits = list(waits)
        self.asked: list[Reserve] = []

    def ask(self, operation: Operation[object]) -> object:  # type: ignore[override]
        assert isinstance(operation, Reserve)
        self.asked.append(operation)
        wait = self.waits.pop(0)
        if wait < 0:
            raise CountingUnavailable
        return Counted(wait <= operation.patience, 1, wait, operation.count, 0.0)


def counts(stage: WorkerStage, counting: MemoryCounting) -> None:
    stage.worker.front.counting = counting


async def test_messages_within_the_rate_do_not_wait_and_the_next_is_told_to_come_later() -> None:
    async with Exchanger() as upstream, serving(upstream, inbound_throttle_messages='"2/600"') as stage:
        clients = [await stage.greeted() for _ in range(3)]
        assert [await each.ask("MAIL FROM:<>") for each in clients] == ["250 2.1.0 Sender OK"] * 2 + [TOO_MUCH]
        assert (await clients[2].ask("NOOP")).startswith("250 ")


async def test_a_message_beyond_the_rate_waits_for_its_turn_and_is_then_delivered() -> None:
    async with Exchanger() as upstream, serving(upstream, inbound_throttle_messages='"2"') as stage:
        counting = Waiting(0.05)
        counts(stage, counting)
        client = await stage.greeted()
        assert (await client.deliver("", [BOB], LETTER)).startswith("250 ")
        assert [(each.count, each.seconds, each.patience) for each in counting.asked] == [(2, 1, PATIENCE_SECONDS)]


async def test_a_client_that_leaves_while_it_waits_ends_its_session() -> None:
    async with Exchanger() as upstream, serving(upstream, inbound_throttle_messages='"2"') as stage:
        counting = Waiting(59.0)
        counts(stage, counting)
        client = await stage.greeted()
        await client.send_raw(b"MAIL FROM:<>\r\n")
        await eventually(lambda: counting.asked, "it waits")
        client.abort()
        await stage.ended()


async def test_other_sessions_go_on_while_one_waits() -> None:
    async with Exchanger() as upstream, serving(upstream, inbound_throttle_messages='"2"') as stage:
        counts(stage, Waiting(59.0, 0.0))
        waiting, other = await stage.greeted(), await stage.greeted()
        await waiting.send_raw(b"MAIL FROM:<>\r\n")
        async with asyncio.timeout(10):
            assert (await other.ask("MAIL FROM:<>")).startswith("250 ")


async def test_set_globally_all_addresses_take_turns_together_and_set_for_one_it_has_its_own() -> None:
    async with Exchanger() as upstream, serving(upstream, inbound_throttle_messages='"9/60"') as stage:
        counting = Waiting(0.0, 0.0)
        counts(stage, counting)
        await (await stage.greeted()).ask("MAIL FROM:<>")
        (entrance,) = stage.worker.entrances.values()
        other = await stage.greeted()
        for each in stage.worker.front.live:  # as if it were set for the listener
            own = {"inbound_throttle_messages": Throttle(9, 60)}
            each.dialogue.session.options = each.dialogue.session.options.model_copy(update=own)
        await other.ask("MAIL FROM:<>")
        assert [each.key for each in counting.asked] == [b"", entrance.address.encode()]


async def test_if_nobody_can_count_the_client_comes_again() -> None:
    async with Exchanger() as upstream, serving(upstream, inbound_throttle_messages='"9"') as stage:
        counts(stage, Waiting(-1.0))
        client = await stage.greeted()
        assert await client.ask("MAIL FROM:<>") == "451 4.3.0 Temporary failure, try again later"


async def test_a_client_over_its_own_rate_takes_no_turn() -> None:
    options = {"inbound_throttle_messages": '"9"', "message_rate_per_client": '"1/3600"'}
    async with Exchanger() as upstream, serving(upstream, **options) as stage:
        counting = Waiting(0.0, 0.0)
        counts(stage, counting)
        client = await stage.greeted()
        assert (await client.ask("MAIL FROM:<>")).startswith("250 ")
        await client.ask("RSET")
        assert await client.ask("MAIL FROM:<>") == TOO_MUCH
        assert len(counting.asked) == 1


def test_a_listener_that_sets_its_own_rate_has_its_own_turns(tmp_path: Path) -> None:
    path = tmp_path / "r.conf"
    path.write_text(
        'Gateway = "192.0.2.9"  Hostname = "ringback.test"  Relay_Domains = a.test\n'
        'Inbound_Throttle_Messages = "3"\n'
        'ESMTP_Listener { Listen "127.0.0.1:1" { Inbound_Throttle_Messages = "3/60" } Listen "127.0.0.1:2" { } }\n'
    )
    settings = load(path)[0].settings
    core = cast(CoreOptions, settings.core)
    own, common = [Entrance(each, settings).options("192.0.2.1") for each in core.esmtp_listener]
    assert (core.inbound_throttle_messages, own.inbound_throttle_messages) == (Throttle(3, 1), Throttle(3, 60))
    assert common.inbound_throttle_messages is core.inbound_throttle_messages
    assert own.inbound_throttle_messages is not core.inbound_throttle_messages
