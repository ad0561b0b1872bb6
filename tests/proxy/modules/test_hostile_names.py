"""What each check of senders says if a stranger's name server misbehaves, on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

import pytest

from proxy.arc.verifying import claim_of, verified
from proxy.base.tasks import TaskOwner
from proxy.dkim.bodies import BodyHashes
from proxy.dkim.keys import KeyCache
from proxy.dkim.verifying import claims_of, judged
from proxy.dmarc.author import authors
from proxy.dmarc.evaluation import Identifiers
from proxy.dmarc.evaluation import evaluate as evaluate_dmarc
from proxy.dns import resolver as module
from proxy.dns.remembered import Remembered
from proxy.dns.resolver import Resolver
from proxy.dns.reverse import reverse
from proxy.mail.fields import parse
from proxy.mail.stuffing import stuffed
from proxy.modules.dnsbl.lists import Lists
from proxy.modules.dnsbl.zones import Zone, ZoneOptions
from proxy.modules.spf_v1.evaluation import evaluate as evaluate_spf
from proxy.modules.spf_v1.outcome import Identity
from tests.proxy.arc.test_verifying import PLAIN, sealed
from tests.support.hostile_nameserver import FAULTS, LONG, NEVER, PTR, A, HostileNameserver, text, wire_name
from tests.support.signing import rsa_key, signed

NUMBERS = {fault: number for number, fault in enumerate(FAULTS, 1)}
"""The last octet of the client whose name has the fault."""

NOTHING = ("loop", "chain", "selfpointer")
"""Aliases that lead nowhere."""

UNCLEAR = (
    *("silent", "wrongid", "drip", "othername", "othertype", "deniedandgiven", "garbage", "cut", "pointerloop"),
    *("pointers", "servfail", "refused", "alwaystruncated"),
)


def table(unclear: str, nowhere: str, **others: str) -> dict[str, str]:
    return {**dict.fromkeys(UNCLEAR, unclear), **dict.fromkeys(NOTHING, nowhere), **others}


SPF = table("temperror", "none", unfollowed="none", denied="none", toomany="pass", long="permerror",
            thousand="permerror", honest="pass")  # fmt: skip
DKIM = table("temperror", "temperror", unfollowed="permerror", denied="permerror", toomany="pass", long="permerror",
             thousand="pass", honest="pass")  # fmt: skip
ARC = table("temperror", "temperror", unfollowed="fail", denied="fail", toomany="pass", long="fail", thousand="pass",
            honest="pass")  # fmt: skip
DMARC = table("temperror", "temperror", unfollowed="none", denied="none", toomany="fail", long="fail", thousand="none",
              honest="fail")  # fmt: skip
IPREV = table("temperror", "temperror", unfollowed="fail", denied="fail", toomany="pass", long="pass", thousand="pass",
              honest="pass")  # fmt: skip
LISTED = {"toomany", "long", "thousand", "honest"}


def honest(fault: str, name: str, kind: int) -> bytes:
    """Return what every check wants to hear about a name."""
    if kind == PTR:
        number = int(name.partition(".")[0])
        return wire_name(f"mx.{list(FAULTS)[number - 1]}.test")
    if kind == A:
        return bytes([192, 0, 2, NUMBERS[fault]]) if name.startswith("mx.") else bytes([127, 0, 0, 2])
    padding = b"x" * LONG if fault == "long" else b""
    if "_domainkey" in name:
        return text(rsa_key().record + b"; n=" + padding)
    return text((b"v=DMARC1; p=reject; x=" if name.startswith("_dmarc.") else b"v=spf1 ip4:192.0.2.1 -all ") + padding)


Names = Callable[[str], Resolver]


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Names]:
    """Make a resolver for each fault: c-ares shares a connection, and closes it if one answer is malformed."""
    monkeypatch.setitem(FAULTS, "in-addr", FAULTS["honest"])  # type: ignore[index] # a dictionary
    async with HostileNameserver(honest) as server:
        server.questions["in-addr"] = 0
        resolvers: dict[str, Resolver] = {}
        yield lambda fault: resolvers.setdefault(fault, Resolver([server.address]))
        for each in resolvers.values():
            await each.close()


@pytest.fixture(params=["answers", "none"])
def faults(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the faults that are answers, or the faults that are not. Checks must not wait long for the latter."""
    if request.param == "none":
        monkeypatch.setattr(module, "_TRY_SECONDS", 0.1)
        monkeypatch.setattr(module, "QUERY_SECONDS", 0.3)
    return [each for each in NUMBERS if (each in NEVER) == (request.param == "none")]


def only(wanted: dict[str, str], faults: Iterable[str]) -> dict[str, str]:
    return {each: wanted[each] for each in faults}


async def test_spf(faults: list[str], names: Names) -> None:
    async def said(fault: str) -> str:
        return (await evaluate_spf(names(fault), Identity("192.0.2.1", f"a@x.{fault}.test", "h.test", "r.test"))).result

    assert dict(zip(faults, await asyncio.gather(*map(said, faults)), strict=True)) == only(SPF, faults)


async def test_dkim(faults: list[str], names: Names) -> None:
    async def said(fault: str) -> str:
        head, _, body = signed(b"From: a@a.test\r\n\r\nhello\r\n", domain=f"x.{fault}.test").partition(b"\r\n\r\n")
        claims = claims_of(parse(head + b"\r\n"))
        hashes = BodyHashes([each.wanted for each in claims if each.wanted is not None])
        await hashes.feed(b"\r\n" + body)
        cache = KeyCache(names(fault), size=100, life=300.0, missing_life=300.0)
        (found,) = await judged(claims, hashes.finish(), cache)
        return found.value

    assert dict(zip(faults, await asyncio.gather(*map(said, faults)), strict=True)) == only(DKIM, faults)


async def test_arc(faults: list[str], names: Names) -> None:
    async def said(fault: str) -> str:
        head, _, body = sealed(PLAIN, 1, domain=f"x.{fault}.test").partition(b"\r\n\r\n")
        claim = claim_of(parse(head + b"\r\n"))
        hashes = BodyHashes([claim.wanted] if claim.wanted else [])
        await hashes.feed(b"\r\n" + stuffed(body))
        cache = KeyCache(names(fault), size=100, life=300.0, missing_life=300.0)
        return (await verified(claim, hashes.finish(), cache)).status

    assert dict(zip(faults, await asyncio.gather(*map(said, faults)), strict=True)) == only(ARC, faults)


async def test_dmarc(faults: list[str], names: Names) -> None:
    async def said(fault: str) -> str:
        lookups = Remembered(names(fault))
        return (await evaluate_dmarc(authors([f"a@x.{fault}.test"]), Identifiers(), lookups.ask)).status.value

    assert dict(zip(faults, await asyncio.gather(*map(said, faults)), strict=True)) == only(DMARC, faults)


async def test_iprev(faults: list[str], names: Names) -> None:
    async def said(fault: str) -> str:
        lookups = Remembered(names(fault))
        return (await reverse(f"192.0.2.{NUMBERS[fault]}", lookups)).status

    assert dict(zip(faults, await asyncio.gather(*map(said, faults)), strict=True)) == only(IPREV, faults)


async def test_dnsbl(faults: list[str], names: Names) -> None:
    async def listed(fault: str) -> bool:
        zones = [Zone(f"{fault}.test", ZoneOptions(test=False))]
        lists = Lists(zones, Remembered(names(fault)), 60.0, TaskOwner("test"))
        return bool(await lists.look("client", ["192.0.2.1"], 200))

    found = await asyncio.gather(*map(listed, faults))
    assert {fault for fault, is_listed in zip(faults, found, strict=True) if is_listed} == LISTED & set(faults)


@pytest.mark.parametrize(
    "label", [b"a.honest", b"a\r\n250 ok", b"\0", b"\xff", b"(x); dkim=pass", b" ", b"\\", b"%s", b"\x1b[31m"]
)
async def test_a_reverse_name_that_no_host_has_does_not_lead_back(
    label: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(_fault: str, _name: str, kind: int) -> bytes:
        return bytes([len(label)]) + label + wire_name("honest.test") if kind == PTR else bytes([192, 0, 2, 1])

    monkeypatch.setitem(FAULTS, "in-addr", FAULTS["honest"])  # type: ignore[index] # a dictionary
    async with HostileNameserver(odd) as server:
        server.questions["in-addr"] = 0
        resolver = Resolver([server.address])
        found = await reverse("192.0.2.1", Remembered(resolver))
        assert (found.status, found.name) == ("fail", "")
        assert server.questions["honest"] == 0, "the name was looked up"
        await resolver.close()
