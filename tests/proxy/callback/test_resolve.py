"""From a domain to the addresses that take its mail; no address of ours is probed, no domain condemned unheard."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest

from proxy.callback.question import NoCandidate, ascii_domain
from proxy.callback.resolve import MOST_ADDRESSES, ExchangerFinder, ExchangerHost
from proxy.callback.verdict import CallbackVerdict, Status
from tests.support.worker import LOOPBACK, Names, resolver, unavailable

PUBLIC = "9.9.9.9"
OTHER = "149.112.112.112"
PRIVATE = "10.1.2.3"


def finder(names: Names, *, routes: dict[str, str] | None = None, allowed: tuple[str, ...] = ()) -> ExchangerFinder:
    return ExchangerFinder(resolver(names), routes or {}, tuple(ip_network(each) for each in allowed))


async def none(names: Names, domain: str = "a.test", **options: object) -> CallbackVerdict:
    with pytest.raises(NoCandidate) as found:
        await finder(names, **options).find(domain)  # type: ignore[arg-type]
    return found.value.verdict


async def test_the_exchangers_are_asked_in_the_order_of_preference() -> None:
    names = Names(
        mx={"a.test": [(20, "two.test"), (10, "one.test"), (30, "three.test")]},
        hosts={"one.test": ["9.9.9.1"], "two.test": ["9.9.9.2", "9.9.9.22"], "three.test": ["9.9.9.3"]},
    )
    assert await finder(names).find("a.test") == [
        ExchangerHost("one.test", ("9.9.9.1",)),
        ExchangerHost("two.test", ("9.9.9.2", "9.9.9.22")),
        ExchangerHost("three.test", ("9.9.9.3",)),
    ]


async def test_exchangers_of_equal_preference_share_the_load() -> None:
    names = Names(
        mx={"a.test": [(10, "one.test"), (10, "two.test")]}, hosts={"one.test": ["9.9.9.1"], "two.test": ["9.9.9.2"]}
    )
    firsts = {(await finder(names).find("a.test"))[0].name for _ in range(200)}
    assert firsts == {"one.test", "two.test"}


async def test_a_domain_without_mx_is_its_own_exchanger() -> None:
    names = Names(mx={"a.test": []}, hosts={"a.test": [PUBLIC]})
    assert await finder(names).find("a.test") == [ExchangerHost("a.test", (PUBLIC,))]


@pytest.mark.parametrize(
    ("domain", "name"),
    [("A.Test", "a.test"), ("B\u00fccher.Example", "xn--bcher-kva.example"), ("[IPv6:::1]", "[ipv6:::1]")],
)
def test_a_domain_is_looked_up_in_a_labels_and_lower_case(domain: str, name: str) -> None:
    assert ascii_domain(domain) == name


@pytest.mark.parametrize("domain", ["b\u00fc..example", "\u00fc" * 80 + ".example"])
def test_a_domain_that_dns_cannot_hold_does_not_exist(domain: str) -> None:
    with pytest.raises(NoCandidate) as found:
        ascii_domain(domain)
    assert (found.value.verdict.status, found.value.verdict.reason) == (Status.FAIL, "nxdomain")


@pytest.mark.parametrize(
    ("names", "status", "reason"),
    [
        (Names(), Status.FAIL, "nxdomain"),
        (Names(mx={"a.test": unavailable("a.test")}), Status.TRANSIENT, "dns"),
        (Names(mx={"a.test": [(0, "")]}), Status.FAIL, "null_mx"),
        (Names(mx={"a.test": []}, hosts={"a.test": []}), Status.FAIL, "no_address"),
        (Names(mx={"a.test": [(10, "one.test")]}), Status.FAIL, "no_address"),
        (Names(mx={"a.test": [(10, "one.test")]}, hosts={"one.test": []}), Status.FAIL, "no_address"),
        (
            Names(mx={"a.test": [(10, "one.test")]}, hosts={"one.test": unavailable("one.test")}),
            Status.TRANSIENT,
            "dns",
        ),
        (
            Names(mx={"a.test": [(1, "one.test"), (2, "two.test")]}, hosts={"two.test": unavailable("two.test")}),
            Status.TRANSIENT,
            "dns",
        ),
        (Names(mx={"a.test": [(10, "one.test")]}, hosts={"one.test": [PRIVATE]}), Status.FAIL, "unroutable"),
    ],
)
async def test_why_there_is_nobody_to_ask(names: Names, status: Status, reason: str) -> None:
    verdict = await none(names)
    assert (verdict.status, verdict.reason, verdict.stage, verdict.code) == (status, reason, "dns", 0)


async def test_the_verdict_says_in_words_what_was_found() -> None:
    assert (await none(Names())).text == "a.test: no such domain"
    assert (await none(Names(mx={"a.test": [(0, "")]}))).text == "a.test: accepts no mail (null MX)"
    assert (await none(Names(mx={"a.test": unavailable("a.test")}))).text == "a.test: SERVFAIL"


async def test_a_private_exchanger_beside_one_that_nobody_could_look_up_condemns_no_domain() -> None:
    names = Names(
        mx={"a.test": [(1, "one.test"), (2, "two.test")]},
        hosts={"one.test": [PRIVATE], "two.test": unavailable("two.test")},
    )
    verdict = await none(names)
    assert (verdict.status, verdict.reason) == (Status.TRANSIENT, "dns")


async def test_exchangers_beyond_the_first_are_looked_up_before_a_domain_is_condemned() -> None:
    names = Names(mx={"a.test": [(each, f"mx{each}.test") for each in range(1, 6)]}, hosts={"mx5.test": [PUBLIC]})
    assert await finder(names).find("a.test") == [ExchangerHost("mx5.test", (PUBLIC,))]


async def test_many_private_addresses_do_not_hide_a_public_one() -> None:
    hidden = [f"10.0.0.{each}" for each in range(1, 7)]
    names = Names(mx={"a.test": [(1, "one.test"), (2, "two.test")]}, hosts={"one.test": hidden, "two.test": [PUBLIC]})
    assert await finder(names).find("a.test") == [ExchangerHost("two.test", (PUBLIC,))]


class Silent(Names):
    """A resolver that never answers for the addresses of a host that it was not told of."""

    async def addresses(self, host: str) -> list[str]:
        if host not in self.hosts:
            await asyncio.Event().wait()
        return await super().addresses(host)


@pytest.mark.parametrize("hosts", [pytest.param({}, id="none"), pytest.param({"one.test": [PUBLIC]}, id="one")])
async def test_the_search_ends_in_time_with_what_was_found(
    hosts: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.callback.resolve.FIND_SECONDS", 0.02)
    names = Silent(mx={"a.test": [(1, "one.test"), (2, "two.test")]}, hosts=hosts)
    if hosts:
        assert await finder(names).find("a.test") == [ExchangerHost("one.test", (PUBLIC,))]
    else:
        assert (await none(names)).reason == "dns"


@pytest.mark.parametrize(
    ("hosts", "reason"),
    [
        pytest.param({}, "nxdomain", id="nxdomain_too"),
        pytest.param({"a.test": []}, "no_address", id="no_address"),
        pytest.param({"a.test": unavailable("a.test")}, "dns", id="unclear"),
    ],
)
async def test_nxdomain_for_mx_is_believed_if_the_address_does_not_exist_either(
    hosts: dict[str, list[str] | Exception], reason: str
) -> None:
    assert (await none(Names(hosts=hosts))).reason == reason
    assert await finder(Names(hosts={"a.test": [PUBLIC]})).find("a.test") == [ExchangerHost("a.test", (PUBLIC,))]


async def test_a_null_mx_beside_others_is_not_one() -> None:
    # RFC 7505 section 3: a null MX is one single record.
    names = Names(mx={"a.test": [(0, ""), (10, "one.test")]}, hosts={"one.test": [PUBLIC]})
    assert await finder(names).find("a.test") == [ExchangerHost("one.test", (PUBLIC,))]


async def test_an_exchanger_that_does_not_exist_is_passed_over() -> None:
    names = Names(mx={"a.test": [(1, "gone.test"), (2, "one.test")]}, hosts={"one.test": [PUBLIC]})
    assert await finder(names).find("a.test") == [ExchangerHost("one.test", (PUBLIC,))]


async def test_no_more_addresses_are_asked_than_is_decent() -> None:
    names = Names(mx={"a.test": [(1, "one.test")]}, hosts={"one.test": [f"9.9.9.{each}" for each in range(1, 20)]})
    (host,) = await finder(names).find("a.test")
    assert host.addresses == tuple(f"9.9.9.{each}" for each in range(1, MOST_ADDRESSES + 1))


# ---------------------------------------------------------------- what is never probed


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "ff0e::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2001:db8::1",
    ],
)
async def test_an_address_that_is_not_global_is_never_asked(address: str) -> None:
    names = Names(mx={"a.test": [(1, "one.test")]}, hosts={"one.test": [address, PUBLIC]})
    assert [each.addresses for each in await finder(names).find("a.test")] == [(PUBLIC,)]


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
async def test_an_address_that_the_operator_allows_is_asked(address: str) -> None:
    names = Names(mx={"a.test": [(1, "one.test")]}, hosts={"one.test": [address]})
    assert await finder(names, allowed=(str(LOOPBACK),)).find("a.test") == [ExchangerHost("one.test", (address,))]


@pytest.mark.parametrize("literal", ["[127.0.0.1]", "[ipv6:::1]", "[ipv6:::ffff:10.0.0.1]", "[169.254.169.254]"])
async def test_an_address_literal_of_ours_is_never_asked(literal: str) -> None:
    verdict = await none(Names(), literal)
    assert (verdict.status, verdict.reason) == (Status.FAIL, "unroutable")


@pytest.mark.parametrize(("literal", "address"), [("[9.9.9.9]", "9.9.9.9"), ("[ipv6:2620:fe::fe]", "2620:fe::fe")])
async def test_an_address_literal_is_its_own_exchanger(literal: str, address: str) -> None:
    names = Names()
    assert [each.addresses for each in await finder(names).find(literal)] == [(address,)]
    assert names.asked == []


@pytest.mark.parametrize("literal", ["[]", "[nonsense]", "[1.2.3]"])
async def test_what_is_no_address_literal_is_our_error(literal: str) -> None:
    assert (await none(Names(), literal)).status is Status.ERROR


# ---------------------------------------------------------------- the operator's map


async def test_a_mapped_domain_is_asked_at_its_host_wherever_that_is() -> None:
    names = Names(hosts={"inside.test": [PRIVATE]})
    found = finder(names, routes={"A.test": "inside.test", "b.test": "[10.9.9.9]"})
    assert await found.find("a.test") == [ExchangerHost("inside.test", (PRIVATE,))]
    assert [each.addresses for each in await found.find("b.test")] == [("10.9.9.9",)]
    assert names.asked == []


async def test_a_mapped_host_that_does_not_exist_says_nothing_of_the_domain() -> None:
    verdict = await none(Names(), routes={"a.test": "typo.test"})
    assert (verdict.status, verdict.reason) == (Status.ERROR, "route")


async def test_a_mapped_host_that_nobody_could_look_up_says_nothing_of_the_domain() -> None:
    verdict = await none(Names(hosts={"inside.test": unavailable("inside.test")}), routes={"a.test": "inside.test"})
    assert (verdict.status, verdict.reason) == (Status.TRANSIENT, "dns")
