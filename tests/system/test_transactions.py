"""Transactions one after another, on both sides: nothing of one leaks into the next, and none outlives its upstream."""

from __future__ import annotations

import pytest

from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger, Step, closes, says
from tests.support.ringback import Ringback
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

MESSAGE = b"Subject: one of many\r\n\r\ntext\r\n"


async def _is_accepted(client: Conversation, *commands: str) -> None:
    for command in commands:
        reply = await client.ask(command)
        assert reply.startswith("250 "), f"{command} was answered {reply!r}"


def _envelopes(upstream: Exchanger) -> list[tuple[str, ...]]:
    return [message.recipients for message in upstream.messages]


async def test_every_message_of_a_session_has_its_own_recipients(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(ringback)
    async with await ringback.conversation() as client:
        for name in ("one", "two", "three"):
            assert (await client.deliver("", [f"{name}@example.com"], MESSAGE)).startswith("250 ")
    assert _envelopes(upstream) == [
        ("RCPT TO:<one@example.com>",),
        ("RCPT TO:<two@example.com>",),
        ("RCPT TO:<three@example.com>",),
    ]


@pytest.mark.parametrize("restart", ["RSET", "EHLO client.test", "HELO client.test"])
async def test_what_was_reset_is_not_sent(stage: Stage, ringback: Ringback, restart: str) -> None:
    upstream = await stage.upstream(ringback)
    async with await ringback.conversation() as client:
        await client.ehlo()
        await _is_accepted(client, "MAIL FROM:<>", "RCPT TO:<reset@example.com>")
        assert (await client.ask(restart)).startswith("250")
        assert (await client.ask("RCPT TO:<orphan@example.com>")).startswith("503 ")
        await _is_accepted(client, "MAIL FROM:<>", "RCPT TO:<kept@example.com>")
        assert (await client.ask("DATA")).startswith("354 ")
        assert (await client.content(MESSAGE)).startswith("250 ")
    assert _envelopes(upstream) == [("RCPT TO:<kept@example.com>",)]


@pytest.mark.parametrize("ending", ["quit", "abort"])
async def test_a_transaction_given_up_leaves_nothing_for_the_next_session(
    stage: Stage, ringback: Ringback, ending: str
) -> None:
    upstream = await stage.upstream(ringback)
    async with await ringback.conversation() as client:
        await client.ehlo()
        await _is_accepted(client, "MAIL FROM:<>", "RCPT TO:<given-up@example.com>")
        if ending == "quit":
            await client.quit()
        else:
            client.abort()
    async with await ringback.conversation() as client:
        assert (await client.deliver("", ["kept@example.com"], MESSAGE)).startswith("250 ")
    assert _envelopes(upstream) == [("RCPT TO:<kept@example.com>",)]


async def test_when_every_recipient_is_refused_there_is_no_data_and_the_next_message_is_unharmed(
    stage: Stage, ringback: Ringback
) -> None:
    refused = {f"no-{number}@example.com": says("550 5.1.1 no") for number in range(3)}
    upstream = await stage.upstream(ringback, recipients=refused)
    async with await ringback.conversation() as client:
        await client.ehlo()
        await _is_accepted(client, "MAIL FROM:<>")
        for recipient in refused:
            assert await client.ask(f"RCPT TO:<{recipient}>") == "550 5.1.1 no"
        assert (await client.ask("DATA"))[:4] in {"503 ", "554 "}
        assert upstream.count("DATA") == 0
        await _is_accepted(client, "RSET")
        assert (await client.deliver("", ["yes@example.com"], MESSAGE)).startswith("250 ")
    assert _envelopes(upstream) == [("RCPT TO:<yes@example.com>",)]


async def test_an_upstream_that_goes_between_two_recipients_loses_none_that_was_accepted(
    stage: Stage, ringback: Ringback
) -> None:
    """A message that reached the third alone would be lost to the first, whose client was told 250."""
    upstream = await stage.upstream(ringback)
    accepted = ["RCPT TO:<one@example.com>"]
    async with await ringback.conversation() as client:
        await client.ehlo()
        await _is_accepted(client, "MAIL FROM:<>", *accepted)
        for each in upstream.open_dialogues:
            each.close()
        for command in ("RCPT TO:<two@example.com>", "RCPT TO:<three@example.com>"):
            reply = await client.ask(command)
            assert reply[:4] in {"250 ", "451 "}
            accepted += [command] if reply.startswith("250 ") else []
        reply = await client.ask("DATA")
        if reply.startswith("354 "):
            reply = await client.content(MESSAGE)
        assert reply[:4] in {"250 ", "451 "}
    assert _envelopes(upstream) == ([tuple(accepted)] if reply.startswith("250 ") else [])


async def test_an_upstream_that_goes_between_recipient_and_data_loses_nothing(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(ringback)
    async with await ringback.conversation() as client:
        await client.ehlo()
        await _is_accepted(client, "MAIL FROM:<>", "RCPT TO:<one@example.com>", "RCPT TO:<two@example.com>")
        for each in upstream.open_dialogues:
            each.close()
        reply = await client.ask("DATA")
        if reply.startswith("354 "):
            reply = await client.content(MESSAGE)
        assert reply[:4] in {"250 ", "451 "}
    both = ("RCPT TO:<one@example.com>", "RCPT TO:<two@example.com>")
    assert _envelopes(upstream) == ([both] if reply.startswith("250 ") else [])


async def test_a_recipient_that_the_upstream_refuses_the_second_time_is_never_lost_in_silence(
    stage: Stage, ringback: Ringback
) -> None:
    """The transaction is begun anew after the upstream went; what it said first was already told to the client."""
    upstream = await stage.upstream(ringback)
    async with await ringback.conversation() as client:
        await client.ehlo()
        await _is_accepted(client, "MAIL FROM:<>", "RCPT TO:<one@example.com>", "RCPT TO:<two@example.com>")
        for each in upstream.open_dialogues:
            each.close()
        upstream.recipients["two@example.com"] = says("452 4.2.2 full by now")
        reply = await client.ask("DATA")
        if reply.startswith("354 "):
            reply = await client.content(MESSAGE)
        assert reply.startswith("451 4.")
    assert upstream.messages == []


async def test_a_fault_in_one_session_does_not_reach_another(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(ringback)
    async with await ringback.conversation() as first, await ringback.conversation() as second:
        for client, name in ((first, "first"), (second, "second")):
            await client.ehlo()
            await _is_accepted(client, "MAIL FROM:<>", f"RCPT TO:<{name}@example.com>")
        of_first = next(each for each in upstream.dialogues if "RCPT TO:<first@example.com>" in each.commands)
        of_first.script[Step.DOT] = closes()
        for client, expected in ((first, "451 "), (second, "250 ")):
            assert (await client.ask("DATA")).startswith("354 ")
            assert (await client.content(MESSAGE)).startswith(expected)
    assert _envelopes(upstream) == [("RCPT TO:<second@example.com>",)]


async def test_what_the_client_declares_reaches_the_upstream(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(ringback)
    async with await ringback.conversation() as client:
        shown = await client.ehlo()
        assert {"PIPELINING", "8BITMIME"} <= {line[4:] for line in shown.split("\n")[1:]}
        await _is_accepted(client, "MAIL FROM:<> BODY=8BITMIME SIZE=100", "RCPT TO:<a@example.com>")
        assert (await client.ask("DATA")).startswith("354 ")
        assert (await client.content(MESSAGE)).startswith("250 ")
    (message,) = upstream.messages
    assert "BODY=8BITMIME" in message.sender


async def test_an_empty_message_is_a_message(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(ringback)
    async with await ringback.conversation() as client:
        await client.envelope("", ["a@example.com"])
        await client.send_raw(b".\r\n")
        assert (await client.reply()).startswith("250 ")
    (message,) = upstream.messages
    assert message.content.startswith(b"Received: ")


async def test_case_and_blanks_of_commands_do_not_matter(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(ringback)
    async with await ringback.conversation() as client:
        assert (await client.ask("ehlo client.test")).startswith("250")
        await _is_accepted(client, "mail from:<>", "rcpt to:<A.b@Example.COM>", "noop")
        assert (await client.ask("data")).startswith("354 ")
        assert (await client.content(MESSAGE)).startswith("250 ")
        assert (await client.ask("quit")).startswith("221 ")
    assert [[each.lower() for each in some] for some in _envelopes(upstream)] == [["rcpt to:<a.b@example.com>"]]
