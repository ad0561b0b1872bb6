"""What Ringback understands in MAIL and RCPT, beside a real Postfix: whatever it repairs, a strict Postfix takes."""

from __future__ import annotations

import re

import pytest

from tests.spec.relay.test_lenient import rows
from tests.support.conversation import Conversation
from tests.support.servers import Postfix
from tests.support.waiting import eventually
from tests.support.world import Stage

pytestmark = [pytest.mark.real("dnsmasq"), pytest.mark.real("postfix")]

TAKEN = [(command, heard) for command, heard, _ in rows() if not heard.isdecimal()]


async def test_what_goes_upstream_is_taken_by_a_strict_postfix() -> None:
    with Postfix(options={"strict_rfc821_envelopes": "yes", "smtpd_sender_restrictions": ""}) as server:
        async with await Conversation.connect("127.0.0.1", server.port) as client:
            await client.reply()
            await client.ehlo()
            for command, heard in TAKEN:
                await client.ask("RSET")
                if heard.startswith("RCPT"):
                    await client.ask("MAIL FROM:<>")
                assert (await client.ask(heard))[:3] == "250", (command, heard)


async def test_spellings_that_postfix_delivers_to_one_mailbox_are_one_for_a_script(
    stage: Stage, postfix: Postfix
) -> None:
    spellings = ["secret@example.com", '"secret"@example.com', r'"sec\ret"@EXAMPLE.com', "secret@example.com."]
    ringback = await stage.ringback(
        postfix.port,
        stanzas='Validate validate/sieve sieve {\n  rcptto_phase1 = "/path/to/myscript.siv"\n}\n',
        script='if envelope :is "to" "hidden@example.com" { ec_action 550 "no"; }\n',
    )
    async with await ringback.conversation() as client:
        await client.ehlo()
        for number, each in enumerate(spellings):
            assert (await client.ask("MAIL FROM:<>")).startswith("250")
            assert (await client.ask(f"RCPT TO:<{each}>")).startswith("250")
            assert (await client.ask("DATA")).startswith("354")
            assert (await client.content(b"Subject: one-mailbox-%d\r\n\r\nx\r\n" % number)).startswith("250")
        for each in spellings:
            assert (await client.ask("MAIL FROM:<>")).startswith("250")
            assert await client.ask(f"RCPT TO:<{each.replace('sec', 'hid').replace('ret', 'den')}>") == "550 no"
            await client.ask("RSET")
    texts = await eventually(
        lambda: len(found := postfix.delivered(b"one-mailbox-")) >= len(spellings) and found, "Postfix delivers all"
    )
    assert texts
    assert {re.search(rb"Delivered-To: (\S+)", each)[1].lower() for each in texts} == {b"secret@example.com"}  # type: ignore[index]
