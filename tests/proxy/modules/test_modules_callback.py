"""The active `smtp_cbv` within a session: when it asks, and whose variables it sets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.support.exchanger import Exchanger, Step, says
from tests.support.worker import (
    ACCEPTED,
    ALICE,
    BOB,
    CAROL,
    RECIPIENT_OK,
    SENDER_OK,
    Configuration,
    client_of,
    transaction,
)

NO = "550 5.1.1 no such user"
TELLS = '$s = vctx_mess_get "smtp_cbv_status";\n$r = vctx_mess_get "smtp_cbv_reason";\nec_log "${s} ${r}";\n'
OTHER = "other@sender.test"


def told(log: list[EventDict]) -> list[str]:
    """Return what scripts wrote into the log."""
    return [each["text"] for each in log if each["event"] == "script"]


# ---------------------------------------------------------------- after a recipient


async def test_nobody_is_asked_before_the_upstream_has_accepted_a_recipient(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with (
        Exchanger(script={Step.RCPT: says("250 2.1.5 Ok", until=gate)}) as upstream,
        Exchanger(script={Step.RCPT: says(NO)}) as exchanger,
    ):
        house = Configuration(tmp_path, upstream.port, exchanger.port).callback("after_recipient = true", kind="")
        async with client_of(house.scripts(data_phase1=TELLS)) as client:
            assert await client.ask(f"MAIL FROM:<{ALICE}>") == SENDER_OK
            await client.send(f"RCPT TO:<{BOB}>")
            await upstream.until(lambda: bool(upstream.held), "the upstream thinks about the recipient")
            assert exchanger.dialogues == []
            gate.set()
            assert await client.reply() == RECIPIENT_OK
            assert await client.ask(f"RCPT TO:<{CAROL}>") == RECIPIENT_OK
            with capture_logs() as log:
                await client.ask("DATA")
                assert await client.content(b"Subject: hello\r\n\r\nhello\r\n") == ACCEPTED
        assert exchanger.count("RCPT") == 1
        assert told(log) == ["fail no_such_user"]


async def test_nobody_is_asked_where_the_upstream_takes_no_recipient(tmp_path: Path) -> None:
    async with Exchanger(script={Step.RCPT: says(NO)}) as upstream, Exchanger() as exchanger:
        house = Configuration(tmp_path, upstream.port, exchanger.port).callback("after_recipient = true", kind="")
        async with client_of(house) as client:
            assert await transaction(client, BOB, CAROL) == [SENDER_OK, NO, NO]
            assert await client.ask("RSET") == "250 2.0.0 OK"
        assert exchanger.dialogues == []


async def test_one_accepted_recipient_among_others_is_enough(tmp_path: Path) -> None:
    async with Exchanger(recipients={BOB: says(NO)}) as upstream, Exchanger() as exchanger:
        house = Configuration(tmp_path, upstream.port, exchanger.port).callback("after_recipient = true", kind="")
        async with client_of(house) as client:
            assert await transaction(client, BOB, CAROL) == [SENDER_OK, NO, RECIPIENT_OK, ACCEPTED]
        assert exchanger.count("RCPT") == 1


async def test_otherwise_the_sender_is_asked_about_at_once(tmp_path: Path) -> None:
    async with Exchanger() as upstream, Exchanger() as exchanger:
        house = Configuration(tmp_path, upstream.port, exchanger.port).callback(kind="")
        async with client_of(house) as client:
            assert await client.ask(f"MAIL FROM:<{ALICE}>") == SENDER_OK
            await exchanger.until(lambda: exchanger.count("RCPT") == 1, "the sender is asked about")


# ---------------------------------------------------------------- whose variables


async def test_an_answer_that_comes_late_is_none_of_the_next_messages(tmp_path: Path) -> None:
    gate = asyncio.Event()
    late = {ALICE: says(NO, until=gate)}
    async with Exchanger() as upstream, Exchanger(recipients=late) as exchanger:
        house = Configuration(tmp_path, upstream.port, exchanger.port).callback(kind="").scripts(data_phase1=TELLS)
        async with client_of(house) as client:
            await client.ask(f"MAIL FROM:<{ALICE}>")
            await exchanger.until(lambda: bool(exchanger.held), "the first sender is asked about")
            await client.ask("RSET")
            await client.ask(f"MAIL FROM:<{OTHER}>")
            await client.ask(f"RCPT TO:<{BOB}>")
            await exchanger.until(lambda: exchanger.count("QUIT") == 1, "the second sender is known")
            gate.set()
            await exchanger.until(lambda: not exchanger.open_dialogues, "the first one is known as well")
            with capture_logs() as log:
                await client.ask("DATA")
                await client.content(b"Subject: hello\r\n\r\nhello\r\n")
        assert told(log) == ["pass accepted"]


async def test_recipients_in_one_segment_are_each_judged_for_what_they_are(tmp_path: Path) -> None:
    async with Exchanger() as upstream, Exchanger(script={Step.RCPT: says(NO)}) as exchanger:
        house = Configuration(tmp_path, upstream.port, exchanger.port)
        house.callback('phase = "rcptto"', 'map = [ example.com = "127.0.0.1" ]', kind="")
        house.lines.remove('  map = [ sender.test = "127.0.0.1" ]')
        async with client_of(house) as client:
            await client.ask(f"MAIL FROM:<{ALICE}>")
            await client.send("RCPT TO:<postmaster@example.com>", f"RCPT TO:<{BOB}>")
            assert [await client.reply(), await client.reply()] == [RECIPIENT_OK] * 2
            await client.ask("DATA")
            await client.content(b"Subject: hello\r\n\r\nhello\r\n")
        assert [each for each in exchanger.commands if each.startswith("RCPT")] == [f"RCPT TO:<{BOB}>"]


# ---------------------------------------------------------------- who is not asked about


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["enforce = false"], "pass shadow"),
        (['skip_variables = [ seen = "bad" ]'], "error forged"),
        (['no_probe_domains = ( "sender.test" )'], "error no_probe"),
        (['probes_per_client = "1/3600"'], "fail no_such_user"),
    ],
)
async def test_a_script_sees_why(tmp_path: Path, options: list[str], expected: str) -> None:
    asks = '$s = ""; vctx_mess_set "seen" "bad";\n($v) = smtp_callback_verify "alice@sender.test";\n' + TELLS
    async with Exchanger() as upstream, Exchanger(script={Step.RCPT: says(NO)}) as exchanger:
        house = Configuration(tmp_path, upstream.port, exchanger.port).callback(*options).scripts(mailfrom_phase1=asks)
        async with client_of(house) as client:
            with capture_logs() as log:
                assert await client.ask(f"MAIL FROM:<{ALICE}>") == SENDER_OK
        assert told(log) == [expected]


SHIPPED = Path(__file__).parents[3] / "etc/scripts"


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("sender_callback.siv", SENDER_OK),
        ("sender_callback_strict.siv", "450 4.7.1 too many senders to verify, try again later"),
    ],
    ids=["printed", "strict"],
)
async def test_a_client_beyond_its_share_is_deferred_by_the_strict_script_alone(
    tmp_path: Path, script: str, answer: str
) -> None:
    text = (SHIPPED / script).read_text()
    async with Exchanger() as upstream, Exchanger(script={Step.RCPT: says(NO)}) as exchanger:
        house = Configuration(tmp_path, upstream.port, exchanger.port).callback('unknown_users_per_mx = "8/3600"')
        async with client_of(house.scripts(mailfrom_phase1=text)) as client:
            said = [await client.ask(f"MAIL FROM:<x{number}@sender.test>") for number in range(4)]
            assert said[:2] == ["550 from address not reachable"] * 2
            assert said[2] == answer
            exchanged = exchanger.count("RCPT")
            if script == "sender_callback_strict.siv":
                assert said[3] == answer
            assert exchanged == 2
