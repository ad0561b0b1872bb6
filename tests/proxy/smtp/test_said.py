"""The dialogue until a refusal: what it shows, and what it never does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.smtp import said
from proxy.smtp.connection import MOST_SAID
from tests.support.exchanger import Exchanger, Step, says
from tests.support.worker import ALICE, BOB, serving


def dialogues(log: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [each["lines"] for each in log if each["event"] == "dialogue"]


async def test_a_refusal_has_the_dialogue_that_led_to_it() -> None:
    async with Exchanger() as upstream, serving(upstream, history=True) as stage:
        with capture_logs() as log:
            client = await stage.greeted()
            await client.ask(f"MAIL FROM:<{ALICE}>")
            await client.ask("RCPT TO:bob@@x")
            await client.ask(f"RCPT TO:<{BOB}>")
            await client.ask("RCPT TO:<>")
    first, second = dialogues(log)
    assert first[0].startswith("S: 220 ")
    assert first[1] == "C: EHLO client.test"
    assert first[-2:] == [
        "C: RCPT TO:bob@@x",
        "S: " + next(each["reply"] for each in log if each["event"] == "recipient"),
    ]
    assert [each[:3] for each in second] == ["C: ", "S: ", "C: ", "S: "]
    assert second[0] == f"C: RCPT TO:<{BOB}>"


async def test_each_line_has_the_milliseconds_since_the_connection() -> None:
    heard = asyncio.Event()
    script = {Step.RCPT: says("550 5.1.1 no", until=heard)}
    async with Exchanger(script=script) as upstream, serving(upstream, history=True) as stage:
        with capture_logs() as log:
            client = await stage.greeted()
            await client.ask(f"MAIL FROM:<{ALICE}>")
            await client.send(f"RCPT TO:<{BOB}>")
            await asyncio.sleep(0.2)
            heard.set()
            await client.reply()
    (told,) = [each for each in log if each["event"] == "dialogue"]
    times = dict(zip(told["lines"], told["milliseconds"], strict=True))
    assert told["milliseconds"] == sorted(told["milliseconds"])
    assert times["S: 550 5.1.1 no"] - times[f"C: RCPT TO:<{BOB}>"] >= 190


async def test_a_session_without_refusals_tells_nothing() -> None:
    async with Exchanger() as upstream, serving(upstream, history=True) as stage:
        with capture_logs() as log:
            client = await stage.greeted()
            await client.deliver(ALICE, [BOB], b"Subject: x\r\n\r\nbody\r\n")
            await client.quit()
    assert dialogues(log) == []


async def test_passwords_and_messages_are_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(said, "MOST_OF_SESSION", 100)
    lines = (
        "AUTH PLAIN c2VjcmV0", "AUTH c2VjcmV0", "c2VjcmV0", "AUTH LOGIN c2VjcmV0", "HELP c2VjcmV0", "VRFY c2VjcmV0",
        "DATA", "Help me c2VjcmV0", "Mail me c2VjcmV0", "DATA c2VjcmV0", "Subject: c2VjcmV0",
    )  # fmt: skip
    async with Exchanger() as upstream, serving(upstream, history=True) as stage:
        with capture_logs() as log:
            client = await stage.greeted()
            await client.deliver(ALICE, [BOB], b"Subject: c2VjcmV0\r\n\r\nc2VjcmV0\r\n")
            for each in lines:
                await client.ask(each)
    told = [line for lines in dialogues(log) for line in lines]
    assert told
    assert [line for line in told if "c2VjcmV0" in line] == []


@pytest.mark.parametrize(
    ("octets", "shown"),
    [
        (
            b"\x01MAIL FROM:<a@b> SIZE=1\r\n\x02" + b"250-a\r\n250 b\r\n",
            ["C: MAIL FROM:<a@b> SIZE=1", "S: 250-a", "S: 250 b"],
        ),
        (b"PLAIN c2VjcmV0\r\n\x02" + b"235 yes\r\n", ["S: 235 yes"]),
        (b"\1AUTH PLAIN abc\r\n", ["C: AUTH PLAIN (3 octets not shown)"]),
        (b"\1auth abc\r\n", ["C: auth (3 octets not shown)"]),
        (b"\1abcdefgh\r\n", ["C: (8 octets that are not a command)"]),
        (b"\1MAIL FROM:<\x1b[31m\xe2\x80\xae>\r\n", ["C: MAIL FROM:<\\x1b[31m\\xe2\\x80\\xae>"]),
        (b"\1MAIL FROM:<\2S: 250 forged>\r\n", ["C: MAIL FROM:<\\x02S: 250 forged>"]),
        (b"", []),
    ],
)
def test_lines_are_shown_whole_and_escaped(octets: bytes, shown: list[str]) -> None:
    assert list(said.lines_of(octets)) == shown


def test_times_are_read_and_cannot_be_forged() -> None:
    octets = b"\x013\x03MAIL FROM:<\x019\x03x>\r\n\x0212\x03250-a\r\n250 b\r\n\x0112\x03\x019999\x03NOOP\r\n"
    assert list(said.moments_of(octets)) == [
        (3, "C: MAIL FROM:<\\x019\\x03x>"),
        (12, "S: 250-a"),
        (12, "S: 250 b"),
        (12, "C: (10 octets that are not a command)"),
    ]


def test_a_reply_at_once_has_the_time_of_its_command() -> None:
    octets = b"\x013\x03NOOP\r\n\x02250 a\r\n\x0115\x03RCPT TO:<b@c.test>\r\n\x0290\x03250 b\r\n\x02221 c\r\n"
    at = [at for at, _ in said.moments_of(octets)]
    assert at == [3, 3, 15, 90, 90]


def test_a_reply_whose_command_was_cut_off_has_the_next_time_that_is_known() -> None:
    octets = b"O:<\x014\x03b@c.test>\r\n\x02250 a\r\n\x0115\x03NOOP\r\n"
    assert list(said.moments_of(octets)) == [(15, "S: 250 a"), (15, "C: NOOP")]


async def test_what_is_kept_and_told_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(said, "MOST_A_MINUTE", 5)
    async with Exchanger() as upstream, serving(upstream, history=True) as stage:
        with capture_logs() as log:
            for _ in range(2):
                client = await stage.greeted()
                for _ in range(30):
                    await client.ask(f"MAIL FROM:<{'a' * 60}@example.com>")
                    await client.ask("RSET")
                (live,) = stage.worker.front.live
                assert len(live.connection.said) <= MOST_SAID  # type: ignore[attr-defined]  # it is an SmtpProtocol
                for _ in range(6):
                    await client.ask("RCPT TO:<x@y.test>")
                await client.quit()
                await stage.ended()
    assert len(dialogues(log)) == 5
