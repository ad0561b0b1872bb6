"""Recipients on their way upstream: together where the client sent them together, or only once the message is there."""

from __future__ import annotations

import pytest

from proxy.mail.session import Session
from proxy.mail.verdict import PASS, Verdict
from proxy.smtp.commands.rcpt import recipient_of
from sieve.phases import Phase
from tests.support.exchanger import EXTENSIONS, Dialogue, Exchanger, Step, says
from tests.support.inbox import Inbox
from tests.support.worker import ALICE, BOB, CAROL, DAVE, LETTER, Rule, refuses, serving

ACCEPTED = "250 2.0.0 Ok: queued as 000001"
MANY = [f"user{number}@example.com" for number in range(120)]


def rcpts(*recipients: str) -> list[str]:
    return [f"RCPT TO:<{each}>" for each in recipients]


class Counting(Exchanger):
    """An upstream that counts the RCPT commands which were there before the first of them was answered."""

    waiting_at_most = 0

    async def _command(self, dialogue: Dialogue, command: str, inbox: Inbox) -> None:
        ahead = bytes(inbox._unread).count(b"RCPT TO")
        self.waiting_at_most = max(self.waiting_at_most, ahead)
        await super()._command(dialogue, command, inbox)


async def test_recipients_that_come_together_go_on_together() -> None:
    async with Counting() as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        answers = await client.pipeline(f"MAIL FROM:<{ALICE}>", *rcpts(*MANY), "DATA")
        assert answers == ["250 2.1.0 Sender OK", *["250 2.1.5 Ok"] * 120, "354 End data with <CR><LF>.<CR><LF>"]
        assert await client.content(LETTER) == ACCEPTED
        assert list(upstream.messages[0].recipients) == rcpts(*MANY)
        assert upstream.waiting_at_most > 20


async def test_each_hears_its_own_verdict_in_its_own_place() -> None:
    refused = {CAROL: says("550-5.1.1 no", "550 5.1.1 Carol"), MANY[3]: says("450 4.2.0 later")}
    async with Exchanger(recipients=refused) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        asked = [BOB, CAROL, "x@elsewhere.test", MANY[3], CAROL, BOB, DAVE]
        assert await client.pipeline(f"MAIL FROM:<{ALICE}>", *rcpts(*asked)) == [
            "250 2.1.0 Sender OK",
            "250 2.1.5 Ok",
            "550-5.1.1 no\n550 5.1.1 Carol",
            "550 5.7.1 Relaying denied",
            "450 4.2.0 later",
            "550-5.1.1 no\n550 5.1.1 Carol",
            "250 2.1.5 Ok",
            "250 2.1.5 Ok",
        ]
        await client.ask("DATA")
        assert await client.content(LETTER) == ACCEPTED
        assert list(upstream.messages[0].recipients) == rcpts(BOB, DAVE)


async def test_a_recipient_that_we_refuse_does_not_part_those_that_go_on_together() -> None:
    async with Counting() as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        asked = [BOB, CAROL, "x@elsewhere.test", DAVE, "y@elsewhere.test", MANY[0]]
        answers = await client.pipeline(f"MAIL FROM:<{ALICE}>", *rcpts(*asked))
        assert [each[:3] for each in answers] == ["250", "250", "250", "550", "250", "550", "250"]
        assert upstream.waiting_at_most == 4
        assert [each for each in upstream.commands if each.startswith("RCPT")] == rcpts(BOB, CAROL, DAVE, MANY[0])


async def test_a_recipient_given_twice_goes_on_once_and_hears_the_same_twice() -> None:
    refused = {CAROL: says("550 5.1.1 Carol")}
    async with Exchanger(recipients=refused) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        answers = await client.pipeline(f"MAIL FROM:<{ALICE}>", *rcpts(BOB, DAVE, DAVE, CAROL, BOB))
        assert answers[1:] == ["250 2.1.5 Ok"] * 3 + ["550 5.1.1 Carol", "250 2.1.5 Ok"]
        await client.ask("DATA")
        assert await client.content(LETTER) == ACCEPTED
        assert list(upstream.messages[0].recipients) == rcpts(BOB, DAVE)


async def test_a_limit_is_kept_though_more_come_together() -> None:
    async with Exchanger() as upstream, serving(upstream, max_recipients_per_message=3) as stage:
        client = await stage.greeted()
        answers = await client.pipeline(f"MAIL FROM:<{ALICE}>", *rcpts(*MANY[:5]))
        assert answers[1:] == ["250 2.1.5 Ok"] * 3 + ["452 4.5.3 Too many recipients"] * 2
        assert upstream.count("RCPT") == 3


async def test_where_policy_judges_recipients_the_upstream_hears_only_of_those_that_passed() -> None:
    async def no_carol(session: Session) -> Verdict:
        assert session.current_recipient is not None
        return refuses(550, "5.7.1 no Carol") if session.current_recipient.path.text == CAROL else PASS

    async with Exchanger() as upstream, serving(upstream, Rule(Phase.RCPTTO, no_carol)) as stage:
        client = await stage.greeted()
        answers = await client.pipeline(f"MAIL FROM:<{ALICE}>", *rcpts(BOB, CAROL, DAVE))
        assert answers[1:] == ["250 2.1.5 Ok", "550 5.7.1 no Carol", "250 2.1.5 Ok"]
        assert [each for each in upstream.commands if each.startswith("RCPT")] == rcpts(BOB, DAVE)


async def test_a_refused_sender_is_every_recipients_refusal_and_is_asked_for_once() -> None:
    async with Exchanger(script={Step.MAIL: says("550 5.7.1 not you")}) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        answers = await client.pipeline(f"MAIL FROM:<{ALICE}>", *rcpts(BOB, CAROL, DAVE))
        assert answers[1:] == ["550 5.7.1 not you"] * 3
        assert upstream.count("MAIL") == 1


async def test_an_upstream_without_pipelining_hears_one_after_the_other() -> None:
    async with Counting(extensions=EXTENSIONS[1:]) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        assert (await client.pipeline(f"MAIL FROM:<{ALICE}>", *rcpts(*MANY[:9])))[1:] == ["250 2.1.5 Ok"] * 9
        assert upstream.waiting_at_most == 0


# ---------------------------------------------------------------- deferred verdicts


async def test_deferred_the_upstream_hears_nothing_before_the_message_is_there() -> None:
    async with Exchanger() as upstream, serving(upstream, recipient_verdicts="deferred") as stage:
        client = await stage.greeted()
        assert await client.pipeline(f"MAIL FROM:<{ALICE}>", *rcpts(BOB)) == [
            "250 2.1.0 Sender OK",
            "250 2.1.5 Recipient OK",
        ]
        assert upstream.count("MAIL") == 0
        await client.ask("DATA")
        assert await client.content(LETTER) == ACCEPTED
        assert list(upstream.messages[0].recipients) == rcpts(BOB)


async def test_deferred_a_refused_recipient_is_refused_at_the_dot_word_for_word() -> None:
    refused = {BOB: says("550-5.1.1 no", "550 5.1.1 Bob")}
    async with (
        Exchanger(recipients=refused) as upstream,
        serving(upstream, recipient_verdicts="deferred") as stage,
    ):
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", *rcpts(BOB))
        await client.ask("DATA")
        assert await client.content(LETTER) == "550-5.1.1 no\n550 5.1.1 Bob"
        assert upstream.messages == []


async def test_deferred_a_refused_sender_is_refused_at_the_dot_word_for_word() -> None:
    async with (
        Exchanger(script={Step.MAIL: says("553 5.1.8 no such domain")}) as upstream,
        serving(upstream, recipient_verdicts="deferred") as stage,
    ):
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", *rcpts(BOB))
        await client.ask("DATA")
        assert await client.content(LETTER) == "553 5.1.8 no such domain"


async def test_deferred_a_transaction_takes_one_recipient_since_one_answer_cannot_be_two_verdicts() -> None:
    async with Exchanger() as upstream, serving(upstream, recipient_verdicts="deferred") as stage:
        client = await stage.greeted()
        assert (await client.pipeline(f"MAIL FROM:<{ALICE}>", *rcpts(BOB, CAROL)))[1:] == [
            "250 2.1.5 Recipient OK",
            "452 4.5.3 Only one recipient per message here; send this one separately",
        ]
        await client.ask("DATA")
        assert await client.content(LETTER) == ACCEPTED
        assert list(upstream.messages[0].recipients) == rcpts(BOB)


@pytest.mark.parametrize("gone", [True, False])
async def test_deferred_an_upstream_that_is_down_is_451_at_the_dot(*, gone: bool) -> None:
    async with Exchanger() as upstream, serving(upstream, recipient_verdicts="deferred") as stage:
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", *rcpts(BOB))
        await client.ask("DATA")
        if gone:
            await upstream.stop()
        answer = await client.content(LETTER)
        assert answer == ("451 4.4.1 Next-hop server is unreachable, try again later" if gone else ACCEPTED)


@pytest.mark.parametrize("asked", [[BOB] * 900, [BOB, CAROL] * 450], ids=["one", "two"])
async def test_who_repeats_recipients_does_not_have_them_read_again_and_again(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0

    def counted(*arguments: object, **options: object) -> object:
        nonlocal read
        read += 1
        return recipient_of(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("proxy.smtp.commands.rcpt.recipient_of", counted)
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        answers = await client.pipeline(f"MAIL FROM:<{ALICE}>", *rcpts(*asked))
        assert len(answers) == len(asked) + 1
        assert read <= 6 * len(asked)


async def test_who_ignores_a_thousand_temporary_refusals_is_sent_away_and_a_delivered_message_begins_anew() -> None:
    async with Exchanger() as upstream, serving(upstream, max_recipients_per_message=1) as stage:
        client = await stage.greeted()

        async def refused(count: int) -> None:
            for first in range(0, count, 100):
                some = rcpts(*(f"u{each}@example.com" for each in range(first, min(first + 100, count))))
                assert set(await client.pipeline(*some)) == {"452 4.5.3 Too many recipients"}

        await client.pipeline(f"MAIL FROM:<{ALICE}>", *rcpts(BOB))
        await refused(1010)
        await client.ask("DATA")
        assert await client.content(LETTER) == ACCEPTED
        await client.pipeline(f"MAIL FROM:<{ALICE}>", *rcpts(BOB))
        await refused(1019)
        assert await client.ask("NOOP") == "250 2.0.0 OK"
        last = await client.pipeline(*rcpts(CAROL), "NOOP")
        assert last == ["452 4.5.3 Too many recipients", "421 4.7.0 Too many errors, closing"]
        assert await client.rest() == b""
