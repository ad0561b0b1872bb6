"""What strangers try on port 25, each with the bytes they send and the whole of what a running server answers.

The client's address says which options hold for it, so one server is enough. Two rows need more than a
conversation of bytes and stand elsewhere: a message that comes too slowly in `tests/proxy/smtp/test_limits.py`, and
what ends a message in `test_smuggling.py`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest
import trustme

from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger, Step, says, sends
from tests.support.house import House, greeted, opened
from tests.support.programs import free_port
from tests.support.ringback import Ringback
from tests.support.waiting import BOUND, eventually
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

ORDINARY = "127.0.0.60"
SMALL = "127.0.0.61"
FEW = "127.0.0.62"
SINGLE = "127.0.0.63"
HASTY = "127.0.0.64"
FRONT = "127.0.0.65"
BUSY = ("127.0.0.66", "127.0.0.67", "127.0.0.68", "127.0.0.69")
SUBMITTING = "127.0.0.70"

LISTENER = """\
ESMTP_Listener {{
  XCLIENT_Hosts = ( "{FRONT}" )
  Listen "127.0.0.1:{port}" {{
    TLS_Certificate = "{folder}/certificate.pem"
    TLS_Key = "{folder}/key.pem"
    TLS_Client_CA = "{folder}/authorities.pem"
    Peer "{SMALL}" {{ Max_Message_Size = 1000 }}
    Peer "{FEW}" {{ Max_Recipients_Per_Message = 2 }}
    Peer "{SINGLE}" {{ Max_Connections_Per_Client = 1 }}
    Peer "{HASTY}" {{ Idle_Time = 0.2 Data_Timeout = 0.2 }}
    Peer "{SUBMITTING}" {{ Authentication = upstream }}
    Peer "{BUSY[0]}" {{ Connection_Rate_Per_Client = "1/3600" }}
    Peer "{BUSY[1]}" {{ Message_Rate_Per_Client = "1/3600" }}
    Peer "{BUSY[2]}" {{ Recipient_Rate_Per_Client = "1/3600" }}
    Peer "{BUSY[3]}" {{ TLS_Rate_Per_Client = "1/3600" }}
  }}
}}
Relay_Domains = ( example.com )
"""

SYNCHRONIZATION = "554 5.5.0 SMTP protocol synchronization error"
BARE = "550 5.5.2 Bare <CR> or <LF> received; lines end with <CR><LF>"
BAD_SYNTAX = "500 5.5.2 Syntax error"
BAD_RECIPIENT = "501 5.1.3 Bad recipient address syntax"
DENIED = "550 5.7.1 Relaying denied"
TIMEOUT = "421 4.4.2 Timeout exceeded, closing"
TOO_BIG = "552 5.3.4 Message too big"
HEADERS_TOO_BIG = "552 5.3.4 Header section too big"
BAD_UTF8 = "500 5.5.2 Bad UTF-8 syntax"
UNSUPPORTED = "555 5.5.4 Unsupported option"
NEEDS_MAIL = "503 5.5.1 Need MAIL command"
TOO_MUCH = "450 4.7.1 Too much mail, try again later"
SENDER_OK = "250 2.1.0 Sender OK"
QUEUED = "250 2.0.0 Ok: queued as 000001"
BYE = "221 2.0.0 Bye"

ENVELOPE = b"MAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\n"
ACCEPTED = (SENDER_OK, "250 2.1.5 Ok")
MEBI = 1 << 20


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ringback(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Ringback]:
    """One server for all strangers; each test puts its own upstream where this one expects it."""
    folder, port = tmp_path_factory.mktemp("table"), free_port()
    issued = authority.issue_cert("ringback.test")
    issued.cert_chain_pems[0].write_to_path(str(folder / "certificate.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    authority.cert_pem.write_to_path(str(folder / "authorities.pem"))
    names = {name: value for name, value in globals().items() if name.isupper() and isinstance(value, str | tuple)}
    text = LISTENER.format(port=port, folder=folder, **names)
    server = Ringback(House(listen_port=port, upstream_port=free_port(), lines=text.splitlines()), folder).start()
    yield server
    server.stop()


async def answers(ringback: Ringback, sent: bytes, *, source: str = ORDINARY, name: str = "EHLO") -> list[str]:
    """Greet, send these bytes in one write and no more; return what is answered until the server closes."""
    async with await ringback.conversation(source=source) as client:
        if name:
            assert (await client.ask(f"{name} client.test")).startswith("250")
        await client.send_raw(sent)
        with suppress(OSError):  # the server may have closed already
            client.half_close()
        return (await client.rest()).decode("ascii").split("\r\n")[:-1]


async def in_data(ringback: Ringback, source: str = ORDINARY) -> Conversation:
    """Return a client that has just read 354."""
    client = await ringback.conversation(source=source)
    await client.envelope("", ["bob@example.com"])
    return client


def octets_of_memory(ringback: Ringback) -> int:
    """Return the worker's resident memory."""
    (worker,) = ringback.workers
    status = Path(f"/proc/{worker}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


# ---- order


class _NameServer(asyncio.DatagramProtocol):
    """A name server that knows no name, and says so once it is released: until then the connect phase waits."""

    def __init__(self) -> None:
        self.released = False
        self.waiting: list[tuple[bytes, tuple[str, int]]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # On Python 3.11, the transport of asyncio's own loop is not an instance of DatagramTransport.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.waiting.append((data, addr))
        if self.released:
            self.release()

    def release(self) -> None:
        self.released = True
        for question, asker in self.waiting:
            self._transport.sendto(question[:2] + b"\x81\x83" + question[4:], asker)  # NXDOMAIN
        self.waiting.clear()


async def test_a_client_that_speaks_before_the_banner_is_sent_away(stage: Stage, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    transport, names = await loop.create_datagram_endpoint(_NameServer, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    script = '$found = ec_dns_lookup "x.test" "A";\nec_log "${found}";\n'
    upstream = await stage.upstream()
    scripts = {"connect_phase1": script}
    parts = {"nameserver": f"127.0.0.1:{port}", "upstream_port": upstream.port, "scripts": scripts}
    ringback = await opened(stage, tmp_path, **parts)
    client = await Conversation.connect("127.0.0.1", ringback.port)
    async with client:
        await client.send("EHLO client.test")
        await eventually(lambda: names.waiting, "the connect phase waits for its answer")
        names.release()
        assert await client.rest() == f"{SYNCHRONIZATION}\r\n".encode()
    transport.close()


@pytest.mark.parametrize("command", ["EHLO other.test", "HELO other.test", "NOOP", "VRFY bob", "DATA", "STARTTLS"])
async def test_nothing_may_be_pipelined_behind_a_command_that_synchronises(
    stage: Stage, ringback: Ringback, command: str
) -> None:
    upstream = await stage.upstream(behind=ringback)
    before = ENVELOPE if command == "DATA" else b""
    expected = list(ACCEPTED) if command == "DATA" else []
    sent = before + f"{command}\r\nQUIT\r\n".encode()
    assert await answers(ringback, sent) == [*expected, SYNCHRONIZATION]
    assert upstream.messages == []


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("HELO", "RSET"), ("HELO", "MAIL FROM:<>"), ("HELO", "EHLO x"),
        ("", "MAIL FROM:<>"), ("", "HELP"), ("", "QUIT"),
    ],
)  # fmt: skip
async def test_nothing_may_be_pipelined_by_who_has_not_said_ehlo(
    stage: Stage, ringback: Ringback, name: str, command: str
) -> None:
    upstream = await stage.upstream(behind=ringback)
    sent = f"{command}\r\nRCPT TO:<bob@example.com>\r\n".encode()
    assert await answers(ringback, sent, name=name) == [SYNCHRONIZATION]
    assert upstream.commands.count("RCPT") == 0


async def test_plaintext_behind_starttls_is_not_taken_for_what_was_said_in_tls(
    stage: Stage, ringback: Ringback
) -> None:
    upstream = await stage.upstream(behind=ringback)
    assert await answers(ringback, b"STARTTLS\r\n" + ENVELOPE) == [SYNCHRONIZATION]
    assert upstream.count("MAIL") == 0


async def test_after_tls_began_nothing_is_known_of_the_client_and_tls_cannot_begin_again(
    stage: Stage, ringback: Ringback, authority: trustme.CA
) -> None:
    await stage.upstream(behind=ringback)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    client = await greeted(ringback, source=ORDINARY)
    async with client:
        assert await client.ask("MAIL FROM:<>") == SENDER_OK
        assert await client.ask("STARTTLS") == "503 5.5.1 Not allowed within a mail transaction"
        assert await client.ask("RSET") == "250 2.0.0 OK"
        assert await client.ask("STARTTLS") == "220 2.0.0 Ready to start TLS"
        await client._writer.start_tls(context, server_hostname="ringback.test")
        assert await client.ask("MAIL FROM:<>") == "503 5.5.1 Send EHLO first"
        assert "STARTTLS" not in await client.ask("EHLO client.test")
        assert await client.ask("STARTTLS") == "554 5.5.1 TLS already active"
        assert await client.ask("QUIT") == BYE


@pytest.mark.parametrize("shows", ["nothing", "a valid one", "one of a stranger"])
async def test_whatever_certificate_a_client_shows_its_mail_is_taken(
    stage: Stage, ringback: Ringback, authority: trustme.CA, shows: str
) -> None:
    upstream = await stage.upstream(behind=ringback)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if shows != "nothing":
        (authority if shows == "a valid one" else trustme.CA()).issue_cert("client.test").configure_cert(context)
    client = await greeted(ringback, source=ORDINARY)
    async with client:
        assert await client.ask("STARTTLS") == "220 2.0.0 Ready to start TLS"
        async with asyncio.timeout(BOUND):
            await client._writer.start_tls(context, server_hostname="ringback.test")
        assert await client.deliver("", ["bob@example.com"], b"Subject: s\r\n\r\n") == QUEUED
    assert len(upstream.messages) == 1


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"MAIL FROM:<>\r\nMAIL FROM:<>\r\n", [SENDER_OK, "503 5.5.1 Nested MAIL command"]),
        (b"RCPT TO:<bob@example.com>\r\n", [NEEDS_MAIL]),
        (b"DATA\r\n", [NEEDS_MAIL]),
        (b"MAIL FROM:<>\r\nDATA\r\n", [SENDER_OK, "503 5.5.1 Need RCPT command"]),
        (b"BDAT 3 LAST\r\nabc", [NEEDS_MAIL]),
    ],
)
async def test_commands_out_of_order_are_refused(
    stage: Stage, ringback: Ringback, sent: bytes, expected: list[str]
) -> None:
    upstream = await stage.upstream(behind=ringback)
    assert await answers(ringback, sent) == expected
    assert upstream.messages == []


async def test_data_after_none_but_refused_recipients_is_refused(stage: Stage, ringback: Ringback) -> None:
    await stage.upstream(behind=ringback, script={Step.RCPT: says("550 5.1.1 Nobody")})
    assert await answers(ringback, ENVELOPE + b"DATA\r\n") == [
        SENDER_OK,
        "550 5.1.1 Nobody",
        "554 5.5.1 No valid recipients",
    ]


# ---- the bytes of commands


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"MAIL FROM:<>\nRCPT TO:<bob@example.com>\r\n", [BARE, NEEDS_MAIL]),
        (b"NOOP\r\r\n", [BARE]),
        (b"NOOP \rMAIL FROM:<>\r\n", [BARE]),
        (b"MAIL FROM:<>\r\nRCPT TO:<b\rob@example.com>\r\n", [SENDER_OK, BARE]),
        (b"MAIL FROM:<>\r\nRCPT TO:<b\0ob@example.com>\r\n", [SENDER_OK, BAD_SYNTAX]),
        (b"NO\0OP\r\n", [BAD_SYNTAX]),
        (b"MAIL FROM:<>\r\nRCPT TO:<\xff@example.com>\r\n", [SENDER_OK, BAD_UTF8]),
        (b"MAIL FROM:<b\xc3@example.com> SMTPUTF8\r\n", [BAD_UTF8]),
        (
            "MAIL FROM:<jürgen@example.com>\r\n".encode(),
            ["553 5.6.7 Non-ASCII address requires SMTPUTF8"],
        ),
        (b"FROB\r\n", ["500 5.5.2 Command not recognized"]),
        (b"AUTH\xff\r\n", [BAD_SYNTAX]),
    ],
)
async def test_the_bytes_of_a_command_are_judged(
    stage: Stage, ringback: Ringback, sent: bytes, expected: list[str]
) -> None:
    upstream = await stage.upstream(behind=ringback)
    assert await answers(ringback, sent) == expected
    assert upstream.count("RCPT") == 0


async def test_a_command_that_is_too_long_is_refused_and_the_next_is_done(ringback: Ringback) -> None:
    sent = b"NOOP " + b"x" * 2100 + b"\r\nRSET\r\n"
    assert await answers(ringback, sent) == ["500 5.5.2 Command too long", "250 2.0.0 OK"]


async def test_no_number_of_greetings_makes_room_for_a_longer_command(ringback: Ringback) -> None:
    client = await greeted(ringback, source=ORDINARY)
    async with client:
        for _ in range(40):
            assert (await client.ehlo()).startswith("250")
        await client.send_raw(b"MAIL FROM:<" + b"a" * 2100 + b"@sender.test>\r\n")
        assert await client.reply() == "500 5.5.2 Command too long"


async def test_an_endless_command_ends_the_session(ringback: Ringback) -> None:
    client = await greeted(ringback, source=ORDINARY)
    async with client:
        await client.send_raw(b"x" * 100_000)
        assert await client.rest() == b"500 5.5.2 Command too long\r\n"


async def test_an_endless_command_between_chunks_ends_the_session(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(behind=ringback)
    client = await greeted(ringback, source=ORDINARY)
    async with client:
        await client.send_raw(ENVELOPE + b"BDAT 3\r\nabc" + b"x" * 100_000)
        expected = [*ACCEPTED, "250 2.0.0 3 octets received", "500 5.5.2 Command too long"]
        assert (await client.rest()).decode().splitlines() == expected
    assert upstream.messages == []


@pytest.mark.parametrize("request_line", ["GET / HTTP/1.1", "POST /mail HTTP/1.0", "CONNECT mx.test:25 HTTP/1.1"])
async def test_a_web_browser_hears_that_this_is_a_mail_server_and_its_header_is_not_read(
    ringback: Ringback, request_line: str
) -> None:
    sent = f"{request_line}\r\nHost: x\r\n\r\nMAIL FROM:<>\r\n".encode()
    assert await answers(ringback, sent, name="") == ["221 2.7.0 This is a mail server"]


@pytest.mark.parametrize("line", ["Host: mx.test", "Subject:x", "X-Forwarded-For : 192.0.2.1", "Received: from x"])
async def test_a_header_in_place_of_a_command_ends_the_session(ringback: Ringback, line: str) -> None:
    sent = f"{line}\r\nMAIL FROM:<>\r\n".encode()
    assert await answers(ringback, sent) == ["221 2.7.0 This is a mail server"]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"MAIL FROM:<> FROB=1\r\n", [UNSUPPORTED]),
        (b"MAIL FROM:<> SIZE=x\r\n", [UNSUPPORTED]),
        (b"MAIL FROM:<> SIZE=1 SIZE=2\r\n", [UNSUPPORTED]),
        (b"MAIL FROM:<> BODY=9BIT\r\n", [UNSUPPORTED]),
        (b"MAIL FROM:<>\r\nRCPT TO:<bob@example.com> FROB\r\n", [SENDER_OK, UNSUPPORTED]),
        (b"MAIL FROM:<>\r\nRCPT TO:<bob@example.com> SIZE=1\r\n", [SENDER_OK, UNSUPPORTED]),
    ],
)
async def test_unknown_parameters_are_refused(ringback: Ringback, sent: bytes, expected: list[str]) -> None:
    assert await answers(ringback, sent) == expected


# ---- whose mail is taken


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        ("<bob@elsewhere.test>", DENIED),
        ("<@example.com:bob@elsewhere.test>", DENIED),
        ("<@example.com,@example.com:bob@elsewhere.test>", DENIED),
        ("<bob%elsewhere.test@example.com>", DENIED),
        ("<elsewhere.test!bob@example.com>", DENIED),
        ('<"bob@elsewhere.test"@example.com>', DENIED),
        ('<"bob%elsewhere.test"@example.com>', DENIED),
        ("<bob@elsewhere.test@example.com>", BAD_RECIPIENT),
        ("<bob@example.com@elsewhere.test>", BAD_RECIPIENT),
        ("<bob@[127.0.0.1]>", DENIED),
        ("<bob@elsewhere.test.>", DENIED),
        ("<bob@.example.com>", BAD_RECIPIENT),
        ("<bob@example.comx>", DENIED),
        ("<bob@xexample.com>", DENIED),
        ("<bob>", BAD_RECIPIENT),
        ("<>", BAD_RECIPIENT),
        ("<bob@example.com> <bob@elsewhere.test>", UNSUPPORTED),
    ],
)
async def test_no_form_of_a_recipient_leads_elsewhere(
    stage: Stage, ringback: Ringback, recipient: str, expected: str
) -> None:
    upstream = await stage.upstream(behind=ringback)
    sent = f"MAIL FROM:<>\r\nRCPT TO:{recipient}\r\n".encode()
    assert await answers(ringback, sent) == [SENDER_OK, expected]
    assert upstream.count("RCPT") == 0


@pytest.mark.parametrize(
    ("recipient", "heard"),
    [
        ("<@elsewhere.test:bob@example.com>", "<bob@example.com>"),
        ("<@elsewhere.test,@other.test:bob@example.com>", "<bob@example.com>"),
        ("<postmaster>", "<postmaster>"),
        ("<POSTMASTER>", "<POSTMASTER>"),
        ("<PostMaster@EXAMPLE.com>", "<PostMaster@EXAMPLE.com>"),
        ('<"a b"@example.com>', '<"a b"@example.com>'),
        ("<bob@example.com.>", "<bob@example.com>"),
        ("bob@example.com", "<bob@example.com>"),
    ],
)
async def test_what_ends_here_is_taken_without_its_route(
    stage: Stage, ringback: Ringback, recipient: str, heard: str
) -> None:
    upstream = await stage.upstream(behind=ringback)
    sent = f"MAIL FROM:<>\r\nRCPT TO:{recipient}\r\n".encode()
    assert await answers(ringback, sent) == list(ACCEPTED)
    assert [each for each in upstream.commands if each.startswith("RCPT")] == [f"RCPT TO:{heard}"]


# ---- who speaks for others


@pytest.mark.parametrize(
    ("source", "sent", "expected"),
    [
        (ORDINARY, b"XCLIENT ADDR=192.0.2.1\r\n", ["550 5.7.0 Insufficient authorization"]),
        (ORDINARY, b"XFORWARD ADDR=192.0.2.1\r\n", ["500 5.5.2 Command not recognized"]),
        (
            ORDINARY,
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n",
            ["421 4.7.0 PROXY header not allowed from this address, closing"],
        ),
        (FRONT, b"XCLIENT ADDR=nowhere\r\n", ["501 5.5.4 Syntax: XCLIENT attribute=value ..."]),
        (FRONT, b"XCLIENT NAME=a+0Ab\r\n", ["501 5.5.4 Syntax: XCLIENT attribute=value ..."]),
        (FRONT, b"XCLIENT NAME=" + b"n" * 256 + b"\r\n", ["501 5.5.4 Syntax: XCLIENT attribute=value ..."]),
        (
            FRONT,
            b"MAIL FROM:<>\r\nXCLIENT ADDR=192.0.2.1\r\n",
            [SENDER_OK, "503 5.5.1 Not allowed within a mail transaction"],
        ),
        (FRONT, b"XCLIENT ADDR=192.0.2.1\r\n", ["220 ringback.test ESMTP Ringback"]),
    ],
)
async def test_who_the_client_is_is_taken_from_those_alone_who_may_say_it(
    ringback: Ringback, source: str, sent: bytes, expected: list[str]
) -> None:
    assert await answers(ringback, sent, source=source) == expected


async def test_who_was_introduced_may_introduce_nobody(ringback: Ringback) -> None:
    async with await ringback.conversation(source=FRONT) as client:
        assert "XCLIENT" in await client.ehlo()
        assert (await client.ask(f"XCLIENT ADDR={FRONT}")).startswith("220 ")
        assert "XCLIENT" not in await client.ehlo()
        assert await client.ask("XCLIENT ADDR=192.0.2.1") == "550 5.7.0 Insufficient authorization"


async def test_no_password_is_taken_in_the_clear(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(behind=ringback)
    sent = b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"
    assert await answers(ringback, sent, source=SUBMITTING) == [
        "538 5.7.11 Encryption required for authentication; use STARTTLS first"
    ]
    assert upstream.count("AUTH") == 0


# ---- numbers and time


async def test_one_session_more_than_a_client_may_have_is_sent_away(ringback: Ringback) -> None:
    async with await ringback.conversation(source=SINGLE):
        second = await Conversation.connect("127.0.0.1", ringback.port, source=SINGLE)
        async with second:
            assert await second.rest() == b"421 4.7.0 Too many sessions, try again later\r\n"


async def test_more_sessions_than_a_client_may_begin_are_sent_away(ringback: Ringback) -> None:
    async with await ringback.conversation(source=BUSY[0]) as client:
        await client.quit()
    second = await Conversation.connect("127.0.0.1", ringback.port, source=BUSY[0])
    async with second:
        assert await second.rest() == b"421 4.7.0 Too many connections, try again later\r\n"


async def test_more_mail_than_a_client_may_send_is_deferred(stage: Stage, ringback: Ringback) -> None:
    await stage.upstream(behind=ringback)
    sent = b"MAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\n"
    assert await answers(ringback, sent, source=BUSY[1]) == [SENDER_OK, "250 2.0.0 OK", TOO_MUCH]


async def test_more_recipients_than_a_client_may_have_are_deferred(stage: Stage, ringback: Ringback) -> None:
    await stage.upstream(behind=ringback)
    sent = ENVELOPE + b"RCPT TO:<carol@example.com>\r\n"
    assert await answers(ringback, sent, source=BUSY[2]) == [*ACCEPTED, TOO_MUCH]


async def test_more_tls_than_a_client_may_begin_is_deferred(ringback: Ringback) -> None:
    async with await ringback.conversation(source=BUSY[3]) as client:
        assert await client.ask("STARTTLS") == "220 2.0.0 Ready to start TLS"
    assert await answers(ringback, b"STARTTLS\r\n", source=BUSY[3]) == [
        "454 4.7.0 Too many TLS sessions, try again later"
    ]


@pytest.mark.parametrize("sent", [b"", b"MAIL FRO", b"NOOP\r"])
async def test_a_client_that_is_silent_or_never_ends_its_command_is_sent_away(ringback: Ringback, sent: bytes) -> None:
    client = await greeted(ringback, source=HASTY)
    async with client:
        await client.send_raw(sent)
        assert await client.rest() == f"{TIMEOUT}\r\n".encode()


@pytest.mark.parametrize("sent", [b"", b"Subject: s\r\n", b"Subject: s\r\n\r\nbody\r\n."])
async def test_a_client_that_stalls_in_its_message_is_sent_away_and_nothing_is_delivered(
    stage: Stage, ringback: Ringback, sent: bytes
) -> None:
    upstream = await stage.upstream(behind=ringback)
    client = await in_data(ringback, HASTY)
    async with client:
        await client.send_raw(sent)
        assert await client.rest() == f"{TIMEOUT}\r\n".encode()
    assert upstream.messages == []


async def test_one_recipient_more_than_a_message_may_have_is_deferred(stage: Stage, ringback: Ringback) -> None:
    await stage.upstream(behind=ringback)
    sent = b"MAIL FROM:<>\r\n" + b"RCPT TO:<bob@example.com>\r\n" * 3
    assert await answers(ringback, sent, source=FEW) == [*ACCEPTED, ACCEPTED[1], "452 4.5.3 Too many recipients"]


async def test_twenty_refusals_end_the_session(ringback: Ringback) -> None:
    sent = b"FROB\r\n" * 30
    refusal = "500 5.5.2 Command not recognized"
    assert await answers(ringback, sent) == [refusal] * 20 + ["421 4.7.0 Too many errors, closing"]


async def test_commands_without_purpose_end_the_session(ringback: Ringback) -> None:
    replies = await answers(ringback, b"RSET\r\n" * 200)
    assert replies[-1] == "421 4.7.0 Too many errors, closing"
    assert set(replies[:-1]) == {"250 2.0.0 OK"}
    assert 100 < len(replies) < 130


# ---- the message


async def test_a_message_that_is_announced_too_big_is_refused_at_mail(ringback: Ringback) -> None:
    sent = b"MAIL FROM:<> SIZE=1001\r\nMAIL FROM:<> SIZE=1000\r\n"
    assert await answers(ringback, sent, source=SMALL) == [TOO_BIG, SENDER_OK]


@pytest.mark.parametrize("size", [1001, 5000, 500_000])
async def test_a_message_that_becomes_too_big_is_refused_at_its_dot(
    stage: Stage, ringback: Ringback, size: int
) -> None:
    upstream = await stage.upstream(behind=ringback)
    content = b"Subject: s\r\n\r\n"
    content += b"x" * (size - len(content) - 2) + b"\r\n"
    client = await in_data(ringback, SMALL)
    async with client:
        if size < 2000:
            assert await client.content(content) == TOO_BIG
            assert await client.ask("RSET") == "250 2.0.0 OK"
        else:
            await client.send_raw(content + b".\r\n")
            assert (await client.reply()).startswith(TOO_BIG)
    assert upstream.messages == []


async def test_a_message_that_is_too_big_and_never_ends_is_not_read_for_ever(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(behind=ringback)
    client = await in_data(ringback, SMALL)
    async with client:
        answered = asyncio.StreamReader.read(client._reader)
        try:
            for _ in range(64):
                await client.send_raw(b"x" * 1022 * 256 + b"\r\n")
        except ConnectionError:
            pass
        async with asyncio.timeout(BOUND):
            assert await answered == f"{TOO_BIG}\r\n".encode()
    assert upstream.messages == []


@pytest.mark.parametrize(
    "line",
    [b"x" * 998, b"x" * 999, b"x" * 5000, b"y" * MEBI, b"a\0b", b"\0", b"\xff\xfe\x80", b"\x1b[2J\x7f\x08"],
    ids=["998", "999", "5000", "MiB", "nul", "only nul", "eight bits", "controls"],
)
async def test_long_lines_and_strange_octets_of_a_message_go_on_untouched(
    stage: Stage, ringback: Ringback, line: bytes
) -> None:
    upstream = await stage.upstream(behind=ringback)
    client = await in_data(ringback)
    async with client:
        assert await client.content(b"Subject: s\r\n\r\n" + line + b"\r\nend\r\n") == QUEUED
    assert upstream.messages[0].wire.endswith(b"Subject: s\r\n\r\n" + line + b"\r\nend\r\n")


@pytest.mark.parametrize(("fields", "expected"), [(50, QUEUED), (51, "554 5.4.6 Too many Received fields: mail loop")])
async def test_a_message_that_has_passed_too_many_servers_is_refused(
    stage: Stage, ringback: Ringback, fields: int, expected: str
) -> None:
    await stage.upstream(behind=ringback)
    client = await in_data(ringback)
    async with client:
        assert await client.content(b"Received: by x.test; now\r\n" * fields + b"\r\nbody\r\n") == expected


async def test_a_header_section_without_end_is_refused(stage: Stage, ringback: Ringback) -> None:
    upstream = await stage.upstream(behind=ringback)
    client = await in_data(ringback)
    async with client:
        assert await client.content(b"X-Field: yes\r\n" * 80_000 + b"\r\nbody\r\n") == HEADERS_TOO_BIG
    assert upstream.messages == []


@pytest.mark.parametrize("head", [b"", b"Subject: s\r\n\r\n"], ids=["from the start", "in the body"])
async def test_a_message_without_any_line_end_has_bounded_memory(stage: Stage, ringback: Ringback, head: bytes) -> None:
    gate = asyncio.Event()  # the upstream reads no content, so that all of it would pile up before it
    upstream = await stage.upstream(
        behind=ringback, content_limit=1, script={Step.CONTENT: says("", until=gate)} if head else {}
    )
    client = await in_data(ringback)
    before = octets_of_memory(ringback)
    client._writer.write(head + b"x" * 64 * MEBI)
    if head:
        await upstream.until(lambda: bool(upstream.held), "the upstream holds the content")
        client.abort()
    else:
        async with asyncio.timeout(BOUND):
            await client._writer.drain()
        client.abort()
    grown = octets_of_memory(ringback) - before
    gate.set()
    assert upstream.messages == []
    assert grown < 12 * MEBI, f"{grown / MEBI:.1f} MiB"


# ---- what foreign bytes may do


FORGED = ("EHLO a\x1b[31m\x07b", "EHLO x\x7fy", 'EHLO "}{"event":"forged', "EHLO " + "n" * 900)


async def test_what_a_stranger_says_cannot_forge_or_flood_the_log(stage: Stage, ringback: Ringback) -> None:
    await stage.upstream(behind=ringback)
    expected = ["a\\x1b[31m\\x07b", "x\\x7fy", '"}{"event":"forged', "n" * 61 + "..."]
    for line in FORGED:
        async with await ringback.conversation(source=ORDINARY) as client:
            await client.ask(line)
            await client.quit()
    await eventually(lambda: {*expected} <= {each.get("helo") for each in ringback.log}, "four summaries")
    assert re.findall(rb"[^\n\x20-\x7e]", ringback.program.stderr.read_bytes()) == []
    assert [each for each in ringback.log if each["event"] in {"forged", "unstructured"}] == []


@pytest.mark.parametrize("command", ["VRFY <a\x1bb>", "EHLO a\x1bb", "HELP a\x1bb", "MAIL FROM:<a\x1bb>", "FR\x1bOB"])
async def test_no_reply_echoes_what_a_stranger_said(ringback: Ringback, command: str) -> None:
    async with await ringback.conversation(source=ORDINARY) as client:
        assert "\x1b" not in await client.ask(command)


async def test_an_upstreams_reply_of_many_lines_stays_one_reply(stage: Stage, ringback: Ringback) -> None:
    await stage.upstream(behind=ringback, script={Step.RCPT: says("550-5.1.1 one", "550-5.1.1 two", "550 5.1.1 three")})
    expected = [SENDER_OK, "550-5.1.1 one", "550-5.1.1 two", "550 5.1.1 three"]
    assert await answers(ringback, ENVELOPE) == expected


@pytest.mark.parametrize(
    "reply",
    [b"250 2.1.5 Ok\n550 5.1.1 no\r\n", b"250-2.1.5 Ok\r\n550 no\r\n", b"25\r\n", b"250 " + b"x" * 100_000 + b"\r\n"],
    ids=["bare line feed", "mixed codes", "no code", "endless line"],
)
async def test_a_reply_of_the_upstream_that_is_none_is_451(stage: Stage, ringback: Ringback, reply: bytes) -> None:
    upstream = await stage.upstream(behind=ringback, script={Step.RCPT: sends(reply)})
    lost = "451 4.4.2 Next-hop server did not answer, try again later"
    assert await answers(ringback, ENVELOPE) == [SENDER_OK, lost]
    assert upstream.messages == []


async def _verdict(upstream: Exchanger, ringback: Ringback) -> list[str]:
    """Return what a client hears to RCPT, and to the dot where it came so far."""
    client = await greeted(ringback, source=ORDINARY)
    async with client:
        assert await client.ask("MAIL FROM:<>") == SENDER_OK
        heard = [await client.ask("RCPT TO:<bob@example.com>")]
        if heard[0].startswith("250"):
            heard.append(await client.ask("DATA"))
            heard.append(await client.content(b"Subject: s\r\n\r\nbody\r\n"))
    assert upstream.messages == []
    return heard


async def test_a_reply_of_the_upstream_that_nobody_asked_for_is_never_a_verdict(
    stage: Stage, ringback: Ringback
) -> None:
    stray = b"354 Go\r\n250 2.0.0 stray\r\n"
    upstream = await stage.upstream(behind=ringback, script={Step.DATA: sends(stray), Step.DOT: says("554 5.7.1 no")})
    heard = await _verdict(upstream, ringback)
    assert heard[-1] == "451 4.4.2 Next-hop server did not answer, try again later"


async def test_a_stray_reply_in_the_envelope_delivers_nothing(stage: Stage, ringback: Ringback) -> None:
    stray = b"250 2.1.0 Ok\r\n250 2.1.5 stray\r\n"
    upstream = await stage.upstream(
        behind=ringback, script={Step.MAIL: sends(stray), Step.RCPT: says("550 5.1.1 Nobody")}
    )
    assert not (await _verdict(upstream, ringback))[-1].startswith("2")
