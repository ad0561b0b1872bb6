"""The customer's two stanzas and script, as printed, before a real Postfix and with a real DNS server."""

from __future__ import annotations

import asyncio
import re
import smtplib

import pytest

from tests.support.exchanger import Act, Step, is_silent, says
from tests.support.programs import find_program
from tests.support.ringback import PRINTED_PATH, PRINTED_SCRIPT, PRINTED_STANZAS, ROOT, Ringback
from tests.support.servers import Postfix
from tests.support.waiting import eventually
from tests.support.world import (
    ALIASED,
    AWKWARD_MESSAGE,
    BACKED_UP,
    DANGLING,
    HALF_MUTE,
    INTERNATIONAL,
    MUTE,
    NO_SUCH_USER,
    NOWHERE,
    NULL_MX,
    WITHOUT_MX,
    Stage,
)

pytestmark = pytest.mark.real("postfix", "dnsmasq")

RECIPIENT = "b@example.com"
REFUSED = "550 from address not reachable"
QUEUED = re.compile(r"250 2\.0\.0 Ok: queued as ([0-9A-F]+)")
SHORT = {"timeout": "1"}


def _marked(mark: str) -> bytes:
    return AWKWARD_MESSAGE.replace(b"AWKWARD", mark.encode())


async def _mail(ringback: Ringback, sender: str) -> str:
    """Return the reply to MAIL for a sender."""
    async with await ringback.conversation() as client:
        await client.ehlo()
        return await client.ask(f"MAIL FROM:<{sender}>")


async def _goes_through(ringback: Ringback, postfix: Postfix, sender: str, mark: str) -> None:
    """Send a message and see the same bytes, with trace fields on top, in Postfix's mailbox."""
    message = _marked(mark)
    async with await ringback.conversation() as client:
        answer = await client.deliver(sender, [RECIPIENT], message)
        assert QUEUED.fullmatch(answer), answer
        assert (await client.quit()).startswith("221 ")
    (text,) = await eventually(lambda: postfix.delivered(mark.encode()), "Postfix delivers the message")
    assert text.endswith(b"\r\n" + message)


async def test_a_sender_whose_exchanger_refuses_it_is_refused_at_mail_with_the_scripts_reply(
    stage: Stage, postfix: Postfix
) -> None:
    await stage.exchanger("refusing.test", recipients={"nobody@refusing.test": NO_SUCH_USER})
    ringback = await stage.ringback(postfix.port)
    assert await _mail(ringback, "nobody@refusing.test") == REFUSED
    assert (await _mail(ringback, "somebody@refusing.test")).startswith("250 ")


async def test_a_refused_sender_may_be_followed_by_another_in_the_same_session(stage: Stage, postfix: Postfix) -> None:
    await stage.exchanger("refusing.test", script={Step.RCPT: NO_SUCH_USER})
    await stage.exchanger("ok.test")
    ringback = await stage.ringback(postfix.port)
    message = _marked("after-a-refusal")
    async with await ringback.conversation() as client:
        await client.ehlo()
        assert await client.ask("MAIL FROM:<nobody@refusing.test>") == REFUSED
        assert (await client.ask(f"RCPT TO:<{RECIPIENT}>")).startswith("503 ")
        assert QUEUED.fullmatch(await client.deliver("a@ok.test", [RECIPIENT], message))
    (text,) = await eventually(lambda: postfix.delivered(b"after-a-refusal"), "Postfix delivers the message")
    assert text.startswith(b"Return-Path: <a@ok.test>\r\n")
    assert text.endswith(b"\r\n" + message)


async def test_a_sender_whose_exchanger_accepts_it_is_delivered_byte_for_byte(stage: Stage, postfix: Postfix) -> None:
    await stage.exchanger("ok.test")
    ringback = await stage.ringback(postfix.port)
    await _goes_through(ringback, postfix, "a@ok.test", "accepted-sender")


async def test_the_client_hears_postfix_queue_id_and_the_log_tells_it(stage: Stage, postfix: Postfix) -> None:
    await stage.exchanger("ok.test")
    ringback = await stage.ringback(postfix.port)
    async with await ringback.conversation() as client:
        answer = await client.deliver("a@ok.test", [RECIPIENT], _marked("queue-id"))
        await client.quit()
    found = QUEUED.fullmatch(answer)
    assert found, answer
    queued = f"{found[1]}: from=<a@ok.test>"
    await eventually(lambda: queued in postfix.log, "Postfix logs")
    lines = await eventually(
        lambda: [event for event in ringback.log if found[1] in str(event)], "the session's summary is logged"
    )
    assert [(event["event"], event["queue_id"]) for event in lines] == [("message", found[1]), ("recipient", found[1])]
    assert [event for event in ringback.log if event["event"] == "unstructured"] == []


@pytest.mark.parametrize(
    ("domain", "script"),
    [
        ("down.test", None),
        ("busy.test", {Step.RCPT: says("451 4.7.1 Greylisted, try again later")}),
        ("busy.test", {Step.MAIL: says("451 4.3.2 Too busy")}),
        ("busy.test", {Step.BANNER: says("421 4.3.2 Too busy")}),
        ("busy.test", {Step.BANNER: says("554 5.7.1 We do not talk to you")}),
        ("busy.test", {Step.RCPT: says("550 5.7.1 Your address is on a list")}),
        ("slow.test", {Step.RCPT: is_silent()}),
        ("slow.test", {Step.BANNER: is_silent()}),
        (MUTE, None),
        (HALF_MUTE, None),
    ],
    ids=[
        "exchanger down",
        "451 to RCPT",
        "451 to MAIL",
        "421 banner",
        "554 banner",
        "refuses us, not the address",
        "silent at RCPT",
        "silent from the start",
        "silent name servers",
        "silent name servers of the exchanger",
    ],
)
async def test_mail_goes_through_where_the_callback_finds_nothing_against_the_sender(
    stage: Stage, postfix: Postfix, domain: str, script: dict[Step, Act] | None, request: pytest.FixtureRequest
) -> None:
    if script is not None:
        await stage.exchanger(domain, script=script)
    ringback = await stage.ringback(postfix.port, callback=SHORT)
    mark = re.sub(r"\W+", "-", request.node.name)
    await _goes_through(ringback, postfix, f"a@{domain}", mark)


async def test_the_null_sender_goes_through_and_nobody_is_asked(stage: Stage, postfix: Postfix) -> None:
    asked = [await stage.exchanger(domain) for domain in ("ok.test", "refusing.test")]
    ringback = await stage.ringback(postfix.port)
    await _goes_through(ringback, postfix, "", "null-sender")
    assert [each.dialogues for each in asked] == [[], []]


async def test_a_domain_that_cannot_get_mail_is_refused(stage: Stage, postfix: Postfix) -> None:
    ringback = await stage.ringback(postfix.port)
    replies = {domain: await _mail(ringback, f"a@{domain}") for domain in (NOWHERE, DANGLING, NULL_MX)}
    assert replies == {NOWHERE: REFUSED, DANGLING: REFUSED, NULL_MX: REFUSED}


async def test_an_exchanger_is_found_through_an_alias(stage: Stage, postfix: Postfix) -> None:
    exchanger = await stage.exchanger("refusing.test", script={Step.RCPT: NO_SUCH_USER})
    ringback = await stage.ringback(postfix.port)
    assert await _mail(ringback, f"a@{ALIASED}") == REFUSED
    assert exchanger.count(f"RCPT TO:<a@{ALIASED}>") == 1


async def test_an_international_domain_is_looked_up_by_its_a_label(stage: Stage, postfix: Postfix) -> None:
    exchanger = await stage.exchanger("ok.test")
    ringback = await stage.ringback(postfix.port)
    async with await ringback.conversation() as client:
        await client.ehlo()
        assert (await client.ask(f"MAIL FROM:<a@{INTERNATIONAL}> SMTPUTF8")).startswith("250 ")
    assert exchanger.count("RCPT TO:<a@") == 1


async def test_the_exchanger_is_asked_about_the_local_part_as_it_was_given(stage: Stage, postfix: Postfix) -> None:
    given = ('"quoted"', '"two words"', '"a\\"b"', '"a@b"', "o'brien+tag=x", '"%{vctx:x}${from}"')
    exchanger = await stage.exchanger("refusing.test", script={Step.RCPT: NO_SUCH_USER})
    ringback = await stage.ringback(postfix.port)
    replies = {each: await _mail(ringback, f"{each}@refusing.test") for each in given}
    assert replies == dict.fromkeys(given, REFUSED)
    asked = [command for command in exchanger.commands if command.startswith("RCPT")]
    assert asked == [f"RCPT TO:<{each}@refusing.test>" for each in given]


async def test_a_domain_without_mx_is_asked_at_its_address(stage: Stage, postfix: Postfix) -> None:
    exchanger = await stage.exchanger("refusing.test", script={Step.RCPT: NO_SUCH_USER})
    ringback = await stage.ringback(postfix.port)
    assert await _mail(ringback, f"a@{WITHOUT_MX}") == REFUSED
    assert exchanger.count(f"RCPT TO:<a@{WITHOUT_MX}>") == 1


async def test_the_second_exchanger_is_asked_when_the_first_is_down(stage: Stage, postfix: Postfix) -> None:
    exchanger = await stage.exchanger("refusing.test", script={Step.RCPT: NO_SUCH_USER})
    ringback = await stage.ringback(postfix.port)
    assert await _mail(ringback, f"a@{BACKED_UP}") == REFUSED
    assert exchanger.count(f"RCPT TO:<a@{BACKED_UP}>") == 1


async def test_a_probe_asks_with_the_null_sender_gives_no_content_and_says_goodbye(
    stage: Stage, postfix: Postfix
) -> None:
    exchanger = await stage.exchanger("ok.test")
    ringback = await stage.ringback(postfix.port)
    assert (await _mail(ringback, "a@ok.test")).startswith("250 ")
    await exchanger.until(lambda: bool(exchanger.dialogues) and exchanger.dialogues[0].ended, "the probe ends")
    (dialogue,) = exchanger.dialogues
    greeting, sender, recipient, *rest = dialogue.commands
    assert greeting == "EHLO ringback.test"
    assert sender.split(" ")[:2] == ["MAIL", "FROM:<>"]
    assert recipient == "RCPT TO:<a@ok.test>"
    assert rest in (["QUIT"], ["RSET", "QUIT"])


async def test_an_exchanger_on_an_address_that_is_not_allowed_is_never_connected_to(
    stage: Stage, postfix: Postfix
) -> None:
    exchanger = await stage.exchanger("ok.test")
    ringback = await stage.ringback(postfix.port, callback={"allow_networks": "( 192.0.2.0/24 )"})
    assert await _mail(ringback, "a@ok.test") == REFUSED
    assert exchanger.dialogues == []


async def test_smtplib_delivers_through_the_callback(stage: Stage, postfix: Postfix) -> None:
    await stage.exchanger("ok.test")
    await stage.exchanger("refusing.test", script={Step.RCPT: NO_SUCH_USER})
    ringback = await stage.ringback(postfix.port)
    message = _marked("by-smtplib")

    def send(sender: str) -> None:
        with smtplib.SMTP("127.0.0.1", ringback.port, local_hostname="client.test", timeout=15) as client:
            client.sendmail(sender, [RECIPIENT], message, mail_options=["BODY=8BITMIME"])

    await asyncio.to_thread(send, "a@ok.test")
    with pytest.raises(smtplib.SMTPSenderRefused) as refused:
        await asyncio.to_thread(send, "nobody@refusing.test")
    assert (refused.value.smtp_code, refused.value.smtp_error) == (550, b"from address not reachable")
    (text,) = await eventually(lambda: postfix.delivered(b"by-smtplib"), "Postfix delivers the message")
    assert text.endswith(b"\r\n" + message)


@pytest.mark.real("swaks")
async def test_swaks_sees_the_refusal_at_mail_and_the_delivery(stage: Stage, postfix: Postfix) -> None:
    await stage.exchanger("ok.test")
    await stage.exchanger("refusing.test", script={Step.RCPT: NO_SUCH_USER})
    ringback = await stage.ringback(postfix.port)
    status, shown = await _swaks(ringback, "nobody@refusing.test", "by swaks, refused")
    assert (status, f"<** {REFUSED}" in shown.splitlines()) == (SWAKS_MAIL_REFUSED, True), shown
    status, shown = await _swaks(ringback, "a@ok.test", "by swaks, accepted")
    assert status == 0, shown
    await eventually(lambda: postfix.delivered(b"Subject: by swaks, accepted\r\n"), "Postfix delivers the message")
    assert postfix.delivered(b"by swaks, refused") == []


SWAKS_MAIL_REFUSED = 23


async def _swaks(ringback: Ringback, sender: str, subject: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        find_program("swaks"),
        *("--server", f"127.0.0.1:{ringback.port}", "--from", sender, "--to", RECIPIENT),
        *("--helo", "client.test", "--header", f"Subject: {subject}", "--timeout", "15"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    shown, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, shown.decode()


def test_the_shipped_stanzas_and_script_are_the_printed_ones_but_for_the_scripts_path() -> None:
    shipped = [path.read_text() for path in sorted((ROOT / "etc").rglob("*")) if path.is_file()]
    assert PRINTED_SCRIPT in shipped
    with_the_printed_path = [re.sub(r'(mailfrom_phase1 = )"[^"]*"', rf'\1"{PRINTED_PATH}"', text) for text in shipped]
    assert any(PRINTED_STANZAS in text for text in with_the_printed_path)
