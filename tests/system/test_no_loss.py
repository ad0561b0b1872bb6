"""Many clients, an upstream that fails at every step, clients that vanish: what was accepted is there, once.

The clients' books are compared with the upstream's. A message whose client heard 250 is with the upstream, with the
bytes that were sent and exactly the recipients that were accepted; one that was refused, or whose client went before
the dot, is not. The faulty upstream never keeps a message that it does not confirm, so nothing may be there twice.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from tests.support.conversation import Conversation
from tests.support.exchanger import Act, Exchanger, Message, Step, closes, resets, says, sends
from tests.support.ringback import Ringback
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

CLIENTS, MESSAGES = 24, 8
FAULTY_STEPS = (Step.BANNER, Step.EHLO, Step.MAIL, Step.RCPT, Step.DATA, Step.CONTENT, Step.DOT, Step.RSET)
FAULT_RATE = 0.06
"""Of each step; a transaction passes about seven."""

SURE = 3
"""The passage of each step that fails in any case, whatever chance says."""

REFUSAL = "550 5.1.1 not here"
CLOSED = "closed"
"""In place of a reply: the connection ended."""


class FaultyUpstream(Exchanger):
    """An upstream that fails at random, mostly without a word."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(content_limit=1)
        self.chance = chance
        self.passed: Counter[Step] = Counter()
        self.faults_done: Counter[Step] = Counter()

    def act_at(self, step: Step, command: str) -> Act:
        if "<no-" in command:
            return says(REFUSAL)
        self.passed[step] += 1
        if step not in FAULTY_STEPS or (self.chance.random() >= FAULT_RATE and self.passed[step] != SURE):
            return super().act_at(step, command)
        self.faults_done[step] += 1
        ends = [closes(), resets()]
        replies = [sends(b"\x00garbage\r\n"), says("421 4.3.2 bye"), says("451 4.3.0 not now")]
        # A reply in the middle of the content would come before the message is kept or refused.
        return self.chance.choice(ends if step is Step.CONTENT else ends + replies)


@dataclass(slots=True)
class Attempt:
    """One message as its client saw it."""

    mark: str
    content: bytes
    accepted: list[str] = field(default_factory=list)
    """Recipients that were answered 250."""
    replies: list[str] = field(default_factory=list)
    vanished: bool = False
    """Whether the client reset the connection before the dot."""

    @property
    def is_accepted(self) -> bool:
        """Whether the client heard 250 after the dot."""
        return not self.vanished and self.replies[-1].startswith("250 ") and "dot" in self.replies[-2:-1]


def _chance(seed: object) -> random.Random:
    return random.Random(str(seed))  # noqa: S311 - faults that can be repeated; nothing secret


async def _attempt(client: Conversation, attempt: Attempt, chance: random.Random) -> None:
    """Send one message in an open session; the replies say how far it came."""
    attempt.replies.append(await client.ask("MAIL FROM:<>"))
    for number in range(chance.randint(1, 3)):
        name = f"{chance.choice(['yes', 'yes', 'no'])}-{number}@example.com"
        reply = await client.ask(f"RCPT TO:<{name}>")
        attempt.replies.append(reply)
        if reply.startswith("250 "):
            attempt.accepted.append(f"RCPT TO:<{name}>")
    if not attempt.accepted:
        attempt.replies.append(await client.ask("RSET"))
        return
    attempt.replies.append(await client.ask("DATA"))
    if not attempt.replies[-1].startswith("354 "):
        return
    if chance.random() < 0.1:
        await client.send_raw(attempt.content[: len(attempt.content) // 2])
        attempt.vanished = True
        client.abort()
        return
    reply = await client.content(attempt.content)
    attempt.replies += ["dot", reply]


async def _client(ringback: Ringback, name: int, chance: random.Random) -> list[Attempt]:
    """Send some messages, in a new session whenever the last one ended, until no new one is taken."""
    attempts: list[Attempt] = []
    client: Conversation | None = None
    for number in range(MESSAGES):
        client = client or await _session(ringback)
        if client is None:
            break
        mark = f"{name}-{number}"
        filler = b"0123456789 filler\r\n" * chance.choice([1, 50, 20_000])
        attempts.append(attempt := Attempt(mark, f"X-Mark: {mark}\r\n\r\n".encode() + filler))
        try:
            await _attempt(client, attempt, chance)
        except ConnectionError:
            attempt.replies.append(CLOSED)
        if attempt.vanished or attempt.replies[-1] == CLOSED or attempt.replies[-1].startswith("421 "):
            await client.close()
            client = None
    if client is not None:
        await client.close()
    return attempts


async def _session(ringback: Ringback) -> Conversation | None:
    """Return a session that was greeted, or None where Ringback takes no more."""
    try:
        client = await ringback.conversation()
    except ConnectionError:
        return None
    with suppress(ConnectionError):
        if (await client.ask("EHLO client.test")).startswith("250"):
            return client
    await client.close()
    return None


def _compare(attempts: Mapping[str, Attempt], upstream: Exchanger) -> set[str]:
    """Compare the clients' books with the upstream's; return the marks of what was accepted."""
    kept: dict[str, list[Message]] = {}
    for message in upstream.messages:
        found = re.search(rb"X-Mark: (\S+)\r\n", message.content)
        assert found
        kept.setdefault(found[1].decode(), []).append(message)
    accepted = {mark for mark, attempt in attempts.items() if attempt.is_accepted}
    assert set(kept) == accepted
    assert {mark for mark, copies in kept.items() if len(copies) > 1} == set()
    for mark in accepted:
        assert kept[mark][0].content.endswith(b"\r\n" + attempts[mark].content)
        assert list(kept[mark][0].recipients) == attempts[mark].accepted
    return accepted


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_accepted_message_is_upstream_once_and_no_other(stage: Stage, seed: int) -> None:
    upstream = FaultyUpstream(_chance(seed))
    await stage.put_up(upstream)
    ringback = await stage.ringback(upstream.port)
    async with asyncio.TaskGroup() as group:
        clients = [group.create_task(_client(ringback, name, _chance(f"{seed} {name}"))) for name in range(CLIENTS)]
    attempts = {attempt.mark: attempt for client in clients for attempt in client.result()}
    accepted = _compare(attempts, upstream)
    heard = Counter(reply for attempt in attempts.values() for reply in attempt.replies)
    assert {reply for reply in heard if reply[0] == "5"} <= {REFUSAL}, "a fault is never a permanent refusal"
    assert CLOSED not in heard
    assert len(attempts) == CLIENTS * MESSAGES
    assert set(upstream.faults_done) >= set(FAULTY_STEPS) - {Step.RSET}, "every step failed"
    assert len(accepted) > CLIENTS, "most mail went through all the same"


async def test_sigterm_in_the_middle_of_traffic_loses_and_doubles_nothing(stage: Stage) -> None:
    upstream = await stage.upstream()
    ringback = await stage.ringback(upstream.port)
    async with asyncio.TaskGroup() as group:
        clients = [group.create_task(_client(ringback, name, _chance(name))) for name in range(CLIENTS)]
        await upstream.until(lambda: len(upstream.messages) >= CLIENTS, "traffic flows")
        ringback.terminate()
    assert await ringback.ended() == 0
    attempts = {attempt.mark: attempt for client in clients for attempt in client.result()}
    accepted = _compare(attempts, upstream)
    assert CLIENTS <= len(accepted) < CLIENTS * MESSAGES, "it ended in the middle"
