"""What each check of senders costs: processor time a message, and the wait that slow name servers add.

Run from the project's root: `python -m bench.authentication`. A session is checked as a worker would: the validators of
a configuration are asked in each phase. The names are the bench's own. For the processor time, all answers are
remembered; for the wait, none is, and each takes 20 ms.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import uvloop

from bench.memory import MEBI
from config.schema.values import DomainPatterns
from proxy.base.log import silence
from proxy.dns.answers import Value
from proxy.dns.resolver import NoSuchDomain
from proxy.mail.message import Message
from proxy.mail.session import Recipient, Session
from proxy.mail.stuffing import StuffedBody, stuffed
from proxy.mail.validator import Validator
from proxy.mail.verdict import decided
from proxy.modules.arc.module import ArcValidator
from proxy.modules.arc.options import ArcOptions
from proxy.modules.dkim_validate.module import DkimValidator
from proxy.modules.dkim_validate.options import DkimOptions
from proxy.modules.dmarc.module import DmarcValidator
from proxy.modules.dmarc.options import DmarcOptions
from proxy.modules.dnsbl.lists import Lists
from proxy.modules.dnsbl.module import DnsblValidator
from proxy.modules.dnsbl.options import DnsblOptions
from proxy.modules.dnsbl.zones import Zone, ZoneOptions
from proxy.modules.iprev.module import IprevValidator
from proxy.modules.iprev.options import IprevOptions
from proxy.modules.services import Background, Names
from proxy.modules.spf_v1.module import SpfValidator
from proxy.modules.spf_v1.options import SpfOptions
from proxy.smtp.pipeline import PhasePipeline
from proxy.smtp.ports import ListensToBodies
from sieve.phases import Phase
from tests.proxy.arc.test_verifying import chain
from tests.support.lookups import path_of
from tests.support.signing import rsa_key, signed
from tests.support.worker import core

MESSAGES = 400
"""For the processor time."""
COLD = 5
"""Measurements of the wait; the median counts."""
DNS_SECONDS = 0.02

CLIENT, SENDER = "192.0.2.1", "alice@a.test"
PHASES = (Phase.CONNECT, Phase.EHLO, Phase.MAILFROM, Phase.RCPTTO, Phase.DATA)
BODY = b"see http://www.link.test/ and http://other.test/\r\n" + b"x" * 76 + b"\r\n" * 50
PLAIN = b"From: Alice <alice@a.test>\r\nTo: bob@example.com\r\nSubject: hi\r\n\r\n" + BODY

TEXTS: dict[tuple[str, str], list[Value]] = {
    ("1.2.0.192.in-addr.arpa", "PTR"): ["mx.a.test"],
    (CLIENT, "PTR"): ["mx.a.test"],
    ("mx.a.test", "A"): [CLIENT],
    ("a.test", "TXT"): [b"v=spf1 mx ip4:192.0.2.0/24 -all"],
    ("a.test", "MX"): [(10, "mx.a.test")],
    ("_dmarc.a.test", "TXT"): [b"v=DMARC1; p=reject"],
    ("s1._domainkey.a.test", "TXT"): [rsa_key().record],
    **{(f"s1._domainkey.l{at}.test", "TXT"): [rsa_key().record] for at in (1, 2)},
    **{(f"{name}.{zone}", "A"): ["127.0.0.2"] for name in ("2.0.0.127", "test") for zone in ("bl.test", "uri.test")},
}


class BenchNames:
    """A resolver whose answers take a while."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def records(self, name: str, record_type: str) -> Sequence[Value]:
        """Return the data of the records."""
        if self._seconds:
            await asyncio.sleep(self._seconds)
        found = TEXTS.get((name.lower().rstrip("."), record_type))
        if found is None:
            raise NoSuchDomain(name)
        return found

    async def lookup(self, name: str, record_type: str, server: str | None = None) -> tuple[str, list[str]]:
        """Return the status and the records as text."""
        del server
        try:
            found = await self.records(name, record_type)
        except NoSuchDomain:
            return "NXDOMAIN", []
        return "SUCCESS", [each.decode() if isinstance(each, bytes) else str(each) for each in found]


@dataclass(frozen=True, slots=True)
class Row:
    """What is measured: the modules, and the message."""

    name: str
    modules: tuple[str, ...]
    content: bytes


def validators_of(modules: Sequence[str], seconds: float, background: Background) -> list[Validator]:
    """Make the validators of these modules over the bench's names."""
    names = cast(Any, BenchNames(seconds))
    lookups, owner = background.lookups(cast(Names, names)), background.owner
    zones = (
        Zone("bl.test", ZoneOptions(checks=("client", "helo", "ptr", "sender"))),
        Zone("uri.test", ZoneOptions(checks=("url", "header"))),
    )
    made: dict[str, Any] = {
        "iprev": lambda: IprevValidator("iprev", IprevOptions(), lookups, owner),
        "spf_v1": lambda: SpfValidator("spf_v1", SpfOptions(), names),
        "dkim_validate": lambda: DkimValidator("dkim_validate", DkimOptions(), names),
        "arc": lambda: ArcValidator("arc", ArcOptions(trusted_sealers=DomainPatterns(())), names),
        "dnsbl": lambda: DnsblValidator("dnsbl", DnsblOptions(zones=zones), Lists(zones, lookups, 5.0, owner), lookups),
        "dmarc": lambda: DmarcValidator("dmarc", DmarcOptions(), lookups, owner),
    }
    return [made[name]() for name in modules]


def arrives(content: bytes) -> tuple[Session, bytes]:
    """Return a session with a message, and the octets behind its header section as they are on the wire."""
    session = Session(asyncio.get_running_loop(), (CLIENT, 40025), ("192.0.2.25", 25), core())
    session.host_name, session.extended_smtp = "mx.a.test", True
    session.transaction.begin(path_of(SENDER), {})
    session.current_recipient = Recipient(path_of("bob@example.com"))
    session.transaction.add(session.current_recipient)
    head, _, body = content.partition(b"\r\n\r\n")
    wire = b"\r\n" + stuffed(body)
    kept = StuffedBody(None)
    kept.write(wire)
    session.transaction.message = Message(head + b"\r\n", kept)
    return session, wire


async def checked(pipeline: PhasePipeline, validators: Sequence[Validator], content: bytes) -> None:
    """Check one message."""
    session, wire = arrives(content)
    message = session.transaction.message
    assert message is not None
    for phase in PHASES:
        if phase is Phase.DATA:
            heard = [await each.listen(session, message) for each in validators if isinstance(each, ListensToBodies)]
            for listener in heard:
                if listener is not None:
                    await listener.feed(wire)
        verdict = await decided(pipeline.run(phase, session))
        assert verdict.reply is None, verdict
    message.close()


async def processor(row: Row, messages: int) -> float:
    """Return the microseconds of processor time of a message, all names remembered."""
    background = Background()
    validators = validators_of(row.modules, 0, background)
    pipeline = PhasePipeline(validators)
    for _ in range(20):
        await checked(pipeline, validators, row.content)
    began = time.process_time()
    for _ in range(messages):
        await checked(pipeline, validators, row.content)
    spent = time.process_time() - began
    await background.close()
    return spent / messages * 1e6


async def waited(row: Row) -> float:
    """Return the milliseconds that a message takes if no name is remembered and each look-up takes 20 ms."""
    taken = []
    for _ in range(COLD):
        background = Background()
        validators = validators_of(row.modules, DNS_SECONDS, background)
        for each in validators:
            if isinstance(each, DnsblValidator):
                await asyncio.gather(*[each.lists.health.look(zone) for zone in each.lists.zones])
        pipeline = PhasePipeline(validators)
        began = time.perf_counter()
        await checked(pipeline, validators, row.content)
        taken.append(time.perf_counter() - began)
        await background.close()
    return sorted(taken)[COLD // 2] * 1000


def rows() -> list[Row]:
    """Return what is measured."""
    of_a = signed(PLAIN)
    large = PLAIN + b"x" * 76 + b"\r\n" + (b"y" * 76 + b"\r\n") * (MEBI // 78)
    everything = ("iprev", "spf_v1", "dkim_validate", "arc", "dnsbl", "dmarc")
    return [
        Row("none", (), PLAIN),
        *[Row(name, (name,), PLAIN) for name in ("iprev", "spf_v1", "dnsbl")],
        Row("dkim_validate, unsigned", ("dkim_validate",), PLAIN),
        Row("dkim_validate, one signature", ("dkim_validate",), of_a),
        Row("arc, two seals", ("arc",), chain(2)),
        Row("dmarc", ("dmarc",), PLAIN),
        Row("all, signed", everything, of_a),
        Row("all, signed, 1 MiB", everything, signed(large)),
    ]


async def measured() -> None:
    """Print the table."""
    silence()
    print(f"{'modules':<32}{'µs a message':>14}{'ms with 20 ms of DNS':>24}")
    base = base_wait = 0.0
    for row in rows():
        messages = MESSAGES if len(row.content) < MEBI else 20
        cost, wait = await processor(row, messages), await waited(row)
        if not row.modules:
            base, base_wait = cost, wait
        print(f"{row.name:<32}{cost - base:>14.0f}{wait - base_wait:>24.0f}", flush=True)


def main() -> None:
    """Measure on a loop like a worker's."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measured())


if __name__ == "__main__":
    main()
