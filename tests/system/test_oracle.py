"""The oracle: Ringback and its next hop are killed, and no message that a client heard 250 for is lost.

Half of the Ringbacks relay to a real Postfix, half to a recorder; half keep a message until a script has read
its body, half stream it. A client sends again what was not confirmed. Each attempt has a mark of its own, so that the
upstreams' copies are known for the attempts that made them; what the clients heard and what the upstreams have must
agree to the byte. The seed decides everything but the order in which processes run.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from weakref import WeakKeyDictionary

import pytest

from tests.support.conversation import Conversation, stuffed
from tests.support.gate import Gate, Place
from tests.support.house import House
from tests.support.mortal import Mortal, MortalPostfix, MortalRecorder
from tests.support.oracle import (
    NO_VERDICT,
    PATIENCE,
    Attempt,
    Books,
    Letter,
    Outcome,
    Tally,
    ask,
    end,
    envelope,
    hand_in,
)
from tests.support.programs import free_port
from tests.support.rounds import ALL_ROUNDS, ROUNDS
from tests.support.succession import Succession
from tests.support.waiting import eventually

SEED = os.environ.get("RINGBACK_ORACLE_SEED", "1")
"""Another seed sends other letters and kills at other moments."""

SESSIONS = 200
READS_BODY = {"data_phase1": 'if body :raw :contains "in no letter" { ec_log "found"; }\n'}

real_servers = pytest.mark.real("postfix")


def _chance(*parts: object) -> random.Random:
    return random.Random(" ".join(map(str, (SEED, *parts))))  # noqa: S311 - deaths that can be repeated; nothing secret


def _setup(upstream_port: int, *, reads_body: bool) -> Callable[[], House]:
    scripts = READS_BODY if reads_body else {}
    return lambda: House(listen_port=free_port(), upstream_port=upstream_port, scripts=scripts)


def _letter(books: Books, chance: random.Random) -> Letter:
    """Write a letter: most go upstream in one piece, some are streamed."""
    return books.letter(chance, lines=chance.choices([3, 40, 1200], [6, 3, 1])[0])


class World:
    """Two upstreams, and places where Ringbacks serve and are succeeded."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = AsyncExitStack()
        self.postfix, self.recorder = MortalPostfix(), MortalRecorder()
        self.upstreams: tuple[Mortal, ...] = (self.postfix, self.recorder)
        self.books = Books()
        self.places: list[Succession] = []
        self.gates: list[Gate] = []

    async def open(self, *, gated: bool) -> None:
        """Put four places up, two before each upstream, one of them with a script that reads the body."""
        ports = [upstream.port for upstream in self.upstreams for _ in range(2)]
        if gated:
            self.gates = [await self._stack.enter_async_context(Gate(port)) for port in ports]
            ports = [gate.port for gate in self.gates]
        for number, port in enumerate(ports):
            place = Succession(self._folder / str(number), _setup(port, reads_body=number % 2 == 1))
            self.places.append(await self._stack.enter_async_context(place))

    async def close(self) -> None:
        """Stop the Ringbacks, see that each ends cleanly, and take the gates down."""
        await self._stack.aclose()

    async def settled(self) -> Tally:
        """Compare what the clients heard with what the upstreams have, when no Ringback runs any more."""
        await self.close()
        assert [defect for place in self.places for defect in place.defects][:5] == []
        return self.books.compare(record for upstream in self.upstreams for record in upstream.records())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    with made.postfix, made.recorder:
        try:
            yield made
        finally:
            await made.close()


# ---------------------------------------------------------------- three windows

AT_ONCE = SESSIONS // 4
"""Clients of each Ringback; all of them are in the window when it is killed."""

KILLS = 4 * ROUNDS
"""In a window. `make test-long` asks for ALL_ROUNDS: 32 in a window, and 100 at random."""

SENT = {"recipients": None, "354": 0.0, "half": 0.5, "all but the dot": 1.0}
"""Where a client may stop before its dot: the share of the content that it sends, None for no DATA."""


class Siege:
    """One place behind its gate: clients are brought into a window there, and the Ringback is killed."""

    def __init__(self, world: World, number: int, chance: random.Random) -> None:
        self._books, self._gate, self._place = world.books, world.gates[number], world.places[number]
        self._chance = chance
        self._stopped = 0
        self.held: Counter[str] = Counter()
        """Where the attempts stood when Ringback was killed."""

    async def round(self, stops: Sequence[str], *, frozen: bool = False) -> None:
        """Bring clients to these stops and kill; then each tries again with the successor, and is heard."""
        self._gate.begin()
        self._stopped = 0
        letters = [_letter(self._books, self._chance) for _ in range(AT_ONCE)]
        places = {each.value for each in Place}
        async with asyncio.TaskGroup() as group:
            for letter in letters:
                stop = self._chance.choice(stops)
                self.held[stop] += 1
                attempt = self._books.attempt(letter, place=stop if stop in places else "through")
                group.create_task(self._besieged(attempt, stop))
            await eventually(self._all_there, "every client is in the window", within=PATIENCE)
            if frozen:
                await self._place.serving.freeze()
                self._gate.release.set()
                await eventually(lambda: self._gate.released == AT_ONCE, "the upstream's replies are on their way")
            self._place.kill()
        last = [letter.attempts[-1] for letter in letters]
        assert {each.outcome for each in last} <= {Outcome.UNFINISHED, Outcome.UNKNOWN}, "none has an answer"
        await self._place.succeed()
        async with asyncio.TaskGroup() as group:
            for letter in letters:
                group.create_task(self._again(letter))

    def _all_there(self) -> bool:
        return self._stopped + self._gate.held.total() == AT_ONCE

    async def _besieged(self, attempt: Attempt, stop: str) -> None:
        """Go as far as the stop, and see the connection end there without a reply."""
        client = await self._place.conversation()
        assert await envelope(client, attempt), attempt.heard
        content, share = stuffed(attempt.content), SENT.get(stop, 1.0)
        if share is not None:
            assert (await ask(client, attempt, "DATA")).startswith("354 ")
        with pytest.raises(ConnectionError):
            await self._ended(client, attempt, content[: int(len(content) * (share or 0))], dot=stop not in SENT)
        client.abort()

    async def _ended(self, client: Conversation, attempt: Attempt, content: bytes, *, dot: bool) -> None:
        """Send what the stop allows, and wait for a reply that does not come."""
        await client.send_raw(content)
        if dot:
            await end(client, attempt, b".\r\n")
        else:
            self._stopped += 1
            attempt.heard.append(await client.reply(within=PATIENCE))

    async def _again(self, letter: Letter) -> None:
        async with await self._place.conversation() as client:
            attempt = self._books.attempt(letter)
            await hand_in(client, attempt)
        assert attempt.outcome is Outcome.CONFIRMED, attempt.heard


async def _besiege(world: World, window: str, stops: Sequence[str], *, frozen: bool = False) -> Counter[str]:
    """Kill in a window, ROUNDS times at each place; return where the attempts stood."""
    await world.open(gated=True)
    sieges = [Siege(world, number, _chance(window, number)) for number in range(len(world.places))]

    async def lay(siege: Siege) -> None:
        for _ in range(ROUNDS):
            await siege.round(stops, frozen=frozen)

    async with asyncio.TaskGroup() as group:
        for siege in sieges:
            group.create_task(lay(siege))
    assert sum(place.kills for place in world.places) == KILLS
    return sum((siege.held for siege in sieges), Counter())


@real_servers
async def test_killed_before_our_dot_nothing_is_delivered_and_the_next_attempt_arrives_once(world: World) -> None:
    stops = [*SENT, Place.GO_AHEAD.value]
    held = await _besiege(world, "before our dot", stops)
    tally = await world.settled()
    assert min(held[stop] for stop in stops) > KILLS
    assert (tally.letters, tally.copies, tally.duplicates) == (KILLS * AT_ONCE, KILLS * AT_ONCE, 0)


@real_servers
async def test_killed_between_our_dot_and_the_upstreams_250_nothing_is_lost(world: World) -> None:
    stops = [Place.LOST_DOT.value, Place.LATE_DOT.value, Place.REPLY.value]
    held = await _besiege(world, "after our dot", stops)
    tally = await world.settled()
    assert min(held[stop] for stop in stops) > KILLS
    delivered_unheard = held[Place.LATE_DOT.value] + held[Place.REPLY.value]
    assert (tally.letters, tally.duplicates) == (KILLS * AT_ONCE, delivered_unheard)


@real_servers
async def test_killed_between_the_upstreams_250_and_the_clients_nothing_is_lost_and_each_is_there_twice(
    world: World,
) -> None:
    held = await _besiege(world, "after the upstream's 250", [Place.REPLY.value], frozen=True)
    tally = await world.settled()
    assert held == {Place.REPLY.value: KILLS * AT_ONCE}
    assert (tally.letters, tally.duplicates) == (KILLS * AT_ONCE, KILLS * AT_ONCE)


@real_servers
async def test_an_upstream_that_dies_after_it_took_a_message_is_not_asked_again_but_the_client_is(world: World) -> None:
    await world.open(gated=True)
    chance = _chance("the upstream ends")

    async def unheard(place: Succession) -> None:
        letter = _letter(world.books, chance)
        async with await place.conversation() as client:
            await hand_in(client, attempt := world.books.attempt(letter, place=Place.END.value))
            assert (attempt.outcome, attempt.heard[-1][: len(NO_VERDICT)]) == (Outcome.UNKNOWN, NO_VERDICT)
            await hand_in(client, attempt := world.books.attempt(letter))
            assert attempt.outcome is Outcome.CONFIRMED, attempt.heard

    async with asyncio.TaskGroup() as group:
        for place in world.places * AT_ONCE:
            group.create_task(unheard(place))
    tally = await world.settled()
    assert (tally.letters, tally.copies, tally.duplicates) == (SESSIONS, 2 * SESSIONS, SESSIONS)


# ---------------------------------------------------------------- at random

RANDOM_KILLS = 4 * max(3, 25 * ROUNDS // ALL_ROUNDS)
"""Of Ringbacks, the same number at each place."""

UPSTREAM_KILLS = max(3, 12 * ROUNDS // ALL_ROUNDS)
"""Of each upstream, with all its processes."""

DAEMON_KILLS = max(6, 30 * ROUNDS // ALL_ROUNDS)
"""Of one process of Postfix, smtpd or cleanup."""


_IN_THE_MIDDLE = 2
"""Messages without a verdict when a Ringback is killed; the reply to one of them may be on its way already."""


class Traffic:
    """Clients that write letters until everything has died often enough, and do not rest before each is confirmed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._places: WeakKeyDictionary[Conversation, Succession] = WeakKeyDictionary()
        self._under_way: dict[Attempt, Succession] = {}
        self.ends = asyncio.Event()

    async def in_the_middle(self, place: Succession) -> None:
        """Wait until clients of a place have sent their dot and have no reply yet, however slow the machine is."""

        def waiting() -> bool:
            here = [attempt for attempt, where in self._under_way.items() if where is place]
            return sum(attempt.outcome is Outcome.UNKNOWN for attempt in here) >= _IN_THE_MIDDLE

        await eventually(waiting, "clients wait for their verdicts", within=PATIENCE)

    async def client(self, name: int) -> None:
        """Send letter after letter, several in a session."""
        chance = _chance("client", name)
        client: Conversation | None = None
        while not self.ends.is_set():
            letter = _letter(self._world.books, chance)
            while not letter.is_confirmed:
                client = client or await self._greeted(chance)
                client = client and await self._tried(client, letter, chance)
            await asyncio.sleep(chance.expovariate(2))  # the load, not an order: 200 clients, 400 letters a second
        if client is not None:
            await client.close()

    async def _greeted(self, chance: random.Random) -> Conversation | None:
        place = chance.choice(self._world.places)
        try:
            client = await place.conversation()
        except ConnectionError:
            await asyncio.sleep(chance.uniform(0, 0.1))  # another place, or its successor
            return None
        self._places[client] = place
        return client

    async def _tried(self, client: Conversation, letter: Letter, chance: random.Random) -> Conversation | None:
        """Make an attempt; return the session where it goes on."""
        attempt = self._world.books.attempt(letter)
        self._under_way[attempt] = self._places[client]
        try:
            if chance.random() < 0.03:
                await self._vanish(client, attempt, after_dot=chance.random() < 0.5)
                return None
            await hand_in(client, attempt, in_chunks=chance.random() < 0.3)
        except ConnectionError:
            client.abort()
            return None
        finally:
            del self._under_way[attempt]
        if attempt.outcome is Outcome.CONFIRMED and chance.random() < 0.8:
            return client
        await client.close()
        await asyncio.sleep(chance.uniform(0, 0.2))
        return None

    async def _vanish(self, client: Conversation, attempt: Attempt, *, after_dot: bool) -> None:
        """Go without waiting for the reply, before the dot or after it."""
        if await envelope(client, attempt) and (await ask(client, attempt, "DATA")).startswith("354 "):
            content = stuffed(attempt.content)
            if after_dot:
                attempt.outcome = Outcome.UNKNOWN
            await client.send_raw(content + b".\r\n" if after_dot else content[:-2])
        client.abort()


async def _kill_ringbacks(traffic: Traffic, place: Succession, chance: random.Random, times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(chance.uniform(0, 1))
        await traffic.in_the_middle(place)
        place.kill()
        await place.succeed()


async def _kill_upstream(upstream: Mortal, chance: random.Random) -> None:
    for _ in range(UPSTREAM_KILLS):
        await asyncio.sleep(chance.uniform(0, 3))
        await upstream.kill()
        await asyncio.sleep(chance.uniform(0, 0.5))
        await upstream.revive()


async def _kill_daemons(postfix: MortalPostfix, chance: random.Random) -> None:
    while postfix.daemon_kills < DAEMON_KILLS:
        await asyncio.sleep(chance.uniform(0, 2))
        postfix.kill_daemon(chance)


@real_servers
async def test_whatever_dies_under_load_no_confirmed_message_is_lost_and_no_attempt_arrives_twice(world: World) -> None:
    await world.open(gated=False)
    traffic = Traffic(world)
    async with asyncio.TaskGroup() as clients:
        for name in range(SESSIONS):
            clients.create_task(traffic.client(name))
        async with asyncio.TaskGroup() as deaths:
            for number, place in enumerate(world.places):
                times = RANDOM_KILLS // len(world.places)
                deaths.create_task(_kill_ringbacks(traffic, place, _chance("place", number), times))
            for upstream in world.upstreams:
                deaths.create_task(_kill_upstream(upstream, _chance(upstream.program)))
            deaths.create_task(_kill_daemons(world.postfix, _chance("daemons")))
        traffic.ends.set()
    tally = await world.settled()
    assert sum(place.kills for place in world.places) == RANDOM_KILLS
    assert tally.letters > SESSIONS * max(1, 5 * ROUNDS // ALL_ROUNDS)
    assert tally.outcomes[Outcome.UNKNOWN] > RANDOM_KILLS, "deaths came in the middle of messages"
    assert 0 < tally.duplicates <= tally.outcomes[Outcome.UNKNOWN]
