"""AUTH: the exchange byte by byte, what it opens, and who judges the password."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from typer.testing import CliRunner

from proxy.app import load
from proxy.base.rejected import ConfigurationRejected
from proxy.cli import application
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.mail.verdict import PASS, Verdict
from proxy.outgoing.wire import Wire
from proxy.smtp.authentication import MOST_FAILED_AUTHENTICATIONS, ExchangeFailed, credentials_of
from proxy.smtp.connection import LONGEST_COMMAND, MOST_DISCARDED
from proxy.smtp.passwords import PasswordHash
from proxy.smtp.ports import Credentials, Verification
from proxy.upstream import credentials as subject
from proxy.upstream.credentials import LONGEST_COMMAND as LONGEST_WITH_RESPONSE
from proxy.upstream.credentials import CredentialChecker
from proxy.upstream.routes import Router
from sieve.phases import Phase
from tests.support.conversation import Conversation
from tests.support.exchanger import (
    EXTENSIONS,
    Act,
    Dialogue,
    Exchanger,
    Step,
    breaks_off,
    closes,
    is_silent,
    resets,
    says,
)
from tests.support.inbox import Inbox
from tests.support.worker import ALICE, BOB, LETTER, Rule, WorkerStage, assembly, core, resolver, serving

USER, PASSWORD = "alice", "s\u00e9same: open"
STRANGER = "someone@elsewhere.test"

ACCEPTED = "235 2.7.0 Authentication successful"
REFUSED = "535 5.7.8 Authentication credentials invalid"
BAD_BASE64 = "501 5.5.2 Cannot decode base64"
MALFORMED = "501 5.5.2 Malformed authentication response"
CANCELLED = "501 5.7.0 Authentication cancelled"
UNKNOWN_MECHANISM = "504 5.5.4 Unrecognized authentication type"
EHLO_FIRST = "503 5.5.1 Send EHLO first"
ASKS_USER, ASKS_PASSWORD = "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"
TRY_AGAIN = "454 4.7.0 Temporary authentication failure, try again later"


def encoded(text: str | bytes) -> str:
    return b64encode(text.encode() if isinstance(text, str) else text).decode()


def plain(user: str = USER, password: str = PASSWORD, identity: str = "") -> str:
    return encoded(f"{identity}\0{user}\0{password}")


def hashed_cheaply(password: str) -> str:
    """Hash as `ringback password` does, at a cost for tests."""
    bare = PasswordHash(4, 8, 1, b"salt" * 4, bytes(32))
    return str(PasswordHash(4, 8, 1, b"salt" * 4, bare.derived(password)))


def rewrite(path: Path, line: str) -> None:
    path.write_text(f"{line}\n")


def remove(path: Path) -> None:
    path.unlink()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_text(f"# users\n\n{USER}:{hashed_cheaply(PASSWORD)}\nde:colon:{hashed_cheaply('x')}\n")
    return path


@pytest.fixture
def certificate(authority: trustme.CA, tmp_path: Path) -> Path:
    issued = authority.issue_cert("mx.test", "127.0.0.1")
    path = tmp_path / "certificate.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@asynccontextmanager
async def in_the_clear(
    password_file: Path, upstream: Exchanger | None = None, *rules: Rule, **options: object
) -> AsyncIterator[WorkerStage]:
    """Serve with a password file and without TLS."""
    wanted = {"Authentication": "file", "Authentication_File": f'"{password_file}"', "Authentication_Without_TLS": "on"}
    async with serving(upstream, *rules, **(wanted | options)) as stage:
        yield stage


async def secured(client: Conversation, authority: trustme.CA) -> None:
    """Begin TLS, and say EHLO within it."""
    assert await client.ask("STARTTLS") == "220 2.0.0 Ready to start TLS"
    await client._writer.start_tls(trusting(authority), server_hostname="mx.test")


async def offered(client: Conversation) -> list[str]:
    """Return the EHLO lines that name AUTH."""
    return [line[4:] for line in (await client.ask("EHLO client.test")).split("\n") if "AUTH" in line]


# ---------------------------------------------------------------- when it is offered


async def test_auth_is_offered_within_tls_and_dropped_from_what_is_taken_before_it(
    authority: trustme.CA, certificate: Path, password_file: Path
) -> None:
    async with serving(
        Authentication="file", Authentication_File=f'"{password_file}"', TLS_Certificate=f'"{certificate}"'
    ) as stage:
        client = await stage.conversation()
        assert await offered(client) == []
        refused = "538 5.7.11 Encryption required for authentication; use STARTTLS first"
        assert await client.ask(f"AUTH PLAIN {plain()}") == refused
        assert await client.ask("MAIL FROM:<a@b.test> AUTH=<>") == "250 2.1.0 Sender OK"
        assert await client.ask("RSET") == "250 2.0.0 OK"
        await secured(client, authority)
        assert await client.ask(f"AUTH PLAIN {plain()}") == EHLO_FIRST
        assert await offered(client) == ["AUTH PLAIN LOGIN"]
        assert await client.ask(f"AUTH PLAIN {plain()}") == ACCEPTED


async def test_without_the_option_there_is_no_auth(certificate: Path, authority: trustme.CA) -> None:
    async with (
        Exchanger(extensions=("AUTH PLAIN",)) as upstream,
        serving(upstream, TLS_Certificate=f'"{certificate}"') as stage,
    ):
        client = await stage.conversation()
        await secured(client, authority)
        assert await offered(client) == []
        assert await client.ask(f"AUTH PLAIN {plain()}") == "502 5.5.1 Command not implemented"
        assert await client.ask("MAIL FROM:<a@b.test> AUTH=<>") == "250 2.1.0 Sender OK"
        assert await client.ask("RSET") == "250 2.0.0 OK"


async def test_the_operator_may_offer_it_in_the_clear(password_file: Path) -> None:
    async with in_the_clear(password_file) as stage:
        client = await stage.conversation()
        assert await offered(client) == ["AUTH PLAIN LOGIN"]


@pytest.mark.parametrize(
    ("before", "answer"),
    [
        ([], EHLO_FIRST),
        (["HELO client.test"], EHLO_FIRST),
        (["EHLO client.test", "MAIL FROM:<a@b.test>"], "503 5.5.1 Not allowed within a mail transaction"),
        (
            ["EHLO client.test", f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>"],
            "503 5.5.1 Not allowed within a mail transaction",
        ),
        (["EHLO client.test", f"AUTH PLAIN {plain()}"], "503 5.5.1 Already authenticated"),
        (["EHLO client.test", f"AUTH PLAIN {plain()}", "EHLO client.test"], "503 5.5.1 Already authenticated"),
        (["EHLO client.test", f"MAIL FROM:<{ALICE}>", "RSET"], ACCEPTED),
    ],
)
async def test_auth_comes_after_ehlo_outside_a_transaction_and_once(
    password_file: Path, before: list[str], answer: str
) -> None:
    async with Exchanger() as upstream, in_the_clear(password_file, upstream) as stage:
        client = await stage.conversation()
        for command in before:
            assert (await client.ask(command)).startswith("2")
        assert await client.ask(f"AUTH PLAIN {plain()}") == answer


# ---------------------------------------------------------------- the exchange


@pytest.mark.parametrize(
    "dialogue",
    [
        [(f"AUTH PLAIN {plain()}", ACCEPTED)],
        [(f"auth pLaIn {plain()}", ACCEPTED)],
        [(f"AUTH PLAIN {plain(identity=USER)}", ACCEPTED)],
        [("AUTH PLAIN", "334 "), (plain(), ACCEPTED)],
        [("AUTH LOGIN", ASKS_USER), (encoded(USER), ASKS_PASSWORD), (encoded(PASSWORD), ACCEPTED)],
        [(f"AUTH login {encoded(USER)}", ASKS_PASSWORD), (encoded(PASSWORD), ACCEPTED)],
        [(f"AUTH PLAIN {plain('de:colon', 'x')}", ACCEPTED)],
        [(f"AUTH PLAIN {plain(password='wrong')}", REFUSED), (f"AUTH PLAIN {plain()}", ACCEPTED)],
        [(f"AUTH PLAIN {plain('nobody')}", REFUSED)],
        [(f"AUTH PLAIN {plain('Alice')}", REFUSED)],
        [(f"AUTH PLAIN {plain(identity='root')}", REFUSED)],
        [("AUTH", "501 5.5.4 Syntax: AUTH mechanism [initial-response]")],
        [("AUTH CRAM-MD5", UNKNOWN_MECHANISM)],
        [("AUTH PLAINX", UNKNOWN_MECHANISM)],
        [("AUTH PLAIN =", MALFORMED)],
        [("AUTH PLAIN ====", BAD_BASE64)],
        [("AUTH PLAIN *", BAD_BASE64)],
        [("AUTH PLAIN AGFsaWNl AHg=", BAD_BASE64)],
        [(f"AUTH PLAIN {plain()[:-1]}", BAD_BASE64)],
        [("AUTH PLAIN", "334 "), ("not base64!", BAD_BASE64)],
        [("AUTH PLAIN", "334 "), ("", MALFORMED)],
        [("AUTH PLAIN", "334 "), ("*", CANCELLED)],
        [("AUTH LOGIN", ASKS_USER), ("*", CANCELLED)],
        [("AUTH LOGIN", ASKS_USER), (encoded(USER), ASKS_PASSWORD), ("*", CANCELLED)],
        [("AUTH LOGIN", ASKS_USER), ("%", BAD_BASE64)],
        [("AUTH LOGIN =", ASKS_PASSWORD), (encoded(PASSWORD), MALFORMED)],
        [("AUTH LOGIN", ASKS_USER), (encoded(USER), ASKS_PASSWORD), ("", MALFORMED)],
        [("AUTH LOGIN", ASKS_USER), (encoded("a\0b"), ASKS_PASSWORD), (encoded(PASSWORD), MALFORMED)],
        [(f"AUTH PLAIN {encoded(b'alice')}", MALFORMED)],
        [(f"AUTH PLAIN {encoded(b'a' + bytes(1) + b'alice')}", MALFORMED)],
        [(f"AUTH PLAIN {encoded(bytes(1) + b'alice' + bytes(1))}", MALFORMED)],
        [(f"AUTH PLAIN {encoded(bytes(2) + b'x')}", MALFORMED)],
        [(f"AUTH PLAIN {encoded(bytes(1) + b'a' + bytes(1) + b'b' + bytes(1))}", MALFORMED)],
        [(f"AUTH PLAIN {encoded(bytes(1) + b'alice' + bytes(1) + bytes([255]))}", MALFORMED)],
    ],
)
async def test_each_step_of_the_exchange_has_its_answer(password_file: Path, dialogue: list[tuple[str, str]]) -> None:
    async with in_the_clear(password_file) as stage:
        client = await stage.greeted()
        assert [(line, await client.ask(line)) for line, _ in dialogue] == dialogue
        assert await client.ask("NOOP") == "250 2.0.0 OK"


@pytest.mark.parametrize("line", [f"{plain()}\n", f"{plain()}\r\r\n", f"\r{plain()}\r\n", f"{plain()} \r\n", "*\n"])
async def test_a_response_is_one_line_and_nothing_but_base64(password_file: Path, line: str) -> None:
    async with in_the_clear(password_file) as stage:
        client = await stage.greeted()
        assert await client.ask("AUTH PLAIN") == "334 "
        await client.send_raw(line.encode())
        assert await client.reply() == BAD_BASE64


async def test_a_response_that_is_too_long_ends_the_exchange_and_not_the_session(password_file: Path) -> None:
    async with in_the_clear(password_file) as stage:
        client = await stage.greeted()
        assert await client.ask("AUTH PLAIN") == "334 "
        too_long = "500 5.5.6 Authentication exchange line too long"
        assert await client.ask("A" * (LONGEST_COMMAND + 1)) == too_long
        assert await client.ask(f"AUTH PLAIN {plain()}") == ACCEPTED


async def test_an_endless_response_ends_the_session(password_file: Path) -> None:
    async with in_the_clear(password_file) as stage:
        client = await stage.greeted()
        assert await client.ask("AUTH LOGIN") == ASKS_USER
        await client.send_raw(b"A" * (MOST_DISCARDED + LONGEST_COMMAND + 2))
        assert await client.reply() == "500 5.5.6 Authentication exchange line too long"
        assert await client.rest() == b""


async def test_a_client_that_stops_in_the_exchange_is_sent_away(password_file: Path) -> None:
    async with in_the_clear(password_file, Idle_Time=0.3) as stage:
        client = await stage.greeted()
        assert await client.ask("AUTH LOGIN") == ASKS_USER
        assert await client.reply() == "421 4.4.2 Timeout exceeded, closing"
        assert await client.rest() == b""


async def test_a_client_that_leaves_in_the_exchange_leaves_no_error(password_file: Path) -> None:
    async with Exchanger() as upstream, in_the_clear(password_file, upstream) as stage:
        with capture_logs() as logs:
            client = await stage.greeted()
            assert await client.ask("AUTH LOGIN") == ASKS_USER
            client.abort()
            await stage.ended()
        assert [(each["event"], each["ended"]) for each in logs] == [("session", "client gone")]


# ---------------------------------------------------------------- what is refused


async def test_the_third_wrong_password_ends_the_session(password_file: Path) -> None:
    async with in_the_clear(password_file) as stage:
        client = await stage.greeted()
        for _ in range(MOST_FAILED_AUTHENTICATIONS - 1):
            assert await client.ask(f"AUTH PLAIN {plain(password='wrong')}") == REFUSED
        await client.send(f"AUTH PLAIN {plain(password='wrong')}")
        assert await client.rest() == (f"{REFUSED}\r\n421 4.7.0 Too many failed authentications, closing\r\n".encode())


async def test_neither_password_nor_response_reaches_the_log(password_file: Path) -> None:
    async with Exchanger() as upstream, in_the_clear(password_file, upstream) as stage:
        with capture_logs() as logs:
            client = await stage.greeted()
            assert await client.ask(f"AUTH PLAIN {plain(password='wrong-secret')}") == REFUSED
            assert await client.ask("AUTH PLAIN") == "334 "
            assert await client.ask(plain()) == ACCEPTED
            await client.quit()
            await stage.ended()
    said = [{name: each[name] for name in ("event", "user", "mechanism")} for each in logs if "mechanism" in each]
    assert said == [
        {"event": "authentication_failed", "user": USER, "mechanism": "PLAIN"},
        {"event": "authenticated", "user": USER, "mechanism": "PLAIN"},
    ]
    for secret in ("wrong-secret", PASSWORD, plain(), plain(password="wrong-secret")):
        assert secret not in repr(logs)
    assert PASSWORD not in repr(Credentials("PLAIN", USER, PASSWORD))


# ---------------------------------------------------------------- what it opens


async def test_who_has_authenticated_may_send_anywhere_and_the_trace_field_says_how(
    authority: trustme.CA, certificate: Path, password_file: Path
) -> None:
    seen: list[dict[str, str]] = []

    async def look(session: Session) -> Verdict:
        seen.append(
            {name: session.context.get(name, "") for name in ("auth_user", "auth_name", "auth_status", "can_relay")}
        )
        return PASS

    options = {"Authentication": "file", "Authentication_File": f'"{password_file}"'}
    rule = Rule(Phase.MAILFROM, look)
    async with Exchanger() as upstream:
        async with serving(upstream, rule, TLS_Certificate=f'"{certificate}"', **options) as stage:
            client = await stage.conversation()
            await secured(client, authority)
            await client.ehlo()
            assert await client.ask(f"MAIL FROM:<{ALICE}>") == "250 2.1.0 Sender OK"
            assert await client.ask(f"RCPT TO:<{STRANGER}>") == "550 5.7.1 Relaying denied"
            assert await client.ask("RSET") == "250 2.0.0 OK"
            assert await client.ask(f"AUTH PLAIN {plain()}") == ACCEPTED
            assert (await client.deliver(ALICE, [STRANGER], LETTER)).startswith("250 ")
        assert seen == [
            {"auth_user": "", "auth_name": "", "auth_status": "", "can_relay": "false"},
            {"auth_user": USER, "auth_name": "PLAIN", "auth_status": "pass", "can_relay": "true"},
        ]
        (message,) = upstream.messages
        assert b" with ESMTPSA id " in message.content


async def test_starttls_forgets_who_authenticated_in_the_clear(
    authority: trustme.CA, certificate: Path, password_file: Path
) -> None:
    async with (
        Exchanger() as upstream,
        in_the_clear(password_file, upstream, TLS_Certificate=f'"{certificate}"') as stage,
    ):
        client = await stage.greeted()
        assert await client.ask(f"AUTH PLAIN {plain()}") == ACCEPTED
        await secured(client, authority)
        await client.ehlo()
        assert await client.ask(f"MAIL FROM:<{ALICE}>") == "250 2.1.0 Sender OK"
        assert await client.ask(f"RCPT TO:<{STRANGER}>") == "550 5.7.1 Relaying denied"
        assert await client.ask("RSET") == "250 2.0.0 OK"
        assert await client.ask(f"AUTH PLAIN {plain()}") == ACCEPTED


@pytest.mark.parametrize(
    ("carried", "parameter", "goes_on"),
    [
        ("AUTH PLAIN", "<>", " AUTH=<>"),
        ("AUTH PLAIN", "alice", " AUTH=alice"),
        ("AUTH PLAIN", "al+69ce", " AUTH=al+69ce"),
        ("AUTH PLAIN", "boss@example.com", " AUTH=<>"),
        ("8BITMIME", "alice", ""),
    ],
)
async def test_the_submitter_goes_on_where_it_is_the_user_and_the_upstream_has_auth(
    password_file: Path, carried: str, parameter: str, goes_on: str
) -> None:
    async with Exchanger(extensions=(carried,)) as upstream, in_the_clear(password_file, upstream) as stage:
        client = await stage.greeted()
        assert await client.ask(f"AUTH PLAIN {plain()}") == ACCEPTED
        assert await client.ask(f"MAIL FROM:<{ALICE}> AUTH={parameter}") == "250 2.1.0 Sender OK"
        assert await client.ask(f"RCPT TO:<{BOB}>") == "250 2.1.5 Ok"
        assert f"MAIL FROM:<{ALICE}>{goes_on}" in upstream.commands


@pytest.mark.parametrize("parameter", ["AUTH", "AUTH=", "AUTH=a=b", "AUTH=a+2"])
async def test_a_submitter_is_xtext_or_empty(password_file: Path, parameter: str) -> None:
    async with in_the_clear(password_file) as stage:
        client = await stage.greeted()
        assert await client.ask(f"MAIL FROM:<{ALICE}> {parameter}") == "555 5.5.4 Unsupported option"


async def test_a_stranger_names_no_submitter(password_file: Path) -> None:
    async with Exchanger(extensions=("AUTH PLAIN",)) as upstream, in_the_clear(password_file, upstream) as stage:
        client = await stage.greeted()
        assert await client.ask(f"MAIL FROM:<{ALICE}> AUTH=alice") == "250 2.1.0 Sender OK"
        assert await client.ask(f"RCPT TO:<{BOB}>") == "250 2.1.5 Ok"
        assert f"MAIL FROM:<{ALICE}> AUTH=<>" in upstream.commands


class Informed(Exchanger):
    """An upstream that takes XCLIENT."""

    def act_at(self, step: Step, command: str) -> Act:
        return says("220 exchanger.test ESMTP") if command.startswith("XCLIENT") else super().act_at(step, command)


async def test_xclient_tells_the_user_on_a_connection_of_its_own(password_file: Path) -> None:
    async with (
        Informed(extensions=("XCLIENT ADDR LOGIN",)) as upstream,
        in_the_clear(password_file, upstream, XCLIENT="required") as stage,
    ):
        client = await stage.greeted()
        assert (await client.deliver(ALICE, [BOB], LETTER)).startswith("250 ")
        assert await client.ask(f"AUTH PLAIN {plain()}") == ACCEPTED
        assert (await client.deliver(ALICE, [BOB], LETTER)).startswith("250 ")
        told = [command for command in upstream.commands if command.startswith("XCLIENT")]
        assert told == ["XCLIENT ADDR=127.0.0.1", "XCLIENT ADDR=127.0.0.1 LOGIN=alice"]


# ---------------------------------------------------------------- a real client


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("initial", [True, False])
async def test_smtplib_logs_in_and_delivers(
    authority: trustme.CA, certificate: Path, password_file: Path, mechanism: str, *, initial: bool
) -> None:
    secret = "only ascii in smtplib"
    rewrite(password_file, f"{USER}:{hashed_cheaply(secret)}")

    def deliver(port: int) -> tuple[tuple[int, bytes], dict[str, object]]:
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
            client.starttls(context=trusting(authority))
            client.ehlo()
            client.user, client.password = USER, secret
            answer = client.auth(mechanism, getattr(client, f"auth_{mechanism.lower()}"), initial_response_ok=initial)
            return answer, client.sendmail(ALICE, [STRANGER], LETTER)

    options = {"Authentication": "file", "Authentication_File": f'"{password_file}"'}
    async with (
        Exchanger() as upstream,
        serving(upstream, TLS_Certificate=f'"{certificate}"', **options) as stage,
    ):
        answer, refused = await asyncio.to_thread(deliver, stage.port)
    assert (answer, refused) == ((235, b"2.7.0 Authentication successful"), {})
    assert [each.recipients for each in upstream.messages] == [(f"RCPT TO:<{STRANGER}>",)]


# ---------------------------------------------------------------- the file


def test_a_hash_by_others_is_read_and_written_as_it_came() -> None:
    # The example of passlib's documentation.
    text = "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E"
    hashed = PasswordHash.read(text)
    assert hashed is not None
    assert hashed.matches("password")
    assert not hashed.matches("Password")
    assert str(hashed) == text


def test_a_password_hashed_twice_has_two_hashes_and_both_match() -> None:
    one, two = PasswordHash.of(PASSWORD), PasswordHash.of(PASSWORD)
    assert str(one) != str(two)
    assert one.matches(PASSWORD)
    assert (one.log_cost, one.block, one.parallel, len(one.salt), len(one.key)) == (15, 8, 3, 16, 32)
    assert PasswordHash.read(str(one)) == one


def test_a_user_who_does_not_exist_costs_as_much_as_one_who_does() -> None:
    decoy, real = PasswordHash.decoy(), PasswordHash.of("x")
    assert (decoy.log_cost, decoy.block, decoy.parallel) == (real.log_cost, real.block, real.parallel)
    assert not decoy.matches("x")


async def test_a_changed_file_is_in_force_at_once_and_a_broken_one_is_not(password_file: Path) -> None:
    async with in_the_clear(password_file) as stage:
        client = await stage.greeted()
        assert await client.ask(f"AUTH PLAIN {plain('bob', 'new')}") == REFUSED
        with capture_logs() as logs:
            rewrite(password_file, f"bob:{hashed_cheaply('new')}")
            other = await stage.greeted()
            assert await other.ask(f"AUTH PLAIN {plain()}") == REFUSED
            assert await other.ask(f"AUTH PLAIN {plain('bob', 'new')}") == ACCEPTED
            rewrite(password_file, "bob:plain text")
            assert await client.ask(f"AUTH PLAIN {plain('bob', 'new')}") == ACCEPTED
    told = [each for each in logs if each["event"].startswith("password_file")]
    assert told == [
        {"event": "password_file_loaded", "log_level": "info", "path": str(password_file), "users": 1},
        {
            "event": "password_file_unusable",
            "log_level": "error",
            "path": str(password_file),
            "reason": "line 1 is not `user:hash` with an scrypt hash",
        },
    ]


async def test_a_file_that_vanishes_before_it_was_read_is_no_refusal(password_file: Path) -> None:
    async with in_the_clear(password_file) as stage:
        remove(password_file)
        client = await stage.greeted()
        with capture_logs() as logs:
            assert await client.ask(f"AUTH PLAIN {plain()}") == TRY_AGAIN
        told, refused = logs
        assert (told["event"], refused["event"]) == ("credentials_unverified", "refused")
        assert (refused["decided_by"], refused["argument"]) == ("authentication", "")
        assert told["reason"].startswith("the password file cannot be used: [Errno 2] ")


# ---------------------------------------------------------------- what the configuration says


def diagnostics_of(tmp_path: Path, *lines: str) -> list[str]:
    path = tmp_path / "ecelerity.conf"
    path.write_text("\n".join(("ESMTP_Listener = ( 127.0.0.1:0 )", "Gateway = 127.0.0.1", *lines)) + "\n")
    try:
        _, found = load(path)
    except ConfigurationRejected as rejected:
        found = rejected.diagnostics
    return [f"{each.severity.value}: {each.message}" for each in found]


HASH = hashed_cheaply("x")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("alice:secret", "line 1 is not `user:hash` with an scrypt hash"),
        (f"\n:{HASH}", "line 2 is not `user:hash` with an scrypt hash"),
        ("alice", "line 1 is not `user:hash` with an scrypt hash"),
        (f"alice:{HASH}x!", "line 1 is not `user:hash` with an scrypt hash"),
        (f"a:{HASH}\na:{HASH}", "line 2 names a user for the second time"),
        (f"a:{HASH.replace('ln=4', 'ln=30')}", "line 1 is not `user:hash` with an scrypt hash"),
        (f"a:{HASH.replace('ln=4', 'ln=0')}", "line 1 is not `user:hash` with an scrypt hash"),
        (f"a:{HASH.replace('r=8', 'r=0')}", "line 1 is not `user:hash` with an scrypt hash"),
        ("a:$scrypt$ln=4,r=8,p=1$AAAAA$AAAA", "line 1 is not `user:hash` with an scrypt hash"),
        ("a:$scrypt$ln=4,r=8,p=1$AAAA$AAAA", "line 1 is not `user:hash` with an scrypt hash"),
    ],
)
def test_a_password_file_with_a_mistake_is_a_diagnostic(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "users").write_text(content + "\n")
    assert diagnostics_of(
        tmp_path, "Authentication = file", "Authentication_File = users", "Authentication_Without_TLS = on"
    ) == [f"error: the password file cannot be used: {problem}"]


def test_what_cannot_work_is_said_when_the_configuration_is_loaded(tmp_path: Path) -> None:
    clear = "Authentication_Without_TLS = on"
    assert diagnostics_of(tmp_path, "Authentication = file", clear) == [
        "error: Authentication is `file`, but Authentication_File is not set"
    ]
    assert diagnostics_of(tmp_path, "Authentication = file", "Authentication_File = users", clear) == [
        "error: the password file cannot be used: No such file or directory"
    ]
    assert diagnostics_of(tmp_path, "Authentication = upstream") == ["warning: AUTH is never offered without TLS"]
    assert diagnostics_of(tmp_path, "Authentication = upstream", clear) == []


def test_the_command_line_prints_a_line_for_the_file() -> None:
    answered = CliRunner().invoke(application, ["password", USER], input="secret\nsecret\n")
    assert answered.exit_code == 0
    user, _, written = answered.stdout.splitlines()[-1].rpartition(":")
    hashed = PasswordHash.read(written)
    assert user == USER
    assert hashed is not None
    assert hashed.matches("secret")
    assert "secret" not in answered.output


@pytest.mark.parametrize("user", ["#alice", " alice", "al\nice"])
def test_a_name_that_the_file_cannot_hold_is_wrong_usage(user: str) -> None:
    assert CliRunner().invoke(application, ["password", user]).exit_code == 64


# ---------------------------------------------------------------- the next hop


class Judge(Exchanger):
    """An upstream that answers AUTH as told, and STARTTLS if it has a certificate."""

    def __init__(
        self,
        act: Act,
        *,
        offers: str = "AUTH PLAIN LOGIN",
        script: Mapping[Step, Act] | None = None,
        context: ssl.SSLContext | None = None,
        challenge: str = "334 ",
    ) -> None:
        super().__init__(extensions=(*EXTENSIONS, offers, *(("STARTTLS",) if context else ())), script=script)
        self._act, self._context, self._challenge = act, context, challenge
        self.secured = 0

    def act_at(self, step: Step, command: str) -> Act:
        if command == "AUTH PLAIN":
            return says(self._challenge)
        return self._act if step is Step.OTHER else super().act_at(step, command)

    async def _command(self, dialogue: Dialogue, command: str, inbox: Inbox) -> None:
        if command != "STARTTLS" or self._context is None:
            await super()._command(dialogue, command, inbox)
            return
        dialogue.commands.append(command)
        dialogue.writer.write(b"220 2.0.0 go\r\n")
        await dialogue.writer.drain()
        await dialogue.writer.start_tls(self._context)
        self.secured += 1


async def verdict_of(judge: Exchanger, password: str = PASSWORD, **options: object) -> tuple[Verification, list[str]]:
    """Ask the upstream; return the verdict, or why there was no verdict."""
    loaded = assembly(judge.port, Authentication="upstream", Authentication_Without_TLS="on", **options)
    checker = CredentialChecker(Router(loaded.settings), resolver())
    session = Session(asyncio.get_running_loop(), ("192.0.2.1", 1), ("127.0.0.1", 25), loaded.core)
    with capture_logs() as logs:
        found = await checker.verify(session, Credentials("LOGIN", USER, password))
    assert password not in repr(logs)
    return found, [each["reason"] for each in logs if each["event"] == "credentials_unverified"]


@pytest.mark.parametrize(
    ("answer", "found", "reasons"),
    [
        ("235 2.7.0 ok", Verification.ACCEPTED, []),
        ("535 5.7.8 no", Verification.REFUSED, []),
        ("535 no", Verification.REFUSED, []),
        ("550 5.7.8 no", Verification.REFUSED, []),
        ("250 2.0.0 odd", Verification.UNKNOWN, ["answered AUTH with 250 2.0.0 odd"]),
        ("334 ", Verification.UNKNOWN, ["answered AUTH with 334 "]),
        ("421 4.3.2 closing", Verification.UNKNOWN, ["answered AUTH with 421 4.3.2 closing"]),
        ("454 4.7.0 later", Verification.UNKNOWN, ["answered AUTH with 454 4.7.0 later"]),
        ("454 5.7.8 odd", Verification.UNKNOWN, ["answered AUTH with 454 5.7.8 odd"]),
        ("503 5.5.1 not enabled", Verification.UNKNOWN, ["answered AUTH with 503 5.5.1 not enabled"]),
        ("534 5.7.9 too weak", Verification.UNKNOWN, ["answered AUTH with 534 5.7.9 too weak"]),
        ("538 5.7.11 TLS first", Verification.UNKNOWN, ["answered AUTH with 538 5.7.11 TLS first"]),
    ],
)
async def test_only_235_is_yes_and_only_a_refused_password_is_no(
    answer: str, found: Verification, reasons: list[str]
) -> None:
    async with Judge(says(answer)) as judge:
        assert await verdict_of(judge) == (found, reasons)
        await judge.until(lambda: not judge.open_dialogues, "the connection is closed")
    assert judge.commands == ["EHLO ringback.test", f"AUTH PLAIN {plain()}", "QUIT"]


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (closes(), "lost at AUTH: closed by the peer"),
        (resets(), "lost at AUTH: reset by the peer"),
        (breaks_off(b"235 2.7"), "lost at AUTH: closed by the peer"),
        (says("235-2.7.0 ok", "535 5.7.8 no"), "lost at AUTH: a reply mixes codes"),
        (is_silent(), "timeout"),
    ],
)
async def test_an_upstream_that_breaks_off_is_no_refusal(act: Act, reason: str) -> None:
    async with Judge(act) as judge:
        assert await verdict_of(judge, EHLO_Timeout=1) == (Verification.UNKNOWN, [reason])


async def test_an_upstream_that_takes_no_connection_is_no_refusal() -> None:
    async with Judge(says("235 ok")) as judge:
        await judge.stop_listening()
        found, (reason,) = await verdict_of(judge)
    assert found is Verification.UNKNOWN
    assert reason.startswith("127.0.0.1: ")


async def test_the_line_for_a_verification_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "VERIFY_SECONDS", 0.3)
    async with Judge(is_silent()) as judge:
        assert await verdict_of(judge) == (Verification.UNKNOWN, ["timeout"])


@pytest.mark.parametrize("offers", ["AUTH LOGIN CRAM-MD5", "AUTH", "8BITMIME"])
async def test_an_upstream_without_auth_plain_hears_no_password(offers: str) -> None:
    async with Judge(says("235 ok"), offers=offers) as judge:
        assert await verdict_of(judge) == (Verification.UNKNOWN, ["the next hop does not offer AUTH PLAIN"])
        await judge.until(lambda: not judge.open_dialogues, "the connection is closed")
    assert judge.commands == ["EHLO ringback.test", "QUIT"]


async def test_a_long_password_goes_in_a_line_of_its_own() -> None:
    password = "p" * LONGEST_WITH_RESPONSE
    async with Judge(says("235 2.7.0 ok")) as judge:
        assert await verdict_of(judge, password) == (Verification.ACCEPTED, [])
    assert judge.commands[1:3] == ["AUTH PLAIN", plain(password=password)]
    async with Judge(says("235 2.7.0 ok"), challenge="535 5.7.8 no") as judge:
        assert await verdict_of(judge, password) == (Verification.REFUSED, [])


async def test_tls_is_spoken_as_the_upstreams_options_say(certificate: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with Judge(says("235 2.7.0 ok"), context=context) as judge:
        assert await verdict_of(judge, TLS="required") == (Verification.ACCEPTED, [])
        assert judge.secured == 1
        assert judge.commands[:4] == [
            "EHLO ringback.test", "STARTTLS", "EHLO ringback.test", f"AUTH PLAIN {plain()}",
        ]  # fmt: skip
        found, (reason,) = await verdict_of(judge, TLS="required", TLS_Verify="host")
    assert found is Verification.UNKNOWN
    assert "certificate verify failed" in reason


class Elsewhere:
    """A transport to some address, encrypted or not."""

    def __init__(self, address: str, *, encrypted: bool) -> None:
        self._known = {"peername": (address, 25), "ssl_object": object() if encrypted else None}

    def get_extra_info(self, name: str) -> object:
        return self._known[name]


@pytest.mark.parametrize(
    ("address", "encrypted", "private"),
    [
        ("127.0.0.1", False, True),
        ("127.9.9.9", False, True),
        ("::1", False, True),
        ("::ffff:127.0.0.1", False, True),
        ("192.0.2.1", True, True),
        ("192.0.2.1", False, False),
        ("10.0.0.1", False, False),
        ("fe80::1%eth0", False, False),
        ("::ffff:10.0.0.1", False, False),
    ],
)
async def test_a_password_leaves_the_machine_within_tls_only(address: str, *, encrypted: bool, private: bool) -> None:
    transport = cast(asyncio.Transport, Elsewhere(address, encrypted=encrypted))
    assert subject._is_private(Wire(transport, {})) is private


async def test_in_the_clear_nothing_is_said_to_an_upstream_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_is_private", lambda wire: wire is None)
    async with Judge(says("235 ok")) as judge:
        found, (reason,) = await verdict_of(judge)
        await judge.until(lambda: not judge.open_dialogues, "the connection is closed")
    assert found is Verification.UNKNOWN
    assert reason == "no TLS: passwords never leave the machine in clear text; set TLS"
    assert judge.commands == ["EHLO ringback.test", "QUIT"]


@pytest.mark.parametrize(
    ("answer", "reply"), [("235 2.7.0 ok", ACCEPTED), ("535 5.7.8 no", REFUSED), ("454 4.7.0 later", TRY_AGAIN)]
)
async def test_a_client_hears_what_the_upstream_thinks_of_its_password(answer: str, reply: str) -> None:
    options = {"Authentication": "upstream", "Authentication_Without_TLS": "on"}
    async with Judge(says(answer)) as judge, serving(judge, **options) as stage:
        client = await stage.greeted()
        assert await client.ask("AUTH LOGIN") == ASKS_USER
        assert await client.ask(encoded(USER)) == ASKS_PASSWORD
        assert await client.ask(encoded(PASSWORD)) == reply
        assert f"AUTH PLAIN {plain()}" in judge.commands
        assert await client.ask("NOOP") == "250 2.0.0 OK"


async def test_without_a_verifier_that_is_configured_nobody_is_let_in() -> None:
    checker = CredentialChecker(Router(assembly().settings), resolver())
    session = Session(asyncio.get_running_loop(), ("192.0.2.1", 1), ("127.0.0.1", 25), core())
    assert await checker.verify(session, Credentials("PLAIN", USER, PASSWORD)) is Verification.UNKNOWN


async def test_a_client_that_leaves_while_it_is_judged_leaves_no_connection_upstream() -> None:
    never = asyncio.Event()
    options = {"Authentication": "upstream", "Authentication_Without_TLS": "on"}
    async with Judge(says("235 2.7.0 ok", until=never)) as judge, serving(judge, **options) as stage:
        client = await stage.greeted()
        await client.send(f"AUTH PLAIN {plain()}")
        await judge.until(lambda: bool(judge.held), "the upstream is asked")
        (asked,) = judge.held
        client.abort()
        await stage.ended()
        never.set()
        await judge.until(lambda: asked.ended, "its connection is gone")


async def test_a_shutdown_ends_the_exchange(password_file: Path) -> None:
    async with in_the_clear(password_file) as stage:
        client = await stage.greeted()
        assert await client.ask("AUTH LOGIN") == ASKS_USER
        await stage.worker.stop()
        assert await client.reply() == "421 4.3.2 Service shutting down, try again"
        assert await client.rest() == b""


# ---------------------------------------------------------------- any bytes

_SOMETHING = st.binary(max_size=60)
_ENCODED = _SOMETHING.map(b64encode)


@given(
    mechanism=st.sampled_from([b"PLAIN", b"login", b"X", b""]),
    initial=st.one_of(st.just(b""), st.just(b"="), _SOMETHING, _ENCODED),
    lines=st.lists(st.one_of(_SOMETHING, _ENCODED.map(lambda line: line + b"\r\n"), st.just(b"*\r\n")), min_size=2),
)
async def test_any_bytes_come_to_credentials_or_to_a_refusal(
    mechanism: bytes, initial: bytes, lines: list[bytes]
) -> None:
    left = iter(lines)

    async def ask(challenge: Reply) -> bytes:
        assert challenge.code == 334
        return next(left)

    found: Credentials | int
    try:
        found = await credentials_of(mechanism + b" " + initial if initial else mechanism, ask)
    except ExchangeFailed as failed:
        found = failed.reply.code
    if isinstance(found, Credentials):
        assert found.user
        assert found.password
        assert "\0" not in found.user + found.password
    else:
        assert found in {501, 504, 535}
