"""If a message's first line is not a header field, it arrives through Ringback as it does through Postfix alone.

Postfix does so behind DATA alone: what it takes by BDAT may still join its own fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

import pytest

from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.servers import MAIL_DOMAIN, Postfix
from tests.support.waiting import eventually
from tests.support.worker import serving

pytestmark = pytest.mark.real("postfix")

MESSAGES = {
    "blank": b" Mon, 1 Jan 2001 00:00:00 +0000\r\nSubject: %b\r\n\r\ntext\r\n",
    "tab": b"\tx\r\nSubject: %b\r\n\r\ntext\r\n",
    "blanks-alone": b"   \r\nSubject: %b\r\n\r\ntext\r\n",
    "mailbox-line": b"From a@b.test Mon Jan  1 00:00:00 2001\r\nSubject: %b\r\n\r\ntext\r\n",
    "quoted-mailbox-line": b">From a@b.test\r\nSubject: %b\r\n\r\ntext\r\n",
    "twice-quoted-mailbox-line": b">>From a@b.test\r\nSubject: %b\r\n\r\ntext\r\n",
    "two-mailbox-lines": b"From a\r\n>From b\r\nSubject: %b\r\n\r\ntext\r\n",
    "mailbox-line-then-blank": b"From a\r\n b\r\nSubject: %b\r\n\r\ntext\r\n",
    "mailbox-line-as-a-field": b"From : a@b.test\r\nSubject: %b\r\n\r\ntext\r\n",
    "mailbox-line-in-small-letters": b"from a\r\nSubject: %b\r\n\r\ntext\r\n",
    "mailbox-line-later": b"Subject: %b\r\nFrom a\r\nTo: c@d.test\r\n\r\ntext\r\n",
    "text": b"hello, world\r\nSubject: %b\r\n\r\ntext\r\n",
    "text-later": b"Subject: %b\r\nhello, world\r\nTo: c@d.test\r\n\r\ntext\r\n",
    "colon": b": x\r\nSubject: %b\r\n\r\ntext\r\n",
    "empty-line": b"\r\nSubject: %b\r\n\r\ntext\r\n",
    "field": b"Subject: %b\r\n folded\r\n\r\ntext\r\n",
}


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    with Postfix() as server:
        yield server


async def deliver(client: Conversation, way: str, message: bytes) -> None:
    await client.ehlo()
    for command in ("MAIL FROM:<alice@sender.test>", f"RCPT TO:<bob@{MAIL_DOMAIN}>"):
        assert (await client.ask(command)).startswith("250 ")
    if way == "BDAT":
        await client.send_raw(b"BDAT %d LAST\r\n%b" % (len(message), message))
        assert (await client.reply()).startswith("250 ")
    else:
        await client.ask("DATA")
        assert (await client.content(message)).startswith("250 ")


async def below_received(postfix: Postfix, mark: bytes, fields: int) -> bytes:
    """Return what was delivered with a mark in it, without its upper Received fields and what is above them."""
    (found,) = await eventually(lambda: postfix.delivered(mark), "the message is delivered")
    ends_with_a_date = rb"^Received: .*\r\n(?:[ \t].*\r\n)*?[ \t].*[+-]\d{4}(?: \([A-Z]+\))?\r\n"
    starts = list(re.finditer(ends_with_a_date, found, re.MULTILINE))
    assert len(starts) >= fields
    return found[starts[fields - 1].end() :]


@pytest.mark.parametrize("way", ["DATA", "BDAT"])
@pytest.mark.parametrize("name", sorted(MESSAGES))
async def test_it_arrives_as_postfix_takes_it_from_the_client(postfix: Postfix, name: str, way: str) -> None:
    direct, through = (f"{name} {way} {route}".replace(" ", "-").encode() for route in ("direct", "through"))
    async with serving(cast(Exchanger, postfix), Relay_Domains=f"( {MAIL_DOMAIN} )") as stage:
        async with await Conversation.open("127.0.0.1", postfix.port) as client:
            await deliver(client, "DATA", MESSAGES[name] % direct)
        async with await stage.conversation() as client:
            await deliver(client, way, MESSAGES[name] % through)
    expected = await below_received(postfix, direct, 1)
    assert (await below_received(postfix, through, 2)).replace(through, direct) == expected
