"""Who may send what: relaying, postmaster, and policy that fails."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest

from tests.support.house import opened
from tests.support.ringback import SIEVE_ONLY, Ringback
from tests.support.servers import Postfix
from tests.support.waiting import eventually
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

MESSAGE = b"Subject: to whom it may concern\r\n\r\nhello\r\n"


@pytest.mark.parametrize(
    "recipient",
    [
        "a@elsewhere.test",
        "a@sub.example.com",
        "a@example.com.elsewhere.test",
        "@example.com:a@elsewhere.test",
        "a@[192.0.2.1]",
    ],
)
async def test_mail_for_another_domain_from_a_stranger_is_550_5_7_1(
    stage: Stage, ringback: Ringback, recipient: str
) -> None:
    upstream = await stage.upstream(ringback)
    async with await ringback.conversation() as client:
        await client.ehlo()
        assert (await client.ask("MAIL FROM:<>")).startswith("250 ")
        assert (await client.ask(f"RCPT TO:<{recipient}>")).startswith("550 5.7.1 ")
        assert (await client.ask("DATA"))[:4] in {"503 ", "554 "}
    assert upstream.count("RCPT") == 0


@pytest.mark.parametrize(
    "recipient", ["a%elsewhere.test@example.com", "elsewhere.test!a@example.com", '"a@elsewhere.test"@example.com']
)
async def test_a_route_hidden_in_the_local_part_is_refused(stage: Stage, ringback: Ringback, recipient: str) -> None:
    upstream = await stage.upstream(ringback)
    async with await ringback.conversation() as client:
        await client.ehlo()
        assert (await client.ask("MAIL FROM:<>")).startswith("250 ")
        assert (await client.ask(f"RCPT TO:<{recipient}>")).startswith("5")
    assert upstream.count("RCPT") == 0


async def test_a_relay_host_may_send_anywhere_and_a_stranger_still_may_not(stage: Stage) -> None:
    upstream = await stage.upstream()
    ringback = await stage.ringback(upstream.port, core=("Relay_Hosts = ( 127.0.0.77 )",))
    for source, expected in (("127.0.0.77", "250 "), ("127.0.0.78", "550 ")):
        async with await ringback.conversation(source=source) as client:
            await client.ehlo()
            assert (await client.ask("MAIL FROM:<>")).startswith("250 ")
            assert (await client.ask("RCPT TO:<a@elsewhere.test>")).startswith(expected)


async def test_a_domain_below_a_wildcard_is_ours(stage: Stage) -> None:
    upstream = await stage.upstream()
    ringback = await stage.ringback(upstream.port, core=("Relay_Domains = ( example.com *.example.com )",))
    async with await ringback.conversation() as client:
        await client.ehlo()
        assert (await client.ask("MAIL FROM:<>")).startswith("250 ")
        assert (await client.ask("RCPT TO:<a@Sub.Example.COM>")).startswith("250 ")
        assert (await client.ask("RCPT TO:<a@elsewhere.test>")).startswith("550 5.7.1 ")


@pytest.mark.real("postfix")
async def test_postmaster_without_a_domain_is_accepted_and_delivered(stage: Stage, postfix: Postfix) -> None:
    ringback = await stage.ringback(postfix.port)
    for name in ("postmaster", "Postmaster", "POSTMASTER"):
        mark = f"X-Mark: to-{name}\r\n".encode()
        async with await ringback.conversation() as client:
            await client.ehlo()
            assert (await client.ask("MAIL FROM:<>")).startswith("250 ")
            assert (await client.ask(f"RCPT TO:<{name}>")).startswith("250 ")
            assert (await client.ask("DATA")).startswith("354 ")
            assert (await client.content(mark + MESSAGE)).startswith("250 ")
        await eventually(partial(postfix.delivered, mark), "Postfix delivers the message")


async def test_postmaster_is_accepted_whatever_domains_are_ours(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    lines = (
        "Relay_Domains = ( )",
        "Domain_For_Unqualified_Recipient_Addresses = elsewhere.test",
        "Require_EHLO = true",
    )
    ringback = await opened(stage, tmp_path, *lines, upstream_port=upstream.port)
    async with await ringback.conversation() as client:
        await client.ehlo()
        assert (await client.ask("MAIL FROM:<>")).startswith("250 ")
        assert (await client.ask("RCPT TO:<bob@example.com>")).startswith("550 5.7.1 ")
        assert (await client.ask("RCPT TO:<bob>")).startswith("550 5.7.1 ")
        assert (await client.ask("RCPT TO:<PostMaster>")) == "250 2.1.5 Ok"
        assert (await client.ask("DATA")).startswith("354 ")
        assert (await client.content(MESSAGE)).startswith("250 ")
    (message,) = upstream.messages
    assert message.recipients == ("RCPT TO:<PostMaster>",)


# ---- policy that fails while it runs

FAILING_REGEX = """\
$from = envelope "from";
if ec_test :regex "anything" "${from}" {
  ec_action 550 "matched";
}
"""
"""A sender chooses the pattern: one that begins with an asterisk has nothing to repeat."""

FAILING_TARPIT = """\
$from = envelope "from";
if ec_test :contains "${from}" "*" {
  ec_tarpit "${from}";
}
"""
"""A number of seconds that is an address."""


@pytest.mark.parametrize("script", [FAILING_REGEX, FAILING_TARPIT], ids=["regex", "tarpit"])
async def test_a_failure_in_policy_is_451_4_3_0_shows_nothing_and_is_logged(stage: Stage, script: str) -> None:
    upstream = await stage.upstream()
    ringback = await stage.ringback(upstream.port, stanzas=SIEVE_ONLY, script=script)
    async with await ringback.conversation() as client:
        await client.ehlo()
        reply = await client.ask("MAIL FROM:<*@ok.test>")
        assert re.fullmatch(r"451 4\.3\.0 [A-Za-z ,.;:']+", reply), reply
        for shown in ("Error", "Exception", "siv", "regex", "ec_", "tarpit", "line", "script", "python", "*"):
            assert shown not in reply
        assert (await client.deliver("b@ok.test", ["b@example.com"], MESSAGE)).startswith("250 ")
    assert len(upstream.messages) == 1
    await eventually(lambda: "myscript.siv" in json.dumps(ringback.log), "the failure is in the log")
    event, _refused = [each for each in ringback.log if "myscript.siv" in json.dumps(each)]
    assert event["event"] == "script_failed"
    assert "session" in event
