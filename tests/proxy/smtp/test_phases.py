"""The phases of a session come in the manual's order, each as often as there is something to judge."""

from __future__ import annotations

from proxy.mail.session import Session
from proxy.mail.verdict import PASS, Verdict
from sieve.phases import Need, Phase
from tests.support.exchanger import Exchanger
from tests.support.worker import ALICE, BOB, CAROL, LETTER, Rule, serving


async def passed(*recipients: str, each_reads: Need = Need.NOTHING) -> list[str]:
    """Return the phases that one delivered message goes through."""
    seen: list[str] = []

    def noting(phase: Phase) -> Rule:
        async def note(_session: Session) -> Verdict:
            seen.append(phase.value)
            return PASS

        return Rule(phase, note, reads=each_reads if phase is Phase.EACH_RCPT else Need.NOTHING)

    async with Exchanger() as upstream, serving(upstream, *(noting(each) for each in Phase)) as stage:
        client = await stage.conversation()
        assert (await client.deliver(ALICE, list(recipients), LETTER)).startswith("250 ")
        await client.close()
    return seen


async def test_a_message_goes_through_every_phase_in_order() -> None:
    assert await passed(BOB) == [
        "accept", "connect", "ehlo", "mailfrom", "rcptto", "each_rcpt", "data", "spool", "set_binding",
    ]  # fmt: skip


async def test_a_rule_on_each_recipient_that_reads_the_message_comes_when_it_is_there() -> None:
    assert await passed(BOB, each_reads=Need.HEADERS) == [
        "accept", "connect", "ehlo", "mailfrom", "rcptto", "data", "spool", "each_rcpt", "set_binding",
    ]  # fmt: skip


async def test_every_recipient_is_judged_and_the_message_once() -> None:
    assert (await passed(BOB, CAROL))[3:] == [
        "mailfrom", "rcptto", "each_rcpt", "rcptto", "each_rcpt", "data", "spool", "set_binding",
    ]  # fmt: skip
