"""What the log answers: who really took a message and under which name, and what strangers cannot make of it."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from tests.support.exchanger import Step, sends
from tests.support.exim_server import EximUpstream
from tests.support.house import opened
from tests.support.opensmtpd import OpenSmtpd
from tests.support.ringback import Ringback
from tests.support.servers import Postfix
from tests.support.waiting import eventually
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

LETTER = b"Message-ID: <1@sender.test>\r\nSubject: to whom it concerns\r\n\r\nbody\r\n"


async def _sent(ringback: Ringback, recipient: str = "b@example.com") -> str:
    async with await ringback.conversation() as client:
        reply = await client.deliver("a@sender.test", [recipient], LETTER)
        await client.quit()
    await eventually(lambda: [each for each in ringback.log if each["event"] == "session"], "the session is logged")
    return reply


def _named(ringback: Ringback, event: str) -> list[dict[str, object]]:
    return [each for each in ringback.log if each["event"] == event]


@pytest.mark.real("postfix")
async def test_of_two_routes_the_log_names_the_postfix_that_took_the_mail_and_its_queue_id(
    stage: Stage, tmp_path: Path, postfix: Postfix
) -> None:
    dead = stage.nobody_listens()
    routes = f'Routes = ( "smtp://127.0.0.1:{dead}?pref=10" "smtp://127.0.0.1:{postfix.port}?pref=20" )'
    ringback = await opened(stage, tmp_path, routes)
    reply = await _sent(ringback)
    (message,), (recipient,) = _named(ringback, "message"), _named(ringback, "recipient")
    for event in (message, recipient):
        assert (event["disposition"], event["reply"]) == ("relayed", reply)
        assert event["taken_by"] == f"127.0.0.1:{postfix.port}"
        assert reply == f"250 2.0.0 Ok: queued as {event['queue_id']}"
    assert f"{message['queue_id']}: message-id=<1@sender.test>" in postfix.log
    assert message["message_id"] == "<1@sender.test>"


@pytest.mark.real("exim4")
async def test_the_queue_id_of_a_real_exim_is_found(stage: Stage, tmp_path: Path) -> None:
    with EximUpstream() as exim:
        ringback = await opened(stage, tmp_path, upstream_port=exim.port)
        assert (await _sent(ringback)).startswith("250 ")
        (message,) = _named(ringback, "message")
        assert message["taken_by"] == f"127.0.0.1:{exim.port}"
        assert re.search(rf"^\S+ \S+ {re.escape(str(message['queue_id']))} <= a@sender\.test", exim.log, re.MULTILINE)


@pytest.mark.real("smtpd")
async def test_the_queue_id_of_a_real_opensmtpd_is_found(stage: Stage, tmp_path: Path) -> None:
    with OpenSmtpd(["b@example.com"]) as server:
        ringback = await opened(stage, tmp_path, upstream_port=server.port)
        assert (await _sent(ringback)).startswith("250 ")
        (message,) = _named(ringback, "message")
        assert re.fullmatch(r"[0-9a-f]{8}", str(message["queue_id"]))
        assert str(message["queue_id"]) in server.log


HOSTILE = b"\x1b[31m\x07\x9b1m\xe2\x80\xae\xe2\x81\xa6[bold]<b>\x7f"
"""ANSI, a bell, C1, bidi marks, markup, DEL."""


@pytest.mark.parametrize("form", ["json", "logfmt", "console"])
async def test_no_field_of_a_stranger_reaches_the_log_unescaped(stage: Stage, tmp_path: Path, form: str) -> None:
    upstream = await stage.upstream(script={Step.DOT: sends(b"250 2.0.0 ok " + HOSTILE + b"\r\n")})
    path = tmp_path / "log"
    lines = (f"Log_Format = {form}", f'Log_File = "{path}"', "Authentication = upstream")
    more = ("Authentication_Without_TLS = true", "Proxy_Protocol_Networks = ( 127.0.0.9 )")
    ringback = await opened(stage, tmp_path, *lines, *more, upstream_port=upstream.port)
    async with await ringback.conversation(source="127.0.0.9") as balancer:
        await balancer.send_raw(b"PROXY TCP4 " + HOSTILE + b" 127.0.0.1 1 2\r\n")
        await balancer.rest()
    async with await ringback.conversation() as client:
        for line in (
            b"EHLO " + HOSTILE, b"HELO \x1b[31m[bold]<b>\x7f",
            b"EHLO x", HOSTILE, b"AUTH PLAIN " + HOSTILE,
            b'MAIL FROM:<"' + HOSTILE + b'"@sender.test>', b"MAIL FROM:<a@sender.test>",
            b'RCPT TO:<"' + HOSTILE + b'"@example.com>', b"RCPT TO:<b@example.com>", b"DATA",
        ):  # fmt: skip
            await client.send_raw(line + b"\r\n")
            await client.reply()
        await client.send_raw(b"Message-ID: <" + HOSTILE + b">\r\nSubject: x\r\n\r\nx\r\n.\r\n")
        await client.reply()
        await client.quit()
    await asyncio.to_thread(ringback.stop)
    raw = path.read_bytes()
    assert re.fullmatch(rb"[ -~\n]*", raw)
    assert raw.count(b"[bold]") >= 5
    if form == "json":
        assert {json.loads(line)["event"] for line in raw.splitlines()} >= {"refused", "message", "recipient"}
