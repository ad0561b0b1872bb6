"""Connections on which a client was announced: shared between equal identities only, whatever happens on the way.

The upstream takes one XCLIENT a connection, as Postfix does, and notes for each MAIL what it was told before.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from proxy.smtp.forwarded import ProxyHeader, proxy_header
from proxy.upstream import ahead
from proxy.upstream.pool import ConnectionPool
from tests.support.conversation import Conversation
from tests.support.exchanger import EXTENSIONS, Dialogue, Exchanger, Step, says
from tests.support.inbox import Inbox
from tests.support.worker import BOB, LETTER, WorkerStage, serving, settled

XCLIENT = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"


class Informed(Exchanger):
    """Takes XCLIENT once, and notes under which announcement each MAIL came."""

    def __init__(self, offer: str = XCLIENT, **parts: Any) -> None:
        super().__init__(extensions=(*EXTENSIONS, offer), **parts)
        self.announced: list[tuple[dict[str, str], str]] = []
        """For each MAIL: the attributes, and the MAIL command."""

    async def _command(self, dialogue: Dialogue, command: str, inbox: Inbox) -> None:
        if command.startswith("MAIL"):
            told = [each for each in dialogue.commands if each.startswith("XCLIENT")]
            words = dict(word.split("=", 1) for word in told[0].split()[1:]) if told else {}
            names = [each.split()[1] for each in dialogue.commands if each.startswith("EHLO")]
            self.announced.append((words | {"EHLO": names[-1]}, command))
        if not command.startswith("XCLIENT"):
            await super()._command(dialogue, command, inbox)
            return
        again = any(each.startswith("XCLIENT") for each in dialogue.commands)
        dialogue.commands.append(command)
        dialogue.writer.write(b"503 5.5.1 once\r\n" if again else b"220 exchanger.test ESMTP\r\n")
        await self._note()

    def used(self) -> list[Dialogue]:
        """Return the connections that were told a client."""
        return [each for each in self.dialogues if any(line.startswith("XCLIENT") for line in each.commands)]


@dataclass(frozen=True)
class Client:
    """Whom a front names."""

    address: str = "192.0.2.1"
    helo: str = "one.test"
    login: str = ""
    name: str = ""
    port: int = 4711
    destination: str = "198.51.100.1"

    async def introduce(self, conversation: Conversation) -> Conversation:
        """Name it in a session, and greet in its name."""
        await conversation.ehlo("front.test")
        words = [f"ADDR={self.address}", f"PORT={self.port}", f"DESTADDR={self.destination}"]
        words += [f"LOGIN={self.login}"] * bool(self.login) + [f"NAME={self.name}"] * bool(self.name)
        assert (await conversation.ask("XCLIENT " + " ".join(words))).startswith("220 ")
        await conversation.ehlo(self.helo)
        return conversation


async def mail(client: Conversation, sender: str = "a@sender.test") -> None:
    """Send one message in a session that was greeted."""
    assert (await client.pipeline(f"MAIL FROM:<{sender}>", f"RCPT TO:<{BOB}>", "DATA"))[-1].startswith("354 ")
    assert (await client.content(LETTER)).startswith("250 ")


@dataclass
class Scene:
    """A worker before an upstream that is told who clients are."""

    stage: WorkerStage
    upstream: Informed
    clients: list[Conversation] = field(default_factory=list)

    async def client(self, who: Client) -> Conversation:
        return await who.introduce(await self.stage.conversation())

    async def mail(self, who: Client, sender: str = "a@sender.test") -> None:
        """Send one message in a session of its own."""
        client = await self.client(who)
        await mail(client, sender)
        await client.quit()
        await settled(self.stage.pool)


@asynccontextmanager
async def scene(upstream: Informed | None = None, **options: object) -> AsyncIterator[Scene]:
    lines: dict[str, object] = {"XCLIENT": "required", "XCLIENT_Port": "false", "Xclient_Hosts": "( 127.0.0.0/8 )"}
    async with upstream or Informed() as behind, serving(behind, **lines | options) as stage:
        yield Scene(stage, behind)


# ---------------------------------------------------------------- who shares


async def test_sessions_of_one_identity_share_a_connection_on_which_no_port_is_told() -> None:
    async with scene() as on:
        for port in (1, 2, 3):
            await on.mail(Client(port=port))
        (one,) = on.upstream.used()
        assert [line.split()[0] for line in one.commands] == ["EHLO", "XCLIENT", "EHLO", *("MAIL", "RCPT", "DATA") * 3]
        assert "PORT=" not in one.commands[1].replace("DESTPORT=", "")
        assert one.commands[2] == "EHLO one.test"


async def test_with_the_port_each_session_has_its_own_connection() -> None:
    async with scene(XCLIENT_Port="true") as on:
        for _ in range(3):
            await on.mail(Client())
        assert len(on.upstream.used()) == 3
        assert all(" PORT=4711 " in each.commands[1] for each in on.upstream.used())
        await on.upstream.until(lambda: all(each.ended for each in on.upstream.used()), "they end with the sessions")


@pytest.mark.parametrize(
    "other",
    [
        Client(address="192.0.2.2"),
        Client(address="2001:db8::1"),
        Client(helo="two.test"),
        Client(login="user"),
        Client(name="host.one.test"),
        Client(destination="198.51.100.2"),
    ],
    ids=["address", "family", "helo", "login", "name", "destination"],
)
async def test_sessions_of_which_the_next_hop_hears_anything_else_do_not_share(other: Client) -> None:
    async with scene() as on:
        for who in (Client(), other, Client(), other):
            await on.mail(who)
        one, two = on.upstream.used()
        assert one.commands[1] != two.commands[1]
        assert [each.commands.count("DATA") for each in (one, two)] == [2, 2]


async def test_names_that_are_told_cut_to_the_same_length_are_not_the_same() -> None:
    async with scene() as on:
        for end in "ab":
            await on.mail(Client(helo="+" * 86 + end))
        one, two = on.upstream.used()
        assert one.commands[1] == two.commands[1]


async def test_the_attributes_that_the_next_hop_does_not_take_part_identities_too() -> None:
    async with scene(Informed("XCLIENT ADDR")) as on:
        for login in ("", "user"):
            await on.mail(Client(login=login))
        assert [each.commands[1] for each in on.upstream.used()] == ["XCLIENT ADDR=192.0.2.1"] * 2


async def test_smtp_and_esmtp_do_not_share() -> None:
    async with scene() as on:
        for verb in ("EHLO", "HELO"):
            client = await on.stage.conversation()
            await client.ask(f"{verb} same.test")
            for command in ("MAIL FROM:<a@sender.test>", f"RCPT TO:<{BOB}>"):
                assert (await client.ask(command)).startswith("250 ")
            await client.quit()
        assert [re.findall(r"PROTO=(\w+)", each.commands[1])[0] for each in on.upstream.used()] == ["ESMTP", "SMTP"]


@pytest.mark.parametrize("port", ["true", "false"])
async def test_a_session_that_greets_anew_is_not_announced_under_its_old_name(port: str) -> None:
    async with scene(XCLIENT_Port=port) as on:
        client = await on.client(Client(helo="old.test"))
        await mail(client, "old@sender.test")
        await client.ehlo("new.test")
        await mail(client, "new@sender.test")
        assert [(told["HELO"], told["EHLO"]) for told, _ in on.upstream.announced] == [
            ("old.test", "old.test"),
            ("new.test", "new.test"),
        ]


async def test_a_connection_on_which_something_was_refused_is_not_shared() -> None:
    async with scene(Informed(recipients={BOB: says("550 5.1.1 no")})) as on:
        client = await on.client(Client())
        await client.ask("MAIL FROM:<a@sender.test>")
        assert (await client.ask(f"RCPT TO:<{BOB}>")).startswith("550 ")
        await client.quit()
        await settled(on.stage.pool)
        on.upstream.recipients.clear()
        await on.mail(Client())
        assert len(on.upstream.used()) == 2


async def test_a_shared_connection_that_was_closed_is_replaced_unseen() -> None:
    async with scene() as on:
        await on.mail(Client())
        (one,) = on.upstream.used()
        one.script[Step.MAIL] = says("421 4.4.2 idle for too long")
        await on.mail(Client())
        assert len(on.upstream.used()) == 2


async def test_a_session_that_waits_for_a_place_gets_the_connection_of_its_own_identity() -> None:
    async with scene(Max_Outbound_Connections=1) as on:
        first, second = await on.client(Client()), await on.client(Client())
        await first.pipeline("MAIL FROM:<a@sender.test>", f"RCPT TO:<{BOB}>")
        await second.send("MAIL FROM:<b@sender.test>", f"RCPT TO:<{BOB}>")
        async with asyncio.timeout(10):
            while not on.stage.pool._slots.waiting:  # noqa: ASYNC110 - no event says so
                await asyncio.sleep(0)
        assert (await first.ask("DATA")).startswith("354 ")
        assert (await first.content(LETTER)).startswith("250 ")
        assert [(await second.reply())[:3], (await second.reply())[:3]] == ["250", "250"]
        assert len(on.upstream.used()) == 1


# ---------------------------------------------------------------- nothing goes out under another's identity

WHO = [
    Client(address=address, helo=helo, login=login)
    for address in ("192.0.2.1", "192.0.2.2")
    for helo in ("one.test", "two.test")
    for login in ("", "ann", "ben")
]
WANTED = "wanted@example.com"


async def _transaction(on: Scene, client: Conversation, tag: str, end: str) -> None:
    """Run a transaction that ends in this way."""
    recipient = BOB if end == "refused" else WANTED
    answers = await client.pipeline(f"MAIL FROM:<{tag}@sender.test>", f"RCPT TO:<{recipient}>")
    if end == "lost":
        for each in on.upstream.open_dialogues[:1]:
            each.close()
    if end in {"refused", "reset"}:
        await client.ask("RSET")
    elif end != "greeting" and answers[-1].startswith("250"):
        assert (await client.ask("DATA")).startswith("354 ")
        if end == "abort":
            await client.send_raw(b"Subject: half a mess")
        else:
            await client.content(LETTER)


async def _session(on: Scene, chance: random.Random) -> None:
    """Run a session that does what clients do: some mail, some errors, RSET, a new EHLO, and an end of some kind."""
    who = chance.choice(WHO)
    client = await on.client(who)
    helo = who.helo
    for _ in range(chance.randrange(1, 5)):
        end = chance.choice(("refused", "reset", "greeting", "abort", "lost", "sent", "sent", "sent"))
        await _transaction(on, client, f"{who.address}|{helo}|{who.login}".encode().hex(), end)
        if end == "abort":
            client.abort()
            return
        if end == "greeting" or chance.random() < 0.1:
            helo = chance.choice(("one.test", "two.test"))
            await client.ehlo(helo)
    if chance.random() < 0.5:
        client.abort()
    else:
        await client.quit()


@pytest.mark.parametrize("port", ["true", "false"])
@pytest.mark.parametrize("places", [2, 100])
async def test_no_mail_is_ever_said_under_another_clients_identity(port: str, places: int) -> None:
    chance = random.Random(places)  # noqa: S311 - a test
    refusing = Informed(recipients={BOB: says("550 5.1.1 no")})
    async with scene(refusing, XCLIENT_Port=port, Max_Outbound_Connections=places) as on:
        for _ in range(12):
            async with asyncio.TaskGroup() as sessions:
                for _ in range(6):
                    sessions.create_task(_session(on, chance))
        for told, command in on.upstream.announced:
            tag = re.findall(r"<(\w+)@", command)[0]
            address, helo, login = bytes.fromhex(tag).decode().split("|")
            heard = (told["ADDR"], told["HELO"], told["EHLO"], told.get("LOGIN", ""))
            assert heard == (address, helo, helo, login), command
        assert len(on.upstream.announced) > 60
        assert len(on.upstream.messages) > 20
        if port == "false" and places == 100:
            assert len(on.upstream.used()) < len(on.upstream.announced) / 2, "they were shared"
        await on.stage.ended()
        assert on.stage.pool._slots.taken == len(on.stage.pool._idle) <= places
    assert on.upstream.faults == []


# ---------------------------------------------------------------- made ahead


async def _made(pool: ConnectionPool) -> None:
    """Wait until no connection is being made."""
    async with asyncio.timeout(10):
        while pool._demand.making:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0.001)


async def test_sessions_in_short_succession_find_connections_made_ahead() -> None:
    async with scene() as on:
        for number in range(1, 10):
            await on.mail(Client(address=f"192.0.2.{number}"))
            await _made(on.stage.pool)
        demand = on.stage.pool._demand
        assert 1 <= demand.wanted <= 2, "one at a time needs few"
        ready = [each for each in on.upstream.open_dialogues if each.commands == ["EHLO ringback.test"]]
        assert len(ready) == demand.wanted
        await on.mail(Client(address="192.0.2.99"))
        assert on.upstream.used()[-1] is ready[-1]


async def test_connections_are_made_ahead_in_free_places_only() -> None:
    async with scene(Max_Outbound_Connections=3) as on:
        for number in range(1, 10):
            await on.mail(Client(address=f"192.0.2.{number}"))
            await _made(on.stage.pool)
            assert len(on.upstream.open_dialogues) <= 3


async def test_a_connection_made_ahead_that_the_next_hop_closed_is_replaced_unseen() -> None:
    async with scene() as on:
        for number in range(1, 6):
            await on.mail(Client(address=f"192.0.2.{number}"))
            await _made(on.stage.pool)
        for each in on.upstream.open_dialogues:
            if len(each.commands) == 1:
                each.close()
        await on.mail(Client(address="192.0.2.99"))


class Balanced(Exchanger):
    """Reads a PROXY header before its greeting, and notes whom each names; knows how many sockets it has."""

    def __init__(self) -> None:
        super().__init__()
        self.headers: list[ProxyHeader] = []
        self.without_header: set[Dialogue] = set()

    async def _before_banner(self, dialogue: Dialogue, inbox: Inbox) -> None:
        self.without_header.add(dialogue)
        received = b""
        while (header := proxy_header(received)) is None:
            if not len(inbox):
                await inbox.more()
            received += inbox.take(1)
        self.without_header.discard(dialogue)
        self.headers.append(header)

    def waiting(self) -> list[Dialogue]:
        """Return the open connections on which nothing was said."""
        return [each for each in self.without_header if not each.ended]


async def test_before_proxy_headers_only_sockets_are_made_ahead_and_each_carries_its_own_clients_header() -> None:
    async with Balanced() as upstream, serving(upstream, Upstream_Proxy_Protocol="v2") as stage:
        sources = [f"127.0.0.{number}" for number in range(20, 30)]
        for source in sources:
            client = await stage.connection(source)
            await client.reply()
            await client.ehlo()
            await mail(client)
            await client.quit()
            await settled(stage.pool)
            await _made(stage.pool)
        named = [each.client[0] for each in upstream.headers if each.client is not None]
        assert named == sources
        await upstream.until(lambda: len(upstream.waiting()) == stage.pool._demand.wanted > 0, "sockets are ready")
        assert stage.pool._slots.taken == len(stage.pool._idle) + len(stage.pool._ready)


async def test_a_socket_made_ahead_is_closed_before_the_next_hop_loses_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ahead.SOCKET_SECONDS <= 3.0
    monkeypatch.setattr(ahead, "SOCKET_SECONDS", 0.2)
    async with Balanced() as upstream, serving(upstream, Upstream_Proxy_Protocol="v2") as stage:
        for _ in range(4):
            client = await stage.greeted()
            await mail(client)
            await client.quit()
        await _made(stage.pool)
        await upstream.until(lambda: bool(upstream.without_header), "a socket was made ahead")
        await upstream.until(lambda: not upstream.waiting(), "it is closed")
        await settled(stage.pool)
        assert stage.pool._slots.taken == len(stage.pool._idle)
