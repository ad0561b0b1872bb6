"""The order of commands, by RFC 5321 section 4.1.4: one table."""

from __future__ import annotations

import pytest

from proxy.mail.replies import Reply
from proxy.smtp.commands.verbs import VERBS
from proxy.smtp.state import END_OF_MESSAGE, TABLE, Progress, State

COMMANDS = ("EHLO", "HELO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "HELP", "VRFY")


def at(state: State) -> Progress:
    progress = Progress()
    progress.state = state
    return progress


def out_of_order(state: State, command: str) -> Reply | None:
    return at(state).refusal(command)


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
        (State.RECIPIENTS, END_OF_MESSAGE, State.READY),
        (State.RECIPIENTS, "HELO", State.READY),
        (State.RECIPIENTS, "RSET", State.READY),
        *((state, command, state) for state in State for command in ("NOOP", "QUIT", "HELP", "VRFY")),
    ],
)
def test_an_accepted_command_leads_on(state: State, command: str, after: State) -> None:
    progress = at(state)
    progress.accepted(command)
    assert progress.state is after


def test_a_command_that_is_not_legal_cannot_have_been_accepted() -> None:
    progress = at(State.READY)
    with pytest.raises(RuntimeError, match="RCPT is not legal in the state READY"):
        progress.accepted("RCPT")
    assert progress.state is State.READY


def test_the_table_has_every_command_and_no_other_row_but_the_end_of_a_message() -> None:
    verbs = {verb.decode() for verb in VERBS}
    assert verbs >= set(COMMANDS)
    assert verbs == set(TABLE) - {END_OF_MESSAGE}
    # aiosmtpd's own commands are not among them.
    assert not verbs & {"EXPN", "TURN"}


def test_every_refusal_of_the_table_is_503_or_554() -> None:
    cells = [cell for row in TABLE.values() for cell in row.values() if isinstance(cell, Reply)]
    assert {cell.code for cell in cells} == {503, 554}
