"""Any bytes at all: every line that comes back is a reply, nothing inside fails, and nothing stays behind.

By default the cases are the same in each run; RINGBACK_FUZZ_SECONDS=N makes new ones for N seconds.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

import pytest
import structlog
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.fuzzing import fresh_seeds
from tests.support.exchanger import Exchanger
from tests.support.worker import WorkerStage, serving

FAILURES = frozenset({"command_failed", "reception_failed", "task_failed", "validator_failed"})

LINE = re.compile(rb"[2345][0-5][0-9][ -][ -~]{0,506}")

WORDS = (
    b"EHLO client.test\r\n", b"HELO client.test\r\n", b"MAIL FROM:<>\r\n", b"MAIL FROM:<a@sender.test> SIZE=10\r\n",
    b"RCPT TO:<bob@example.com>\r\n", b"RCPT TO:<nobody@example.com>\r\n", b"DATA\r\n", b"Subject: s\r\n\r\n",
    b"\r\n.\r\n", b".\r\n", b"BDAT 3\r\n", b"BDAT 0 LAST\r\n", b"BDAT 5 LAST\r\nabcde", b"BDAT 99999999999 LAST\r\n",
    b"abc", b"RSET\r\n", b"NOOP\r\n", b"VRFY x\r\n", b"QUIT\r\n", b"STARTTLS\r\n", b"\n", b"\r", b"\0", b"<", b">",
    b"@", b'"', b"\\", b":", b" ", b"=", b"MAIL FROM:", b"RCPT TO:<", b"SMTPUTF8", b"\xff", "ü".encode(),
    b"x" * 2100, b"x" * 5000, b"@a,@b:c@d", b"[IPv6:::1]", b"[127.0.0.1]", b"\x1b", b"\t", b"GET / HTTP/1.0\r\n",
    b"Host: x\r\n",
)  # fmt: skip

fragments = st.one_of(st.sampled_from(WORDS), st.sampled_from(WORDS), st.binary(max_size=20))
packets = st.lists(st.lists(fragments, max_size=8).map(b"".join), max_size=6)
"""What the client sends, packet by packet."""

ENVELOPE = b"MAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\n"
PREFACES = (
    b"",
    b"EHLO client.test\r\n",
    ENVELOPE,
    ENVELOPE + b"DATA\r\n",
    ENVELOPE + b"BDAT 3\r\nabc",
)
"""Where in a conversation the bytes begin."""


async def answered(stage: WorkerStage, preface: bytes, sent: list[bytes]) -> bytes:
    """Send everything and half-close; return what is answered until the server closes."""
    client = await stage.conversation()
    stage.clients.clear()
    try:
        if preface.startswith(ENVELOPE):
            await client.ehlo()
        await client.send_raw(preface)
        if preface.endswith(b"DATA\r\n"):
            assert [(await client.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
        with suppress(OSError):  # the server may close before everything is sent
            for packet in sent:
                await client.send_raw(packet)
                await asyncio.sleep(0)  # the server, on this loop, may read it before the next
            client.half_close()
        return await client.rest()
    finally:
        client.abort()


def test_no_bytes_make_anything_but_replies() -> None:
    with asyncio.Runner() as runner, structlog.testing.capture_logs() as log:
        upstream = runner.run(Exchanger().start())
        server = serving(upstream, max_message_size=50_000)
        stage = runner.run(server.__aenter__())

        judged = 0

        @settings(max_examples=1500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(preface=st.sampled_from(PREFACES), sent=packets)
        def judge(preface: bytes, sent: list[bytes]) -> None:
            nonlocal judged
            judged += 1
            log.clear()
            lines = runner.run(answered(stage, preface, sent)).split(b"\r\n")
            assert lines.pop() == b""
            assert [line for line in lines if not LINE.fullmatch(line)] == []
            runner.run(stage.ended())
            assert [event for event in log if event["event"] in FAILURES] == []
            assert [event for event in log if not str(event).isascii()] == []

        try:
            judge()
            for fresh in fresh_seeds():
                seed(fresh)(judge)()
            print(f"{judged} cases")  # noqa: T201 — pytest -rP shows it
            assert stage.sessions == 0
            assert not stage.worker.front.live
            assert upstream.faults == []
        finally:
            runner.run(server.__aexit__(None, None, None))
            runner.run(upstream.stop())


@pytest.mark.parametrize("length", [1, 2, 3])
async def test_every_short_line_is_a_reply(length: int) -> None:
    octets = b"\0\t\n\r .<\x1b\x7f\xffaN"
    lines = [bytes([each]) * length for each in octets] + [bytes([each]) + b"N" * (length - 1) for each in octets]
    async with serving(None) as stage:
        for line in lines:
            heard = await answered(stage, b"", [line + b"\r\n"])
            assert heard.endswith(b"\r\n")
            assert all(LINE.fullmatch(each) for each in heard[:-2].split(b"\r\n")), (line, heard)
