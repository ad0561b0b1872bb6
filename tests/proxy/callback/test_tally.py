"""Answers to callbacks are counted, and the log tells of them once a minute and at the end."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from proxy.callback import service as answering
from proxy.callback.service import AnswerCounts, CallbackService, Rules
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.callback.verifier import CallbackVerifier
from proxy.mail.session import Recipient, Session
from proxy.modules.sieve_policy.effects import path_of
from tests.support.answers import RemembersNothing, settled
from tests.support.waiting import eventually
from tests.support.worker import ALICE, core

ACCEPTED = CallbackVerdict(Status.PASS, "accepted", "2.1.5 Ok", code=250)
CACHED = CallbackVerdict(Status.PASS, "accepted", "2.1.5 Ok", code=250, cached=True)
UNKNOWN = CallbackVerdict(Status.FAIL, "no_such_user", "5.1.1 no", code=550)


def lines(logs: list[Any]) -> list[dict[str, Any]]:
    return [dict(each) for each in logs if each["event"] == "callbacks"]


async def test_answers_are_counted_by_status_reason_and_whether_they_were_remembered() -> None:
    counted = AnswerCounts()
    with capture_logs() as logs:
        for verdict in (ACCEPTED, CACHED, CACHED, UNKNOWN):
            counted.count(verdict)
        counted.report()
        counted.report()
    assert lines(logs) == [
        {
            "event": "callbacks",
            "log_level": "info",
            "asked": 4,
            "answers": {"pass accepted cached": 2, "pass accepted": 1, "fail no_such_user": 1},
        }
    ]


async def test_a_line_tells_what_came_since_the_line_before_and_no_line_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answering, "REPORT_SECONDS", 0.01)
    counted = AnswerCounts()
    with capture_logs() as logs:
        counted.count(ACCEPTED)
        await eventually(lambda: len(lines(logs)) == 1, "the first line")
        counted.count(UNKNOWN)
        await eventually(lambda: len(lines(logs)) == 2, "the second line")
        counted.report()
    assert [each["answers"] for each in lines(logs)] == [{"pass accepted": 1}, {"fail no_such_user": 1}]


class Knowing(RemembersNothing):
    """A verifier that calls every address unknown."""

    async def verify(self, _address: str, _sender: str | None, *, client: str, session: str = "") -> CallbackVerdict:  # noqa: ARG002 - as the verifier is called
        del client
        return UNKNOWN

    async def close(self) -> None:
        """Have nothing to end."""


@pytest.mark.parametrize("enforce", [True, False])
async def test_skips_are_counted_and_what_is_found_out_counts_though_it_is_not_enforced(*, enforce: bool) -> None:
    rules = Rules(enforce=enforce, exempt_recipients=frozenset({"postmaster"}))
    service = CallbackService(cast(CallbackVerifier, Knowing()), rules, lambda: False)
    session = Session(asyncio.get_running_loop(), ("192.0.2.1", 1), ("192.0.2.2", 25), core())
    with capture_logs() as logs:
        await settled(service.ask(session, ""))
        await settled(service.ask(session, ALICE))
        session.current_recipient = Recipient(path_of("postmaster@example.com"))
        await settled(service.ask_for_recipient(session, ALICE))
        assert session.transaction.context["smtp_cbv_reason"] == "exempt"
        await service.close()
    assert [each["answers"] for each in lines(logs)] == [
        {"error null_sender": 1, "fail no_such_user": 1, "pass exempt": 1}
    ]
