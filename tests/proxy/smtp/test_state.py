"""The order of commands, by RFC 5321 section 4.1.4: one table."""

from __future__ import annotations

import pytest

from proxy.smtp.protocol import SmtpProtocol
from proxy.smtp.state import NEXT, State, out_of_order

COMMANDS = ("EHLO", "HELO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "HELP", "VRFY")


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("command", ["EHLO", "HELO", "RSET", "NOOP", "QUIT", "HELP", "VRFY"])
def test_some_commands_are_legal_in_every_state(state: State, command: str) -> None:
    assert out_of_order(state, command) is None


@pytest.mark.parametrize(
    ("state", "command", "reply"),
    [
        (State.CONNECTED, "RCPT", "503 5.5.1 Need MAIL command"),
        (State.CONNECTED, "DATA", "503 5.5.1 Need MAIL command"),
        (State.READY, "RCPT", "503 5.5.1 Need MAIL command"),
        (State.READY, "DATA", "503 5.5.1 Need MAIL command"),
        (State.SENDER, "MAIL", "503 5.5.1 Nested MAIL command"),
        (State.SENDER, "DATA", "503 5.5.1 Need RCPT command"),
        (State.RECIPIENTS, "MAIL", "503 5.5.1 Nested MAIL command"),
    ],
)
def test_what_is_out_of_order_is_503_and_says_what_is_missing(state: State, command: str, reply: str) -> None:
    refused = out_of_order(state, command)
    assert refused is not None
    assert refused.wire == f"{reply}\r\n".encode()


@pytest.mark.parametrize(
    ("state", "command", "after"),
    [
        (State.CONNECTED, "EHLO", State.READY),
        (State.CONNECTED, "HELO", State.READY),
        (State.CONNECTED, "MAIL", State.SENDER),
        (State.CONNECTED, "RSET", State.CONNECTED),
        (State.READY, "EHLO", State.READY),
        (State.READY, "MAIL", State.SENDER),
        (State.SENDER, "RCPT", State.RECIPIENTS),
        (State.SENDER, "EHLO", State.READY),
        (State.SENDER, "RSET", State.READY),
        (State.RECIPIENTS, "RCPT", State.RECIPIENTS),
        (State.RECIPIENTS, "DATA", State.READY),
        (State.RECIPIENTS, "HELO", State.READY),
        (State.RECIPIENTS, "RSET", State.READY),
        *((state, command, state) for state in State for command in ("NOOP", "QUIT", "HELP", "VRFY")),
    ],
)
def test_an_accepted_command_leads_on(state: State, command: str, after: State) -> None:
    assert NEXT[state][command] is after


def test_every_command_that_is_offered_is_legal_or_answered_in_every_state() -> None:
    assert set(SmtpProtocol.commands) >= set(COMMANDS)
    for state in State:
        for command in SmtpProtocol.commands:
            refused = out_of_order(state, command)
            assert (refused is None) == (command in NEXT[state])
            assert refused is None or refused.code == 503


def test_only_the_commands_of_the_table_are_offered() -> None:
    # aiosmtpd's own commands are not among them.
    assert not set(SmtpProtocol.commands) & {"EXPN", "TURN"}
    assert set(SmtpProtocol.commands) <= {command for moves in NEXT.values() for command in moves}
