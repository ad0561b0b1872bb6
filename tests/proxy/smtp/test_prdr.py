"""PRDR: an answer for each recipient after the dot (draft-hall-prdr)."""

from __future__ import annotations

from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.mail.verdict import PASS, Verdict
from sieve.phases import Need, Phase
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger, Step, says
from tests.support.worker import BOB, CAROL, DAVE, LETTER, Rule, WorkerStage, serving

NOT_FOR_CAROL = Reply(550, (b"5.7.1 not for carol",))


async def judge(session: Session) -> Verdict:
    """Refuse Carol's message after reading it, throw Dave's away."""
    assert session.current_recipient is not None
    address = session.current_recipient.path.text
    if address == CAROL:
        return Verdict(NOT_FOR_CAROL)
    return Verdict(discard=True) if address == DAVE else PASS


def by_content() -> Rule:
    return Rule(Phase.EACH_RCPT, judge, reads=Need.HEADERS)


async def offered(stage: WorkerStage, *recipients: str, parameter: str = " PRDR") -> tuple[Conversation, list[str]]:
    client = await stage.greeted()
    assert (await client.ask(f"MAIL FROM:<>{parameter}")).startswith("250 ")
    return client, [await client.ask(f"RCPT TO:<{each}>") for each in recipients]


async def test_each_recipient_gets_its_own_answer_and_the_others_the_mail() -> None:
    async with Exchanger() as upstream, serving(upstream, by_content()) as stage:
        client, taken = await offered(stage, BOB, CAROL, DAVE)
        assert [each[:3] for each in taken] == ["250", "250", "250"]
        assert (await client.ask("DATA")).startswith("354 ")
        await client.send_raw(LETTER + b".\r\n")
        assert await client.reply() == "353 A reply for each recipient follows"
        answers = [await client.reply() for _ in range(4)]
        assert answers[0].startswith("250 ")
        assert answers[1] == "550 5.7.1 not for carol"
        assert answers[2:] == [answers[0], answers[0]]
        await client.close()
    (message,) = upstream.messages
    assert [BOB in each for each in message.recipients] == [True]


async def test_where_all_are_refused_so_is_the_message() -> None:
    async with Exchanger() as upstream, serving(upstream, by_content()) as stage:
        client, taken = await offered(stage, CAROL)
        assert taken[0].startswith("250 ")
        await client.ask("DATA")
        await client.send_raw(LETTER + b".\r\n")
        assert await client.reply() == "550 5.7.1 not for carol"
        await client.close()
    assert upstream.messages == []


async def test_what_the_upstream_refuses_is_refused_for_each() -> None:
    script = {Step.DOT: says("554 5.6.0 no")}
    async with Exchanger(script=script) as upstream, serving(upstream) as stage:
        client, _ = await offered(stage, BOB, CAROL)
        await client.ask("DATA")
        await client.send_raw(LETTER + b".\r\n")
        assert (await client.reply()).startswith("353 ")
        assert [await client.reply() for _ in range(3)] == ["554 5.6.0 no"] * 3
        await client.close()


async def test_without_the_parameter_there_is_one_recipient_and_one_answer() -> None:
    async with Exchanger() as upstream, serving(upstream, by_content()) as stage:
        client, taken = await offered(stage, BOB, CAROL, parameter="")
        assert taken[1].startswith("452 4.5.3 ")
        assert (await client.ask("DATA")).startswith("354 ")
        await client.send_raw(LETTER + b".\r\n")
        assert (await client.reply()).startswith("250 ")
        await client.close()
