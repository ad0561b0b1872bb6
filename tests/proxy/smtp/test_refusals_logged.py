"""Each refusal that Ringback words itself, over a real connection: the event that tells of it, and who decided."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from structlog.testing import capture_logs

from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.smtp.pending import Verb
from tests.proxy.modules.test_mail_loop import looking
from tests.proxy.outbox.test_outbox_circles import FORGED, MOST_HOPS, TEAM, forwards, one, sent
from tests.support.conversation import Conversation
from tests.support.exchanger import EXTENSIONS, Act, Exchanger, Step, closes, says
from tests.support.handlers import handler, loading
from tests.support.worker import client_of, serving

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
    extensions: Sequence[str] = EXTENSIONS
    """What the next hop offers."""
    script: dict[Step, Act] = field(default_factory=dict)
    """What the next hop does."""


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
    Case("BINARYMIME_BY_BDAT", [f"{MAIL} BODY=BINARYMIME", RCPT, "DATA"],
         extensions=[*EXTENSIONS, "CHUNKING", "BINARYMIME"]),
    Case("NO_VALID_RECIPIENTS", [MAIL, RCPT, "DATA"], script={Step.RCPT: says("550 5.1.1 no such user")}),
    Case("IN_TRANSACTION", [MAIL, f"AUTH PLAIN {WRONG}"], options=AUTH),
    Case("TOO_MANY_PASSWORDS", [f"AUTH PLAIN {WRONG}"] * 3, by="too_many_passwords", options=AUTH,
         extensions=[*EXTENSIONS, "AUTH PLAIN"], script={Step.OTHER: says("535 5.7.8 no")}),
    Case("NOT_AUTHENTICATED", [f"AUTH PLAIN {WRONG}"], by="authentication", options=AUTH,
         extensions=[*EXTENSIONS, "AUTH PLAIN"], script={Step.OTHER: says("535 5.7.8 no")}),
    Case("PROXY_NOT_ALLOWED", ["PROXY TCP4 192.0.2.1 192.0.2.2 1 25"], by="proxy_protocol_networks", greets=False),
    Case("UPSTREAM_LOST", [MAIL, RCPT], event="recipient", by="upstream", script={Step.RCPT: closes()}),
    Case("UPSTREAM_REFUSED_US", [MAIL, RCPT], event="recipient", by="upstream",
         script={Step.BANNER: says("554 5.7.1 go away")}),
    Case("ONE_RECIPIENT_AT_A_TIME", [MAIL, RCPT, "RCPT TO:<carol@example.com>"], event="recipient",
         by="multi_recipient",
         options={"Recipient_Verdicts": "deferred"}),
]  # fmt: skip

ELSEWHERE = {
    "SHUTTING_DOWN": "test_a_client_that_is_asked_to_leave_is_logged",
    "ENDED_BY_OPERATOR": "test_a_client_whose_session_an_operator_ends_is_logged",
    "INTERNAL": "test_our_own_failure_is_logged_wherever_it_happens",
    "INTERNAL_CLOSING": "test_our_own_failure_is_logged_wherever_it_happens",
    "UPSTREAM_BUSY": "test_a_full_pool_names_its_option",
    "UPSTREAM_UNREACHABLE": "test_a_next_hop_that_is_down_names_itself",
    "NO_SMTPUTF8_BEHIND": "test_a_next_hop_that_no_longer_offers_an_extension_names_itself",
    "NO_8BITMIME_BEHIND": "test_a_next_hop_that_no_longer_offers_an_extension_names_itself",
    "NO_BINARYMIME_BEHIND": "test_a_next_hop_that_no_longer_offers_an_extension_names_itself",
    "ONE_UPSTREAM_AT_A_TIME": "test_a_recipient_of_another_next_hop_is_logged",
    "TLS_ACTIVE": "test_starttls_twice_is_logged",
    "AUTHENTICATED_ALREADY": "test_auth_twice_is_logged",
    "TOO_MUCH_TLS": "test_too_much_tls_names_its_limit",
    "LOOP_TO_ITSELF": "test_a_module_names_itself",
    "OUTBOX_FULL": "test_a_full_outbox_and_a_loop_of_letters_are_logged",
    "LETTERS_LOOP": "test_a_full_outbox_and_a_loop_of_letters_are_logged",
    "TLS_NOT_ACCEPTED": "test_a_handler_that_wants_no_tls_is_named",
    "LISTED": "test_a_client_that_a_list_refuses_names_the_list",
}
"""Refusals with a test of their own below."""

REFUSALS = {name: each for name, each in vars(replies).items() if isinstance(each, Reply) and each.code >= 400}


def test_each_refusal_is_in_the_table() -> None:
    shown = {case.name for case in CASES} | ELSEWHERE.keys()
    assert shown == REFUSALS.keys()


async def _said(client: Conversation, line: str | bytes) -> None:
    octets = line.encode() if isinstance(line, str) else line
    await client.send_raw(octets if octets.endswith(b"\r\n") else octets + b"\r\n")
    await client.reply()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.event}")
async def test_a_refusal_names_its_event_and_who_decided(case: Case) -> None:
    async with (
        Exchanger(extensions=case.extensions, script=case.script) as upstream,
        serving(upstream, **case.options) as stage,
    ):
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
    by = f"upstream 127.0.0.1:{upstream.port}" if case.by == "upstream" else case.by
    assert [(each["event"], each["decided_by"]) for each in found if each["event"] == case.event][:1] == [
        (case.event, by)
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


@pytest.mark.parametrize(
    ("name", "mail", "rcpt"),
    [
        ("NO_SMTPUTF8_BEHIND", f"{MAIL} SMTPUTF8", "RCPT TO:<b\u00fc@example.com>"),
        ("NO_8BITMIME_BEHIND", f"{MAIL} BODY=8BITMIME", RCPT),
        ("NO_BINARYMIME_BEHIND", f"{MAIL} BODY=BINARYMIME", RCPT),
    ],
)
async def test_a_next_hop_that_no_longer_offers_an_extension_names_itself(name: str, mail: str, rcpt: str) -> None:
    async with (
        Exchanger(extensions=[*EXTENSIONS, "CHUNKING", "BINARYMIME"]) as upstream,
        serving(upstream) as stage,
    ):
        client = await stage.greeted()
        upstream.extensions = ["PIPELINING"]
        for each in upstream.open_dialogues:
            each.close()
        await upstream.until(lambda: not upstream.open_dialogues, "the connections made ahead are gone")
        with capture_logs() as log:
            assert (await client.ask(mail)).startswith("250")
            heard = await client.ask(rcpt)
    reply = REFUSALS[name]
    assert heard == f"{reply.code} {reply.text}"
    assert _of(log, "recipient")[:1] == [("recipient", f"upstream 127.0.0.1:{upstream.port}", heard[:9])]


async def test_a_recipient_of_another_next_hop_is_logged() -> None:
    async with Exchanger() as upstream, Exchanger() as other:
        route = f'127.0.0.1\nDomain "far.test" {{\n  Remote_SMTP_Port = {other.port}\n}}'
        options = {"Gateway": route, "Relay_Domains": "( example.com far.test )"}
        async with serving(upstream, **options) as stage:
            client = await stage.greeted()
            with capture_logs() as log:
                for line in (MAIL, RCPT, "RCPT TO:<x@far.test>"):
                    heard = await client.ask(line)
    assert heard == "452 4.5.3 Recipients are on different servers; send this one separately"
    assert _of(log, "recipient")[:1] == [("recipient", "routes", "452 4.5.3")]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "certificate.pem"
    trustme.CA().issue_cert("mx.test").private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


async def _tls(client: Conversation) -> None:
    assert (await client.ask("STARTTLS")).startswith("220 ")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    await client._writer.start_tls(context)


async def test_starttls_twice_is_logged(certificate: Path) -> None:
    async with serving(TLS_Certificate=f'"{certificate}"') as stage:
        client = await stage.greeted()
        await _tls(client)
        await client.ehlo()
        with capture_logs() as log:
            await client.ask("STARTTLS")
    assert _of(log, "refused")[:1] == [("refused", "protocol", "554 5.5.1")]


async def test_too_much_tls_names_its_limit(certificate: Path) -> None:
    async with serving(TLS_Certificate=f'"{certificate}"', TLS_Rate_Per_Client='"1/60"') as stage:
        await _tls(await stage.greeted())
        client = await stage.greeted()
        with capture_logs() as log:
            await client.ask("STARTTLS")
    assert _of(log, "refused")[:1] == [("refused", "tls_rate_per_client", "454 4.7.0")]


async def test_auth_twice_is_logged() -> None:
    script = {Step.OTHER: says("235 2.7.0 ok")}
    async with (
        Exchanger(extensions=[*EXTENSIONS, "AUTH PLAIN"], script=script) as upstream,
        serving(upstream, **AUTH) as stage,
    ):
        client = await stage.greeted()
        assert (await client.ask(f"AUTH PLAIN {WRONG}")).startswith("235")
        with capture_logs() as log:
            await client.ask(f"AUTH PLAIN {WRONG}")
    assert _of(log, "refused")[:1] == [("refused", "protocol", "503 5.5.1")]


async def test_a_module_names_itself() -> None:
    async with serving(None, looking(use_ip=True)) as stage:
        client = await stage.greeted()
        with capture_logs() as log:
            heard = await client.ask(MAIL)
    assert heard == "554 5.4.6 This server delivers to itself: mail loop"
    assert _of(log, "refused")[:1] == [("refused", "mail_loop", "554 5.4.6")]


@pytest.mark.parametrize("name", ["OUTBOX_FULL", "LETTERS_LOOP"])
async def test_a_full_outbox_and_a_loop_of_letters_are_logged(name: str, tmp_path: Path) -> None:
    async with one(tmp_path, forwards(TEAM), "Outbox_Letters = 1") as (upstream, worker):
        upstream.recipients[TEAM] = says("451 4.3.0 not now")
        assert (await sent(worker)).startswith("250 ")
        with capture_logs() as log:
            heard = await sent(worker, FORGED["a_mark"] * (MOST_HOPS if name == "LETTERS_LOOP" else 0) + LETTER)
    reply = REFUSALS[name]
    assert heard == f"{reply.code} {reply.text}"
    by = "outbox_size" if name == "OUTBOX_FULL" else "outbox"
    assert _of(log, "message")[:1] == [("message", by, heard[:9])]


async def test_a_handler_that_wants_no_tls_is_named(certificate: Path, tmp_path: Path) -> None:
    named = handler(tmp_path, "def handle_STARTTLS(self, server, session, envelope):\n        return False")
    made = loading(tmp_path, 1, named)
    made.lines.append(f'TLS_Certificate = "{certificate}"')
    async with client_of(made) as client:
        await client.ehlo()
        await _tls(client)
        with capture_logs() as log:
            await client.ask("EHLO x")
    assert _of(log, "refused")[:1] == [("refused", "handler", "554 5.7.0")]


class _Blocked:
    """A list that has every client, from a file: no operator has given a reason."""

    def refusing(self, _names: object, _address: str) -> tuple[str, None]:
        return "blocked", None


async def test_a_client_that_a_list_refuses_names_the_list() -> None:
    async with serving(Refuse_Lists='( "blocked" )') as stage:
        stage.worker.front.lists = _Blocked()
        with capture_logs() as log:
            client = await stage.conversation()
    assert client.banner == "554 5.7.1 Your address is not welcome here"
    assert _of(log, "refused")[:1] == [("refused", "list blocked", "554 5.7.1")]
