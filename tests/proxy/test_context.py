"""The context variables that scripts find, by the manual's names."""

from __future__ import annotations

from proxy.session import Session
from proxy.validator import PASS, Verdict
from sieve import Phase
from tests.proxy.stage import BOB, CAROL, Rule, serving
from tests.support.exchanger import Exchanger

SEEN: list[dict[str, str]] = []


async def note(session: Session) -> Verdict:
    SEEN.append({**session.context, **session.transaction.context})
    return PASS


async def seen_at(phase: Phase, *commands: str, message: bytes = b"Subject: x\r\n\r\n") -> list[dict[str, str]]:
    """Return the context at each time that the phase came by."""
    SEEN.clear()
    async with Exchanger() as upstream, serving(upstream, Rule(phase, note)) as stage:
        client = await stage.greeted()
        for command in commands:
            await client.ask(command)
            if command == "DATA":
                await client.send_raw(message + b".\r\n")
                await client.reply()
        await client.close()
    return list(SEEN)


async def test_messages_and_recipients_are_counted_for_the_connection_and_the_message() -> None:
    once = ("MAIL FROM:<>", f"RCPT TO:<{BOB}>", f"RCPT TO:<{CAROL}>", "DATA")
    first, second = await seen_at(Phase.DATA, *once, *once)
    names = ("connection_message_count", "connection_rcpt_count", "message_rcpt_count")
    assert [first[name] for name in names] == ["1", "2", "2"]
    assert [second[name] for name in names] == ["2", "4", "2"]


async def test_a_message_without_a_date_and_one_in_eight_bits_are_marked() -> None:
    (plain,) = await seen_at(Phase.DATA, "MAIL FROM:<>", f"RCPT TO:<{BOB}>", "DATA", message=b"Date: x\r\n\r\n")
    assert not {"rfc2822_date_missing", "#8bitmime"} & set(plain)
    (marked,) = await seen_at(Phase.DATA, "MAIL FROM:<> BODY=8BITMIME", f"RCPT TO:<{BOB}>", "DATA")
    assert (marked["rfc2822_date_missing"], marked["#8bitmime"]) == ("true", "true")


async def test_commands_that_are_none_are_counted() -> None:
    (found,) = await seen_at(Phase.MAILFROM, "XYZZY", "PLUGH", "123", "MAIL FROM:<>")
    assert (found["conntrol_unrecognized_commands"], found["conntrol_bad_commands"]) == ("2", "1")


async def test_the_envelope_is_there_in_parts() -> None:
    (found,) = await seen_at(Phase.RCPTTO, "MAIL FROM:<alice@sender.test>", f"RCPT TO:<{BOB}>")
    assert (found["mailfrom_string"], found["mailfrom_localpart"], found["mailfrom_domain"]) == (
        "alice@sender.test", "alice", "sender.test",
    )  # fmt: skip
    assert (found["rcptto_string"], found["ehlo_domain"], found["can_relay"]) == (BOB, "client.test", "false")
