"""The context variables that scripts find, by the manual's names."""

from __future__ import annotations

import pytest

from proxy.mail.session import Session
from proxy.mail.verdict import PASS, Verdict
from sieve.phases import Phase
from tests.support.exchanger import Exchanger
from tests.support.worker import BOB, CAROL, Rule, serving

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


@pytest.mark.parametrize(
    ("command", "unrecognized", "bad"),
    [
        ("XYZZY", "1", None),
        ("123", "1", None),
        ("EXPN list", "1", None),
        ("MAIL foo", None, "1"),
        ("MAIL", None, "1"),
        ("mail FROM:<a@s.test> FOO=BAR", None, "1"),
        ("MAIL FROM:<a b@s.test>", None, "1"),
        ("HELO", None, "1"),
        ("EHLO", None, "1"),
        ("RSET now", None, "1"),
        ("VRFY", None, "1"),
        ("MAIL\x0bFROM:<a@s.test>", None, "1"),
        ("MAIL FROM:<a@s.test>\0", None, "1"),
        ("RCPT TO:<bob@example.com>", None, None),
        ("NOOP", None, None),
    ],
    ids=[
        "unknown", "no-word", "known-elsewhere", "no-path", "no-argument", "parameter", "path", "helo",
        "ehlo", "rset", "vrfy", "control", "nul", "out-of-order", "right",
    ],
)  # fmt: skip
async def test_known_commands_with_bad_syntax_are_counted_apart_from_unknown_ones(
    command: str, unrecognized: str | None, bad: str | None
) -> None:
    seen = await seen_at(Phase.MAILFROM, command, "RSET", "MAIL FROM:<>")
    names = ("conntrol_unrecognized_commands", "conntrol_bad_commands")
    assert tuple(seen[-1].get(name) for name in names) == (unrecognized, bad)


async def test_bad_commands_are_added_up() -> None:
    (found,) = await seen_at(Phase.MAILFROM, "XYZZY", "PLUGH", "MAIL", "123", "RSET x", "MAIL FROM:<>")
    assert (found["conntrol_unrecognized_commands"], found["conntrol_bad_commands"]) == ("3", "2")


async def test_recipients_with_bad_syntax_are_counted() -> None:
    (found,) = await seen_at(
        Phase.RCPTTO, "MAIL FROM:<>", "RCPT TO:", "RCPT bob", f"RCPT TO:<{BOB}> FOO", f"RCPT TO:<{BOB}>"
    )
    assert found["conntrol_bad_commands"] == "3"


async def test_the_envelope_is_there_in_parts() -> None:
    (found,) = await seen_at(Phase.RCPTTO, "MAIL FROM:<alice@sender.test>", f"RCPT TO:<{BOB}>")
    assert (found["mailfrom_string"], found["mailfrom_localpart"], found["mailfrom_domain"]) == (
        "MAIL FROM:<alice@sender.test>", "alice", "sender.test",
    )  # fmt: skip
    assert (found["rcptto_string"], found["rcptto_domain"]) == (f"RCPT TO:<{BOB}>", "example.com")
    assert (found["ehlo_string"], found["ehlo_domain"]) == ("EHLO client.test", "client.test")
    assert found["can_relay"] == "false"
