"""Who speaks in a phase: in order, the first verdict wins, and trouble follows on_error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping

import pytest
from structlog.testing import capture_logs

from proxy.mail import replies
from proxy.mail.session import Session
from proxy.mail.validator import Hook, OnError
from proxy.mail.verdict import PASS, Verdict
from proxy.smtp.pipeline import PhasePipeline
from sieve.phases import Need, Phase
from tests.support.answers import settled
from tests.support.worker import Rule, core, refuses


def session() -> Session:
    return Session(asyncio.get_running_loop(), ("192.0.2.1", 1), ("127.0.0.1", 25), core())


async def test_validators_speak_in_the_configurations_order_and_the_first_verdict_wins() -> None:
    rules = [
        Rule(Phase.MAILFROM),
        Rule(Phase.MAILFROM, refuses(550, "first")),
        Rule(Phase.MAILFROM, refuses(550, "second")),
    ]
    assert await settled(PhasePipeline(rules).run(Phase.MAILFROM, session())) == refuses(550, "first")
    assert [each.asked for each in rules] == [1, 1, 0]


async def test_a_verdict_that_equals_a_pass_is_one() -> None:
    rules = [Rule(Phase.MAILFROM, Verdict()), Rule(Phase.MAILFROM, refuses(550, "second"))]
    assert await settled(PhasePipeline(rules).run(Phase.MAILFROM, session())) == refuses(550, "second")


async def test_to_discard_is_a_verdict() -> None:
    rules = [Rule(Phase.DATA, Verdict(discard=True)), Rule(Phase.DATA, refuses(550, "second"))]
    assert await settled(PhasePipeline(rules).run(Phase.DATA, session())) == Verdict(discard=True)


async def test_nobody_speaks_in_the_phases_of_others() -> None:
    pipeline = PhasePipeline([Rule(Phase.DATA, refuses(550, "no"))])
    assert [phase for phase in Phase if pipeline.active(phase)] == [Phase.DATA]
    assert await settled(pipeline.run(Phase.MAILFROM, session())) is PASS


@pytest.mark.parametrize(("on_error", "verdict"), [(OnError.DEFER, Verdict(replies.INTERNAL)), (OnError.ACCEPT, PASS)])
async def test_a_validator_that_raises_defers_or_accepts_as_it_says_and_the_log_knows_why(
    on_error: OnError, verdict: Verdict
) -> None:
    error = RuntimeError("secret")
    with capture_logs() as log:
        found = await settled(PhasePipeline([Rule(Phase.DATA, error, on_error=on_error)]).run(Phase.DATA, session()))
    assert found == verdict
    (line,) = log
    assert (line["event"], line["validator"], line["phase"], line["reason"], line["exc_info"]) == (
        "validator_failed",
        "rule",
        "data",
        "failed",
        error,
    )


async def test_a_validator_that_is_accepted_in_spite_of_its_failure_leaves_the_word_to_the_next() -> None:
    rules = [
        Rule(Phase.DATA, RuntimeError("secret"), on_error=OnError.ACCEPT),
        Rule(Phase.DATA, refuses(550, "second")),
    ]
    assert await settled(PhasePipeline(rules).run(Phase.DATA, session())) == refuses(550, "second")


@pytest.mark.parametrize(("on_error", "verdict"), [(OnError.DEFER, Verdict(replies.INTERNAL)), (OnError.ACCEPT, PASS)])
async def test_a_validator_that_passes_its_deadline_is_cut_short(on_error: OnError, verdict: Verdict) -> None:
    cut = asyncio.Event()

    async def never(_session: Session) -> Verdict:
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()
        return PASS

    rule = Rule(Phase.DATA, never, on_error=on_error, deadline=0.01)
    with capture_logs() as log:
        assert await settled(PhasePipeline([rule]).run(Phase.DATA, session())) == verdict
    assert cut.is_set()
    assert [each["reason"] for each in log] == ["deadline passed"]


class Plain:
    """A validator whose hook is a plain function."""

    deadline = 0.01

    def __init__(
        self, answer: Verdict | Exception | Awaitable[Verdict] = PASS, on_error: OnError = OnError.DEFER
    ) -> None:
        self.name, self.on_error, self.asked = "plain", on_error, 0
        self._answer = answer

    def hooks(self) -> Mapping[Phase, Hook]:
        return {Phase.DATA: self._judge}

    def needs(self, _phase: Phase) -> Need:
        return Need.NOTHING

    def _judge(self, _session: Session) -> Verdict | Awaitable[Verdict]:
        self.asked += 1
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


async def test_where_no_validator_waits_the_verdict_is_there_at_once() -> None:
    assert PhasePipeline([Plain(), Plain()]).run(Phase.DATA, session()) is PASS
    rules = [Plain(), Plain(refuses(550, "first")), Plain(refuses(550, "second"))]
    assert PhasePipeline(rules).run(Phase.DATA, session()) == refuses(550, "first")
    assert [each.asked for each in rules] == [1, 1, 0]


@pytest.mark.parametrize(("on_error", "verdict"), [(OnError.DEFER, Verdict(replies.INTERNAL)), (OnError.ACCEPT, PASS)])
async def test_a_plain_function_that_raises_is_answered_for_at_once(on_error: OnError, verdict: Verdict) -> None:
    with capture_logs() as log:
        assert PhasePipeline([Plain(RuntimeError("secret"), on_error)]).run(Phase.DATA, session()) == verdict
    assert [(each["event"], each["reason"]) for each in log] == [("validator_failed", "failed")]


async def test_a_validator_that_waits_does_not_change_the_order() -> None:
    for last in (Plain(refuses(550, "last")), Rule(Phase.DATA, refuses(550, "last"))):
        rules = [Plain(), Rule(Phase.DATA), Plain(), Rule(Phase.DATA), last]
        assert await settled(PhasePipeline(rules).run(Phase.DATA, session())) == refuses(550, "last")
        assert [each.asked for each in rules] == [1, 1, 1, 1, 1]


async def test_what_a_plain_function_returns_to_be_awaited_has_the_deadline_too() -> None:
    answer = asyncio.get_running_loop().create_future()
    answer.set_result(refuses(550, "found"))
    assert await settled(PhasePipeline([Plain(answer)]).run(Phase.DATA, session())) == refuses(550, "found")
    never: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
    with capture_logs() as log:
        found = await settled(PhasePipeline([Plain(never)]).run(Phase.DATA, session()))
    assert (found, [each["reason"] for each in log]) == (Verdict(replies.INTERNAL), ["deadline passed"])


async def test_cancellation_is_not_swallowed() -> None:
    began = asyncio.Event()

    async def never(_session: Session) -> Verdict:
        began.set()
        await asyncio.Event().wait()
        return PASS

    pipeline = PhasePipeline([Rule(Phase.DATA, never, on_error=OnError.ACCEPT)])
    running = asyncio.get_running_loop().create_task(settled(pipeline.run(Phase.DATA, session())))
    await began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_what_is_read_of_the_content_is_what_any_validator_reads() -> None:
    pipeline = PhasePipeline(
        [Rule(Phase.DATA, reads=Need.HEADERS), Rule(Phase.DATA, reads=Need.BODY), Rule(Phase.SPOOL)]
    )
    assert pipeline.needs(Phase.DATA) == Need.HEADERS | Need.BODY
    assert pipeline.needs(Phase.SPOOL) == Need.NOTHING


@pytest.mark.parametrize(
    ("reads", "by_content"),
    [(Need.NOTHING, False), (Need.ENVELOPE_TO, False), (Need.HEADERS, True), (Need.BODY, True)],
)
def test_recipients_are_judged_by_content_where_a_rule_on_each_reads_it(reads: Need, by_content: bool) -> None:  # noqa: FBT001 - a case
    assert PhasePipeline([Rule(Phase.EACH_RCPT, reads=reads)]).judges_recipients_by_content is by_content
