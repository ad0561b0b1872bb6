"""Each refusal that Ringback words itself, over a real connection: the event that tells of it, and who decided."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.smtp.pending import Verb
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.worker import serving

MAIL, RCPT = "MAIL FROM:<a@sender.test>", "RCPT TO:<bob@example.com>"
WRONG = base64.b64encode(b"\0bob\0wrong").decode()
AUTH: dict[str, object] = {"Authentication": "upstream", "Authentication_Without_TLS": "true"}


@dataclass(frozen=True)
class Case:
    """What a client says after EHLO, and what the last reply's event says."""

    name: str
    lines: Sequence[str | bytes]
    event: str = "refused"
    by: str = "protocol"
    options: dict[str, object] = field(default_factory=dict)
    greets: bool = True


LETTER = b"Subject: x\r\n\r\nx\r\n.\r\n"

CASES = [
    Case("BAD_SYNTAX", ["VRFY"]),
    Case("NOT_UTF8", [b"MAIL FROM:<\xff@sender.test>"]),
    Case("LINE_TOO_LONG", ["NOOP " + "x" * 5000]),
    Case("UNKNOWN_COMMAND", ["XYZZY"]),
    Case("NOT_IMPLEMENTED", ["STARTTLS"]),
    Case("NO_ARGUMENT_WANTED", ["RSET now"]),
    Case("BDAT_SYNTAX", [MAIL, RCPT, "BDAT many"]),
    Case("HELO_SYNTAX", ["EHLO"]),
    Case("SENDER_SYNTAX", ["MAIL FROM:<a@@b>"]),
    Case("RECIPIENT_SYNTAX", [MAIL, "RCPT TO:<a@@b>"], event="recipient"),
    Case("NO_MAIL_YET", [RCPT], event="recipient"),
    Case("NESTED_MAIL", [MAIL, MAIL]),
    Case("NO_RECIPIENTS_YET", [MAIL, "DATA"]),
    Case("EHLO_FIRST", ["AUTH PLAIN x"], options=AUTH, greets=False),
    Case("RELAYING_DENIED", [MAIL, "RCPT TO:<a@elsewhere.test>"], event="recipient", by="relay_domains"),
    Case("BAD_PARAMETER", [MAIL + " NONSENSE=1"]),
    Case("PARAMETER_SYNTAX", [MAIL + " ENVID=a+zz"]),
    Case("NO_AUTHORIZATION", ["XCLIENT ADDR=192.0.2.1"], by="xclient_hosts"),
    Case("XCLIENT_SYNTAX", ["XCLIENT nonsense"], options={"XCLIENT_Hosts": "( 127.0.0.0/8 )"}),
    Case("SYNCHRONIZATION", [MAIL, RCPT, b"DATA\r\nSubject: x\r\n\r\nx\r\n.\r\nNOOP"], greets=False),
    Case("BARE_LINE_BREAK", [MAIL, RCPT, "DATA", b"Subject: x\r\n\r\nx\ny\r\n.\r\n"], event="message"),
    Case("NO_NULL_SENDER", ["MAIL FROM:<>"], options={"Allow_Null_Envelope_Sender": "false"}),
    Case("TOO_BIG", [MAIL + " SIZE=2000"], by="max_message_size", options={"Max_Message_Size": 1000}),
    Case(
        "TOO_BIG", [MAIL, RCPT, "DATA", b"Subject: x\r\n\r\n" + b"x\r\n" * 1000 + b".\r\n"], event="message",
        by="max_message_size", options={"Max_Message_Size": 1000},
    ),
    Case(
        "HEADERS_TOO_BIG", [MAIL, RCPT, "DATA", b"X: x\r\n" * 400 + b"\r\nx\r\n.\r\n"], event="message",
        by="max_header_size", options={"Max_Header_Size": 1000},
    ),
    Case(
        "LOOP", [MAIL, RCPT, "DATA", b"Received: x\r\n" * 200 + b"\r\nx\r\n.\r\n"], event="message",
        by="max_received_headers",
    ),
    Case("TOO_MANY_RECIPIENTS", [MAIL, RCPT, RCPT], event="recipient", by="max_recipients_per_message",
         options={"Max_Recipients_Per_Message": 1}),
    Case("TOO_MUCH_MAIL", [MAIL, "RSET", MAIL], by="message_rate_per_client",
         options={"Message_Rate_Per_Client": '"1/60"'}),
    Case("TOO_MANY_MESSAGES", [MAIL, RCPT, "DATA", LETTER, MAIL], by="max_receptions_per_connection",
         options={"Max_Receptions_Per_Connection": 1}),
    Case("TOO_MANY_ERRORS", ["XYZZY"] * 20, by="too_many_errors"),
    Case("TOO_MANY_CONNECTIONS", [], by="connection_rate_per_client",
         options={"Connection_Rate_Per_Client": '"1/60"'}, greets=False),
    Case("TOO_MANY_SESSIONS", [], by="max_connections_per_client",
         options={"Max_Connections_Per_Client": 1}, greets=False),
    Case("NO_PROXY_HEADER", ["EHLO x"], by="proxy_protocol_networks",
         options={"Proxy_Protocol_Networks": "( 127.0.0.0/8 )"}, greets=False),
    Case("TLS_BEFORE_AUTH", [f"AUTH PLAIN {WRONG}"], by="authentication_without_tls",
         options={"Authentication": "upstream"}),
    Case("AUTH_SYNTAX", ["AUTH"], options=AUTH),
    Case("UNKNOWN_MECHANISM", ["AUTH NONSENSE"], options=AUTH),
    Case("AUTH_CANCELLED", ["AUTH PLAIN", "*"], options=AUTH),
    Case("AUTH_LINE_TOO_LONG", ["AUTH PLAIN", "x" * 20000], options=AUTH),
    Case("BAD_BASE64", ["AUTH PLAIN !!!"], options=AUTH),
    Case("BAD_RESPONSE", ["AUTH PLAIN eA=="], options=AUTH),
    Case("CANNOT_AUTHENTICATE", [f"AUTH PLAIN {WRONG}"], by="authentication", options=AUTH),
    Case("IDLE_TOO_LONG", [], by="idle_time", options={"Idle_Time": 1}),
    Case("NEEDS_SMTPUTF8", ["MAIL FROM:<b\u00fc@sender.test>".encode()]),
]  # fmt: skip

ELSEWHERE = {
    "SHUTTING_DOWN": "test_a_client_that_is_asked_to_leave_is_logged",
    "ENDED_BY_OPERATOR": "test_a_client_whose_session_an_operator_ends_is_logged",
    "INTERNAL": "test_our_own_failure_is_logged_wherever_it_happens",
    "INTERNAL_CLOSING": "test_our_own_failure_is_logged_wherever_it_happens",
    "UPSTREAM_BUSY": "test_a_full_pool_names_its_option",
    "UPSTREAM_UNREACHABLE": "test_a_next_hop_that_is_down_names_itself",
}
"""Refusals with a test of their own below."""

NOT_SHOWN = frozenset({
    # The same path of the code logs these; what brings them about has tests of its own.
    "TOO_MUCH_TLS", "TOO_MANY_PASSWORDS", "PROXY_NOT_ALLOWED", "UPSTREAM_LOST", "NO_VALID_RECIPIENTS",
    "NO_SMTPUTF8_BEHIND",
    "UPSTREAM_REFUSED_US", "ONE_UPSTREAM_AT_A_TIME", "ONE_RECIPIENT_AT_A_TIME", "OUTBOX_FULL", "TLS_ACTIVE",
    "TLS_NOT_ACCEPTED", "AUTHENTICATED_ALREADY", "NOT_AUTHENTICATED", "IN_TRANSACTION", "LETTERS_LOOP",
    "LOOP_TO_ITSELF", "NO_BINARYMIME_BEHIND", "BINARYMIME_BY_BDAT", "NO_8BITMIME_BEHIND",
})  # fmt: skip

REFUSALS = {name: each for name, each in vars(replies).items() if isinstance(each, Reply) and each.code >= 400}


def test_each_refusal_is_in_the_table() -> None:
    shown = {case.name for case in CASES} | ELSEWHERE.keys()
    assert shown | NOT_SHOWN == REFUSALS.keys()
    assert not shown & NOT_SHOWN


async def _said(client: Conversation, line: str | bytes) -> None:
    octets = line.encode() if isinstance(line, str) else line
    await client.send_raw(octets if octets.endswith(b"\r\n") else octets + b"\r\n")
    await client.reply()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.event}")
async def test_a_refusal_names_its_event_and_who_decided(case: Case) -> None:
    async with Exchanger() as upstream, serving(upstream, **case.options) as stage:
        with capture_logs() as log:
            if case.name in {"TOO_MANY_CONNECTIONS", "TOO_MANY_SESSIONS"}:
                await stage.conversation()
            client = await stage.connection()
            if case.name != "NO_PROXY_HEADER":
                await client.reply()
            if case.greets:
                await client.ehlo()
            for line in case.lines:
                await _said(client, line)
            if case.name == "IDLE_TOO_LONG":
                await client.reply()
            client.abort()
            await stage.worker.stop(now=True)
    reply = REFUSALS[case.name]
    wanted = f"{reply.code} {reply.text}"
    found = [each for each in log if each.get("reply") == wanted]
    assert [(each["event"], each["decided_by"]) for each in found if each["event"] == case.event][:1] == [
        (case.event, case.by)
    ], [(each["event"], each.get("reply"), each.get("decided_by")) for each in log]
    assert found[0]["disposition"] == ("refused" if reply.permanent else "deferred")


def _of(log: Sequence[Any], *events: str) -> list[tuple[str, str, str]]:
    return [(each["event"], each["decided_by"], each["reply"][:9]) for each in log if each["event"] in events]


async def test_a_client_that_is_asked_to_leave_is_logged() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        await stage.greeted()
        with capture_logs() as log:
            await stage.worker.stop()
    assert _of(log, "refused") == [("refused", "shutdown", "421 4.3.2")]


async def test_a_client_whose_session_an_operator_ends_is_logged() -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        with capture_logs() as log:
            for session in tuple(stage.worker.front.live):
                session.kill()
            assert await client.reply() == "421 4.3.2 Session ended by the operator, try again"
    assert _of(log, "refused") == [("refused", "operator", "421 4.3.2")]


async def test_a_next_hop_that_is_down_names_itself() -> None:
    with capture_logs() as log:
        async with serving() as stage:
            client = await stage.greeted()
            for line in (MAIL, RCPT, RCPT):
                await client.ask(line)
    assert _of(log, "recipient") == [("recipient", "upstream 127.0.0.1:1", "451 4.4.1")] * 2
    (down,) = [each for each in log if each["event"] == "upstream_down"]
    assert down["upstream"] == "127.0.0.1:1"


@pytest.mark.parametrize("verb", ["EHLO", "NOOP", "MAIL", "RCPT", None])
async def test_our_own_failure_is_logged_wherever_it_happens(verb: str | None) -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        front = stage.worker.front

        def fails(*_: object) -> Reply:
            raise RuntimeError("a fault")

        with capture_logs() as log, pytest.MonkeyPatch.context() as patch:
            if verb is None:
                patch.setattr("proxy.smtp.commands.opening.greeting", fails)
                client = await stage.connection()
                await client.reply()
            else:
                client = await stage.greeted()
                for line in (MAIL,) if verb == "RCPT" else ():
                    await client.ask(line)
                verbs = cast(dict[bytes, Verb], front.verbs)
                patch.setitem(verbs, verb.encode(), replace(verbs[verb.encode()], run=fails))
                await client.ask({"EHLO": "EHLO x", "MAIL": MAIL, "RCPT": RCPT}.get(verb, verb))
    found = _of(log, "refused", "recipient")
    wanted = ("recipient" if verb == "RCPT" else "refused", "ringback", "451 4.3.0" if verb else "421 4.3.0")
    assert wanted in found
    assert [each["event"] for each in log if each["event"] in {"command_failed", "session_failed"}]


async def test_a_full_pool_names_its_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.upstream.slots.PLACE_SECONDS", 0.05)
    async with Exchanger() as upstream, serving(upstream, Max_Outbound_Connections=1) as stage:
        first, second = await stage.greeted(), await stage.greeted()
        for line in (MAIL, RCPT):
            await first.ask(line)
        with capture_logs() as log:
            for line in (MAIL, RCPT):
                await second.ask(line)
    assert _of(log, "recipient")[:1] == [("recipient", "max_outbound_connections", "451 4.4.5")]
