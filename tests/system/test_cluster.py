"""The profile `cluster` of docker-compose.yml, with its files: HAProxy with PROXY v2, two Ringbacks and one Redis.

Under the oracle no message is lost, whichever of them is killed, and a limit holds over both Ringbacks.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.compose import ComposedHaproxy, ComposedRedis, Shipped
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.mortal import MortalRecorder
from tests.support.oracle import Books, Letter, hand_in
from tests.support.servers import Dnsmasq, Zone
from tests.support.succession import DEFECTS, Life
from tests.support.waiting import eventually

pytestmark = [pytest.mark.real("haproxy"), pytest.mark.real("redis-server"), pytest.mark.real("dnsmasq")]

LETTERS, CLIENTS = 240, 8
MACHINES, MOST, BUDGET = 2, 10, 10


class Cluster:
    """HAProxy before two Ringbacks with one Redis, and a next hop that keeps what it confirmed."""

    def __init__(self, folder: Path, nameserver: str, exchanger: Exchanger) -> None:
        """Name what the probes meet."""
        self.redis, self.recorder = ComposedRedis(), MortalRecorder()
        options = {
            "port": exchanger.port,
            "allow_networks": "( 127.0.0.0/8 )",
            "probes_per_domain": f'"{BUDGET}/86400"',
            "probes_per_mx": '"0"',
            "probes_per_client": '"0"',
            "client_share": 100,
        }
        lines = [
            f"Max_Connections_Per_Client = {MOST}",
            "smtp_cbv {",
            *(f"  {name} = {value}" for name, value in options.items()),
            "}",
        ]
        places = {"172.28.26.10": "127.0.0.1", "redis:6379": f"127.0.0.1:{self.redis.port}"}
        self.lives: list[Life] = []
        for number in range(MACHINES):
            (folder / str(number)).mkdir()
            setup = Shipped(
                file="cluster.conf", places=places, lines=lines, nameserver=nameserver, upstream_port=self.recorder.port
            )
            self.lives.append(Life(setup, folder / str(number)))
        self.haproxy = ComposedHaproxy(*(each.port for each in self.lives))
        self._living: list[Life] = []
        self.defects: list[object] = []
        self.exchanger = exchanger

    async def open(self) -> None:
        """Start everything, and wait until HAProxy knows both Ringbacks."""
        for server in (self.redis, self.recorder):
            await asyncio.to_thread(server.start)
        self._living = [each.launch() for each in self.lives]
        await asyncio.gather(*(each.ready() for each in self.lives))
        await asyncio.to_thread(self.haproxy.start)

    def kill(self, number: int) -> None:
        """Kill a Ringback with all its processes."""
        self.lives[number].kill()
        self._look_at(number)

    async def revive(self, number: int) -> None:
        """Start it again, with its state, at its address."""
        await self.lives[number].launch().ready()

    def _look_at(self, number: int) -> None:
        self.defects += [each for each in self.lives[number].log if each["event"] in DEFECTS]

    async def close(self) -> None:
        """Stop everything; each Ringback ends cleanly."""
        living, self._living = self._living, []
        try:
            await asyncio.gather(*(asyncio.to_thread(life.stop) for life in living))
            for number in range(len(living)):
                self._look_at(number)
        finally:
            for server in (self.haproxy, self.redis):
                server.stop()

    async def client(self, *, source: str | None = None) -> Conversation:
        """Connect through HAProxy, and read the banner."""
        return await Conversation.open("127.0.0.1", self.haproxy.port, source=source)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        exchanger = await stack.enter_async_context(Exchanger())
        zone = Zone(addresses={"mx.limit.test": ["127.0.0.1"]}, exchangers={"limit.test": [(10, "mx.limit.test")]})
        dns = stack.enter_context(Dnsmasq(zone))
        made = Cluster(tmp_path, dns.address, exchanger)
        stack.callback(made.recorder.stop)
        stack.push_async_callback(made.close)
        await made.open()
        yield made


async def _connections_are_counted_together(cluster: Cluster) -> None:
    """Both Ringbacks together let in as many connections of one client as one would."""
    clients: list[Conversation] = []
    for _ in range(3 * MOST):
        client = await Conversation.connect("127.0.0.1", cluster.haproxy.port, source="127.0.0.9")
        clients.append(client)
    banners = await asyncio.gather(*(client.reply() for client in clients))
    for client in clients:
        client.abort()
    let_in = sum(banner.startswith("220 ") for banner in banners)
    assert MOST <= let_in <= MOST + MACHINES - 1, "at most one more for each further machine"
    assert {banner[:9] for banner in banners if not banner.startswith("220 ")} == {"421 4.7.0"}


async def _probes_are_counted_together(cluster: Cluster) -> None:
    """Both Ringbacks together probe a domain as often as one would."""
    for number in range(3 * BUDGET):
        async with await cluster.client(source="127.0.0.8") as client:
            await client.ehlo()
            await client.ask(f"MAIL FROM:<user{number}@limit.test>")
    assert cluster.exchanger.count("RCPT") == BUDGET
    assert all(any(each["event"] == "probe" for each in life.log) for life in cluster.lives), "both asked"
    sessions = [each for life in cluster.lives for each in life.log if each["event"] == "session"]
    assert {each["via"] for each in sessions if each["client"] == "127.0.0.8"} == {"127.0.0.1"}, (
        "HAProxy names the client"
    )


class Senders:
    """Clients that hand in letters until each is confirmed."""

    def __init__(self, cluster: Cluster, books: Books) -> None:
        self._cluster, self._books = cluster, books
        chance = random.Random(os.environ.get("RINGBACK_ORACLE_SEED", "1"))  # noqa: S311 - nothing secret
        self._waiting = [books.letter(chance, lines=chance.choice([3, 40, 400])) for _ in range(LETTERS)]
        self.confirmed = 0

    async def run(self) -> None:
        """Send everything."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client())

    async def _client(self) -> None:
        while self._waiting:
            letter = self._waiting.pop()
            while not letter.is_confirmed:
                await self._try(letter)
            self.confirmed += 1

    async def _try(self, letter: Letter) -> None:
        try:
            client = await self._cluster.client()
        except (ConnectionError, AssertionError):
            await asyncio.sleep(0.1)
            return
        try:
            await client.ehlo()
            await hand_in(client, self._books.attempt(letter), in_chunks=len(letter.attempts) % 2 == 0)
        except ConnectionError:
            await asyncio.sleep(0.1)
        finally:
            client.abort()

    async def until(self, part: float) -> None:
        """Wait until this number of letters are confirmed."""
        await eventually(lambda: self.confirmed >= part * LETTERS, f"{part:.0%} are confirmed", within=120)


async def test_no_message_is_lost_and_limits_hold_over_both(cluster: Cluster) -> None:
    await _connections_are_counted_together(cluster)
    await _probes_are_counted_together(cluster)
    books = Books()
    senders = Senders(cluster, books)
    async with asyncio.TaskGroup() as group:
        group.create_task(senders.run())
        await senders.until(0.1)
        cluster.kill(0)
        await senders.until(0.3)
        await cluster.revive(0)
        await senders.until(0.4)
        await cluster.redis.kill()
        await senders.until(0.5)
        await cluster.redis.revive()
        await senders.until(0.6)
        cluster.kill(1)
        await senders.until(0.8)
        await cluster.revive(1)
    await cluster.close()
    tally = books.compare(cluster.recorder.records())
    assert cluster.defects == []
    assert tally.letters == LETTERS
