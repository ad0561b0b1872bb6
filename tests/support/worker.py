"""A worker in this process, on real loopback sockets.

`serving` runs one whose policy is a test's `Rule`s and whose DNS is its `Names`; `client_of` runs a `Configuration`
with its modules and scripts.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

from config.diagnostics import Diagnostic
from proxy.app import load, load_service
from proxy.dns.resolver import DnsUnavailable, Exchanger, NoSuchDomain, Resolver
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.mail.validator import Hook, OnError, Validator
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.services import Services
from proxy.options.core import CoreOptions
from proxy.server.assembly import Assembly
from proxy.server.worker import Worker
from proxy.upstream.pool import ConnectionPool
from sieve.phases import Need, Phase
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger as Upstream

ALICE = "alice@sender.test"
BOB = "bob@example.com"
CAROL = "carol@example.com"
DAVE = "dave@example.com"
LETTER = b"Subject: hello\r\n\r\nhello\r\n"

ACCEPTED = "250 2.0.0 Ok: queued as 000001"
SENDER_OK = "250 2.1.0 Sender OK"
RECIPIENT_OK = "250 2.1.5 Ok"

LOOPBACK = ip_network("127.0.0.0/8")


def assembly(port: int = 1, *, address: str = "127.0.0.1", **options: object) -> Assembly:
    """Load the configuration of a server whose upstream listens on `port` of 127.0.0.1."""
    host = f"[{address}]" if ":" in address else address
    lines = [*_head(port, host), *(f"{name} = {value}" for name, value in options.items())]
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        return load(Path(file.name))[0]


def _head(upstream: int, host: str = "127.0.0.1") -> list[str]:
    return [
        f"ESMTP_Listener = ( {host}:0 )",
        'Hostname = "ringback.test"',
        "Relay_Domains = ( example.com )",
        'Gateway = "127.0.0.1"',
        f"Remote_SMTP_Port = {upstream}",
    ]


@lru_cache
def core() -> CoreOptions:
    """Return the global options of such a server."""
    return assembly().core


@dataclass
class Names:
    """A resolver of plain values: what is not listed does not exist; an exception among the values is raised."""

    mx: Mapping[str, Sequence[tuple[int, str]] | Exception] = field(default_factory=dict)
    hosts: Mapping[str, Sequence[str] | Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def exchangers(self, domain: str) -> list[Exchanger]:
        self.asked.append(domain)
        records = _found(self.mx, domain)
        return sorted((Exchanger(*each) for each in records), key=lambda each: each.preference)

    async def addresses(self, host: str) -> list[str]:
        return list(_found(self.hosts, host))

    async def host_addresses(self, host: str) -> list[str]:
        return [host] if host[:1].isdigit() else list(_found(self.hosts, host))

    async def close(self) -> None:
        """Nothing is held."""


def _found(records: Mapping[str, Any], name: str) -> Any:
    found = records.get(name, NoSuchDomain(name))
    if isinstance(found, Exception):
        raise found
    return found


def unavailable(name: str) -> DnsUnavailable:
    return DnsUnavailable(f"{name}: SERVFAIL")


def resolver(names: Names | None = None) -> Resolver:
    """Return plain values under the type that the server asks for."""
    return cast(Resolver, names or Names())


@dataclass
class Rule:
    """A validator that answers at one phase, and counts how often it was asked."""

    phase: Phase
    answer: Verdict | Exception | Callable[[Session], Awaitable[Verdict]] = PASS
    on_error: OnError = OnError.DEFER
    reads: Need = Need.NOTHING
    name: str = "rule"
    deadline: float = 15.0
    asked: int = 0

    def hooks(self) -> Mapping[Phase, Hook]:
        return {self.phase: self._judge}

    def needs(self, phase: Phase) -> Need:
        assert phase is self.phase
        return self.reads

    async def _judge(self, session: Session) -> Verdict:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer if isinstance(self.answer, Verdict) else await self.answer(session)


def refuses(code: int, text: str, *, close: bool = False) -> Verdict:
    return Verdict(Reply(code, (text.encode(),), close=close))


@dataclass
class Given:
    """A prepared module that brings one validator, or none."""

    judge: Validator
    diagnostics: Sequence[Diagnostic] = ()

    def validator(self, services: Services) -> Validator:
        """Return the validator."""
        del services
        return self.judge


@dataclass
class WorkerStage:
    """A running worker before an upstream."""

    worker: Worker
    port: int
    address: str
    clients: list[Conversation] = field(default_factory=list)

    @property
    def pool(self) -> ConnectionPool:
        (pool,) = self.pools
        return pool

    @property
    def pools(self) -> list[ConnectionPool]:
        """Return the pools, the default upstream's first."""
        return list(self.worker.pools._pools.values())

    @property
    def sessions(self) -> int:
        return len(self.worker._sessions)

    async def connection(self, source: str | None = None) -> Conversation:
        """Connect, from another loopback address if one is given, and do not read the banner."""
        client = await Conversation.connect(self.address, self.port, source=source)
        self.clients.append(client)
        return client

    async def conversation(self) -> Conversation:
        """Connect and read the banner."""
        client = await self.connection()
        client.banner = await client.reply()
        return client

    async def greeted(self) -> Conversation:
        client = await self.conversation()
        await client.ehlo()
        return client

    async def ended(self) -> None:
        """Wait until every session has ended, and what it left to the pool is done."""
        assert await self.worker._sessions.wait(10)
        await settled(*self.pools)


@asynccontextmanager
async def serving(
    upstream: Upstream | None = None, *validators: Validator, address: str = "127.0.0.1", **options: object
) -> AsyncIterator[WorkerStage]:
    """Serve on an ephemeral port; the pool is warm, unless there is no upstream: then nothing listens there."""
    loaded = assembly(upstream.port if upstream else 1, address=address, **options)
    worker = Worker(replace(loaded, prepared=[Given(each) for each in validators]))
    await worker.start()
    stage = WorkerStage(worker, worker.addresses[0][1], address)
    try:
        await settled(*stage.pools)
        yield stage
    finally:
        for client in stage.clients:
            client.abort()
        await worker.stop(now=True)


async def settled(*pools: ConnectionPool) -> None:
    """Wait until what the pools do in the background has ended."""
    for pool in pools:
        assert await pool._owner.wait(10)


# ---------------------------------------------------------------- a configuration in a folder


class Configuration:
    """A configuration in a folder, with its scripts."""

    def __init__(self, folder: Path, upstream: int, exchanger: int = 25) -> None:
        self.folder, self.upstream, self.exchanger = folder, upstream, exchanger
        self.lines: list[str] = []

    def callback(self, *options: str, kind: str = "passive") -> Configuration:
        self.lines += [
            f"smtp_cbv {kind} {{",
            f"  port = {self.exchanger}",
            '  store = "memory"',
            '  map = [ sender.test = "127.0.0.1" ]',
            *(f"  {each}" for each in options),
            "}",
        ]
        return self

    def scripts(self, *options: str, **scripts: str) -> Configuration:
        self.lines.append("sieve {")
        for phase, text in scripts.items():
            (self.folder / f"{phase}.siv").write_text(text)
            self.lines.append(f'  {phase} = "{phase}.siv"')
        self.lines += [*(f"  {each}" for each in options), "}"]
        return self

    def write(self) -> Path:
        path = self.folder / "ecelerity.conf"
        path.write_text("\n".join([*_head(self.upstream), *self.lines]) + "\n")
        return path


@asynccontextmanager
async def client_of(configuration: Configuration) -> AsyncIterator[Conversation]:
    """Serve a configuration and greet as a client."""
    worker: Worker = load_service(configuration.write())
    await worker.start()
    try:
        await settled(*worker.pools._pools.values())
        client = await Conversation.connect(*worker.addresses[0])
        try:
            client.banner = await client.reply()
            if client.banner.startswith("220"):
                await client.ehlo()
            yield client
        finally:
            client.abort()
    finally:
        await worker.stop(now=True)


async def transaction(client: Conversation, *recipients: str, sender: str = ALICE) -> list[str]:
    """Return the replies to MAIL, each RCPT, and the dot, as far as it goes."""
    answers = [await client.ask(f"MAIL FROM:<{sender}>")]
    if not answers[0].startswith("250"):
        return answers
    answers += [await client.ask(f"RCPT TO:<{each}>") for each in recipients or (BOB,)]
    if not any(each.startswith("250") for each in answers[1:]):
        return answers
    assert (await client.ask("DATA")).startswith("354")
    return [*answers, await client.content(LETTER)]
