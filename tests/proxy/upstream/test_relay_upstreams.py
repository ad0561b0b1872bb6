"""The relay before several upstreams: each recipient goes to its own, and no timer ends what is under way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from proxy.mail import replies
from proxy.mail.session import Path, Recipient, Session
from proxy.upstream.pool import ConnectionPool
from proxy.upstream.pools import Pools
from proxy.upstream.relay import UpstreamRelay
from proxy.upstream.routes import Router
from tests.support.exchanger import Act, Exchanger, Step, says
from tests.support.worker import ALICE, BOB, DAVE, LETTER, assembly, core, resolver, serving, settled

ERIN = "erin@two.test"
HOLD = 0.05
BOUND = 15.0


def path(address: str) -> Path:
    local_part, _, domain = address.rpartition("@")
    return Path(address.encode(), local_part, domain)


def serves_two_test(upstream: Exchanger) -> dict[str, object]:
    """Return the options by which two.test has an upstream of its own."""
    return {'Domain "two.test" { Gateway': f'"127.0.0.1:{upstream.port}" }}'}


@dataclass
class Both:
    """A session's transaction, and the pools of both upstreams: of example.com, and of two.test."""

    relay: UpstreamRelay
    session: Session
    one: ConnectionPool
    two: ConnectionPool

    async def offer(self, *addresses: str) -> list[int]:
        """Offer recipients together; return the codes that the client hears."""
        paths = [path(each) for each in addresses]
        answers = await self.relay.recipients(self.session.transaction, paths)
        for each, answer in zip(paths, answers, strict=True):
            if answer.accepted:
                self.session.transaction.add(Recipient(each))
        return [answer.code for answer in answers]

    async def deliver(self) -> int:
        """Hand the message over; return the code of the upstream's answer."""
        await self.relay.begin()
        return (await self.relay.finish(LETTER)).code

    async def each_has_its_own(self, one: Exchanger, two: Exchanger) -> None:
        """See that each place belongs to an unused connection, and each connection is in its own upstream's pool."""
        await settled(self.one, self.two)
        for pool, upstream in ((self.one, one), (self.two, two)):
            ports = [each.wire.transport.get_extra_info("peername")[1] for each in (*pool._idle, *pool._own.values())]
            assert ports == [upstream.port] * pool._slots.taken


@contextlib.asynccontextmanager
async def relaying(one: Exchanger, two: Exchanger, **options: object) -> AsyncIterator[Both]:
    settings = assembly(one.port, **options, **serves_two_test(two)).settings
    pools, router = Pools(resolver()), Router(settings)
    session = Session(asyncio.get_running_loop(), ("127.0.0.1", 1), ("127.0.0.1", 25), core())
    session.transaction.begin(path(ALICE), {})
    try:
        relay = UpstreamRelay(router, pools, session)
        yield Both(relay, session, pools.of(router.default), pools.of(router.of_domain("two.test")))
    finally:
        await pools.close()


@pytest.fixture
async def one() -> AsyncIterator[Exchanger]:
    async with Exchanger() as upstream:
        yield upstream


@pytest.fixture
async def two() -> AsyncIterator[Exchanger]:
    async with Exchanger() as upstream:
        yield upstream


# ---------------------------------------------------------------- each recipient to its own upstream


REFUSALS = [says("550 5.1.1 no such user"), says("450 4.2.0 greylisted"), says("503 5.5.1 of our own")]


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("together", [True, False])
async def test_where_all_recipients_of_one_upstream_are_refused_the_next_ones_own_is_asked(
    one: Exchanger, two: Exchanger, refusal: Act, *, together: bool
) -> None:
    one.recipients = {BOB: refusal, DAVE: refusal}
    heard = 451 if refusal is REFUSALS[2] else int(refusal.reply[:3])
    async with relaying(one, two) as both:
        offers = [(BOB, DAVE, ERIN)] if together else [(BOB,), (DAVE,), (ERIN,)]
        codes = [code for offer in offers for code in await both.offer(*offer)]
        assert codes == [heard, heard, 250]
        assert await both.deliver() == 250
        assert [each.recipients for each in two.messages] == [(f"RCPT TO:<{ERIN}>",)]
        assert (one.messages, one.count(f"RCPT TO:<{ERIN}>"), two.count(f"RCPT TO:<{BOB}>")) == ([], 0, 0)
        await both.each_has_its_own(one, two)


@pytest.mark.parametrize("refusal", ["550 5.7.1 not from there", "451 4.7.1 later"])
async def test_a_sender_that_one_upstream_refuses_is_not_refused_for_another(
    one: Exchanger, two: Exchanger, refusal: str
) -> None:
    one.script[Step.MAIL] = says(refusal)
    async with relaying(one, two) as both:
        code = int(refusal[:3])
        assert await both.offer(BOB, ERIN) == [code, 250]
        assert await both.deliver() == 250
        assert (len(one.messages), len(two.messages)) == (0, 1)
        await both.each_has_its_own(one, two)


async def test_a_recipient_of_another_upstream_than_those_accepted_is_put_off_and_the_mail_goes_on(
    one: Exchanger, two: Exchanger
) -> None:
    async with relaying(one, two) as both:
        assert await both.offer(BOB, ERIN, DAVE) == [250, replies.ONE_UPSTREAM_AT_A_TIME.code, 250]
        assert await both.deliver() == 250
        assert [each.recipients for each in one.messages] == [(f"RCPT TO:<{BOB}>", f"RCPT TO:<{DAVE}>")]
        assert two.count("MAIL") == 0
        await both.each_has_its_own(one, two)


@pytest.mark.parametrize("accepted", [True, False])
async def test_an_aborted_transaction_leaves_both_pools_their_own(
    one: Exchanger, two: Exchanger, *, accepted: bool
) -> None:
    one.recipients[BOB] = says("450 4.2.0 greylisted")
    if not accepted:
        two.recipients[ERIN] = says("450 4.2.0 greylisted")
    async with relaying(one, two) as both:
        assert await both.offer(BOB, ERIN) == [450, 250 if accepted else 450]
        both.relay.abort()
        await both.each_has_its_own(one, two)
        assert (len(both.one._idle), len(both.two._idle)) == (0, 1 if accepted else 0), "what was refused is ended"


async def test_clients_whose_recipients_are_refused_by_turns_never_use_up_the_places(
    one: Exchanger, two: Exchanger
) -> None:
    one.recipients[BOB] = says("450 4.2.0 greylisted")
    options = {"Relay_Domains": "( example.com two.test )", "Max_Outbound_Connections": 2, **serves_two_test(two)}
    async with serving(one, **options) as stage:
        for number in range(1, 5):
            client = await stage.greeted()
            answers = await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", f"RCPT TO:<{ERIN}>")
            assert [each[:3] for each in answers] == ["250", "450", "250"]
            assert (await client.ask("DATA")).startswith("354")
            assert await client.content(LETTER) == f"250 2.0.0 Ok: queued as {number:06X}"
            await client.quit()
        await stage.ended()
        assert [(pool._slots.taken, len(pool._idle)) for pool in stage.pools] == [(0, 0), (1, 1)]
        assert (len(one.messages), len(two.messages)) == (0, 4)
        client = await stage.greeted()
        assert (await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{DAVE}>"))[1] == "250 2.1.5 Ok"


# ---------------------------------------------------------------- the timer that gives an idle client's place back


def answers_late(gate: asyncio.Event) -> None:
    """Open the gate when every timer that runs now has fired; loops call timers in the order of their times."""
    asyncio.get_running_loop().call_later(2 * HOLD, gate.set)


async def test_a_recipient_said_twice_leaves_no_timer_that_ends_the_transaction_at_data(
    one: Exchanger, two: Exchanger
) -> None:
    gate = asyncio.Event()
    one.script[Step.DATA] = says("354 go on", until=gate)
    async with relaying(one, two, Upstream_Hold=HOLD) as both:
        assert await both.offer(BOB) == [250]
        assert await both.offer(BOB) == [250]
        answers_late(gate)
        assert await both.deliver() == 250
        (dialogue,) = one.dialogues
        assert [each[:4] for each in dialogue.commands] == ["EHLO", "MAIL", "RCPT", "DATA"]
        assert len(one.messages) == 1


@pytest.mark.parametrize("extensions", [("PIPELINING",), ()], ids=["pipelining", "one-by-one"])
async def test_a_recipient_said_twice_leaves_no_timer_that_ends_the_transaction_at_the_next(
    two: Exchanger, extensions: tuple[str, ...]
) -> None:
    gate = asyncio.Event()
    async with (
        Exchanger(recipients={DAVE: says("250 ok", until=gate)}, extensions=extensions) as one,
        relaying(one, two, Upstream_Hold=HOLD) as both,
    ):
        assert await both.offer(BOB) == [250]
        assert await both.offer(BOB) == [250]
        answers_late(gate)
        assert await both.offer(DAVE) == [250]
        assert one.count("RSET") == 0
        assert await both.deliver() == 250
        assert [each.recipients for each in one.messages] == [(f"RCPT TO:<{BOB}>", f"RCPT TO:<{DAVE}>")]
        assert len(one.dialogues) == 1


async def test_an_answer_on_a_connection_that_was_given_back_meanwhile_is_not_believed(
    one: Exchanger, two: Exchanger
) -> None:
    gate = asyncio.Event()
    one.recipients[DAVE] = says("250 ok", until=gate)
    async with relaying(one, two) as both, asyncio.timeout(BOUND):
        assert await both.offer(BOB) == [250]
        asking = asyncio.get_running_loop().create_task(both.offer(DAVE))
        await one.until(lambda: bool(one.held), "RCPT is upstream")
        both.relay.abort()
        one.recipients[DAVE] = says("550 5.1.1 no")
        gate.set()
        assert await asking == [550]
        assert len(one.dialogues) == 2


async def test_a_client_that_idles_gives_its_place_back_and_the_mail_is_delivered_all_the_same(
    one: Exchanger, two: Exchanger
) -> None:
    async with relaying(one, two, Upstream_Hold=HOLD) as both:
        assert await both.offer(BOB) == [250]
        assert await both.offer(BOB) == [250]
        await one.until(lambda: one.count("RSET") == 1, "the place is given back")
        await both.each_has_its_own(one, two)
        assert len(both.one._idle) == 1
        assert await both.deliver() == 250
        assert one.count("RSET") == 1


# ---------------------------------------------------------------- verdicts that are put off


async def test_a_recipient_said_twice_is_accepted_twice_and_said_once_where_verdicts_are_put_off() -> None:
    async with Exchanger() as upstream, serving(upstream, Recipient_Verdicts="deferred") as stage:
        client = await stage.greeted()
        answers = await client.pipeline(f"MAIL FROM:<{ALICE}>", *[f"RCPT TO:<{BOB}>"] * 2)
        assert [each[:3] for each in answers] == ["250"] * 3
        assert (await client.ask(f"RCPT TO:<{BOB}>"))[:3] == "250"
        assert upstream.count("RCPT") == 0
        assert (await client.ask("DATA")).startswith("354")
        assert await client.content(LETTER) == "250 2.0.0 Ok: queued as 000001"
        assert [each.recipients for each in upstream.messages] == [(f"RCPT TO:<{BOB}>",)]
        assert upstream.count("RCPT") == 1
