"""The conversation with a client: order, syntax, pipelining, limits, and ends of every kind."""

from __future__ import annotations

import asyncio
import re

import pytest
from structlog.testing import capture_logs

from proxy.mail.verdict import Verdict
from proxy.smtp.connection import LONGEST_COMMAND, MOST_DISCARDED
from sieve.phases import Phase
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger, Step, says
from tests.support.worker import ALICE, BOB, CAROL, DAVE, LETTER, Rule, refuses, serving

SYNCHRONIZATION = "554 5.5.0 SMTP protocol synchronization error"
BARE = "550 5.5.2 Bare <CR> or <LF> received; lines end with <CR><LF>"
TIMEOUT = "421 4.4.2 Timeout exceeded, closing"


async def closed(client: Conversation) -> bool:
    """Tell whether the server closes without a further word."""
    return await client.rest() == b""


# ---------------------------------------------------------------- greeting


async def test_the_banner_and_ehlo_name_the_server_and_what_it_offers() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.conversation()
        assert client.banner == "220 ringback.test ESMTP Ringback"
        assert (await client.ask("EHLO client.test")).split("\n") == [
            "250-ringback.test",
            "250-PIPELINING",
            "250-ENHANCEDSTATUSCODES",
            "250-CHUNKING",
            "250-PRDR",
            "250-SIZE 0",
            "250-8BITMIME",
            "250-SMTPUTF8",
            "250 LIMITS RCPTMAX=1000",
        ]
        assert await client.quit() == "221 2.0.0 Bye"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("220-one\\r\\n220 two", "220-one\n220 two"),
        ("", "220 ringback.test ESMTP Ringback"),
    ],
    ids=["two-lines", "none"],
)
async def test_a_static_banner_is_said_line_by_line(written: str, said: str) -> None:
    async with Exchanger() as upstream, serving(upstream, static_banner=f'"{written}"') as stage:
        assert (await stage.conversation()).banner == said


async def test_only_what_the_upstream_carries_is_offered() -> None:
    async with Exchanger(extensions=("8BITMIME",)) as upstream, serving(upstream, max_message_size=1000) as stage:
        client = await stage.conversation()
        assert (await client.ask("EHLO client.test")).split("\n")[-3:-1] == ["250-SIZE 1000", "250-8BITMIME"]


async def test_before_the_upstream_is_known_nothing_of_it_is_offered() -> None:
    async with serving() as stage:
        client = await stage.conversation()
        assert (await client.ask("EHLO client.test")).split("\n")[-2:] == ["250-SIZE 0", "250 LIMITS RCPTMAX=1000"]


async def test_helo_is_answered_in_one_line() -> None:
    async with serving() as stage:
        client = await stage.conversation()
        assert await client.ask("HELO client.test") == "250 ringback.test"


@pytest.mark.parametrize("command", ["EHLO", "HELO", "EHLO ", "HELO cl\u00efent.test"])
async def test_a_greeting_without_a_name_in_ascii_is_refused(command: str) -> None:
    async with serving() as stage:
        client = await stage.conversation()
        assert await client.ask(command) == "501 5.5.4 Syntax: HELO or EHLO hostname"
        assert await client.ask("RCPT TO:<bob@example.com>") == "503 5.5.1 Need MAIL command"


async def test_a_client_that_speaks_before_the_banner_is_sent_away() -> None:
    gate, asked = asyncio.Event(), asyncio.Event()

    async def hold(_session: object) -> Verdict:
        asked.set()
        await gate.wait()
        return Verdict()

    async with serving(None, Rule(Phase.CONNECT, hold)) as stage:
        client = await stage.connection()
        await client.send("EHLO client.test")
        async with asyncio.timeout(10):
            await asked.wait()
            (session,) = stage.worker.front.live
            while not session.connection.buffer:  # noqa: ASYNC110 - the kernel does not report that
                await asyncio.sleep(0)
        gate.set()
        assert await client.reply() == SYNCHRONIZATION
        assert await closed(client)


# ---------------------------------------------------------------- order and syntax


@pytest.mark.parametrize(
    ("commands", "replies"),
    [
        (["RCPT TO:<bob@example.com>"], ["503 5.5.1 Need MAIL command"]),
        (["DATA"], ["503 5.5.1 Need MAIL command"]),
        (["MAIL FROM:<a@b.test>", "DATA"], ["250 2.1.0 Sender OK", "503 5.5.1 Need RCPT command"]),
        (["MAIL FROM:<a@b.test>"] * 2, ["250 2.1.0 Sender OK", "503 5.5.1 Nested MAIL command"]),
        (
            ["MAIL FROM:<a@b.test>", "RSET", "RCPT TO:<bob@example.com>"],
            ["250 2.1.0 Sender OK", "250 2.0.0 OK", "503 5.5.1 Need MAIL command"],
        ),
        (
            ["MAIL FROM:<a@b.test>", "HELO again.test", "RCPT TO:<bob@example.com>"],
            ["250 2.1.0 Sender OK", "250 ringback.test", "503 5.5.1 Need MAIL command"],
        ),
        (
            ["MAIL FROM:<a@b.test>", "HELO", "RCPT TO:<bob@elsewhere.test>"],
            ["250 2.1.0 Sender OK", "501 5.5.4 Syntax: HELO or EHLO hostname", "550 5.7.1 Relaying denied"],
        ),
        (
            ["MAIL FROM:<a@b.test>", "MAIL FROM:<c@d.test>", "NOOP x", "RCPT TO:<bob@elsewhere.test>"],
            ["250 2.1.0 Sender OK", "503 5.5.1 Nested MAIL command", "250 2.0.0 OK", "550 5.7.1 Relaying denied"],
        ),
        (["DATA now"], ["503 5.5.1 Need MAIL command"]),
        (["RSET now"], ["501 5.5.4 This command takes no argument"]),
        (["QUIT now"], ["501 5.5.4 This command takes no argument"]),
        (["NOOP"], ["250 2.0.0 OK"]),
        (["HELP me"], ["214 2.0.0 See RFC 5321"]),
        (["VRFY root"], ["252 2.1.5 Cannot VRFY user; try RCPT to attempt delivery"]),
        (["VRFY"], ["500 5.5.2 Syntax error"]),
        (["noop", "nOOp"], ["250 2.0.0 OK"] * 2),
        (["mail from:<a@b.test>", "rcpt to:<x@elsewhere.test>"], ["250 2.1.0 Sender OK", "550 5.7.1 Relaying denied"]),
    ],
)
async def test_commands_are_answered_in_their_order(commands: list[str], replies: list[str]) -> None:
    async with serving() as stage:
        client = await stage.conversation()
        assert [await client.ask(command) for command in commands] == replies


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("", "500 5.5.2 Syntax error"),
        (" NOOP", "500 5.5.2 Syntax error"),
        ("NOOP\tx", "500 5.5.2 Syntax error"),
        ("M\u00c4IL FROM:<>", "500 5.5.2 Syntax error"),
        ("ABCDEFGHIJKLMNOPQ", "500 5.5.2 Syntax error"),
        ("FROB", "500 5.5.2 Command not recognized"),
        ("MAILFROM <a@b.test>", "500 5.5.2 Command not recognized"),
        ("STARTTLS", "502 5.5.1 Command not implemented"),
        ("AUTH PLAIN AAAA", "502 5.5.1 Command not implemented"),
        ("EXPN list", "502 5.5.1 Command not implemented"),
    ],
)
async def test_what_is_not_a_command_of_ours_is_refused_and_the_session_goes_on(command: str, reply: str) -> None:
    async with serving() as stage:
        client = await stage.conversation()
        assert await client.ask(command) == reply
        assert await client.ask("NOOP") == "250 2.0.0 OK"


@pytest.mark.parametrize("request_line", ["GET / HTTP/1.1", "POST /x HTTP/1.1", "CONNECT mx:25 HTTP/1.0", "HEAD /"])
async def test_a_web_browser_is_sent_away(request_line: str) -> None:
    async with serving() as stage:
        client = await stage.conversation()
        assert await client.ask(request_line) == "221 2.7.0 This is a mail server"
        assert await closed(client)


@pytest.mark.parametrize(
    "line",
    [b"NOOP\n", b"NOOP\r\r\n", b"NO\rOP\r\n", b"\rNOOP\r\n", b"\n"],
)
async def test_a_command_with_a_bare_line_break_is_refused(line: bytes) -> None:
    async with serving() as stage:
        client = await stage.conversation()
        await client.send_raw(line)
        assert await client.reply() == BARE
        assert await client.ask("NOOP") == "250 2.0.0 OK"


@pytest.mark.parametrize("line", [b"NOOP\0\r\n", b"MAIL FROM:<a\0@b.test>\r\n", b"\0\r\n"])
async def test_a_command_with_a_nul_is_refused(line: bytes) -> None:
    async with serving() as stage:
        client = await stage.conversation()
        await client.send_raw(line)
        assert await client.reply() == "500 5.5.2 Syntax error"
        assert await client.ask("NOOP") == "250 2.0.0 OK"


async def test_commands_hidden_behind_a_bare_line_feed_are_each_refused() -> None:
    async with serving() as stage:
        client = await stage.conversation()
        await client.send_raw(b"RSET\nMAIL FROM:<a@b.test>\nRSET\r\n")
        assert [await client.reply() for _ in range(3)] == [BARE, BARE, "250 2.0.0 OK"]


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("MAIL", "501 5.1.7 Bad sender address syntax"),
        ("MAIL FROM:", "501 5.1.7 Bad sender address syntax"),
        ("MAIL FROM:a b@c.test", "501 5.1.7 Bad sender address syntax"),
        ("MAIL TO:<a@b.test>", "501 5.1.7 Bad sender address syntax"),
        ("MAIL FROM:<a@b.test> SIZE=x", "555 5.5.4 Unsupported option"),
        ("MAIL FROM:<a@b.test> SIZE=-1", "555 5.5.4 Unsupported option"),
        ("MAIL FROM:<a@b.test> SIZE=\u0661", "555 5.5.4 Unsupported option"),
        ("MAIL FROM:<a@b.test> SIZE", "555 5.5.4 Unsupported option"),
        ("MAIL FROM:<a@b.test> SIZE=1 SIZE=2", "555 5.5.4 Unsupported option"),
        ("MAIL FROM:<a@b.test> BODY=BINARYMIME", "555 5.5.4 Unsupported option"),
        ("MAIL FROM:<a@b.test> BODY", "555 5.5.4 Unsupported option"),
        ("MAIL FROM:<a@b.test> SMTPUTF8=yes", "555 5.5.4 Unsupported option"),
        ("MAIL FROM:<a@b.test> RET=HDRS", "555 5.5.4 Unsupported option"),
        ("MAIL FROM:<j\u00fcrgen@b.test>", "553 5.6.7 Non-ASCII address requires SMTPUTF8"),
        ("MAIL FROM:<a@b.test> SIZE=1001", "552 5.3.4 Message too big"),
        ("MAIL FROM:<a@b.test> SIZE=1000", "250 2.1.0 Sender OK"),
        ("MAIL FROM:<a@b.test> body=8bitmime", "250 2.1.0 Sender OK"),
        ("MAIL FROM:<>", "250 2.1.0 Sender OK"),
    ],
)
async def test_mails_argument_is_judged(command: str, reply: str) -> None:
    async with serving(max_message_size=1000) as stage:
        client = await stage.greeted()
        assert await client.ask(command) == reply


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("RCPT TO:<>", "501 5.1.3 Bad recipient address syntax"),
        ("RCPT TO:<bob>", "501 5.1.3 Bad recipient address syntax"),
        ("RCPT FROM:<bob@example.com>", "501 5.1.3 Bad recipient address syntax"),
        ("RCPT TO:<bob@example.com> NOTIFY=NEVER", "555 5.5.4 Unsupported option"),
        ("RCPT TO:<j\u00fcrgen@example.com>", "553 5.6.7 Non-ASCII address requires SMTPUTF8"),
        ("RCPT TO:<bob@elsewhere.test>", "550 5.7.1 Relaying denied"),
        ("RCPT TO:<@example.com:bob@elsewhere.test>", "550 5.7.1 Relaying denied"),
        ("RCPT TO:<bob%elsewhere.test@example.com>", "550 5.7.1 Relaying denied"),
        ("RCPT TO:<elsewhere.test!bob@example.com>", "550 5.7.1 Relaying denied"),
        ('RCPT TO:<"bob@elsewhere.test"@example.com>', "550 5.7.1 Relaying denied"),
        ("RCPT TO:<bob@[127.0.0.1]>", "550 5.7.1 Relaying denied"),
        ("RCPT TO:<bob@sub.example.com>", "550 5.7.1 Relaying denied"),
    ],
)
async def test_rcpts_argument_is_judged(command: str, reply: str) -> None:
    async with serving() as stage:
        client = await stage.greeted()
        await client.ask("MAIL FROM:<a@b.test>")
        assert await client.ask(command) == reply


async def test_postmaster_needs_no_domain() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.ask("MAIL FROM:<a@b.test>")
        assert await client.ask("RCPT TO:<PostMaster>") == "250 2.1.5 Ok"
        assert upstream.commands[-1] == "RCPT TO:<PostMaster>"


async def test_only_a_recipient_may_be_postmaster_without_a_domain() -> None:
    # RFC 5321 section 4.1.2: a reverse-path is a path or <>; section 4.1.1.3 grants the bare name to RCPT alone.
    async with serving() as stage:
        client = await stage.greeted()
        assert await client.ask("MAIL FROM:<postmaster>") == "501 5.1.7 Bad sender address syntax"


async def test_a_relay_host_may_send_anywhere() -> None:
    async with Exchanger() as upstream, serving(upstream, relay_hosts="( 127.0.0.0/8 )") as stage:
        client = await stage.greeted()
        await client.ask("MAIL FROM:<a@b.test>")
        assert await client.ask("RCPT TO:<bob%x@elsewhere.test>") == "250 2.1.5 Ok"


# ---------------------------------------------------------------- pipelining


async def test_a_pipelined_transaction_is_answered_in_order() -> None:
    async with Exchanger(recipients={CAROL: says("550 5.1.1 nobody")}) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        assert await client.pipeline(
            f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", f"RCPT TO:<{CAROL}>", f"RCPT TO:<{DAVE}>", "DATA"
        ) == [
            "250 2.1.0 Sender OK",
            "250 2.1.5 Ok",
            "550 5.1.1 nobody",
            "250 2.1.5 Ok",
            "354 End data with <CR><LF>.<CR><LF>",
        ]
        assert await client.content(LETTER) == "250 2.0.0 Ok: queued as 000001"


async def test_the_next_transaction_may_stand_right_behind_the_dot() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
        await client.send_raw(LETTER + f".\r\nMAIL FROM:<{ALICE}>\r\nRCPT TO:<{CAROL}>\r\nDATA\r\n".encode())
        assert [await client.reply() for _ in range(4)] == [
            "250 2.0.0 Ok: queued as 000001",
            "250 2.1.0 Sender OK",
            "250 2.1.5 Ok",
            "354 End data with <CR><LF>.<CR><LF>",
        ]
        assert await client.content(LETTER) == "250 2.0.0 Ok: queued as 000002"
        assert [each.recipients for each in upstream.messages] == [(f"RCPT TO:<{BOB}>",), (f"RCPT TO:<{CAROL}>",)]


@pytest.mark.parametrize("command", ["EHLO client.test", "HELO client.test", "NOOP", "VRFY root"])
async def test_a_command_that_must_be_the_last_of_its_group_is_refused_where_it_is_not(command: str) -> None:
    async with serving() as stage:
        client = await stage.conversation()
        await client.send(command, "MAIL FROM:<a@b.test>")
        assert await client.reply() == SYNCHRONIZATION
        assert await closed(client)


async def test_content_pipelined_behind_data_is_never_taken() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>")
        await client.send_raw(b"DATA\r\n" + LETTER + b".\r\n")
        assert await client.reply() == SYNCHRONIZATION
        assert await closed(client)
        await stage.ended()
        assert upstream.count("DATA") == 0


@pytest.mark.parametrize("end", ["", "QUIT\r\n"])
async def test_a_client_that_half_closes_still_gets_its_answers(end: str) -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
        await client.send_raw(LETTER + b".\r\n" + end.encode())
        client.half_close()
        assert await client.reply() == "250 2.0.0 Ok: queued as 000001"
        if end:
            assert await client.reply() == "221 2.0.0 Bye"
        assert await closed(client)


# ---------------------------------------------------------------- limits


async def test_an_overlong_command_is_refused_and_the_session_goes_on() -> None:
    async with serving() as stage:
        client = await stage.conversation()
        await client.send_raw(b"NOOP " + b"x" * 10_000 + b"\r\n")
        assert await client.reply() == "500 5.5.2 Command too long"
        assert await client.ask("NOOP") == "250 2.0.0 OK"


async def test_a_command_of_the_longest_length_is_done() -> None:
    async with serving() as stage:
        client = await stage.conversation()
        await client.send_raw(b"NOOP " + b"x" * (LONGEST_COMMAND - 6) + b"\r\n")
        assert await client.reply() == "250 2.0.0 OK"


async def test_an_endless_command_ends_the_session() -> None:
    async with serving() as stage:
        client = await stage.conversation()
        await client.send_raw(b"x" * (MOST_DISCARDED + LONGEST_COMMAND + 2))
        assert await client.reply() == "500 5.5.2 Command too long"


async def test_too_many_refused_commands_end_the_session() -> None:
    async with serving() as stage:
        client = await stage.conversation()
        for _ in range(19):
            assert await client.ask("FROB") == "500 5.5.2 Command not recognized"
        await client.send("FROB")
        assert await client.reply() == "500 5.5.2 Command not recognized"
        assert await client.reply() == "421 4.7.0 Too many errors, closing"
        assert await closed(client)


async def test_a_delivered_message_makes_up_for_refused_commands() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        for _ in range(2):
            for _ in range(19):
                assert await client.ask("FROB") == "500 5.5.2 Command not recognized"
            await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
            assert (await client.content(LETTER)).startswith("250 ")


@pytest.mark.parametrize("sent", [b"", b"NOO", b"NOOP\r"])
async def test_a_client_that_sends_no_command_in_time_hears_421(sent: bytes) -> None:
    async with serving(idle_time=0.05) as stage:
        client = await stage.conversation()
        await client.send_raw(sent)
        assert await client.reply() == TIMEOUT
        assert await closed(client)


async def test_a_client_that_stalls_in_the_message_hears_421_and_nothing_is_delivered() -> None:
    async with Exchanger() as upstream, serving(upstream, data_timeout=0.05) as stage:
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
        await client.send_raw(LETTER)
        assert await client.reply() == TIMEOUT
        assert await closed(client)
        await stage.ended()
        assert upstream.messages == []
        assert upstream.count("RSET") == 1


async def test_the_most_recipients_are_taken_and_one_more_is_deferred() -> None:
    async with Exchanger() as upstream, serving(upstream, max_recipients_per_message=2) as stage:
        client = await stage.greeted()
        assert await client.pipeline(f"MAIL FROM:<{ALICE}>", *(f"RCPT TO:<{each}>" for each in (BOB, CAROL, DAVE))) == [
            "250 2.1.0 Sender OK",
            "250 2.1.5 Ok",
            "250 2.1.5 Ok",
            "452 4.5.3 Too many recipients",
        ]
        assert upstream.count("RCPT") == 2


# ---------------------------------------------------------------- transactions that end early


@pytest.mark.parametrize(
    ("command", "reply"),
    [("RSET", "250 2.0.0 OK"), ("HELO again.test", "250 ringback.test"), ("QUIT", "221 2.0.0 Bye")],
)
async def test_what_ends_a_transaction_ends_it_upstream_and_keeps_the_connection(command: str, reply: str) -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>")
        assert await client.ask(command) == reply
        await upstream.until(lambda: upstream.count("RSET") == 1, "RSET reaches the upstream")
        other = await stage.greeted()
        await other.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{CAROL}>", "DATA")
        assert (await other.content(LETTER)).startswith("250 ")
        assert [each.recipients for each in upstream.messages] == [(f"RCPT TO:<{CAROL}>",)]
        assert len(upstream.dialogues) == 1


@pytest.mark.parametrize("leave", ["close", "abort"])
@pytest.mark.parametrize("size", [0, 100, 3_000_000])
async def test_a_client_that_leaves_in_the_message_leaves_nothing_upstream(leave: str, size: int) -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
        await client.send_raw(b"Subject: x\r\n\r\n" + b"x" * size + b"\r\n.")
        if size > 262_144:
            await upstream.until(lambda: upstream.dialogues[0].content_size > 0, "content reaches the upstream")
        if leave == "abort":
            client.abort()
        else:
            await client.close()
        await stage.ended()
        await upstream.until(lambda: upstream.count("RSET") == 1 or not upstream.open_dialogues, "it is given up")
        assert upstream.messages == []


async def test_a_client_that_is_lost_after_its_dot_does_not_stop_the_delivery() -> None:
    gate = asyncio.Event()
    async with Exchanger(script={Step.DOT: says("250 queued", until=gate)}) as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
        await client.send_raw(LETTER + b".\r\n")
        await upstream.until(lambda: bool(upstream.held), "the dot is upstream")
        with capture_logs() as log:
            client.abort()
            gate.set()
            await stage.ended()
        assert len(upstream.messages) == 1
        assert [each["reply"] for each in log if each["event"] == "message"] == ["250 queued"]


async def test_a_session_leaves_one_summary_line() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        with capture_logs() as log:
            client = await stage.greeted()
            await client.ask("FROB")
            await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", f"RCPT TO:<{CAROL}>", "DATA")
            await client.content(LETTER)
            await client.quit()
            await stage.ended()
        (summary,) = (each for each in log if each["event"] == "session")
        assert {name: summary[name] for name in ("client", "helo", "messages", "recipients", "errors", "ended")} == {
            "client": "127.0.0.1",
            "helo": "client.test",
            "messages": 1,
            "recipients": 2,
            "errors": 0,
            "ended": "quit",
        }


async def test_what_a_client_sends_cannot_forge_a_log_line() -> None:
    async with serving() as stage:
        with capture_logs() as log:
            client = await stage.conversation()
            await client.send_raw(b"EHLO a\x1b[31m\x7f\x01" + b"x" * 300 + b"\r\n")
            await client.reply()
            await client.close()
            await stage.ended()
        (summary,) = (each for each in log if each["event"] == "session")
        assert re.fullmatch(r"[\x20-\x7e]{1,64}", summary["helo"])


# ---------------------------------------------------------------- policy in the conversation


async def test_a_refused_sender_leaves_no_transaction() -> None:
    rule = Rule(Phase.MAILFROM, refuses(550, "from address not reachable"))
    async with Exchanger() as upstream, serving(upstream, rule) as stage:
        client = await stage.greeted()
        assert await client.ask(f"MAIL FROM:<{ALICE}>") == "550 from address not reachable"
        assert await client.ask(f"RCPT TO:<{BOB}>") == "503 5.5.1 Need MAIL command"
        assert await client.ask(f"MAIL FROM:<{ALICE}>") == "550 from address not reachable"
        assert upstream.count("MAIL") == 0


async def test_a_refused_ehlo_changes_nothing() -> None:
    rule = Rule(Phase.EHLO, refuses(550, "not you"))
    async with Exchanger() as upstream, serving(upstream, rule) as stage:
        client = await stage.conversation()
        for command in (f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>"):
            assert (await client.ask(command)).startswith("250 ")
        assert await client.ask("EHLO client.test") == "550 not you"
        assert await client.ask("DATA") == "354 End data with <CR><LF>.<CR><LF>"


@pytest.mark.parametrize("phase", [Phase.ACCEPT, Phase.CONNECT])
async def test_a_client_refused_at_the_door_hears_that_for_a_banner(phase: Phase) -> None:
    async with serving(None, Rule(phase, refuses(554, "not you"))) as stage:
        client = await stage.conversation()
        assert client.banner == "554 not you"
        assert await closed(client)


@pytest.mark.parametrize("phase", [Phase.ACCEPT, Phase.CONNECT])
async def test_trouble_at_the_door_is_421(phase: Phase) -> None:
    async with serving(None, Rule(phase, RuntimeError("secret"))) as stage:
        client = await stage.conversation()
        assert client.banner == "421 4.3.0 Temporary failure, try again later"
        assert await closed(client)


async def test_a_verdict_that_closes_ends_the_session_after_its_reply() -> None:
    async with serving(None, Rule(Phase.MAILFROM, refuses(421, "go away", close=True))) as stage:
        client = await stage.greeted()
        assert await client.ask(f"MAIL FROM:<{ALICE}>") == "421 go away"
        assert await closed(client)


async def test_a_discarded_sender_is_accepted_and_the_upstream_never_hears_of_it() -> None:
    async with (
        Exchanger() as upstream,
        serving(upstream, Rule(Phase.MAILFROM, Verdict(discard=True))) as stage,
    ):
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
        assert await client.content(LETTER) == "250 2.0.0 Message accepted"
        assert upstream.count("MAIL") == 0


async def test_a_discarded_recipient_is_accepted_and_the_others_get_the_mail() -> None:
    async def judge(session: object) -> Verdict:
        return Verdict(discard=session.current_recipient.path.text == BOB)  # type: ignore[attr-defined]

    async with Exchanger() as upstream, serving(upstream, Rule(Phase.RCPTTO, judge)) as stage:
        client = await stage.greeted()
        assert await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", f"RCPT TO:<{CAROL}>", "DATA") == [
            "250 2.1.0 Sender OK",
            "250 2.1.5 Recipient OK",
            "250 2.1.5 Ok",
            "354 End data with <CR><LF>.<CR><LF>",
        ]
        assert (await client.content(LETTER)).startswith("250 2.0.0 Ok")
        assert [each.recipients for each in upstream.messages] == [(f"RCPT TO:<{CAROL}>",)]


async def test_an_exception_in_a_command_is_451_and_the_session_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as stage:
        client = await stage.greeted()

        def fail(*_arguments: object) -> None:
            raise RuntimeError("secret /path")

        monkeypatch.setattr(stage.worker.front, "capabilities", fail)
        with capture_logs() as log:
            assert await client.ask("EHLO again.test") == "451 4.3.0 Temporary failure, try again later"
        assert [(each["event"], each["command"]) for each in log] == [("command_failed", "EHLO"), ("refused", "EHLO")]
        assert await client.ask("NOOP") == "250 2.0.0 OK"


async def test_a_shutdown_says_421_to_a_client_between_commands() -> None:
    async with serving() as stage:
        client = await stage.greeted()
        await stage.worker.stop()
        assert await client.reply() == "421 4.3.2 Service shutting down, try again"
        assert await closed(client)


async def test_a_client_with_very_many_commands_lets_the_others_have_their_turn() -> None:
    async with serving() as stage:
        client = await stage.greeted()
        (session,) = stage.worker.front.live
        session.data_received(b"RSET\r\n" * 100)
        turns = 0
        assert len(session.connection.buffer) >= len(b"RSET\r\n") * 50
        async with asyncio.timeout(10):
            while session.connection.buffer and stage.worker.front.live:
                await asyncio.sleep(0)
                turns += 1
        assert turns >= 1
        assert await client.reply() == "250 2.0.0 OK"


async def test_a_client_that_only_idles_in_commands_is_sent_away() -> None:
    async with serving() as stage:
        client = await stage.greeted()
        await client.send_raw(b"RSET\r\n" * 10_000)
        answers = []
        while not answers or answers[-1] == "250 2.0.0 OK":
            answers.append(await client.reply())
        assert answers == ["250 2.0.0 OK"] * 119 + ["421 4.7.0 Too many errors, closing"]
