"""The stub resolver: what an answer means, and whose answer counts. Against name servers of the test's own."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dns import stub
from proxy.dns.answers import ResponseReader, name_of
from proxy.dns.stub import Nameserver, StubAnswer, judge
from tests.support.nameserver import ScriptedNameserver

NAME = dns.name.from_text("a.test")
GOOD = StubAnswer("SUCCESS", ((10, "mx.test"),))


async def ask(*given: Any) -> StubAnswer:
    """Ask; who answered does not matter."""
    return replace(await stub.ask(*given), server=None)


SOA = "{} 60 IN SOA ns.test. root.test. 1 2 3 4 5"


def response(flags: str, *, rcode: str = "NOERROR", **sections: str) -> dns.message.Message:
    """Return a response to `a.test MX`; a section is lines parted by `;`."""
    lines = ["id 1", "opcode QUERY", f"rcode {rcode}", f"flags QR {flags}", ";QUESTION", "a.test. IN MX"]
    for section in ("answer", "authority", "additional"):
        lines += [f";{section.upper()}", *(each.strip() for each in sections.get(section, "").split(";") if each)]
    return dns.message.from_text("\n".join(lines) + "\n")


def judged(message: dns.message.Message) -> StubAnswer:
    return judge(ResponseReader(message.to_wire()), name_of(NAME), dns.rdatatype.MX)


NS, A_MX = "test. 60 IN NS ns.test.", "a.test. 60 IN MX 10 mx.test."
TO_B = "a.test. 60 IN CNAME b.test."


@pytest.mark.parametrize(
    ("flags", "sections", "status", "clear"),
    [
        pytest.param("RA", {}, "SUCCESS", True, id="nothing_without_soa"),
        pytest.param("AA", {}, "SUCCESS", True, id="nothing_authoritative"),
        pytest.param("RA", {"authority": SOA.format("test.")}, "SUCCESS", True, id="nothing_with_soa"),
        pytest.param("AA", {"authority": f"{SOA.format('test.')};{NS}"}, "SUCCESS", True, id="nothing_with_soa_and_ns"),
        pytest.param("RA", {"authority": NS}, "SERVFAIL", False, id="referral"),
        pytest.param("AA", {"authority": NS}, "SERVFAIL", False, id="referral_that_claims_authority"),
        pytest.param("", {}, "SERVFAIL", False, id="nothing_without_flags"),
        pytest.param("RD", {"authority": SOA.format("test.")}, "SERVFAIL", False, id="soa_without_flags"),
        pytest.param("RA", {"authority": A_MX}, "SERVFAIL", False, id="records_in_authority"),
        pytest.param("RA", {"additional": A_MX}, "SERVFAIL", False, id="records_in_additional"),
        pytest.param("RA", {"answer": "a.test. 60 IN A 9.9.9.9"}, "SERVFAIL", False, id="another_type"),
        pytest.param("RA", {"answer": "b.test. 60 IN MX 10 mx.test."}, "SERVFAIL", False, id="another_name"),
        pytest.param("RA", {"answer": TO_B}, "SUCCESS", True, id="alias_of_nothing"),
        pytest.param("AA", {"answer": TO_B}, "SERVFAIL", False, id="alias_not_followed"),
        pytest.param(
            "AA", {"answer": TO_B, "authority": SOA.format("b.test.")}, "SUCCESS", True, id="alias_followed_to_nothing"
        ),
        pytest.param("RA", {"answer": f"{TO_B};b.test. 60 IN CNAME a.test."}, "SERVFAIL", False, id="circle"),
        pytest.param("RA", {"answer": "a.test. 60 IN CNAME a.test."}, "SERVFAIL", False, id="alias_of_itself"),
        pytest.param("RA", {"rcode": "NXDOMAIN"}, "NXDOMAIN", True, id="nxdomain"),
        pytest.param("RA", {"rcode": "NXDOMAIN", "answer": TO_B}, "NXDOMAIN", True, id="nxdomain_of_the_alias"),
        pytest.param("AA", {"rcode": "NXDOMAIN", "authority": NS}, "NXDOMAIN", True, id="nxdomain_rfc2308_type_4"),
        pytest.param("", {"rcode": "NXDOMAIN"}, "SERVFAIL", False, id="nxdomain_without_flags"),
        pytest.param("RA", {"rcode": "NXDOMAIN", "answer": A_MX}, "SERVFAIL", False, id="nxdomain_with_records"),
        *(
            pytest.param("RA AA", {"rcode": code}, code, False, id=code)
            for code in ("FORMERR", "SERVFAIL", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH")
        ),
        *(pytest.param("RA", {"rcode": code}, code, False, id=code) for code in ("NOTZONE", "BADVERS", "BADCOOKIE")),
        pytest.param("RA", {"rcode": "NXRRSET", "answer": A_MX}, "NXRRSET", False, id="records_beside_an_error"),
    ],
)
def test_only_a_denial_is_one(flags: str, sections: dict[str, str], status: str, *, clear: bool) -> None:
    found = judged(response(flags, **sections))
    assert (found.status, found.records, not found.unclear) == (status, (), clear)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(A_MX, id="plain"),
        pytest.param(A_MX.upper().replace("MX.TEST", "mx.test"), id="upper_case"),
        pytest.param(f"b.test. 60 IN MX 10 mx.test.;{TO_B}", id="alias_in_disorder"),
        pytest.param(f"{A_MX};other.test. 60 IN MX 5 evil.test.", id="beside_another_name"),
        pytest.param(
            "test. 60 IN DNAME t.example.;a.test. 60 IN CNAME a.t.example.;a.t.example. 60 IN MX 10 mx.test.",
            id="dname",
        ),
    ],
)
def test_records_are_those_of_the_name_and_its_aliases(answer: str) -> None:
    assert judged(response("RA", answer=answer)) == GOOD


def test_a_code_without_a_name_is_told_by_its_number() -> None:
    assert judged(response("RA", rcode="12")).status == "RCODE12"


# ---------------------------------------------------------------- whose answer counts

Say = Callable[[list[bytes]], list[bytes]]
"""From all queries that came so far, the last one included, to what is sent now."""


class _Server(asyncio.DatagramProtocol):
    def __init__(self, say: Say) -> None:
        self.say, self.heard, self.ports = say, list[bytes](), list[int]()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard.append(data)
        self.ports.append(addr[1])
        for each in self.say(self.heard):
            self.transport.sendto(each, addr)


@asynccontextmanager
async def serving(say: Say) -> AsyncIterator[tuple[_Server, Nameserver]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: _Server(say), local_addr=("127.0.0.1", 0))
    try:
        yield server, Nameserver("127.0.0.1", transport.get_extra_info("sockname")[1])
    finally:
        transport.close()


def good(query: bytes, *, rcode: int = 0) -> bytes:
    made = dns.message.make_response(dns.message.from_wire(query), recursion_available=True)
    made.set_rcode(dns.rcode.Rcode(rcode))
    if not rcode:
        made.answer.append(dns.rrset.from_text("a.test.", 60, "IN", "MX", "10 mx.test."))
    return made.to_wire()


def question_of(query: bytes, name: str) -> bytes:
    made = dns.message.from_wire(good(query))
    made.question[0].name = dns.name.from_text(name)
    return made.to_wire()


def silent(_heard: list[bytes]) -> list[bytes]:
    return []


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stub, "MOST_PAUSE", 0.02)


async def test_an_answer_to_an_earlier_try_counts() -> None:
    async with serving(lambda heard: [good(heard[0])] if len(heard) == 2 else []) as (server, address):
        assert await ask(NAME, "MX", [address], 10.0) == GOOD
        ids = {each[:2] for each in server.heard}
    assert (len(server.heard), len(ids), len(set(server.ports))) == (2, 2, 1)


async def test_each_question_has_an_id_and_a_port_of_its_own_and_no_edns() -> None:
    async with serving(lambda heard: [good(heard[-1])]) as (server, address):
        for _ in range(8):
            await ask(NAME, "MX", [address], 10.0)
    assert len({each[:2] for each in server.heard}) > 6
    assert len(set(server.ports)) > 6
    assert {dns.message.from_wire(each).edns for each in server.heard} == {-1}


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(lambda _query: b"", id="empty"),
        pytest.param(lambda query: query[:2] + b"nothing", id="garbage"),
        pytest.param(lambda query: query, id="the_query_itself"),
        pytest.param(lambda query: bytes((query[0] ^ 1, query[1])) + good(query, rcode=3)[2:], id="another_id"),
        pytest.param(lambda query: question_of(query, "b.test"), id="another_question"),
        pytest.param(lambda query: good(query, rcode=3) + bytes(5000), id="too_large"),
    ],
)
async def test_what_is_no_answer_to_our_question_is_not_heard(before: Callable[[bytes], bytes]) -> None:
    async with serving(lambda heard: [before(heard[-1]), good(heard[-1])]) as (_, address):
        assert await ask(NAME, "MX", [address], 10.0) == GOOD


async def test_where_one_server_of_several_knows_it_is_asked_after_the_others() -> None:
    refused = Nameserver("127.0.0.1", 1)
    async with (
        serving(silent) as (_, mute),
        serving(lambda heard: [good(heard[-1], rcode=5)]) as (refusing, refuses),
        serving(lambda heard: [good(heard[-1])]) as (_, knows),
    ):
        assert await ask(NAME, "MX", [refused, mute, refuses, knows], 10.0) == GOOD
    assert len(refusing.heard) == 1


async def test_where_every_server_fails_the_last_code_is_told_without_waiting() -> None:
    async with serving(lambda heard: [good(heard[-1], rcode=5)]) as (server, refuses):
        found = await ask(NAME, "MX", [refuses, Nameserver("127.0.0.1", 1), Nameserver("::1", 1)], 3600.0)
    assert (found.status, len(server.heard)) == ("REFUSED", 1)


async def test_silence_is_a_timeout_after_a_few_tries() -> None:
    async with serving(silent) as (server, address):
        assert await ask(NAME, "MX", [address], 0.3) == StubAnswer("TIMEOUT", unclear="timeout")
    assert len(server.heard) == stub.TRIES


async def test_a_long_answer_comes_over_tcp() -> None:
    async with ScriptedNameserver(["a.test MX TRUNCATED", "a.test MX 10 mx.test"]) as server:
        assert await ask(NAME, "MX", [Nameserver("127.0.0.1", server.port)], 10.0) == GOOD
    assert server.asked == ["a.test MX", "a.test MX over TCP"]


async def test_where_tcp_is_refused_nothing_is_clear() -> None:
    def cut(heard: list[bytes]) -> list[bytes]:
        made = dns.message.make_response(dns.message.from_wire(heard[-1]), recursion_available=True)
        made.flags |= dns.flags.TC
        return [made.to_wire()]

    async with serving(cut) as (_, address):
        found = await ask(NAME, "MX", [address], 10.0)
    assert (found.status, found.records) == ("TIMEOUT", ())
    assert found.unclear.startswith("the answer is too long for UDP, and TCP fails: ")


async def test_an_answer_that_is_too_long_to_read_is_unclear() -> None:
    names = [f"a.test MX {number} {'x' * 60}.{'y' * 60}.{number}.test" for number in range(200)]
    async with ScriptedNameserver(["a.test MX TRUNCATED", *names]) as server:
        found = await ask(NAME, "MX", [Nameserver("127.0.0.1", server.port)], 10.0)
    assert found.status == "SERVFAIL"
    assert found.unclear.startswith("an answer of ")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_octets_of_a_server_raise(data: Any) -> None:
    inquiry = stub._Inquiry(NAME, dns.rdatatype.MX)
    octets = bytearray(response("RA", answer=f"{TO_B};b.test. 60 IN MX 10 mx.test.", authority=NS).to_wire())
    for at, octet in data.draw(st.lists(st.tuples(st.integers(2, len(octets) - 1), st.integers(0, 255)), max_size=8)):
        octets[at] = octet
    found = inquiry._response(bytes(octets[: data.draw(st.integers(0, len(octets)))]), {1})
    if found is not None:
        judge(found, name_of(NAME), dns.rdatatype.MX)


def in_circles(octets: int) -> bytes:
    """Return a response of about that size whose records' names all end in one of a hundred labels."""
    question = b"\1a\4test\0" + struct.pack("!2H", 15, 1)
    pointer = struct.pack("!H", 0xC000 | (12 + len(question)))
    records = [b"\1x" * 100 + b"\xc0\x0c" + struct.pack("!HHIH", 15, 1, 60, 4) + b"\0\1\xc0\x0c"]
    while sum(map(len, records)) < octets:
        records += [b"\1y" + pointer + struct.pack("!HHIH", 5, 1, 60, 2) + pointer] * 16
    return struct.pack("!6H", 1, 0x8180, 1, len(records), 0, 0) + question + b"".join(records)


def test_reading_takes_no_more_than_its_length() -> None:
    def seconds(octets: int) -> float:
        message, times = in_circles(octets), []
        for _ in range(5):
            began = time.thread_time()
            judge(ResponseReader(message), name_of(NAME), dns.rdatatype.MX)
            times.append(time.thread_time() - began)
        return min(times)

    assert seconds(4 * stub.MOST_OCTETS_TCP) / seconds(stub.MOST_OCTETS_TCP) < 6
