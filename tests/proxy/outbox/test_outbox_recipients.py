"""Multi_Recipient = dsn: recipients whose verdicts come late share a message, and refusals are reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import cast

import pytest

from proxy.mail.session import Session
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.sieve_policy.effects import path_of
from sieve.phases import Need, Phase
from tests.support.conversation import Conversation
from tests.support.exchanger import EXTENSIONS, Act, Exchanger, Message, Step, breaks_off, says, sends
from tests.support.waiting import eventually
from tests.support.worker import ALICE, BOB, CAROL, DAVE, LETTER, Rule, WorkerStage, refuses, serving

ACCEPTED = "250 2.0.0 Ok: queued as 000001"
TAKEN = "250 2.1.5 Recipient OK"
ONE_ALONE = "452 4.5.3 Too many recipients"
CAROL_REFUSED = refuses(550, "5.7.1 not for Carol")
WITH_DSN = (*EXTENSIONS, "DSN")


def judged(**verdicts: Verdict) -> Rule:
    """Return policy that judges each recipient by the message: its localpart says how."""

    async def judge(session: Session) -> Verdict:
        assert session.current_recipient is not None
        return verdicts.get(session.current_recipient.path.local_part, PASS)

    return Rule(Phase.EACH_RCPT, judge, reads=Need.HEADERS)


def dsn(folder: Path, **options: object) -> dict[str, object]:
    return {"Multi_Recipient": '"dsn"', "State_Directory": f'"{folder}"', **options}


async def offered(stage: WorkerStage, sender: str, *recipients: str) -> tuple[Conversation, list[str]]:
    client = await stage.greeted()
    assert (await client.ask(f"MAIL FROM:{sender}")).startswith("250 ")
    return client, [await client.ask(f"RCPT TO:{each}") for each in recipients]


async def sent(client: Conversation, letter: bytes = LETTER) -> str:
    assert (await client.ask("DATA")).startswith("354 ")
    return await client.content(letter)


def bracketed(*addresses: str) -> list[str]:
    return [f"<{each}>" for each in addresses]


async def reported(upstream: Exchanger) -> Message:
    await upstream.until(lambda: any(each.sender.startswith("MAIL FROM:<>") for each in upstream.messages), "a report")
    (found,) = (each for each in upstream.messages if each.sender.startswith("MAIL FROM:<>"))
    return found


def groups(report: Message) -> list[Mapping[str, str]]:
    message = cast(EmailMessage, message_from_bytes(report.content, policy=policy.default))
    _, status, _ = message.iter_parts()
    return [dict(group.items()) for group in cast(Sequence[EmailMessage], status.get_payload())]


def recipients(message: Message) -> list[str]:
    return [each.split(">")[0].removeprefix("RCPT TO:<") for each in message.recipients]


async def nothing_more_comes(stage: WorkerStage) -> None:
    """See that the outbox is empty: all that was committed has left."""
    await eventually(lambda: not len(stage.worker.deliverer._deliveries), "deliveries end")
    assert await stage.worker.outbox_store.next_due() is None


# ---------------------------------------------------------------- judged by content


async def test_the_refused_are_reported_and_the_others_have_the_mail(tmp_path: Path) -> None:
    async with (
        Exchanger() as upstream,
        serving(upstream, judged(carol=CAROL_REFUSED, dave=Verdict(discard=True)), **dsn(tmp_path)) as stage,
    ):
        client, answers = await offered(stage, f"<{ALICE}>", *bracketed(BOB, CAROL, DAVE))
        assert [each[:3] for each in answers] == ["250"] * 3
        assert await sent(client) == ACCEPTED
        report = await reported(upstream)
        assert recipients(upstream.messages[0]) == [BOB]
        assert recipients(report) == [ALICE]
        about, carol = groups(report)
        assert about["Received-From-MTA"] == "dns; client.test (127.0.0.1)"
        assert (carol["Final-Recipient"], carol["Status"], carol["Diagnostic-Code"]) == (
            f"rfc822; {CAROL}",
            "5.7.1",
            "smtp; 550 5.7.1 not for Carol",
        )
        assert b"\r\n\r\nSubject: hello\r\n\r\n--" in report.content


async def test_several_that_are_refused_stand_in_one_report(tmp_path: Path) -> None:
    rule = judged(carol=CAROL_REFUSED, dave=refuses(554, "5.6.0 bad"))
    async with Exchanger() as upstream, serving(upstream, rule, **dsn(tmp_path)) as stage:
        client, _ = await offered(stage, f"<{ALICE}>", *bracketed(CAROL, BOB, DAVE))
        assert await sent(client) == ACCEPTED
        _, *failed = groups(await reported(upstream))
        assert [each["Final-Recipient"] for each in failed] == [f"rfc822; {CAROL}", f"rfc822; {DAVE}"]
        await nothing_more_comes(stage)


async def test_where_nobody_is_accepted_the_dot_gets_the_refusal_itself(tmp_path: Path) -> None:
    rule = judged(carol=CAROL_REFUSED, dave=CAROL_REFUSED)
    async with Exchanger() as upstream, serving(upstream, rule, **dsn(tmp_path)) as stage:
        client, _ = await offered(stage, f"<{ALICE}>", *bracketed(CAROL, DAVE))
        assert await sent(client) == "550 5.7.1 not for Carol"
        await nothing_more_comes(stage)
        assert upstream.messages == []


async def test_a_temporary_refusal_of_one_leaves_the_message_with_the_client(tmp_path: Path) -> None:
    rule = judged(carol=CAROL_REFUSED, dave=refuses(451, "4.7.1 later"))
    async with Exchanger() as upstream, serving(upstream, rule, **dsn(tmp_path)) as stage:
        client, _ = await offered(stage, f"<{ALICE}>", *bracketed(BOB, CAROL, DAVE))
        assert await sent(client) == "451 4.7.1 later"
        await nothing_more_comes(stage)
        assert upstream.messages == []


async def test_no_report_leaves_where_the_upstream_refuses_the_message(tmp_path: Path) -> None:
    refusing = Exchanger(script={Step.DOT: says("554 5.6.0 no")})
    async with refusing as upstream, serving(upstream, judged(carol=CAROL_REFUSED), **dsn(tmp_path)) as stage:
        client, _ = await offered(stage, f"<{ALICE}>", *bracketed(BOB, CAROL))
        assert await sent(client) == "554 5.6.0 no"
        upstream.script.clear()
        await eventually(lambda: not len(stage.worker._outbox._owner), "it is dropped")
        await nothing_more_comes(stage)
        assert upstream.messages == []


async def test_mail_from_the_null_sender_has_one_recipient_a_message_as_ever(tmp_path: Path) -> None:
    async with Exchanger() as upstream, serving(upstream, judged(carol=CAROL_REFUSED), **dsn(tmp_path)) as stage:
        client, answers = await offered(stage, "<>", *bracketed(CAROL, BOB))
        assert answers[1] == ONE_ALONE
        assert await sent(client) == "550 5.7.1 not for Carol"
        await nothing_more_comes(stage)


@pytest.mark.parametrize("notify", ["NEVER", "SUCCESS", "DELAY"])
async def test_who_wants_no_report_gets_none(tmp_path: Path, notify: str) -> None:
    rule = judged(carol=CAROL_REFUSED)
    async with Exchanger(extensions=WITH_DSN) as upstream, serving(upstream, rule, **dsn(tmp_path)) as stage:
        client, _ = await offered(stage, f"<{ALICE}>", f"<{BOB}>", f"<{CAROL}> NOTIFY={notify}")
        assert await sent(client) == ACCEPTED
        await nothing_more_comes(stage)
        assert len(upstream.messages) == 1


async def test_what_the_sender_said_of_reports_holds(tmp_path: Path) -> None:
    rule = judged(carol=CAROL_REFUSED)
    async with Exchanger(extensions=WITH_DSN) as upstream, serving(upstream, rule, **dsn(tmp_path)) as stage:
        client, _ = await offered(
            stage,
            f"<{ALICE}> RET=FULL ENVID=QQ314159",
            f"<{BOB}>",
            f"<{CAROL}> NOTIFY=FAILURE ORCPT=rfc822;Carol+2Bx@example.com",
        )
        assert await sent(client) == ACCEPTED
        report = await reported(upstream)
        about, carol = groups(report)
        assert about["Original-Envelope-Id"] == "QQ314159"
        assert carol["Original-Recipient"] == "rfc822; Carol+x@example.com"
        assert b"\r\nContent-Type: message/rfc822\r\n" in report.content
        assert b"\r\n\r\n" + LETTER + b"\r\n--" in report.content


async def test_a_report_goes_to_the_clients_own_sender_whatever_policy_put_in_its_place(tmp_path: Path) -> None:
    async def rewrites(session: Session) -> Verdict:
        session.transaction.reverse_path = session.transaction.recipients[0].path
        return PASS

    rules = Rule(Phase.DATA, rewrites, name="rewrites"), judged(carol=CAROL_REFUSED)
    async with Exchanger() as upstream, serving(upstream, *rules, **dsn(tmp_path)) as stage:
        client, _ = await offered(stage, f"<{ALICE}>", *bracketed(BOB, CAROL))
        assert await sent(client) == ACCEPTED
        assert recipients(await reported(upstream)) == [ALICE]


async def test_a_client_that_offers_prdr_hears_it_instead_of_a_report(tmp_path: Path) -> None:
    async with Exchanger() as upstream, serving(upstream, judged(carol=CAROL_REFUSED), **dsn(tmp_path)) as stage:
        client, _ = await offered(stage, f"<{ALICE}> PRDR", *bracketed(BOB, CAROL))
        assert await sent(client) == "353 A reply for each recipient follows"
        assert [(await client.reply())[:3] for _ in range(3)] == ["250", "550", "250"]
        await nothing_more_comes(stage)
        assert len(upstream.messages) == 1


async def test_a_report_that_cannot_be_kept_leaves_the_message_with_the_client(tmp_path: Path) -> None:
    options = dsn(tmp_path / "missing")
    rule = judged(carol=CAROL_REFUSED)
    with pytest.raises(Exception, match="1 errors in the configuration"):
        async with Exchanger() as upstream, serving(upstream, rule, **options):
            pass
    (tmp_path / "missing").mkdir()
    async with Exchanger() as upstream, serving(upstream, rule, **options) as stage:
        (tmp_path / "missing").rmdir()
        client, _ = await offered(stage, f"<{ALICE}>", *bracketed(BOB, CAROL))
        assert await sent(client) == "451 4.3.0 Temporary failure, try again later"
        assert upstream.messages == []


# ---------------------------------------------------------------- judged by the upstream, after the message


def deferred(folder: Path) -> dict[str, object]:
    return dsn(folder, Recipient_Verdicts="deferred")


async def test_deferred_refusals_are_reported(tmp_path: Path) -> None:
    refused = {CAROL: says("550 5.1.1 No such user")}
    async with Exchanger(recipients=refused) as upstream, serving(upstream, **deferred(tmp_path)) as stage:
        client, answers = await offered(stage, f"<{ALICE}>", *bracketed(BOB, CAROL))
        assert [each[:3] for each in answers] == ["250", "250"]
        assert await sent(client) == ACCEPTED
        report = await reported(upstream)
        assert recipients(upstream.messages[0]) == [BOB]
        _, carol = groups(report)
        assert (carol["Final-Recipient"], carol["Status"]) == (f"rfc822; {CAROL}", "5.1.1")


@pytest.mark.parametrize(
    ("acts", "answer"),
    [
        ({BOB: says("550 5.1.1 Bob"), CAROL: says("550 5.1.1 Carol")}, "550 5.1.1 Bob"),
        ({BOB: says("550 5.1.1 Bob"), CAROL: says("451 4.2.0 Carol")}, "451 4.2.0 Carol"),
        ({CAROL: says("451 4.2.0 Carol")}, "451 4.2.0 Carol"),
    ],
)
async def test_deferred_refusals_that_the_client_can_hear_are_told(
    tmp_path: Path, acts: Mapping[str, Act], answer: str
) -> None:
    async with Exchanger(recipients=acts) as upstream, serving(upstream, **deferred(tmp_path)) as stage:
        client, _ = await offered(stage, f"<{ALICE}>", *bracketed(BOB, CAROL))
        assert await sent(client) == answer
        await nothing_more_comes(stage)
        assert upstream.messages == []


async def test_a_redirect_that_the_upstream_refuses_is_reported_for_the_recipient_that_was_given(
    tmp_path: Path,
) -> None:
    async def redirects(session: Session) -> Verdict:
        assert session.current_recipient is not None
        if session.current_recipient.path.text == CAROL:
            session.current_recipient.target = path_of(DAVE)
        return PASS

    rule = Rule(Phase.EACH_RCPT, redirects, reads=Need.HEADERS)
    refused = {DAVE: says("550 5.1.1 No such user")}
    async with Exchanger(recipients=refused) as upstream, serving(upstream, rule, **deferred(tmp_path)) as stage:
        client, _ = await offered(stage, f"<{ALICE}>", *bracketed(BOB, CAROL))
        assert await sent(client) == ACCEPTED
        _, carol = groups(await reported(upstream))
        assert carol["Final-Recipient"] == f"rfc822; {CAROL}"


# ---------------------------------------------------------------- LMTP


class Mailboxes(Exchanger):
    """An LMTP server (RFC 2033): `boxes` says how each recipient's copy is answered."""

    def __init__(self, **boxes: bytes) -> None:
        super().__init__(extensions=WITH_DSN)
        self.boxes = boxes
        self.ends_after: int | None = None
        """It closes after this number of answers to one message."""

    def act_at(self, step: Step, command: str) -> Act:
        if command.startswith("LHLO "):
            return super().act_at(Step.EHLO, command)
        if step is not Step.DOT:
            return super().act_at(step, command)
        names = [each.split("<")[1].split("@")[0] for each in self.dialogues[-1].recipients]
        answers = [self.boxes.get(name, b"250 2.0.0 Delivered") + b"\r\n" for name in names]
        if self.ends_after is not None:
            return breaks_off(b"".join(answers[: self.ends_after]))
        return sends(b"".join(answers))


def lmtp(folder: Path, **options: object) -> dict[str, object]:
    return dsn(folder, Delivery_Method="LMTP", **options)


def behind(upstream: Exchanger) -> dict[str, object]:
    return {"LMTP_Port": upstream.port, "Max_Outbound_Connections": 1}


async def test_lmtp_takes_several_recipients_and_each_answer_counts(tmp_path: Path) -> None:
    upstream = Mailboxes(carol=b"550 5.2.2 Mailbox full")
    async with upstream, serving(upstream, **lmtp(tmp_path), **behind(upstream)) as stage:
        client, answers = await offered(stage, f"<{ALICE}>", *bracketed(BOB, CAROL, DAVE))
        assert [each[:3] for each in answers] == ["250"] * 3
        assert await sent(client) == "250 2.0.0 Delivered"
        report = await reported(upstream)
        assert recipients(upstream.messages[0]) == [BOB, CAROL, DAVE]
        assert recipients(report) == [ALICE]
        _, carol = groups(report)
        assert (carol["Final-Recipient"], carol["Diagnostic-Code"]) == (
            f"rfc822; {CAROL}",
            "smtp; 550 5.2.2 Mailbox full",
        )
        await nothing_more_comes(stage)


async def test_recipients_that_come_together_go_to_lmtp_together(tmp_path: Path) -> None:
    upstream = Mailboxes()
    async with upstream, serving(upstream, **lmtp(tmp_path), **behind(upstream)) as stage:
        client = await stage.greeted()
        lines = [f"MAIL FROM:<{ALICE}>", *(f"RCPT TO:<{each}>" for each in (BOB, CAROL, BOB)), "DATA"]
        assert [each[:3] for each in await client.pipeline(*lines)] == ["250", "250", "250", "250", "354"]
        assert await client.content(LETTER) == "250 2.0.0 Delivered"
        assert recipients(upstream.messages[0]) == [BOB, CAROL]
        await nothing_more_comes(stage)


async def test_an_lmtp_answer_that_is_temporary_is_reported_where_others_have_the_mail(tmp_path: Path) -> None:
    upstream = Mailboxes(bob=b"452 4.2.2 Mailbox full")
    async with upstream, serving(upstream, **lmtp(tmp_path), **behind(upstream)) as stage:
        client, _ = await offered(stage, f"<{ALICE}>", *bracketed(BOB, CAROL))
        assert await sent(client) == "250 2.0.0 Delivered"
        _, bob = groups(await reported(upstream))
        assert (bob["Final-Recipient"], bob["Action"], bob["Status"]) == (f"rfc822; {BOB}", "failed", "4.2.2")


async def test_where_no_mailbox_takes_it_the_client_hears_so(tmp_path: Path) -> None:
    upstream = Mailboxes(bob=b"550 5.2.1 Bob", carol=b"452 4.2.2 Carol")
    async with upstream, serving(upstream, **lmtp(tmp_path), **behind(upstream)) as stage:
        client, _ = await offered(stage, f"<{ALICE}>", *bracketed(BOB, CAROL))
        assert await sent(client) == "452 4.2.2 Carol"
        await nothing_more_comes(stage)


async def test_an_lmtp_server_that_ends_amid_its_answers_leaves_the_message_with_the_client(tmp_path: Path) -> None:
    upstream = Mailboxes()
    upstream.ends_after = 1
    async with upstream, serving(upstream, **lmtp(tmp_path), **behind(upstream)) as stage:
        client, _ = await offered(stage, f"<{ALICE}>", *bracketed(BOB, CAROL))
        assert await sent(client) == "451 4.4.2 Next-hop server did not answer, try again later"
        await nothing_more_comes(stage)


async def test_an_lmtp_server_that_answers_too_often_is_not_believed(tmp_path: Path) -> None:
    upstream = Mailboxes(carol=b"250 2.0.0 Delivered\r\n250 2.0.0 Delivered")
    async with upstream, serving(upstream, **lmtp(tmp_path), **behind(upstream)) as stage:
        client, _ = await offered(stage, f"<{ALICE}>", *bracketed(BOB, CAROL))
        assert await sent(client) == "451 4.4.2 Next-hop server did not answer, try again later"


async def test_without_dsn_lmtp_takes_one_recipient(tmp_path: Path) -> None:
    upstream = Mailboxes()
    options = {"Delivery_Method": "LMTP", "State_Directory": f'"{tmp_path}"'}
    async with upstream, serving(upstream, **options, **behind(upstream)) as stage:
        client, answers = await offered(stage, f"<{ALICE}>", *bracketed(BOB, CAROL))
        assert answers[1] == "452 4.5.3 Only one recipient per message here; send this one separately"
        assert await sent(client) == "250 2.0.0 Delivered"


async def test_a_client_that_offers_prdr_hears_each_lmtp_answer() -> None:
    upstream = Mailboxes(carol=b"452 4.2.2 Mailbox full")
    async with upstream, serving(upstream, Delivery_Method="LMTP", **behind(upstream)) as stage:
        client, _ = await offered(stage, "<> PRDR", *bracketed(BOB, CAROL))
        assert await sent(client) == "353 A reply for each recipient follows"
        assert [await client.reply() for _ in range(3)] == [
            "250 2.0.0 Delivered",
            "452 4.2.2 Mailbox full",
            "250 2.0.0 Delivered",
        ]
