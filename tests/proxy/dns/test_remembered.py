"""Remembered look-ups: equal questions are asked once, and what is known is not asked again."""

from __future__ import annotations

import asyncio

import pytest

from proxy.dns import remembered
from proxy.dns.remembered import Remembered
from proxy.dns.reverse import reverse
from tests.support.lookups import Zonefile


async def test_equal_questions_at_once_are_asked_once() -> None:
    names = Zonefile({("a.test", "A"): ["192.0.2.1"]})
    lookups = names.lookups
    answers = await asyncio.gather(*[lookups.ask("a.test", "A") for _ in range(50)])
    assert {each.records for each in answers} == {("192.0.2.1",)}
    assert names.asked == [("a.test", "A")]


async def test_an_answer_is_remembered_and_a_denial_too() -> None:
    names = Zonefile({("a.test", "A"): ["192.0.2.1"]})
    lookups = names.lookups
    for _ in range(2):
        assert (await lookups.ask("a.test", "A")).records == ("192.0.2.1",)
        assert not (await lookups.ask("b.test", "A")).exists
    assert names.asked == [("a.test", "A"), ("b.test", "A")]
    assert lookups.known("c.test", "A") is None


async def test_a_failure_is_no_denial_and_forgotten_soon() -> None:
    names = Zonefile({("a.test", "A"): "SERVFAIL"})
    lookups = names.lookups
    answer = await lookups.ask("a.test", "A")
    assert (answer.clear, answer.exists) == (False, True)
    lookups.forget("a.test", "A")
    names.records["a.test", "A"] = ["192.0.2.1"]
    assert (await lookups.ask("a.test", "A")).clear


async def test_a_caller_that_gives_up_does_not_end_the_question_of_another() -> None:
    reached, answered = asyncio.Event(), asyncio.Event()

    class Slow(Zonefile):
        async def lookup(self, name: str, record_type: str, server: str | None = None) -> tuple[str, list[str]]:
            reached.set()
            await answered.wait()
            return await super().lookup(name, record_type, server)

    lookups = Slow({("a.test", "A"): ["192.0.2.1"]}).lookups
    impatient = asyncio.ensure_future(lookups.ask("a.test", "A"))  # noqa: TID251 - a test's own task
    await reached.wait()
    patient = asyncio.ensure_future(lookups.ask("a.test", "A"))  # noqa: TID251 - a test's own task
    impatient.cancel()
    answered.set()
    assert (await patient).records == ("192.0.2.1",)


async def test_questions_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST_ASKED", 3)
    lookups = Zonefile({(f"n{at}.test", "A"): "SILENT" for at in range(5)}).lookups
    waiting = [asyncio.ensure_future(lookups.ask(f"n{at}.test", "A")) for at in range(3)]  # noqa: TID251 - a test's own tasks
    await asyncio.sleep(0)
    assert (await lookups.ask("n4.test", "A")).status == "TIMEOUT"
    for each in waiting:
        each.cancel()
    await lookups.close()


async def test_a_resolver_that_raises_leaves_nothing_behind() -> None:
    class Broken:
        async def lookup(self, name: str, record_type: str, server: str | None = None) -> tuple[str, list[str]]:
            del record_type, server
            raise ValueError(name)

    lookups = Remembered(Broken())
    for _ in range(2):
        with pytest.raises(ValueError, match=r"a\.test"):
            await lookups.ask("a.test", "A")


@pytest.mark.parametrize(
    ("records", "status", "name"),
    [
        ({("192.0.2.1", "PTR"): ["mx.a.test"], ("mx.a.test", "A"): ["192.0.2.1"]}, "pass", "mx.a.test"),
        ({("192.0.2.1", "PTR"): ["mx.a.test"], ("mx.a.test", "A"): ["192.0.2.2"]}, "fail", "mx.a.test"),
        ({("192.0.2.1", "PTR"): ["mx.a.test"]}, "fail", "mx.a.test"),
        ({}, "permerror", ""),
        ({("192.0.2.1", "PTR"): []}, "permerror", ""),
        ({("192.0.2.1", "PTR"): "SERVFAIL"}, "temperror", ""),
        ({("192.0.2.1", "PTR"): ["mx.a.test"], ("mx.a.test", "A"): "SERVFAIL"}, "temperror", "mx.a.test"),
        (
            {("192.0.2.1", "PTR"): ["x.test", "y.test"], ("x.test", "A"): "SERVFAIL", ("y.test", "A"): ["192.0.2.1"]},
            "pass",
            "y.test",
        ),
        (
            {("192.0.2.1", "PTR"): [f"n{at}.test" for at in range(9)], ("n8.test", "A"): ["192.0.2.1"]},
            "fail",
            "n0.test",
        ),
        ({("2001:db8::1", "PTR"): ["six.test"], ("six.test", "AAAA"): ["2001:DB8:0::1"]}, "pass", "six.test"),
    ],
)
async def test_whether_a_name_leads_back(records: dict[tuple[str, str], list[str]], status: str, name: str) -> None:
    address = "2001:db8::1" if any(kind == "AAAA" for _, kind in records) else "192.0.2.1"
    found = await reverse(address, Zonefile(records).lookups)
    assert (found.status, found.name) == (status, name)


async def test_what_is_remembered_is_bounded_in_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST_CHARACTERS", 100_000)
    names = Zonefile(
        {(f"n{at}.test", "TXT"): ["x" * 60_000] for at in range(3)} | {("big.test", "TXT"): ["x" * 200_000]}
    )
    lookups = names.lookups
    for at in range(3):
        await lookups.ask(f"n{at}.test", "TXT")
    assert [lookups.known(f"n{at}.test", "TXT") is not None for at in range(3)] == [False, False, True]
    assert len((await lookups.ask("big.test", "TXT")).records[0]) == 200_000
    assert lookups.known("big.test", "TXT") is None
