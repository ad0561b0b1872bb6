"""DNS answers told apart: no such domain, no such record, nobody could say. Against a name server of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from proxy import dns as subject
from proxy.dns import DnsUnavailable, Exchanger, NoSuchDomain, Resolver

RECORDS = {
    ("a.test.", "MX"): ["20 two.test.", "10 one.test."],
    ("null.test.", "MX"): ["0 ."],
    ("one.test.", "A"): ["192.0.2.1", "192.0.2.2"],
    ("one.test.", "AAAA"): ["2001:db8::1"],
    ("four.test.", "A"): ["192.0.2.4"],
    ("six.test.", "AAAA"): ["2001:db8::6"],
    ("half.test.", "A"): ["192.0.2.5"],
}
EMPTY = {"a.test.", "one.test.", "four.test.", "six.test.", "empty.test."}
BROKEN = {"servfail.test.": dns.rcode.SERVFAIL, "refused.test.": dns.rcode.REFUSED, "half.test.": dns.rcode.SERVFAIL}


class _Server(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        name, kind = str(query.question[0].name).lower(), dns.rdatatype.to_text(query.question[0].rdtype)
        if name == "silent.test.":
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if name == "alias.test." and kind == "A":
            response.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", "four.test."))
            response.answer.append(dns.rrset.from_text("four.test.", 60, "IN", "A", "192.0.2.4"))
        elif (name, kind) in RECORDS:
            response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *RECORDS[name, kind]))
        elif name in BROKEN:
            response.set_rcode(BROKEN[name])
        elif name not in EMPTY:
            response.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(response.to_wire(), addr)


@pytest.fixture
async def resolver() -> AsyncIterator[Resolver]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(_Server, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    made = Resolver([f"127.0.0.1:{port}"])
    try:
        yield made
    finally:
        await made.close()
        transport.close()


async def test_exchangers_come_by_preference_without_the_final_dot(resolver: Resolver) -> None:
    assert await resolver.exchangers("a.test") == [Exchanger(10, "one.test"), Exchanger(20, "two.test")]


async def test_a_null_mx_is_an_exchanger_without_a_name(resolver: Resolver) -> None:
    assert await resolver.exchangers("null.test") == [Exchanger(0, "")]


async def test_no_record_is_an_answer(resolver: Resolver) -> None:
    assert await resolver.exchangers("empty.test") == []
    assert await resolver.addresses("empty.test") == []


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("one.test", ["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
        ("four.test", ["192.0.2.4"]),
        ("six.test", ["2001:db8::6"]),
        ("alias.test", ["192.0.2.4"]),
        ("half.test", ["192.0.2.5"]),
    ],
)
async def test_addresses_of_both_families_are_found(resolver: Resolver, host: str, addresses: list[str]) -> None:
    found = await resolver.addresses(host)
    assert (sorted(found), [":" in each for each in found]) == (
        sorted(addresses),
        sorted(":" in each for each in found),
    )


@pytest.mark.parametrize("name", ["gone.test", "x" * 64 + ".test", "a..test"])
async def test_a_name_that_does_not_exist_or_cannot_is_told_apart(resolver: Resolver, name: str) -> None:
    with pytest.raises(NoSuchDomain):
        await resolver.exchangers(name)
    with pytest.raises(NoSuchDomain):
        await resolver.addresses(name)


@pytest.mark.parametrize("name", ["servfail.test", "refused.test"])
async def test_a_server_that_fails_or_refuses_says_nothing_of_the_name(resolver: Resolver, name: str) -> None:
    with pytest.raises(DnsUnavailable, match=rf"^{name}: "):
        await resolver.exchangers(name)
    with pytest.raises(DnsUnavailable, match=rf"^{name}: "):
        await resolver.addresses(name)


async def test_a_server_that_is_silent_says_nothing_of_the_name(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "QUERY_SECONDS", 0.05)
    with pytest.raises(DnsUnavailable, match=r"^silent\.test: timeout$"):
        await resolver.exchangers("silent.test")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_an_address_that_the_operator_wrote_is_itself(resolver: Resolver, address: str) -> None:
    assert await resolver.host_addresses(address) == [address]


async def test_a_host_that_the_operator_named_is_looked_up(resolver: Resolver) -> None:
    assert await resolver.host_addresses("four.test") == ["192.0.2.4"]
    with pytest.raises(NoSuchDomain):
        await resolver.host_addresses("gone.test")


async def test_many_questions_at_once_are_all_answered(resolver: Resolver) -> None:
    answers = await asyncio.gather(*(resolver.exchangers("a.test") for _ in range(500)))
    assert {len(each) for each in answers} == {2}


async def test_a_question_given_up_leaves_its_place(resolver: Resolver) -> None:
    loop = asyncio.get_running_loop()
    asking = [loop.create_task(resolver.exchangers("silent.test")) for _ in range(subject.MOST_AT_ONCE)]
    await asyncio.sleep(0)
    for each in asking:
        each.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*asking)
    assert len(await resolver.exchangers("a.test")) == 2
