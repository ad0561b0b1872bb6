"""MAIL and RCPT as clients say them, and what the upstream hears: the table `lenient.tsv`, once lenient, once strict.

`\\t` in a command is a TAB. The second column is the line that the upstream hears, or the code of the refusal; the
third the code with `Strict_Addresses = yes`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.exchanger import Exchanger
from tests.support.worker import ALICE, BOB, serving

EXTENSIONS = ("PIPELINING", "SIZE", "8BITMIME", "DSN")


def rows() -> list[tuple[str, str, str]]:
    """Return the rows, with TABs in the commands."""
    lines = Path(__file__).with_name("lenient.tsv").read_text(encoding="utf-8").splitlines()[1:]
    parted = [line.split("\t") for line in lines]
    return [(command.replace("\\t", "\t"), heard, strict) for command, heard, strict in parted]


ROWS = [pytest.param(*row, id=f"{number:02}") for number, row in enumerate(rows(), 2)]


async def outcome(command: str, *, strict: bool) -> tuple[str, list[str]]:
    """Return the code that a client hears to a command within a transaction, and the upstream's lines."""
    options = {
        "Domain_For_Unqualified_Sender_Address": '"site.test"',
        "Domain_For_Unqualified_Recipient_Addresses": '"example.com"',
    }
    if strict:
        options["Strict_Addresses"] = "yes"
    async with Exchanger(extensions=EXTENSIONS) as upstream, serving(upstream, **options) as stage:
        client = await stage.greeted()
        if command.startswith("MAIL"):
            answer = await client.ask(command)
            await client.ask(f"RCPT TO:<{BOB}>")
        else:
            await client.ask(f"MAIL FROM:<{ALICE}>")
            answer = await client.ask(command)
        return answer[:3], list(upstream.commands)


@pytest.mark.parametrize(("command", "heard", "strict"), ROWS)
async def test_the_upstream_hears_rfc_5321(command: str, heard: str, strict: str) -> None:
    del strict
    code, lines = await outcome(command, strict=False)
    if heard.isdecimal():
        assert code == heard
    else:
        assert (code, [line for line in lines if line == heard]) == ("250", [heard])


@pytest.mark.parametrize(("command", "heard", "strict"), ROWS)
async def test_strict_addresses_refuses_what_rfc_5321_does_not_allow(command: str, heard: str, strict: str) -> None:
    del heard
    assert (await outcome(command, strict=True))[0] == strict


async def test_auth_goes_on_to_an_upstream_that_offers_it_alone() -> None:
    async with Exchanger(extensions=("AUTH PLAIN",)) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        assert await client.ask(f"MAIL FROM:<{ALICE}> AUTH=<>") == "250 2.1.0 Sender OK"
        await client.ask(f"RCPT TO:<{BOB}>")
        assert f"MAIL FROM:<{ALICE}> AUTH=<>" in upstream.commands
