"""What a module asks is noted in order, for its own session, and never without bounds."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from proxy.dns.noted import tell
from proxy.dns.remembered import Remembered
from proxy.history.asked import MOST_ANSWERS, asked_by, note, noted
from proxy.mail.session import Session
from proxy.mail.verdict import PASS, Verdict
from sieve.phases import Phase


def session(name: str) -> Session:
    return cast(Session, SimpleNamespace(id=name, transaction_id=f"{name}.1"))


class Names:
    """Answers when it may."""

    def __init__(self) -> None:
        self.may, self.asked = asyncio.Event(), 0

    async def lookup(self, name: str, record_type: str, server: str | None = None) -> tuple[str, list[str]]:
        self.asked += 1
        await self.may.wait()
        tell(record_type, name, server, "SUCCESS", ["192.0.2.1"])  # as the resolver does
        return "SUCCESS", ["192.0.2.1"]


def answers(logs: Any, name: str) -> list[list[Any]]:
    return [answer for each in logs if each["session"] == name for answer in each["asked_outside"]]


async def test_two_sessions_that_share_a_question_both_have_its_answer_once() -> None:
    names = Names()
    lookups = Remembered(names)

    async def judge(_session: Session) -> Verdict:
        asked_by(_session, Phase.MAILFROM).note("random", 10, 7)
        await lookups.ask("a.test", "A")
        asked_by(_session, Phase.MAILFROM).note("clock", 1.5)
        return PASS

    hook = noted(Phase.MAILFROM, judge)
    with capture_logs() as logs:
        both = asyncio.gather(*[cast(Any, hook(session(name))) for name in ("one", "two")])
        await asyncio.sleep(0)
        names.may.set()
        await both
    wanted = [["random", 10, 7], ["dns", "a", "a.test", None, "SUCCESS", "192.0.2.1"], ["clock", 1.5]]
    assert (answers(logs, "one"), answers(logs, "two"), names.asked) == (wanted, wanted, 1)
    assert [each["phase"] for each in logs] == ["mailfrom", "mailfrom"]
    await lookups.close()


async def test_what_a_hook_began_is_noted_after_its_end_and_nothing_after_that_of_others() -> None:
    begun: list[asyncio.Task[None]] = []

    async def later() -> None:
        await asyncio.sleep(0)
        tell("TXT", "late.test", None, "NXDOMAIN")

    def judge(_session: Session) -> Verdict:
        begun.append(asyncio.get_running_loop().create_task(later()))
        return PASS

    with capture_logs() as logs:
        assert noted(Phase.CONNECT, judge)(session("one")) is PASS
        tell("A", "nobody.test", None, "NXDOMAIN")
        await begun[0]
    assert answers(logs, "one") == [["dns", "txt", "late.test", None, "NXDOMAIN"]]


def test_what_a_hook_that_fails_was_told_is_kept() -> None:
    def judge(_session: Session) -> Verdict:
        note("greylist", "main", "192.0.2.0/24", "b@example.com", 60.0)
        raise RuntimeError

    note("greylist", "nobody", "asks", "this", 0.0)
    with capture_logs() as logs, pytest.raises(RuntimeError):
        noted(Phase.RCPTTO, judge)(session("one"))
    assert answers(logs, "one") == [["greylist", "main", "192.0.2.0/24", "b@example.com", 60.0]]


def test_answers_are_bounded_escaped_and_those_that_are_left_out_are_counted() -> None:
    def judge(_session: Session) -> Verdict:
        for number in range(MOST_ANSWERS + 5):
            tell("TXT", f"{number}.test", None, "SUCCESS", [b"\x1b[31m\xff" + b"x" * 5000, (10, "mx.test")])
        return PASS

    with capture_logs() as logs:
        noted(Phase.DATA, judge)(session("one"))
    (event,) = logs
    assert (len(event["asked_outside"]), event["dropped"]) == (MOST_ANSWERS, 5)
    text, exchanger = event["asked_outside"][0][5:]
    assert text.startswith("\\x1b[31m\\xff")
    assert (len(text), exchanger) == (1000, "10 mx.test")
