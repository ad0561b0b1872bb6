"""A client that is lost before the end of its message leaves no message upstream, wherever it was lost."""

from __future__ import annotations

import pytest

from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.worker import BOB, WorkerStage, serving

WHOLE = {
    "DATA": b"Subject: x\r\n\r\n..dot\r\nend\r\n.\r\n",
    "BDAT": b"BDAT 12\r\nSubject: x\r\nBDAT 7 LAST\r\n\r\nend\r\n",
}


async def begun(stage: WorkerStage, kind: str) -> Conversation:
    """Return a client that may send its message now."""
    client = await stage.greeted()
    for command in ("MAIL FROM:<>", f"RCPT TO:<{BOB}>"):
        assert (await client.ask(command)).startswith("250 ")
    if kind == "DATA":
        assert (await client.ask("DATA")).startswith("354 ")
    return client


@pytest.mark.parametrize("ending", ["reset", "closed"])
@pytest.mark.parametrize("kind", sorted(WHOLE))
async def test_a_client_lost_at_any_octet_before_the_end_leaves_nothing(kind: str, ending: str) -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        for cut in range(len(WHOLE[kind])):
            client = await begun(stage, kind)
            await client.send_raw(WHOLE[kind][:cut])
            if ending == "reset":
                client.abort()
            else:
                await client.close()
        await stage.ended()
    assert upstream.messages == []


@pytest.mark.parametrize("kind", sorted(WHOLE))
async def test_with_the_last_octet_it_is_delivered_whether_the_client_waits_or_not(kind: str) -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await begun(stage, kind)
        await client.send_raw(WHOLE[kind])
        client.half_close()
        await stage.ended()
    (message,) = upstream.messages
    assert message.content.endswith(b"end\r\n")


async def test_a_client_over_ipv6_is_served_and_named() -> None:
    async with Exchanger() as upstream, serving(upstream, address="::1") as stage:
        client = await stage.greeted()
        await client.deliver("", [BOB], b"Subject: six\r\n\r\n")
        await client.close()
    (message,) = upstream.messages
    assert b"([IPv6:::1])" in message.content
