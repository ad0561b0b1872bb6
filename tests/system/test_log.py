"""The log: events only, harmless to read, and never in the way of the mail."""

from __future__ import annotations

import asyncio
import re
import resource

import pytest

from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")


async def test_the_log_has_only_events_and_escapes_what_strangers_say(stage: Stage) -> None:
    ringback = await stage.ringback(stage.nobody_listens())
    async with await ringback.conversation() as client:
        await client.send_raw(b"EHLO \x1b[31mred\x07\r\n")
        await client.reply()
        await client.send_raw(b'MAIL FROM:<"\x1b]0;title\x07"@ok.test>\r\n')
        await client.reply()
        await client.send_raw(b'XYZZY {"event": "forged"}\x00\x9b31m\r\n')
        await client.reply()
        await client.close()
    await asyncio.to_thread(ringback.stop)
    raw = ringback.program.stderr.read_bytes()
    assert [event for event in ringback.log if event["event"] in {"unstructured", "forged"}] == []
    assert re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", raw) is None


async def test_a_log_that_cannot_be_written_does_not_touch_the_mail(stage: Stage) -> None:
    """As on a full disk. A message that the upstream took and whose client hears no 250 would come twice."""
    upstream = await stage.upstream()
    await stage.exchanger("ok.test")
    ringback = await stage.ringback(upstream.port)
    for process in ringback.program.group():
        resource.prlimit(process, resource.RLIMIT_FSIZE, (0, 0))
    async with await ringback.conversation() as client:
        for sender in ("", "a@ok.test"):
            assert (await client.deliver(sender, ["b@example.com"], b"Subject: unlogged\r\n\r\n")).startswith("250 ")
        assert (await client.quit()).startswith("221 ")
    assert len(upstream.messages) == 2
