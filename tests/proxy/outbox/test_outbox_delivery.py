"""How a letter leaves the outbox: when it is tried, what ends it, and who is told."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.mail.session import Letter
from proxy.modules.sieve_policy.effects import path_of
from proxy.options.outbound import OutboundOptions
from proxy.outbox.deliver import Deliverer, pause
from proxy.outbox.store import OutboxStore
from proxy.upstream.pools import Pools
from proxy.upstream.routes import Router
from tests.support.exchanger import Exchanger, Step, breaks_off, closes, is_silent, says
from tests.support.waiting import eventually
from tests.support.worker import BOB, assembly, resolver

CREATOR = "creator@here.test"
CONTENT = b"Subject: x\r\n\r\n.dot\r\nbody\r\n"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Scene:
    store: OutboxStore
    deliverer: Deliverer
    pools: Pools
    clock: Clock

    async def put(self, sender: str = CREATOR, recipient: str = BOB, content: bytes = CONTENT) -> None:
        await self.store.add([Letter(path_of(sender), (path_of(recipient),), content, "forward")], "t.1")
        self.deliverer.wake()

    async def due(self) -> float | None:
        """Wait until no delivery is under way; return in how many seconds the next is due."""
        await eventually(lambda: not len(self.deliverer._deliveries), "deliveries end")
        found = await self.store.next_due()
        return None if found is None else found - self.clock.now

    async def later(self, seconds: float) -> None:
        self.clock.now += seconds
        self.deliverer.wake()


@asynccontextmanager
async def scene(port: int, folder: Path, **options: object) -> AsyncIterator[Scene]:
    clock = Clock()
    store = OutboxStore(folder, clock)
    pools = Pools(resolver())
    deliverer = Deliverer(store, Router(assembly(port, **options).settings), pools, "ringback.test")
    deliverer.start()
    try:
        yield Scene(store, deliverer, pools, clock)
    finally:
        await deliverer.stop()
        await store.close()
        await pools.close()


async def delivered(upstream: Exchanger, count: int = 1) -> None:
    await upstream.until(lambda: len(upstream.messages) == count, f"{count} messages")


async def test_a_letter_goes_to_the_next_hop_unchanged(tmp_path: Path) -> None:
    async with Exchanger() as upstream, scene(upstream.port, tmp_path) as on:
        await on.put()
        await delivered(upstream)
        (message,) = upstream.messages
        assert (message.sender, message.recipients) == (
            f"MAIL FROM:<{CREATOR}> BODY=8BITMIME",
            (f"RCPT TO:<{BOB}>",),
        )
        assert message.content == CONTENT
        assert await on.due() is None


@pytest.mark.parametrize(("address", "parameter"), [("jürgen@example.com", " SMTPUTF8"), (BOB, "")])
async def test_an_address_beyond_ascii_is_announced(tmp_path: Path, address: str, parameter: str) -> None:
    async with Exchanger() as upstream, scene(upstream.port, tmp_path) as on:
        await on.put(recipient=address)
        await delivered(upstream)
        assert upstream.messages[0].sender == f"MAIL FROM:<{CREATOR}> BODY=8BITMIME{parameter}"


async def test_an_mta_without_8bitmime_gets_the_letter_all_the_same(tmp_path: Path) -> None:
    async with Exchanger(extensions=()) as upstream, scene(upstream.port, tmp_path) as on:
        await on.put(content=b"Subject: \xe4\r\n\r\n\xff\r\n")
        await delivered(upstream)
        assert upstream.messages[0].sender == f"MAIL FROM:<{CREATOR}>"
        assert upstream.messages[0].content == b"Subject: \xe4\r\n\r\n\xff\r\n"


@pytest.mark.parametrize("step", [Step.MAIL, Step.RCPT, Step.DATA, Step.DOT])
@pytest.mark.parametrize(
    "act",
    [says("451 4.3.0 later"), says("421 4.3.2 bye"), closes(), breaks_off(b"4"), says("530 5.7.0 authenticate")],
    ids=["451", "421", "closes", "breaks-off", "530"],
)
async def test_what_is_not_a_refusal_of_the_mail_is_tried_again(tmp_path: Path, step: Step, act: Any) -> None:
    async with Exchanger(script={step: act}) as upstream, scene(upstream.port, tmp_path) as on:
        await on.put()
        await upstream.until(lambda: upstream.count("MAIL") > 0, "a try")
        await eventually(lambda: not len(on.deliverer._deliveries), "the try ends")
        assert await on.due() == 300
        upstream.script.clear()
        await on.later(300)
        await delivered(upstream)
        assert await on.due() is None


async def test_a_silent_mta_is_left_when_its_time_is_over(tmp_path: Path) -> None:
    silent = {Step.EHLO: is_silent()}
    async with Exchanger(script=silent) as upstream, scene(upstream.port, tmp_path, Ehlo_Timeout=1) as on:
        await on.put()
        await upstream.until(lambda: upstream.count("EHLO") > 0, "a try")
        assert await on.due() == 300


async def test_a_connection_that_closed_while_it_was_idle_is_replaced_at_once(tmp_path: Path) -> None:
    async with Exchanger() as upstream, scene(upstream.port, tmp_path) as on:
        await on.put()
        await delivered(upstream)
        await on.due()
        upstream.dialogues[0].script[Step.MAIL] = closes()
        await on.put()
        await delivered(upstream, 2)
        assert await on.due() is None


async def test_an_mta_that_is_down_and_comes_back_gets_everything(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with scene(port, tmp_path) as on:
            await on.put()
            await eventually(lambda: not len(on.deliverer._deliveries), "the try ends")
            taken.close()
            async with Exchanger(port=port) as upstream:
                await on.later(300)
                await delivered(upstream)


async def test_a_permanent_refusal_is_reported_to_the_creator_once(tmp_path: Path) -> None:
    refuses = {BOB: says("550 5.1.1 No such user")}
    async with Exchanger(recipients=refuses) as upstream, scene(upstream.port, tmp_path) as on:
        await on.put()
        await delivered(upstream)
        (message,) = upstream.messages
        assert (message.sender, message.recipients) == ("MAIL FROM:<> BODY=8BITMIME", (f"RCPT TO:<{CREATOR}>",))
        for line in (
            b"\r\nFinal-Recipient: rfc822; bob@example.com\r\n",
            b"\r\nStatus: 5.1.1\r\n",
            b"\r\nDiagnostic-Code: smtp; 550 5.1.1 No such user\r\n",
            b"\r\nContent-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: x\r\n\r\n--",
        ):
            assert line in message.content
        assert await on.due() is None


async def test_a_letter_of_the_null_sender_that_is_refused_is_reported_to_nobody(tmp_path: Path) -> None:
    async with Exchanger(recipients={BOB: says("550 5.1.1 no")}) as upstream, scene(upstream.port, tmp_path) as on:
        await on.put(sender="")
        await upstream.until(lambda: upstream.count("RCPT") == 1, "a try")
        assert await on.due() is None
        assert upstream.messages == []


async def test_a_letter_that_is_too_old_is_given_up_and_reported(tmp_path: Path) -> None:
    async with Exchanger(recipients={BOB: says("451 4.2.0 full")}) as upstream, scene(upstream.port, tmp_path) as on:
        await on.put()
        await upstream.until(lambda: upstream.count("RCPT") == 1, "a try")
        assert await on.due() == 300
        await on.later(5 * 24 * 3600)
        await delivered(upstream)
        assert b"\r\nStatus: 4.4.7\r\nDiagnostic-Code: smtp; 451 4.2.0 full\r\n" in upstream.messages[0].content
        assert await on.due() is None


async def test_many_letters_go_a_few_at_a_time(tmp_path: Path) -> None:
    async with Exchanger() as upstream, scene(upstream.port, tmp_path) as on:
        for number in range(30):
            await on.put(recipient=f"user{number}@example.com")
        await delivered(upstream, 30)
        assert {each.recipients for each in upstream.messages} == {
            (f"RCPT TO:<user{number}@example.com>",) for number in range(30)
        }
        assert len(upstream.dialogues) <= 5
        assert await on.due() is None


async def test_a_refusal_in_the_middle_of_the_letter_is_a_refusal(tmp_path: Path) -> None:
    refuses = {Step.CONTENT: says("552 5.3.4 too big")}
    content = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 250_000
    async with Exchanger(script=refuses, content_limit=100_000) as upstream, scene(upstream.port, tmp_path) as on:
        await on.put(content=content)
        await delivered(upstream)
        assert b"\r\nStatus: 5.3.4\r\n" in upstream.messages[0].content


async def test_what_a_worker_cut_short_is_delivered_by_the_next(tmp_path: Path) -> None:
    async with Exchanger(script={Step.DOT: is_silent()}) as upstream:
        async with scene(upstream.port, tmp_path) as on:
            await on.put()
            await upstream.until(lambda: upstream.count("DATA") == 1, "a try")
            await on.deliverer._owner.cancel()
            await on.deliverer._deliveries.cancel()
        upstream.script.clear()
        async with scene(upstream.port, tmp_path):
            await delivered(upstream)


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(0, 300), (1, 600), (2, 1200), (4, 4800), (5, 7200), (6, 7200), (10_000, 7200)]
)
def test_pauses_double_up_to_two_hours(attempts: int, seconds: float) -> None:
    assert pause(attempts, OutboundOptions()) == seconds
