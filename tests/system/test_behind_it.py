"""docs/behind-it.md, tried: its marked blocks before real servers, and what happens without them."""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from proxy.options.core import CoreOptions
from tests.support.conversation import Conversation
from tests.support.exim_server import EximUpstream
from tests.support.house import greeted, opened
from tests.support.required import REQUIRE_REAL
from tests.support.ringback import ROOT, Ringback
from tests.support.servers import REFUSED_RECIPIENT, REFUSED_REPLY, Postfix
from tests.support.waiting import eventually
from tests.support.world import Stage

PAGE = (ROOT / "docs" / "behind-it.md").read_text()
BLOCKS = dict(re.findall(r"^<!-- tried: ([^\n]+) -->\n```\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL))

REFUSED_US = "451 4.3.5 Next-hop server rejected our session, try again later"
UNREACHABLE = "451 4.4.1 Next-hop server is unreachable, try again later"
TAKEN = "250 2.1.5 Ok"

HOLDS = "Upstream_Hold = 60"
"""A client that waits keeps its connection to the MTA."""

STRANGER, SHUT_OUT = "127.0.0.98", "127.0.0.99"


def block(name: str) -> list[str]:
    """Return the lines of a marked block, with the addresses that Ringback has here."""
    return BLOCKS[name].replace("192.0.2.10", "127.0.0.1").splitlines()


def main_cf(*names: str, **others: str) -> dict[str, str]:
    """Return the settings of blocks for Postfix, and others beside them."""
    pairs = (line.partition("=") for name in names for line in block(name))
    return {**{name.strip(): value.strip() for name, _, value in pairs}, **others}


async def recipient(ringback: Ringback, address: str = "b@example.com", *, source: str | None = None) -> str:
    """Return the verdict on a client's only recipient."""
    async with await greeted(ringback, source=source) as client:
        assert (await client.ask("MAIL FROM:<a@sender.test>")).startswith("250 ")
        return await client.ask(f"RCPT TO:<{address}>")


async def letter(client: Conversation, mark: bytes = b"x", *, head: bytes = b"") -> str:
    """Run a transaction in a session that was greeted; return the reply to the dot."""
    for command in ("MAIL FROM:<a@sender.test>", "RCPT TO:<b@example.com>"):
        reply = await client.ask(command)
        assert reply.startswith("250 "), f"{command} was answered {reply!r}"
    assert (await client.ask("DATA")).startswith("354 ")
    return await client.content(b"%bSubject: %b\r\n\r\nbody\r\n" % (head, mark))


async def at_once(ringback: Ringback, count: int) -> Counter[str]:
    """Return the verdicts on the recipients of several clients, each of which holds its transaction open."""
    clients = [await greeted(ringback) for _ in range(count)]
    try:
        verdicts = []
        for client in clients:
            assert (await client.ask("MAIL FROM:<a@sender.test>")).startswith("250 ")
            verdicts.append(await client.ask("RCPT TO:<b@example.com>"))
        return Counter(verdicts)
    finally:
        for client in clients:
            client.leave()


async def of_one_transaction(ringback: Ringback, *recipients: str) -> list[str]:
    """Return the verdicts on several recipients, said one after the other."""
    async with await greeted(ringback) as client:
        assert (await client.ask("MAIL FROM:<a@sender.test>")).startswith("250 ")
        return [await client.ask(f"RCPT TO:<{each}>") for each in recipients]


# ---------------------------------------------------------------- the page


def test_every_marked_block_is_tried_here() -> None:
    assert set(BLOCKS) == {
        "ecelerity.conf", "main.cf", "main.cf xclient", "exim4.conf", "exim4.conf proxy", "ecelerity.conf proxy",
    }  # fmt: skip
    assert PAGE.count("<!-- tried: ") == len(BLOCKS)


def test_the_blocks_agree_with_each_other_and_with_the_defaults() -> None:
    connections = CoreOptions.model_fields["max_outbound_connections"].default
    assert int(main_cf("main.cf")["default_process_limit"]) > connections
    assert f"(`{connections}`)" in PAGE or f"`Max_Outbound_Connections` ({connections})" in PAGE
    assert "smtp_accept_max = 150" in block("exim4.conf")
    assert "Max_Message_Size = 50M" in block("ecelerity.conf")
    assert "message_size_limit = 50M" in block("exim4.conf")
    assert int(main_cf("main.cf")["message_size_limit"]) == 50 << 20


# ---------------------------------------------------------------- Postfix: limits

RATE = {"smtpd_client_message_rate_limit": "3", "anvil_rate_time_unit": "3600s"}


@pytest.mark.real("postfix")
@pytest.mark.parametrize(
    ("options", "lines", "expected"),
    [
        ({}, (), {TAKEN: 50, REFUSED_US: 5}),
        (main_cf("main.cf"), (), {TAKEN: 55}),
        (main_cf("main.cf xclient"), ("XCLIENT = required",), {TAKEN: 55}),
    ],
    ids=["by default", "exempt", "with XCLIENT"],
)
async def test_postfix_refuses_the_51st_connection_of_ringback_unless_it_is_exempt(
    stage: Stage, tmp_path: Path, options: dict[str, str], lines: tuple[str, ...], expected: dict[str, int]
) -> None:
    with Postfix(options={"smtpd_client_connection_count_limit": "50", **options}) as postfix:
        ringback = await opened(stage, tmp_path, HOLDS, *lines, upstream_port=postfix.port)
        assert await at_once(ringback, 55) == expected


@pytest.mark.real("postfix")
@pytest.mark.parametrize(
    ("options", "last"),
    [
        ({}, "450 4.7.1 Error: too much mail from 127.0.0.1"),
        (main_cf("main.cf"), TAKEN),
    ],
    ids=["by default", "exempt"],
)
async def test_a_rate_of_postfix_is_one_rate_for_all_clients_unless_ringback_is_exempt(
    stage: Stage, tmp_path: Path, options: dict[str, str], last: str
) -> None:
    with Postfix(options={**RATE, **options}) as postfix:
        ringback = await opened(stage, tmp_path, upstream_port=postfix.port)
        verdicts = [await recipient(ringback, source=f"127.0.0.{at}") for at in (95, 96, 97, 98)]
        assert verdicts == [TAKEN, TAKEN, TAKEN, last]


@pytest.mark.real("postfix")
async def test_with_xclient_a_rate_of_postfix_is_that_of_the_client_that_was_named(
    stage: Stage, tmp_path: Path
) -> None:
    with Postfix(options=main_cf("main.cf", "main.cf xclient", **RATE)) as postfix:
        ringback = await opened(stage, tmp_path, *block("ecelerity.conf"), upstream_port=postfix.port)
        verdicts = [await recipient(ringback, source=STRANGER) for _ in range(4)]
        assert verdicts == [TAKEN, TAKEN, TAKEN, f"450 4.7.1 Error: too much mail from {STRANGER}"]
        assert await recipient(ringback, source=SHUT_OUT) == TAKEN


@pytest.mark.real("postfix")
@pytest.mark.parametrize(
    ("options", "delays"), [({}, 1), (main_cf("main.cf"), 0)], ids=["by default", "as the page says"]
)
async def test_postfix_delays_who_names_more_than_ten_unknown_recipients_unless_it_is_told_not_to(
    stage: Stage, tmp_path: Path, options: dict[str, str], delays: int
) -> None:
    """A delay that is longer than Ringback's patience shows that there is one: another connection is taken."""
    with Postfix(options={"smtpd_error_sleep_time": "100s", **options}) as postfix:
        ringback = await opened(stage, tmp_path, "Rcptto_Timeout = 6", upstream_port=postfix.port)
        verdicts = await of_one_transaction(ringback, *[REFUSED_RECIPIENT] * 11, "b@example.com")
        assert verdicts == [*[REFUSED_REPLY] * 11, TAKEN]
    await asyncio.to_thread(ringback.stop)  # its log is complete
    assert [each["reason"] for each in ringback.log if each["event"] == "upstream_lost"] == ["timeout"] * delays


@pytest.mark.real("postfix")
async def test_where_postfix_hangs_up_after_errors_no_recipient_hears_of_it(stage: Stage, tmp_path: Path) -> None:
    with Postfix(options={"smtpd_hard_error_limit": "3"}) as postfix:
        ringback = await opened(stage, tmp_path, upstream_port=postfix.port)
        named = ["b@example.com", *[REFUSED_RECIPIENT] * 3, "c@example.com", REFUSED_RECIPIENT, "d@example.com"]
        verdicts = await of_one_transaction(ringback, *named)
        assert verdicts == [TAKEN, *[REFUSED_REPLY] * 3, TAKEN, REFUSED_REPLY, TAKEN]
        await eventually(lambda: "too many errors" in postfix.log, "Postfix hangs up")


@pytest.mark.real("postfix")
async def test_errors_of_one_client_are_no_other_clients_since_their_connections_are_not_used_again(
    stage: Stage, tmp_path: Path
) -> None:
    with Postfix(options={"smtpd_hard_error_limit": "3"}) as postfix:
        ringback = await opened(stage, tmp_path, upstream_port=postfix.port)
        refused = [await recipient(ringback, REFUSED_RECIPIENT) for _ in range(10)]
        assert refused == [REFUSED_REPLY] * 10
        assert await recipient(ringback) == TAKEN
        connected = await eventually(
            lambda: len(found := re.findall(r"smtpd\[\d+\]: connect from", postfix.log)) >= 11 and found,
            "each has had a connection of its own",
        )
        assert connected
        assert "too many errors" not in postfix.log


@pytest.mark.real("postfix")
async def test_who_finds_no_process_of_postfix_hears_451(stage: Stage, tmp_path: Path) -> None:
    with Postfix(processes=3) as postfix:
        ringback = await opened(stage, tmp_path, HOLDS, "Connect_Timeout = 6", upstream_port=postfix.port)
        assert await at_once(ringback, 4) == {TAKEN: 3, UNREACHABLE: 1}


# ---------------------------------------------------------------- Postfix: trust


TRUSTING = {"smtpd_recipient_restrictions": "permit_mynetworks, reject_unauth_destination"}


@pytest.mark.real("postfix")
@pytest.mark.parametrize(
    ("networks", "xclient", "expected"),
    [
        ("127.0.0.1/32", False, TAKEN),
        ("192.0.2.0/24", False, "554 5.7.1 <b@elsewhere.test>: Relay access denied"),
        ("127.0.0.1/32", True, "554 5.7.1 <b@elsewhere.test>: Relay access denied"),
    ],
    ids=["in mynetworks", "not in it", "in it with XCLIENT"],
)
async def test_postfix_relays_anywhere_for_all_the_world_where_ringback_is_in_mynetworks(
    stage: Stage, tmp_path: Path, *, networks: str, xclient: bool, expected: str
) -> None:
    options = main_cf(*["main.cf xclient"] * xclient, mynetworks=networks, **TRUSTING)
    with Postfix(options=options) as postfix:
        lines = ["Relay_Domains = ( example.com elsewhere.test )", *["XCLIENT = required"] * xclient]
        ringback = await opened(stage, tmp_path, *lines, upstream_port=postfix.port)
        assert await recipient(ringback, "b@elsewhere.test", source=STRANGER) == expected


SHUT = {"smtpd_client_restrictions": f"check_client_access inline:{{{SHUT_OUT}=REJECT}}"}
REJECTED = f"554 5.7.1 <unknown[{SHUT_OUT}]>: Client host rejected: Access denied"


@pytest.mark.real("postfix")
@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        ((), {}, TAKEN),
        (("main.cf", "main.cf xclient"), {}, REJECTED),
        (("main.cf", "main.cf xclient"), {"smtpd_delay_reject": "no"}, REFUSED_US),
    ],
    ids=["nobody told it", "told", "told, but it does not delay"],
)
async def test_restrictions_of_postfix_see_the_client_by_xclient_and_refuse_him_at_rcpt(
    stage: Stage, tmp_path: Path, names: tuple[str, ...], options: dict[str, str], expected: str
) -> None:
    with Postfix(options={**main_cf(*names), **SHUT, **options}) as postfix:
        lines = block("ecelerity.conf") if names else []
        ringback = await opened(stage, tmp_path, *lines, upstream_port=postfix.port)
        assert await recipient(ringback, source=SHUT_OUT) == expected
        assert await recipient(ringback, source=STRANGER) == TAKEN


@pytest.mark.real("postfix")
async def test_helo_restrictions_of_postfix_see_the_clients_own_name_behind_xclient(
    stage: Stage, tmp_path: Path
) -> None:
    shut = {"smtpd_helo_restrictions": "check_helo_access inline:{bad.test=REJECT}"}
    with Postfix(options=main_cf("main.cf", "main.cf xclient", **shut)) as postfix:
        ringback = await opened(stage, tmp_path, *block("ecelerity.conf"), upstream_port=postfix.port)
        for name, verdict in (
            ("bad.test", "554 5.7.1 <bad.test>: Helo command rejected: Access denied"),
            ("good.test", TAKEN),
        ):
            async with await greeted(ringback, name=name) as client:
                assert (await client.ask("MAIL FROM:<a@sender.test>")).startswith("250 ")
                assert await client.ask("RCPT TO:<b@example.com>") == verdict


@pytest.mark.real("postfix")
async def test_where_postfix_gives_up_an_idle_connection_first_no_client_hears_of_it(
    stage: Stage, tmp_path: Path
) -> None:
    with Postfix(options={"smtpd_timeout": "2s"}) as postfix:
        ringback = await opened(stage, tmp_path, upstream_port=postfix.port)
        assert await recipient(ringback) == TAKEN
        await eventually(lambda: re.search("timeout after R(?:SET|CPT)", postfix.log), "Postfix gives it up")
        assert await recipient(ringback) == TAKEN


@pytest.mark.real("postfix")
async def test_clients_that_give_up_do_not_use_up_postfixs_patience_with_ringback(stage: Stage, tmp_path: Path) -> None:
    with Postfix(options={"smtpd_junk_command_limit": "2", "smtpd_hard_error_limit": "2"}) as postfix:
        ringback = await opened(stage, tmp_path, upstream_port=postfix.port)
        assert [await recipient(ringback) for _ in range(9)] == [TAKEN] * 9


@pytest.mark.real("postfix")
async def test_log_and_received_of_postfix_name_the_client_with_the_blocks_of_the_page(
    stage: Stage, tmp_path: Path
) -> None:
    with Postfix(options=main_cf("main.cf", "main.cf xclient")) as postfix:
        ringback = await opened(stage, tmp_path, *block("ecelerity.conf"), upstream_port=postfix.port)
        async with await greeted(ringback, source=STRANGER) as client:
            assert (await letter(client, b"told")).startswith("250 ")
        (text,) = await eventually(lambda: postfix.delivered(b"Subject: told"), "Postfix delivers")
        seen = rf"Received: from client\.test \(unknown \[{re.escape(STRANGER)}\]\)\r\n\tby upstream\.test \(Postfix\)"
        assert re.search(seen.encode(), text)
        assert f"client=unknown[{STRANGER}]" in postfix.log


@pytest.mark.real("postfix")
@pytest.mark.parametrize(
    ("options", "added"),
    [({"local_header_rewrite_clients": "permit_inet_interfaces"}, True), (main_cf("main.cf"), False)],
    ids=["by default", "as the page says"],
)
async def test_postfix_writes_into_a_strangers_header_where_ringback_is_on_its_machine(
    stage: Stage, tmp_path: Path, *, options: dict[str, str], added: bool
) -> None:
    with Postfix(options=options) as postfix:
        ringback = await opened(stage, tmp_path, upstream_port=postfix.port)
        async with await greeted(ringback, source=STRANGER) as client:
            assert (await letter(client, b"bare", head=b"From: boss\r\n")).startswith("250 ")
        (text,) = await eventually(lambda: postfix.delivered(b"Subject: bare"), "Postfix delivers")
        assert (b"From: boss@example.com\r\n" in text, b"\r\nMessage-Id: " in text) == (added, added)


@pytest.mark.real("postfix")
async def test_an_unknown_recipient_hears_postfixs_own_words(stage: Stage, tmp_path: Path) -> None:
    mailboxes = {"virtual_mailbox_maps": "inline:{b@example.com=inbox/}"}
    with Postfix(options=main_cf("main.cf", **mailboxes)) as postfix:
        ringback = await opened(stage, tmp_path, upstream_port=postfix.port)
        assert await recipient(ringback) == TAKEN
        assert await recipient(ringback, "c@example.com") == (
            "550 5.1.1 <c@example.com>: Recipient address rejected: User unknown in virtual mailbox table"
        )


# ---------------------------------------------------------------- Postfix: postscreen, size, extensions


@pytest.mark.real("postfix")
@pytest.mark.parametrize(
    ("lines", "verdicts"),
    [((), ["450 4.3.2 Service currently unavailable", TAKEN]), (("XCLIENT = required",), [REFUSED_US] * 2)],
    ids=["without XCLIENT", "with it"],
)
async def test_postscreen_turns_away_the_mail_that_comes_while_it_does_not_know_ringback(
    stage: Stage, tmp_path: Path, lines: tuple[str, ...], verdicts: list[str]
) -> None:
    options = {"postscreen_pipelining_enable": "yes", "postscreen_access_list": "", "postscreen_greet_wait": "1s"}
    options |= main_cf("main.cf xclient")
    with Postfix(postscreen=True, options=options) as postfix:
        ringback = await opened(stage, tmp_path, *lines, upstream_port=postfix.port)
        assert [await recipient(ringback, source=STRANGER) for _ in range(2)] == verdicts
        assert "postscreen" in postfix.log


@pytest.mark.real("postfix")
@pytest.mark.parametrize(
    ("limit", "octets", "expected"),
    [
        ("1000000", 1_000_001, ["250 2.1.0 Sender OK", "552 5.3.4 Message size exceeds fixed limit"]),
        ("52428800", (50 << 20) + 1, ["552 5.3.4 Message too big"]),
        ("52428800", 50 << 20, ["250 2.1.0 Sender OK", TAKEN]),
    ],
    ids=["Postfix's is smaller", "beyond both", "at both"],
)
async def test_a_size_that_is_announced_is_refused_by_whoever_takes_less(
    stage: Stage, tmp_path: Path, limit: str, octets: int, expected: list[str]
) -> None:
    options = main_cf("main.cf", "main.cf xclient", message_size_limit=limit)
    with Postfix(options=options) as postfix:
        ringback = await opened(stage, tmp_path, *block("ecelerity.conf"), upstream_port=postfix.port)
        async with await ringback.conversation() as client:
            assert f"SIZE {50 << 20}" in await client.ehlo()
            heard = [await client.ask(f"MAIL FROM:<a@sender.test> SIZE={octets}")]
            if heard[0].startswith("250 "):
                heard.append(await client.ask("RCPT TO:<b@example.com>"))
        assert heard == expected


@pytest.mark.real("postfix")
async def test_what_postfix_does_not_offer_is_not_offered_except_what_is_ringbacks_own(
    stage: Stage, tmp_path: Path
) -> None:
    options = {"smtpd_discard_ehlo_keywords": "8bitmime, smtputf8, dsn, chunking"}
    with Postfix(options=options) as postfix:
        ringback = await opened(stage, tmp_path, upstream_port=postfix.port)
        async with await ringback.conversation() as client:
            offered = set(re.findall(r"250[- ](\S+)", await client.ehlo()))
    assert {"8BITMIME", "SMTPUTF8", "DSN"}.isdisjoint(offered)
    assert {"CHUNKING", "PRDR"} <= offered


# ---------------------------------------------------------------- Exim

ACCEPTED = "250 Accepted"


@pytest.mark.real("exim4")
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], {ACCEPTED: 20, REFUSED_US: 5}),
        (["smtp_accept_max = 150", "smtp_accept_max_per_host = 20"], {ACCEPTED: 20, REFUSED_US: 5}),
        (block("exim4.conf"), {ACCEPTED: 25}),
    ],
    ids=["by default", "with a limit for each host", "as the page says"],
)
async def test_exim_refuses_the_21st_connection_unless_it_takes_as_many_as_ringback_makes(
    stage: Stage, tmp_path: Path, settings: list[str], expected: dict[str, int]
) -> None:
    with EximUpstream(settings) as exim:
        ringback = await opened(stage, tmp_path, HOLDS, upstream_port=exim.port)
        assert await at_once(ringback, 25) == expected


@pytest.mark.real("exim4")
@pytest.mark.parametrize(
    ("settings", "queued"), [([], 3), (block("exim4.conf"), 0)], ids=["by default", "as the page says"]
)
async def test_exim_only_queues_what_comes_behind_the_tenth_message_of_a_connection(
    stage: Stage, tmp_path: Path, settings: list[str], queued: int
) -> None:
    with EximUpstream(settings) as exim:
        ringback = await opened(stage, tmp_path, upstream_port=exim.port)
        for _ in range(13):
            async with await greeted(ringback) as client:
                assert (await letter(client, b"thirteen")).startswith("250 ")
        delivered = 13 - queued
        await eventually(lambda: len(exim.delivered(b"thirteen")) == delivered, f"{delivered} messages are delivered")
        assert exim.log.count("no immediate delivery: more than 10 messages received in one connection") == queued


@pytest.mark.real("exim4")
async def test_where_exim_ends_a_connection_of_many_messages_or_resets_no_client_hears_of_it(
    stage: Stage, tmp_path: Path
) -> None:
    with EximUpstream(["smtp_accept_max_per_connection = 3", "smtp_accept_max_nonmail = 3"]) as exim:
        ringback = await opened(stage, tmp_path, upstream_port=exim.port)
        async with await greeted(ringback) as client:
            for _ in range(8):
                assert (await letter(client)).startswith("250 ")
        for _ in range(8):
            assert await recipient(ringback) == ACCEPTED


@pytest.mark.real("exim4")
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["message_size_limit = 1000000"], ["250 2.1.0 Sender OK", "552 Message size exceeds maximum permitted"]),
        (block("exim4.conf"), ["250 2.1.0 Sender OK", ACCEPTED]),
    ],
    ids=["Exim's is smaller", "as the page says"],
)
async def test_a_size_that_both_take_passes_exim(
    stage: Stage, tmp_path: Path, settings: list[str], expected: list[str]
) -> None:
    with EximUpstream(settings) as exim:
        ringback = await opened(stage, tmp_path, "Max_Message_Size = 50M", upstream_port=exim.port)
        async with await greeted(ringback) as client:
            heard = [await client.ask(f"MAIL FROM:<a@sender.test> SIZE={50 << 20}")]
            heard.append(await client.ask("RCPT TO:<b@example.com>"))
        assert heard == expected


@pytest.mark.real("exim4")
async def test_exims_verdict_on_an_unknown_recipient_is_the_clients(stage: Stage, tmp_path: Path) -> None:
    with EximUpstream(block("exim4.conf")) as exim:
        ringback = await opened(stage, tmp_path, upstream_port=exim.port)
        assert await recipient(ringback, REFUSED_RECIPIENT) == "550 No such person here"


@pytest.mark.real("exim4")
@pytest.mark.parametrize(
    ("hosts", "expected"),
    [("127.0.0.1", ACCEPTED), ("192.0.2.1", "550 relay not permitted")],
    ids=["in relay_from_hosts", "not in it"],
)
async def test_exim_relays_anywhere_for_all_the_world_where_ringback_is_in_relay_from_hosts(
    stage: Stage, tmp_path: Path, hosts: str, expected: str
) -> None:
    with EximUpstream([f"hostlist relay_from_hosts = {hosts}"]) as exim:
        ringback = await opened(
            stage, tmp_path, "Relay_Domains = ( example.com elsewhere.test )", upstream_port=exim.port
        )
        assert await recipient(ringback, "b@elsewhere.test", source=STRANGER) == expected


@pytest.mark.real("exim4")
async def test_what_exim_refuses_to_hosts_before_rcpt_is_refused_to_ringback(stage: Stage, tmp_path: Path) -> None:
    with EximUpstream(["host_reject_connection = 127.0.0.1"]) as exim:
        ringback = await opened(stage, tmp_path, upstream_port=exim.port)
        assert await recipient(ringback, source=STRANGER) == REFUSED_US


@pytest.mark.real("exim4")
async def test_exim_sees_the_client_by_a_proxy_header(stage: Stage, tmp_path: Path) -> None:
    with EximUpstream() as built:
        if not built.speaks("PROXY"):
            missing = "this Exim was built without SUPPORT_PROXY"
            (pytest.fail if os.environ.get(REQUIRE_REAL) == "1" else pytest.skip)(missing)
    hosts = "hostlist relay_from_hosts = 127.0.0.1"
    with EximUpstream([*block("exim4.conf"), *block("exim4.conf proxy"), hosts]) as exim:
        lines = [*block("ecelerity.conf proxy"), "Relay_Domains = ( example.com elsewhere.test )"]
        ringback = await opened(stage, tmp_path, *lines, upstream_port=exim.port)
        async with await greeted(ringback, source=STRANGER) as client:
            assert (await letter(client, b"proxied")).startswith("250 ")
        assert await recipient(ringback, source=SHUT_OUT) == "550 this client is refused"
        assert await recipient(ringback, "b@elsewhere.test", source=STRANGER) == "550 relay not permitted"
        (text,) = await eventually(lambda: exim.delivered(b"Subject: proxied"), "Exim delivers")
        assert re.search(rf"^Received: from \[{re.escape(STRANGER)}\] ".encode(), text, re.MULTILINE)
        assert f"[{STRANGER}]" in exim.log
