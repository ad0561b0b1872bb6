"""Whoever looks on sees which exchangers a domain has, and of each one that is not asked, why."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from config.schema.values import DomainPatterns
from proxy.callback.observer import Observer
from proxy.callback.question import NoCandidate
from proxy.callback.resolve import ExchangerFinder
from proxy.cli.transcript import Transcript, step_text
from proxy.modules.smtp_cbv.making import callbacks_of
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.options.store import MEMORY
from tests.support.worker import Names, core, resolver, unavailable

PUBLIC = [f"9.9.9.{number}" for number in range(1, 10)]


async def seen(names: Names, domain: str = "a.test", **options: Any) -> list[str]:
    """Return what is noted while the exchangers of a domain are looked for, as it is shown."""
    transcript = Transcript()
    finder = ExchangerFinder(resolver(names), options.pop("routes", {}), (ip_network("10.0.0.0/8"),), **options)
    try:
        await finder.find(domain, transcript)
    except NoCandidate:
        transcript.note("passed_over", host=domain, address="", why="nobody is left")
    return [step_text(each).plain.partition(" ms  ")[2] for each in transcript.steps]


@pytest.mark.parametrize(
    ("names", "lines"),
    [
        (
            Names(mx={"a.test": []}, hosts={"a.test": [PUBLIC[0]]}),
            ["a.test: no MX; asking the domain itself (implicit MX)", "a.test: 9.9.9.1"],
        ),
        (Names(mx={"a.test": [(0, "")]}), ["a.test: MX 0 .", "a.test: skipped: nobody is left"]),
        (
            Names(
                mx={"a.test": [(5, "x.test"), (10, "y.test")]}, hosts={"x.test": unavailable("x.test"), "y.test": []}
            ),
            [
                "a.test: MX 5 x.test, 10 y.test",
                "x.test: skipped: x.test: SERVFAIL",
                "y.test: no address",
                "a.test: skipped: nobody is left",
            ],
        ),
        (
            Names(mx={"a.test": [(5, "x.test")]}, hosts={"x.test": ["127.0.0.1", "10.1.1.1", "::1", "2001:db8::1"]}),
            [
                "a.test: MX 5 x.test",
                "x.test: 127.0.0.1, 10.1.1.1, ::1, 2001:db8::1",
                "x.test [127.0.0.1]: skipped: not a public address",
                "x.test [::1]: skipped: not a public address",
                "x.test [2001:db8::1]: skipped: not a public address",
            ],
        ),
        (
            Names(mx={"a.test": [(5, "x.test"), (6, "y.test")]}, hosts={"x.test": PUBLIC[:6], "y.test": PUBLIC[6:7]}),
            [
                "a.test: MX 5 x.test, 6 y.test",
                "x.test: 9.9.9.1, 9.9.9.2, 9.9.9.3, 9.9.9.4, 9.9.9.5, 9.9.9.6",
                "y.test: skipped: enough other hosts come first",
                "x.test [9.9.9.6]: skipped: enough other hosts come first",
            ],
        ),
        (
            Names(mx={"a.test": [(5, "\x1b[2J.test")]}, hosts={}),
            [
                r"a.test: MX 5 \x1b[2J.test",
                r"\x1b[2J.test: skipped: no such host",
                "a.test: skipped: nobody is left",
            ],
        ),
    ],
)
async def test_what_is_found_and_what_is_passed_over_is_noted(names: Names, lines: list[str]) -> None:
    assert await seen(names) == lines


async def test_a_mapped_host_is_noted_as_such() -> None:
    names = Names(hosts={"store.test": ["10.1.1.1"]})
    assert await seen(names, routes={"a.test": "store.test"}) == [
        "a.test: mapped to store.test",
        "store.test: 10.1.1.1",
    ]


async def test_an_address_of_ours_is_passed_over_as_such() -> None:
    names = Names(mx={"a.test": [(5, "x.test")]}, hosts={"x.test": PUBLIC[:2]})
    assert (await seen(names, is_us=lambda address: address == PUBLIC[1]))[2:] == [
        "x.test [9.9.9.2]: skipped: it is this server"
    ]


async def test_an_exchanger_that_the_operator_spares_is_passed_over_as_such() -> None:
    class Closable(Names):
        async def close(self) -> None:
            """Have nothing to close."""

    names = Closable(mx={"a.test": [(5, "x.spared.test")]}, hosts={"x.spared.test": PUBLIC[:1]})
    options = SmtpCbvOptions(no_probe_exchangers=DomainPatterns(("*.spared.test",)), store=MEMORY)
    service, transcript = callbacks_of(options, core(), resolver=resolver(names)), Transcript()
    verdict = await service.verifier.verify("b@a.test", observer=transcript)
    await service.close()
    assert verdict.reason == "no_probe"
    assert [step_text(each).plain.partition(" ms  ")[2] for each in transcript.steps][2:] == [
        "x.spared.test: skipped: exempted by the operator"
    ]


async def test_who_does_not_look_on_costs_nothing_and_hears_nothing() -> None:
    names = Names(mx={"a.test": []}, hosts={"a.test": PUBLIC[:1]})
    finder = ExchangerFinder(resolver(names), {}, ())
    assert await finder.find("a.test") == await finder.find("a.test", Observer())
