"""Three DNS answers are distinguished: no such domain, no such record, no answer. The name server is the test's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from proxy.callback.question import NoCandidate
from proxy.callback.resolve import ExchangerFinder
from proxy.dns import resolver as subject
from proxy.dns.resolver import DnsUnavailable, Exchanger, NoSuchDomain, Resolver
from tests.support.nameserver import RCODES, ScriptedNameserver

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
        ("one.test", ["192.0.2.1", "192.0.2.2"]),
        ("four.test", ["192.0.2.4"]),
        ("six.test", ["2001:db8::6"]),
        ("alias.test", ["192.0.2.4"]),
        ("half.test", ["192.0.2.5"]),
    ],
)
async def test_the_a_addresses_are_found_or_else_the_aaaa_ones(
    resolver: Resolver, host: str, addresses: list[str]
) -> None:
    found = await resolver.addresses(host)
    assert (sorted(found), [":" in each for each in found]) == (
        sorted(addresses),
        sorted(":" in each for each in found),
    )


MOST = 8
"""Different questions about one name."""

UNSPEAKABLE = {
    "label_of_64": "x" * 64 + ".test",
    "empty_label": "a..test",
    "dots": "..",
    "nothing": "",
    "emoji": "\U0001f642.test",
    "70_sharp_s": "\u00df" * 70 + ".test",
    "256_octets": ".".join(["x" * 60] * 5),
    "octets": "\udcff.test",
    "unassigned": "\u0378.test",
    "backslash": "\\300.test",
    "nul": "one.test\0.elsewhere.test",
    "blank": "one test.test",
    "zero_width": "a\u200db.test",
    "100000_letters": "\u00fc" * 100_000 + ".test",
}


@pytest.mark.parametrize("name", [pytest.param(name, id=key) for key, name in UNSPEAKABLE.items()])
@pytest.mark.parametrize("kind", ["A", "AAAA", "TXT", "PTR", "NS", "MX"])
async def test_a_name_that_dns_cannot_hold_does_not_exist(resolver: Resolver, name: str, kind: str) -> None:
    assert await resolver.lookup(name, kind) == ("NXDOMAIN", [])


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


# ---------------------------------------------------------------- what c-ares cannot tell


@contextlib.asynccontextmanager
async def asking(*lines: str, before: tuple[str, ...] = ()) -> AsyncIterator[tuple[ScriptedNameserver, Resolver]]:
    async with ScriptedNameserver(lines) as server:
        made = Resolver([*before, server.address])
        try:
            yield server, made
        finally:
            await made.close()


@pytest.mark.parametrize("code", sorted({*RCODES} - {"NXDOMAIN"}))
async def test_every_code_but_nxdomain_leaves_it_open(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_TRY_SECONDS", 0.2)  # c-ares comes back and back for BADCOOKIE
    async with asking(f"odd.test {code}") as (_, resolver):
        for ask in (resolver.exchangers, resolver.addresses, resolver.host_addresses):
            with pytest.raises(DnsUnavailable):
                await ask("odd.test")
        assert await resolver.lookup("odd.test", "TXT") == (code, [])


@pytest.mark.parametrize("disorder", ["LAME", "FLAGLESS", "MISPLACED", "OTHERTYPE", "OTHERNAME", "OTHERCLASS"])
async def test_an_answer_in_disorder_leaves_it_open(disorder: str) -> None:
    data = () if disorder == "FLAGLESS" else ("MX 10 mx.test", "A 9.9.9.9", "AAAA 2620:fe::fe", 'TXT "here"')
    async with asking(f"odd.test {disorder}", *(f"odd.test {each}" for each in data)) as (_, resolver):
        for ask in (resolver.exchangers, resolver.addresses):
            with pytest.raises(DnsUnavailable):
                await ask("odd.test")
        assert await resolver.lookup("odd.test", "TXT") == ("SERVFAIL", [])


@pytest.mark.parametrize(
    ("kind", "data", "found"),
    [
        pytest.param("A", "9.9.9.9", "9.9.9.9", id="A"),
        pytest.param("AAAA", "2620:fe::fe", "2620:fe::fe", id="AAAA"),
        pytest.param("MX", "10 mx.test", "mx.test", id="MX"),
    ],
)
async def test_a_malformed_record_beside_a_good_one_is_passed_over(kind: str, data: str, found: str) -> None:
    async with asking(f"odd.test {kind} MALFORMED", f"odd.test {kind} {data}", f"bad.test {kind} MALFORMED") as (_, it):
        assert await it.lookup("odd.test", kind) == ("SUCCESS", [found])
        assert await it.lookup("bad.test", kind) == ("SERVFAIL", [])


async def test_a_slow_name_is_awaited_though_fast_ones_were_answered_before(monkeypatch: pytest.MonkeyPatch) -> None:
    # c-ares asks twice at most; the answer to the first of all questions comes with the fourth.
    held: list[tuple[bytes, Any]] = []

    class Slow(_Server):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            name = str(dns.message.from_wire(data).question[0].name)
            if name != "slow.test.":
                super().datagram_received(data, addr)
                return
            held.append((data, addr))
            if len(held) == 4:
                for query, at in held:
                    made = dns.message.make_response(dns.message.from_wire(query), recursion_available=True)
                    made.answer.append(dns.rrset.from_text(name, 60, "IN", "MX", "10 mx.test."))
                    self.transport.sendto(made.to_wire(), at)

    monkeypatch.setattr("proxy.dns.stub.MOST_PAUSE", 0.02)
    monkeypatch.setattr(subject, "_TRY_SECONDS", 0.3)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Slow, local_addr=("127.0.0.1", 0))
    made = Resolver([f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"])
    try:
        for _ in range(4):
            await made.exchangers("a.test")
        assert await made.exchangers("slow.test") == [Exchanger(10, "mx.test")]
    finally:
        await made.close()
        transport.close()


async def test_one_of_several_name_servers_is_enough() -> None:
    async with asking("a.test MX 10 mx.test", before=("127.0.0.1:1", "[::1]:1")) as (_, resolver):
        assert await resolver.exchangers("a.test") == [Exchanger(10, "mx.test")]
        with pytest.raises(NoSuchDomain):
            await resolver.exchangers("gone.test")


async def test_where_every_name_server_is_down_it_is_open() -> None:
    resolver = Resolver(["127.0.0.1:1", "[::1]:1"])
    try:
        with pytest.raises(DnsUnavailable, match=r"^a\.test: the name server cannot be reached"):
            await resolver.exchangers("a.test")
        assert await resolver.lookup("a.test", "A") == ("TIMEOUT", [])
    finally:
        await resolver.close()


async def test_an_error_of_one_name_server_is_told_where_the_others_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "QUERY_SECONDS", 0.3)
    monkeypatch.setattr(subject, "_TRY_SECONDS", 0.05)
    async with (
        asking("a.test SILENT") as (silent, _),
        asking("a.test NOTAUTH", before=(silent.address,)) as (_, resolver),
    ):
        assert await resolver.lookup("a.test", "A") == ("NOTAUTH", [])


async def test_the_name_server_that_answered_is_asked_first_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []

    async def ask(*given: Any) -> Any:
        asked.append([each.port for each in given[2]])
        return await original(*given)

    original = subject.stub.ask
    monkeypatch.setattr("proxy.dns.stub.ask", ask)
    async with asking(before=("127.0.0.1:1",)) as (server, resolver):
        for _ in range(2):
            with pytest.raises(NoSuchDomain):
                await resolver.exchangers("gone.test")
    assert asked == [[1, server.port], [server.port, 1]]


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        pytest.param("nameserver 192.0.2.1\nsearch a.test\nnameserver 2001:db8::1\n", 2, id="two"),
        pytest.param("# nameserver 192.0.2.1\nnameserver\nnameserver ns.test\n", 0, id="none_that_counts"),
        pytest.param(None, 0, id="no_file"),
    ],
)
def test_the_systems_name_servers_are_those_of_resolv_conf(
    text: str | None, servers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "_RESOLV_CONF", tmp_path / "resolv.conf")
    if text is not None:
        (tmp_path / "resolv.conf").write_text(text)
    found = [each.address for each in subject._system_servers()]
    assert found == (["192.0.2.1", "2001:db8::1"][:servers] or ["127.0.0.1"])


# ---------------------------------------------------------------- how many questions


async def test_aaaa_is_not_asked_where_a_has_an_address_and_ipv4_leads_somewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = ("mx.test A 192.0.2.1", "mx.test AAAA 2001:db8::1")
    for has_route, found in ((True, ["192.0.2.1"]), (False, ["192.0.2.1", "2001:db8::1"])):
        monkeypatch.setattr(subject, "has_ipv4_route", lambda has_route=has_route: has_route)
        async with asking(*lines) as (server, resolver):
            assert await resolver.addresses("mx.test") == found
        assert server.asked == ["mx.test A", "mx.test AAAA"][: len(found)]


async def test_nxdomain_for_aaaa_beside_an_a_without_records_is_no_denial() -> None:
    async with asking('mx.test TXT "here"', "mx.test AAAA NXDOMAIN") as (_, resolver):
        assert await resolver.addresses("mx.test") == []


EXCHANGERS = [f"a.test MX {number} mx{number}.test" for number in range(20)]
NONE = [f'mx{number}.test TXT "here"' for number in range(20)]


@pytest.mark.parametrize("has_route", [pytest.param(True, id="ipv4"), pytest.param(False, id="no_ipv4")])
@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([*EXCHANGERS, *NONE], id="without_address"),
        pytest.param(EXCHANGERS, id="that_do_not_exist"),
        pytest.param([*EXCHANGERS, *(f"mx{number}.test A 10.0.0.1" for number in range(20))], id="private"),
        pytest.param([*EXCHANGERS, *(f"mx{number}.test SERVFAIL" for number in range(20))], id="failing"),
        pytest.param([*EXCHANGERS, *(f"mx{number}.test LAME" for number in range(20))], id="lame"),
        pytest.param(
            [*EXCHANGERS, *(f"mx{number}.test CNAME mx{number + 1}.test" for number in range(20))], id="chain"
        ),
        pytest.param(["a.test MX NXDOMAIN", "a.test A SERVFAIL", "a.test AAAA SERVFAIL"], id="unclear"),
    ],
)
async def test_a_domain_costs_eight_different_questions_and_is_not_condemned_before_all_are_asked(
    lines: list[str], monkeypatch: pytest.MonkeyPatch, *, has_route: bool
) -> None:
    monkeypatch.setattr(subject, "has_ipv4_route", lambda: has_route)
    monkeypatch.setattr("proxy.callback.resolve.has_ipv4_route", lambda: has_route)
    async with asking(*lines) as (server, resolver):
        with pytest.raises(NoCandidate) as found:
            await ExchangerFinder(resolver, {}, ()).find("a.test")
    assert (found.value.verdict.status.value, found.value.verdict.reason) == ("transient", "dns")
    assert len({*server.asked}) <= MOST


@pytest.mark.parametrize("there", [[], NONE], ids=["that_do_not_exist", "without_address"])
async def test_who_asks_again_asks_about_the_same_of_many_equal_exchangers(there: list[str]) -> None:
    async with asking(*(f"a.test MX 10 mx{number}.test" for number in range(20)), *there) as (server, resolver):
        finder = ExchangerFinder(resolver, {}, ())
        for _ in range(4):
            with pytest.raises(NoCandidate):
                await finder.find("a.test")
    assert len({*server.asked}) <= MOST


async def test_an_exchanger_that_is_named_twice_is_asked_for_once() -> None:
    lines = [*(f"a.test MX {number} mx.test" for number in range(20)), "mx.test A 9.9.9.9"]
    async with asking(*lines) as (server, resolver):
        assert len(await ExchangerFinder(resolver, {}, ()).find("a.test")) == 1
    assert server.asked == ["a.test MX", "mx.test A"]


# ---------------------------------------------------------------- scripts, and who calls


async def test_a_server_that_a_script_names_is_asked_alone() -> None:
    async with asking("a.test MX 20 b.test", "a.test MX 10 c.test", 'a.test TXT "x" "y"') as (named, _):
        resolver = Resolver(["127.0.0.1:1"])
        try:
            assert await resolver.lookup("a.test", "MX", named.address) == ("SUCCESS", ["c.test", "b.test"])
            assert await resolver.lookup("a.test", "TXT", named.address) == ("SUCCESS", ["xy"])
            assert await resolver.lookup("gone.test", "A", named.address) == ("NXDOMAIN", [])
            with pytest.raises(ValueError, match="ns"):
                await resolver.lookup("a.test", "A", "ns.test")
        finally:
            await resolver.close()


async def test_a_client_has_a_name_that_leads_back_to_it_and_costs_eight_questions() -> None:
    pointers = [f"7.2.0.192.in-addr.arpa PTR n{number}.test." for number in range(20)]
    async with asking(*pointers[:7], "n3.test A 192.0.2.7") as (server, resolver):
        assert await resolver.name_of("192.0.2.7") == "n3.test"
    async with asking(*pointers) as (server, resolver):
        assert await resolver.name_of("192.0.2.7") is None
    assert len({*server.asked}) == MOST


async def test_a_client_whose_names_nobody_answers_for_has_the_time_of_one_query(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subject, "QUERY_SECONDS", 0.2)
    pointers = [f"7.2.0.192.in-addr.arpa PTR n{number}.test." for number in range(7)]
    async with asking(*pointers, *(f"n{number}.test SILENT" for number in range(7))) as (server, resolver):
        assert await resolver.name_of("192.0.2.7") is None
    assert len({each.split()[0] for each in server.asked}) == 2  # the PTR, and the first of the names
