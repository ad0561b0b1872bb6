"""The front, the relay and the pool in this process, on real loopback sockets: what a test says of policy is a `Rule`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, cast

from config import DomainPatterns, Endpoint
from proxy.dns import DnsUnavailable, Exchanger, NoSuchDomain, Resolver
from proxy.replies import Reply
from proxy.session import Session
from proxy.settings import CoreOptions
from proxy.smtp.access import RelayControl
from proxy.smtp.front import Front
from proxy.smtp.pipeline import PhasePipeline
from proxy.smtp.protocol import SmtpProtocol
from proxy.tasks import TaskOwner
from proxy.upstream.pool import Pool
from proxy.upstream.relay import UpstreamRelay
from proxy.validator import PASS, Hook, OnError, Verdict
from sieve import Need, Phase
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger as Upstream

ALICE = "alice@sender.test"
BOB = "bob@example.com"
CAROL = "carol@example.com"
DAVE = "dave@example.com"
LETTER = b"Subject: hello\r\n\r\nhello\r\n"

LOOPBACK = ip_network("127.0.0.0/8")


def core(port: int = 1, **options: Any) -> CoreOptions:
    """Return the global options of a server whose upstream listens on `port` of 127.0.0.1."""
    given = {
        "esmtp_listener": (),
        "hostname": "ringback.test",
        "relay_domains": DomainPatterns(("example.com",)),
        "gateway": Endpoint("127.0.0.1", port),
        **options,
    }
    return CoreOptions(**given)


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
class Stage:
    """A running front before an upstream."""

    front: Front
    pool: Pool
    port: int
    address: str = "127.0.0.1"

    async def conversation(self) -> Conversation:
        return await Conversation.open(self.address, self.port)

    async def greeted(self) -> Conversation:
        client = await self.conversation()
        await client.ehlo()
        return client


@asynccontextmanager
async def serving(
    upstream: Upstream | None = None,
    *validators: Any,
    capabilities: frozenset[str] | None = frozenset({"8BITMIME", "SMTPUTF8"}),
    address: str = "127.0.0.1",
    names: Names | None = None,
    **options: Any,
) -> AsyncIterator[Stage]:
    """Serve on an ephemeral port; without an upstream, nothing listens where it should."""
    settings = core(upstream.port if upstream else 1, **options)
    loop = asyncio.get_running_loop()
    pool = Pool(settings, settings.hostname, resolver(names))
    sessions = TaskOwner("sessions")
    front = Front(
        settings=settings,
        hostname=settings.hostname,
        pipeline=PhasePipeline(validators),
        access=RelayControl(settings.relay_domains, settings.relay_hosts),
        open_relay=lambda session: UpstreamRelay(pool, session),
        capabilities=lambda: pool.capabilities if capabilities is None else capabilities,
        sessions=sessions,
    )
    server = await loop.create_server(lambda: SmtpProtocol(front), address, 0)
    try:
        yield Stage(front, pool, server.sockets[0].getsockname()[1], address)
    finally:
        server.close()
        await sessions.cancel()
        await pool.close()


async def settled(pool: Pool) -> None:
    """Wait until the pool's work in the background has ended."""
    async with asyncio.timeout(10):
        assert await pool._owner.wait(10)
