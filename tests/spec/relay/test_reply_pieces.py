"""Replies that are cut at any octet, or sent together if that is allowed, mean the same. A reply that comes too early
means nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from itertools import combinations

import pytest

from proxy.outgoing.wire import Wire
from tests.support.conversation import Conversation
from tests.support.exchanger import Act, Dialogue, Step, says
from tests.support.faulty import Event, Faulty
from tests.support.worker import ALICE, BOB, CAROL, DAVE, LETTER, WorkerStage, serving, settled

NO_CAROL = says("550-5.1.1 Carol is", "550 5.1.1 not here")
QUEUED = says("250-2.0.0 taken,", "250 2.0.0 queued as 1")
LOST = "451 4.4.2 Next-hop server did not answer, try again later"

HEARD = [
    "250 2.1.0 Sender OK",
    "250 2.1.5 Ok",
    "550-5.1.1 Carol is\n550 5.1.1 not here",
    "250 2.1.5 Ok",
    "250-2.0.0 taken,\n250 2.0.0 queued as 1",
]

pipelining = pytest.mark.parametrize("extensions", [["PIPELINING"], []], ids=["pipelining", "one-by-one"])


@asynccontextmanager
async def before(
    extensions: Collection[str], *, script: dict[Step, Act] | None = None
) -> AsyncIterator[tuple[Faulty, WorkerStage]]:
    """Serve before an upstream that takes one message a connection, so that each time all of its replies are cut."""
    upstream = Faulty(extensions=extensions)
    upstream.recipients[CAROL] = NO_CAROL
    upstream.script |= script or {}
    async with upstream, serving(upstream, max_deliveries_per_connection=1) as stage:
        for each in upstream.open_dialogues:
            each.close()
        await upstream.until(lambda: not upstream.open_dialogues, "the warm connection is closed")
        yield upstream, stage


async def transaction(client: Conversation) -> list[str]:
    """Send one message for three recipients and return all replies but 354."""
    commands = ["MAIL FROM:<" + ALICE + ">", *(f"RCPT TO:<{each}>" for each in (BOB, CAROL, DAVE)), "DATA"]
    *answers, to_data = await client.pipeline(*commands)
    return [*answers, await client.content(LETTER)] if to_data.startswith("354 ") else answers


async def said(client: Conversation, stage: WorkerStage, upstream: Faulty, cuts: Collection[int] = ()) -> list[str]:
    """Run a transaction whose replies are cut at these octets; wait until its connection has ended."""
    upstream.cuts = cuts
    upstream.said.clear()
    upstream.messages.clear()
    answers = await transaction(client)
    await settled(stage.pool)
    return answers


def ends_of_replies(upstream: Faulty, dialogue: Dialogue) -> list[int]:
    """Return the octet behind each reply that was said on a connection."""
    ends, at = [], 0
    for each in upstream.said:
        if each.dialogue is dialogue:
            at += len(each.octets)
            ends.append(at)
    return ends


def subsets(places: Collection[int]) -> Iterator[tuple[int, ...]]:
    """Return every choice of these places."""
    for count in range(len(places) + 1):
        yield from combinations(places, count)


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of what the upstream's replies were read in, in order."""
    lengths: list[int] = []
    original = Wire.data_received

    def received(wire: Wire, octets: bytes) -> None:
        lengths.append(len(octets))
        original(wire, octets)

    monkeypatch.setattr(Wire, "data_received", received)
    return lengths


def places_of(pieces: list[int], whole: int) -> set[int]:
    """Return at which octets the pieces end; what was read before there was a wire comes first."""
    at = whole - sum(pieces)
    return {at := at + length for length in pieces}


@pipelining
async def test_replies_mean_the_same_wherever_the_whole_dialogue_is_cut(
    extensions: list[str], pieces: list[int]
) -> None:
    async with before(extensions, script={Step.DOT: QUEUED}) as (upstream, stage):
        client = await stage.greeted()
        assert await said(client, stage, upstream) == HEARD
        *_, whole = ends_of_replies(upstream, upstream.dialogues[-1])
        for cut in range(1, whole):
            pieces.clear()
            assert await said(client, stage, upstream, {cut}) == HEARD, f"cut at {cut}"
            assert cut <= whole - sum(pieces) or cut in places_of(pieces, whole)
            (message,) = upstream.messages
            assert message.recipients == (f"RCPT TO:<{BOB}>", f"RCPT TO:<{DAVE}>")
        assert await said(client, stage, upstream, range(whole)) == HEARD
    assert stage.pool._slots.taken == 0


@pipelining
async def test_replies_mean_the_same_sent_together_or_apart(extensions: list[str], pieces: list[int]) -> None:
    ways = set()
    async with before(extensions, script={Step.DOT: QUEUED}) as (upstream, stage):
        client = await stage.greeted()
        assert await said(client, stage, upstream) == HEARD
        ends = ends_of_replies(upstream, upstream.dialogues[-1])
        for cuts in subsets(ends[2:-1]):
            pieces.clear()
            assert await said(client, stage, upstream, cuts) == HEARD, f"apart at {cuts}"
            assert len(upstream.messages) == 1
            ways.add(tuple(pieces))
    assert len(ways) >= (2 if extensions else 1)


@pipelining
async def test_an_envelope_that_is_said_again_is_understood_however_its_replies_come(
    extensions: list[str], pieces: list[int]
) -> None:
    async with before(extensions, script={Step.DOT: QUEUED}) as (upstream, stage):
        client = await stage.greeted()
        upstream.misbehaves(Event("closes", "", "closes"), Step.DATA, most=1)
        assert await said(client, stage, upstream) == HEARD
        again = upstream.dialogues[-1]
        assert again.commands[1:4] == [f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", f"RCPT TO:<{DAVE}>"]
        ends = ends_of_replies(upstream, again)
        ways = set()
        for cuts in [*subsets(ends[2:4]), *((cut,) for cut in range(ends[1], ends[5]))]:
            upstream.happened = 0
            pieces.clear()
            assert await said(client, stage, upstream, cuts) == HEARD, f"cut at {cuts}"
            (message,) = upstream.messages
            assert message.recipients == (f"RCPT TO:<{BOB}>", f"RCPT TO:<{DAVE}>")
            ways.add(tuple(pieces))
    assert len(ways) > ends[5] - ends[1] - 5


# ---------------------------------------------------------------- before they are due

EARLY = ["250 2.0.0 stray", "250-2.0.0 stray\r\n250 2.0.0 lines", "354 stray", "354 stray\r\n250 2.0.0 stray"]


@pytest.mark.parametrize("many", [1, 2, 3])
@pytest.mark.parametrize("early", EARLY)
@pytest.mark.parametrize("step", [Step.BANNER, Step.EHLO, Step.MAIL, Step.RCPT, Step.DATA])
@pipelining
async def test_a_reply_that_comes_early_never_turns_a_refusal_of_the_message_into_an_acceptance(
    extensions: list[str], step: Step, early: str, many: int
) -> None:
    refusal = {Step.DOT: says("554 5.7.1 refused")}
    async with before(extensions, script=refusal) as (upstream, stage):
        upstream.misbehaves(Event("early", "GOOD\r\n" + f"{early}\r\n" * many), step)
        answers = await transaction(await stage.greeted())
        assert answers[-1].startswith(("451 4.", "5")), answers
        assert not answers[-1].startswith("5") or answers[-1] in {"554 5.7.1 refused", HEARD[2]}
        assert upstream.messages == []


@pytest.mark.parametrize("step", [Step.BANNER, Step.EHLO, Step.MAIL])
@pytest.mark.parametrize("early", EARLY)
@pipelining
async def test_a_reply_that_comes_early_never_delivers_what_every_recipient_refused(
    extensions: list[str], step: Step, early: str
) -> None:
    refusal = {Step.RCPT: says("550 5.1.1 nobody")}
    async with before(extensions, script=refusal) as (upstream, stage):
        upstream.misbehaves(Event("early", f"GOOD\r\n{early}\r\n"), step)
        answers = await transaction(await stage.greeted())
        assert not answers[-1].startswith("2"), answers
        assert upstream.messages == []


@pipelining
async def test_two_answers_to_the_dot_are_none(extensions: list[str]) -> None:
    async with before(extensions) as (upstream, stage):
        for answers in ("250 2.0.0 yes\\r\\n554 5.7.1 no\\r\\n", "554 5.7.1 no\\r\\n250 2.0.0 yes\\r\\n"):
            upstream.misbehaves(Event("two", answers), Step.DOT)
            assert (await transaction(await stage.greeted()))[-1] == LOST
