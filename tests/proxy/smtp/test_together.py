"""Which validators of a phase are asked at once, which wait, and whose verdict wins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.app import load
from proxy.mail.session import Session
from proxy.mail.validator import Hook, OnError, Uses
from proxy.mail.verdict import PASS, Verdict
from proxy.server.worker import Worker
from proxy.smtp.pipeline import PhasePipeline
from proxy.smtp.together import order_of
from sieve.phases import Need, Phase
from tests.support.answers import settled
from tests.support.worker import Rule, core, refuses

FIRST, SECOND, THIRD = refuses(550, "first"), refuses(550, "second"), refuses(550, "third")


def session() -> Session:
    return Session(asyncio.get_running_loop(), ("192.0.2.1", 1), ("127.0.0.1", 25), core())


def uses(reads: str = "", sets: str = "", *, asks_others: bool = False) -> Uses:
    return Uses(frozenset(reads.split()), frozenset(sets.split()), asks_others)


@dataclass
class Asked:
    """A validator whose answer the test gives, and which notes what happened to it."""

    name: str
    uses: Uses
    story: list[str]
    answer: Verdict | None = None
    """What it says at once; None: what `says` gives it."""
    on_error: OnError = OnError.DEFER
    deadline: float = 30.0
    said: asyncio.Future[Verdict] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def hooks(self) -> Mapping[Phase, Hook]:
        return {Phase.MAILFROM: self._judge}

    def needs(self, _phase: Phase) -> Need:
        return Need.NOTHING

    def _judge(self, _session: Session) -> Verdict | Awaitable[Verdict]:
        self.story.append(f"{self.name} asked")
        return self._later() if self.answer is None else self.answer

    async def _later(self) -> Verdict:
        try:
            return await self.said
        except asyncio.CancelledError:
            self.story.append(f"{self.name} cancelled")
            raise
        finally:
            self.story.append(f"{self.name} ended")


class Stage:
    """A phase with validators `a`, `b`, `c`, in this order."""

    def __init__(self, *declared: Uses | tuple[Uses, Verdict]) -> None:
        self.story: list[str] = []
        self.told = 0
        self.each: list[Asked] = []
        for name, what in zip("abcdef", declared, strict=False):
            own, answer = what if isinstance(what, tuple) else (what, None)
            self.each.append(Asked(name, own, self.story, answer))
        self.pipeline = PhasePipeline(self.each)
        self.running = asyncio.get_running_loop().create_task(settled(self.pipeline.run(Phase.MAILFROM, session())))

    async def after(self, *says: tuple[int, Verdict | Exception]) -> list[str]:
        """Let validators answer, and return what has happened since."""
        for number, what in says:
            if isinstance(what, Exception):
                self.each[number].said.set_exception(what)
            else:
                self.each[number].said.set_result(what)
        for _ in range(20):
            await asyncio.sleep(0)
        told, self.told = self.story[self.told :], len(self.story)
        return told


INDEPENDENT = uses(sets="x"), uses(sets="y"), uses(sets="z")


async def test_those_that_do_not_depend_on_each_other_are_asked_at_once() -> None:
    stage = Stage(*INDEPENDENT)
    assert await stage.after() == ["a asked", "b asked", "c asked"]
    await stage.after((2, PASS), (0, PASS))
    assert not stage.running.done()
    await stage.after((1, PASS))
    assert stage.running.result() is PASS


async def test_one_that_reads_what_another_sets_waits_for_that_one_only() -> None:
    stage = Stage(uses(sets="x"), uses(sets="y"), uses(reads="y", sets="z"))
    assert await stage.after() == ["a asked", "b asked"]
    assert await stage.after((1, PASS)) == ["b ended", "c asked"]
    await stage.after((2, PASS), (0, PASS))
    assert stage.running.result() is PASS


@pytest.mark.parametrize("later", [uses(sets="x"), uses(sets="seen")])
async def test_what_one_sets_must_not_change_under_an_earlier_one(later: Uses) -> None:
    stage = Stage(uses(reads="seen", sets="x"), later)
    assert await stage.after() == ["a asked"]
    assert await stage.after((0, PASS)) == ["a ended", "b asked"]
    await stage.after((1, SECOND))
    assert stage.running.result() == SECOND


async def test_the_first_in_the_configurations_order_wins_whichever_ended_first() -> None:
    stage = Stage(*INDEPENDENT)
    await stage.after()
    await stage.after((1, SECOND))
    assert not stage.running.done()
    await stage.after((0, FIRST))
    assert stage.running.result() == FIRST


async def test_once_the_first_has_refused_nobody_waits_for_those_after_it() -> None:
    stage = Stage(*INDEPENDENT)
    await stage.after()
    assert await stage.after((0, FIRST)) == ["a ended", "b cancelled", "b ended", "c cancelled", "c ended"]
    assert stage.running.result() == FIRST


async def test_an_earlier_pass_leaves_the_word_to_a_later_refusal_that_was_there_before() -> None:
    stage = Stage(*INDEPENDENT)
    await stage.after()
    await stage.after((2, THIRD))
    assert await stage.after((0, PASS)) == ["a ended"]
    await stage.after((1, PASS))
    assert stage.running.result() == THIRD


async def test_who_asks_third_parties_is_asked_only_when_all_before_it_have_passed() -> None:
    stage = Stage(uses(sets="x"), uses(sets="y"), uses(sets="z", asks_others=True), uses(sets="w"))
    assert await stage.after() == ["a asked", "b asked", "d asked"]
    assert await stage.after((1, PASS)) == ["b ended"]
    assert await stage.after((0, PASS)) == ["a ended", "c asked"]
    await stage.after((3, PASS), (2, PASS))
    assert stage.running.result() is PASS


async def test_who_asks_third_parties_is_not_asked_about_refused_mail() -> None:
    stage = Stage(uses(sets="x"), uses(sets="y"), uses(asks_others=True))
    await stage.after()
    await stage.after((1, SECOND))
    await stage.after((0, PASS))
    assert stage.running.result() == SECOND
    assert "c asked" not in stage.story


async def test_one_that_answers_at_once_is_asked_in_its_turn() -> None:
    stage = Stage(uses(sets="x"), (uses(sets="y"), PASS), (uses(reads="y"), THIRD), uses(sets="w"))
    assert await stage.after() == ["a asked", "b asked", "c asked"]
    await stage.after((0, PASS))
    assert stage.running.result() == THIRD
    assert "d asked" not in stage.story


async def test_a_validator_that_declares_nothing_waits_and_is_waited_for() -> None:
    order = order_of([_named("a"), Rule(Phase.MAILFROM), _named("b"), _named("c")], Phase.MAILFROM)
    assert order == (frozenset(), frozenset({0}), frozenset({1}), frozenset({1}))
    assert order_of([Rule(Phase.MAILFROM), Rule(Phase.MAILFROM)], Phase.MAILFROM) is None
    assert order_of([_named("a")], Phase.MAILFROM) is None


def _named(name: str) -> Asked:
    return Asked(name, uses(sets=name), [])


async def test_writers_of_authentication_results_do_not_wait_for_each_other_but_its_readers_do() -> None:
    field = "authentication-results"
    stage = Stage(uses(sets=f"x {field}"), uses(sets=f"y {field}"), uses(reads=field))
    assert await stage.after() == ["a asked", "b asked"]
    assert await stage.after((0, PASS)) == ["a ended"]
    assert await stage.after((1, PASS)) == ["b ended", "c asked"]
    await stage.after((2, PASS))


async def test_a_validator_may_use_less_in_one_phase() -> None:
    first, second = _named("a"), Asked("b", uses(reads="a", sets="b"), [])
    assert order_of([first, second], Phase.MAILFROM) is None
    second.uses_at = {Phase.MAILFROM: uses(sets="b")}  # type: ignore[attr-defined] # as a module has it
    assert order_of([first, second], Phase.MAILFROM) == (frozenset(), frozenset())
    assert order_of([first, second], Phase.DATA) is None


# What a configuration with all checks of senders waits for: the checks before each that it needs.
WAITS = {
    Phase.CONNECT: {"conntrol": "", "iprev": "", "dnsbl": ""},
    Phase.MAILFROM: {"spf_v1": "", "dmarc": "", "smtp_cbv": "spf_v1 dmarc"},
    Phase.DATA: {"mail_loop": "", "iprev": "", "spf_v1": "", "dkim_validate": "", "arc": "",
                 "dmarc": "iprev spf_v1 dkim_validate arc"},
}  # fmt: skip
CHECKS = """\
ESMTP_Listener = ( 127.0.0.1:0 )
Hostname = "r.test"
Gateway = "127.0.0.1"
mail_loop { }
conntrol { }
iprev { }
spf_v1 { }
dkim_validate { }
arc { }
dnsbl { zones = ( bl.test ) }
dmarc { }
smtp_cbv { }
"""


async def test_checks_of_senders_wait_only_for_what_they_read(tmp_path: Path) -> None:
    (tmp_path / "r.conf").write_text(CHECKS)
    worker = Worker(load(tmp_path / "r.conf")[0])
    worker.build()
    pipeline = worker.pipeline
    for phase, expected in WAITS.items():
        names = [validator.name for validator, _ in pipeline._steps[phase]]
        order = pipeline._orders[phase]
        assert order is not None
        found = {name: " ".join(names[at] for at in sorted(before)) for name, before in zip(names, order, strict=True)}
        assert found == expected


async def test_a_failure_of_one_does_not_disturb_the_others() -> None:
    stage = Stage(*INDEPENDENT)
    stage.each[1].on_error = OnError.ACCEPT
    await stage.after()
    with capture_logs() as log:
        await stage.after((1, RuntimeError("secret")))
    assert [(each["event"], each["validator"]) for each in log] == [("validator_failed", "b")]
    await stage.after((0, PASS), (2, THIRD))
    assert stage.running.result() == THIRD


async def test_each_has_its_own_deadline() -> None:
    stage = Stage(uses(sets="x"), uses(sets="y"))
    stage.each[0].deadline, stage.each[0].on_error = 0.01, OnError.ACCEPT
    await stage.after()
    with capture_logs() as log:
        await stage.after((1, PASS))
        assert await stage.running is PASS
    assert [(each["validator"], each["reason"]) for each in log] == [("a", "deadline passed")]


async def test_a_shadowed_validator_decides_nothing_and_says_what_it_would_have_done() -> None:
    stage = Stage(*INDEPENDENT)
    stage.pipeline.shadow("a", on=True)
    await stage.after()
    with capture_logs() as log:
        await stage.after((0, FIRST), (1, PASS), (2, PASS))
    assert stage.running.result() is PASS
    assert [(each["event"], each["validator"], each["reply"]) for each in log] == [("shadowed", "a", "550 first")]


async def test_a_session_that_ends_ends_all_of_them() -> None:
    stage = Stage(*INDEPENDENT)
    await stage.after()
    stage.running.cancel()
    await stage.after()
    assert stage.running.cancelled()
    assert sorted(each for each in stage.story if each.endswith("cancelled")) == [
        "a cancelled", "b cancelled", "c cancelled",
    ]  # fmt: skip
