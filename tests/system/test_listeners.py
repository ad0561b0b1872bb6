"""Options by listener and by the client's network, and the limits that they set."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.exchanger import Exchanger
from tests.support.house import House, greeted, opened, transactions
from tests.support.programs import free_port
from tests.support.ringback import Ringback
from tests.support.waiting import eventually
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

LETTER = b"Subject: s\r\n\r\nbody\r\n"

ORDINARY = "127.0.0.30"
SMALL = "127.0.0.31"
TRUSTED = "127.0.0.32"
STRICT = "127.0.0.33"
NAMED = "127.0.0.34"
FEW = "127.0.0.35"
ONE_MESSAGE = "127.0.0.36"
SINGLE = "127.0.0.37"
SENDING = "127.0.0.38"
INSIDE = "127.0.1.1"
DEEP_INSIDE = "127.0.1.9"

LISTENER = """\
ESMTP_Listener {{
  Banner_Hostname = "outer.test"
  Listen "127.0.0.1:{port}" {{
    Peer "{SMALL}" {{ Max_Message_Size = 1000 }}
    Peer "{TRUSTED}" {{ Relay_Hosts = ( {TRUSTED} ) }}
    Peer "{STRICT}" {{
      Require_EHLO = true
      Allow_Null_Envelope_Sender = false
      Allow_IP_Literal = false
      Allow_Trailing_Whitespace_In_Commands = false
    }}
    Peer "{NAMED}" {{
      Static_Banner = "220-welcome\\r\\n220 to the house"
      Received_Hostname = "received.test"
      Domain_For_Unqualified_Recipient_Addresses = "example.com"
    }}
    Peer "{FEW}" {{ Max_Recipients_Per_Message = 2 Max_Recipients_Per_Connection = 3 }}
    Peer "{ONE_MESSAGE}" {{ Max_Receptions_Per_Connection = 1 }}
    Peer "{SINGLE}" {{ Open_Relay = true }}
    Peer "{SENDING}" {{ Relay_For_Sending_Domains = ( sender.test ) }}
    Peer "127.0.1.0/24" {{ Max_Message_Size = 2000 Banner_Hostname = "inner.test" }}
    Peer "{DEEP_INSIDE}" {{ Max_Message_Size = 3000 }}
  }}
  Listen "127.0.0.2:{second}" {{ Banner_Hostname = "second.test" Listener_Sessions = 1 }}
}}
"""


@pytest.fixture(scope="module")
def second_port() -> int:
    return free_port("127.0.0.2")


@pytest.fixture(scope="module")
def ringback(tmp_path_factory: pytest.TempPathFactory, second_port: int) -> Iterator[Ringback]:
    """One server for all clients; the client's address says which options hold."""
    port = free_port()
    names = {name: value for name, value in globals().items() if name.isupper() and isinstance(value, str)}
    text = LISTENER.format(port=port, second=second_port, **names)
    house = House(
        listen_port=port, upstream_port=free_port(), lines=[*text.splitlines(), "Relay_Domains = ( example.com )"]
    )
    server = Ringback(house, tmp_path_factory.mktemp("listeners")).start()
    yield server
    server.stop()


async def answers(ringback: Ringback, source: str, *commands: str) -> list[str]:
    """Say EHLO and these commands from an address; return the replies."""
    async with await greeted(ringback, source=source) as client:
        return [await client.ask(each) for each in commands]


async def test_the_banner_is_the_listeners_or_that_of_the_clients_network(ringback: Ringback) -> None:
    found = {}
    for source in (ORDINARY, INSIDE, DEEP_INSIDE, NAMED):
        async with await ringback.conversation(source=source) as client:
            found[source] = client.banner
    assert found == {
        ORDINARY: "220 outer.test ESMTP Ringback",
        INSIDE: "220 inner.test ESMTP Ringback",
        DEEP_INSIDE: "220 inner.test ESMTP Ringback",
        NAMED: "220-welcome\n220 to the house",
    }


@pytest.mark.parametrize(("source", "limit"), [(ORDINARY, 0), (SMALL, 1000), (INSIDE, 2000), (DEEP_INSIDE, 3000)])
async def test_the_size_limit_is_that_of_the_most_specific_network(
    stage: Stage, ringback: Ringback, source: str, limit: int
) -> None:
    upstream = await stage.upstream(ringback)
    async with await ringback.conversation(source=source) as client:
        assert f" SIZE {limit}" in [line[3:].replace("-", " ") for line in (await client.ehlo()).split("\n")]
        if not limit:
            return
        assert await client.ask(f"MAIL FROM:<a@sender.test> SIZE={limit + 1}") == "552 5.3.4 Message too big"
        assert (await client.ask(f"MAIL FROM:<a@sender.test> SIZE={limit}")).startswith("250 ")
        assert (await client.ask("RCPT TO:<b@example.com>")).startswith("250 ")
        assert (await client.ask("DATA")).startswith("354 ")
        exact = LETTER + b"x" * (limit - len(LETTER) - 2) + b"\r\n"
        assert (await client.content(exact)).startswith("250 ")
        assert await client.deliver("a@sender.test", ["b@example.com"], b"y" + exact) == "552 5.3.4 Message too big"
    assert len(upstream.messages) == 1


async def test_who_may_send_anywhere_differs_by_network(stage: Stage, ringback: Ringback) -> None:
    await stage.upstream(ringback)
    told = {}
    for source in (ORDINARY, TRUSTED, SINGLE, SENDING):
        commands = ("MAIL FROM:<a@sender.test>", "RCPT TO:<b@anywhere.test>")
        told[source] = (await answers(ringback, source, *commands))[1][:9]
    assert told == {ORDINARY: "550 5.7.1", TRUSTED: "250 2.1.5", SINGLE: "250 2.1.5", SENDING: "250 2.1.5"}
    commands = ("MAIL FROM:<a@other.test>", "RCPT TO:<b@anywhere.test>")
    assert (await answers(ringback, SENDING, *commands))[1] == "550 5.7.1 Relaying denied"


async def test_a_network_that_must_say_ehlo_first_is_503_and_others_need_not(ringback: Ringback) -> None:
    for source, expected in ((STRICT, "503 5.5.1 Send EHLO first"), (ORDINARY, "250 2.1.0 Sender OK")):
        async with await ringback.conversation(source=source) as client:
            assert await client.ask("MAIL FROM:<a@sender.test>") == expected
            assert (await client.ask("HELO client.test")).startswith("250 ")
            assert (await client.ask("MAIL FROM:<a@sender.test>")).startswith("250 ")


@pytest.mark.parametrize(
    ("command", "ordinary", "strict"),
    [
        ("MAIL FROM:<>", "250 2.1.0 Sender OK", "550 5.7.1 Null sender not accepted here"),
        ("MAIL FROM:<a@[192.0.2.1]>", "250 2.1.0 Sender OK", "501 5.1.7 Bad sender address syntax"),
        ("NOOP ", "250 2.0.0 OK", "500 5.5.2 Syntax error"),
        ("MAIL FROM:<a@sender.test> ", "250 2.1.0 Sender OK", "500 5.5.2 Syntax error"),
        ("NOOP\t", "250 2.0.0 OK", "500 5.5.2 Syntax error"),
    ],
)
async def test_what_is_allowed_differs_by_network(ringback: Ringback, command: str, ordinary: str, strict: str) -> None:
    assert await answers(ringback, ORDINARY, command) == [ordinary]
    assert await answers(ringback, STRICT, command) == [strict]


async def test_an_unqualified_recipient_gets_the_domain_of_the_clients_network_or_is_refused(
    stage: Stage, ringback: Ringback
) -> None:
    upstream = await stage.upstream(ringback)
    commands = ("MAIL FROM:<a@sender.test>", "RCPT TO:<bob>")
    assert (await answers(ringback, ORDINARY, *commands))[1] == "501 5.1.3 Bad recipient address syntax"
    async with await ringback.conversation(source=NAMED) as client:
        assert (await client.deliver("a@sender.test", ["bob", "Postmaster"], LETTER)).startswith("250 ")
    assert transactions(upstream) == [
        ("MAIL FROM:<a@sender.test>", "RCPT TO:<bob@example.com>", "RCPT TO:<Postmaster>")
    ]
    assert b"\r\n\tby received.test (Ringback) with ESMTP id " in upstream.messages[0].content


async def test_an_unqualified_sender_is_refused_even_where_recipients_get_a_domain(ringback: Ringback) -> None:
    assert await answers(ringback, NAMED, "MAIL FROM:<bob>") == ["501 5.1.7 Bad sender address syntax"]


async def test_recipients_beyond_the_limit_of_a_message_or_of_a_session_are_452_4_5_3(
    stage: Stage, ringback: Ringback
) -> None:
    upstream = await stage.upstream(ringback)
    too_many = "452 4.5.3 Too many recipients"
    async with await greeted(ringback, source=FEW) as client:
        await client.ask("MAIL FROM:<a@sender.test>")
        replies = [await client.ask(f"RCPT TO:<{name}@example.com>") for name in ("one", "two", "three")]
        assert [each[:4] for each in replies] == ["250 ", "250 ", "452 "]
        assert replies[2] == too_many
        assert (await client.ask("DATA")).startswith("354 ")
        assert (await client.content(LETTER)).startswith("250 ")
        await client.ask("MAIL FROM:<a@sender.test>")
        replies = [await client.ask(f"RCPT TO:<{name}@example.com>") for name in ("four", "five")]
        assert replies == ["250 2.1.5 Ok", too_many]
        assert (await client.ask("DATA")).startswith("354 ")
        assert (await client.content(LETTER)).startswith("250 ")
    assert [len(each.recipients) for each in upstream.messages] == [2, 1]


async def test_a_refused_recipient_does_not_count(stage: Stage, ringback: Ringback) -> None:
    await stage.upstream(ringback)
    commands = [f"RCPT TO:<{name}>" for name in ("no@elsewhere.test", "no@", "a@example.com", "b@example.com")]
    replies = await answers(ringback, FEW, "MAIL FROM:<a@sender.test>", *commands)
    assert [each[:3] for each in replies] == ["250", "550", "501", "250", "250"]


async def test_a_message_beyond_the_limit_of_a_session_is_421_4_7_0_and_the_session_ends(
    stage: Stage, ringback: Ringback
) -> None:
    await stage.upstream(ringback)
    async with await ringback.conversation(source=ONE_MESSAGE) as client:
        assert (await client.deliver("a@sender.test", ["b@example.com"], LETTER)).startswith("250 ")
        assert await client.ask("MAIL FROM:<a@sender.test>") == "421 4.7.0 Too many messages in one session"
        assert await client.rest() == b""


async def test_a_session_beyond_the_limit_of_the_address_is_421_4_7_0_and_the_other_address_still_serves(
    ringback: Ringback, second_port: int
) -> None:
    from tests.support.conversation import Conversation  # noqa: PLC0415 — the one test with another address

    async with await Conversation.open("127.0.0.2", second_port) as first:
        assert first.banner == "220 second.test ESMTP Ringback"
        async with await Conversation.connect("127.0.0.2", second_port) as second:
            assert await second.reply() == "421 4.7.0 Too many sessions, try again later"
            assert await second.rest() == b""
        async with await ringback.conversation(source=ORDINARY) as other:
            assert other.banner.startswith("220 ")
        assert (await first.ask("NOOP")).startswith("250 ")
        await first.quit()
    async with await Conversation.open("127.0.0.2", second_port) as third:
        assert third.banner == "220 second.test ESMTP Ringback"


async def test_a_session_beyond_the_limit_of_the_service_is_421_4_7_0(stage: Stage, tmp_path: Path) -> None:
    upstream: Exchanger = await stage.upstream()
    ringback = await opened(stage, tmp_path, "Service_Sessions = 2", upstream_port=upstream.port)
    async with await greeted(ringback) as first, await greeted(ringback):
        async with await ringback.conversation() as third:
            assert third.banner == "421 4.7.0 Too many sessions, try again later"
            assert await third.rest() == b""
        await first.quit()
        async with await ringback.conversation() as fourth:
            assert fourth.banner.startswith("220 ")


async def test_a_pathway_that_a_listener_or_a_network_names_brings_its_options(stage: Stage, tmp_path: Path) -> None:
    upstream: Exchanger = await stage.upstream()
    port = free_port()
    ringback = await opened(
        stage, tmp_path,
        "ESMTP_Listener {", '  Pathway = "plain"', f'  Listen "127.0.0.1:{port}" {{',
        f'    Peer "{INSIDE}" {{ Pathway = "inside" }}', "  }", "}",
        'Pathway_Group "all" { Pathway "plain" { Banner_Hostname = "plain.test" } Require_EHLO = true }',
        'Pathway "inside" { Banner_Hostname = "inside.test" }',
        listen_port=port, upstream_port=upstream.port,
    )  # fmt: skip
    async with (
        await ringback.conversation(source=ORDINARY) as plain,
        await ringback.conversation(source=INSIDE) as inside,
    ):
        assert (plain.banner, inside.banner) == ("220 plain.test ESMTP Ringback", "220 inside.test ESMTP Ringback")
        assert await plain.ask("MAIL FROM:<a@sender.test>") == "503 5.5.1 Send EHLO first"
        assert (await inside.ask("MAIL FROM:<a@sender.test>")).startswith("250 ")


@pytest.mark.parametrize(("sessions", "level"), [(10, "info"), (100_000_000, "warning")])
async def test_open_files_are_raised_to_what_the_system_allows_and_checked_against_the_limits(
    stage: Stage, tmp_path: Path, sessions: int, level: str
) -> None:
    upstream = await stage.upstream()
    ringback = await opened(stage, tmp_path, f"Service_Sessions = {sessions}", upstream_port=upstream.port)
    soft, hard = resource.prlimit(ringback.program.process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard
    await eventually(lambda: any(each["event"] == "open_files" for each in ringback.log), "it has looked")
    (found,) = (each for each in ringback.log if each["event"] == "open_files")
    assert (found["level"], found["limit"]) == (level, hard)
    assert found["wanted"] > sessions
