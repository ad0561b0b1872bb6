"""Listeners as Momentum 2.2 and 4.x write them do what they did there: real sockets, real handshakes."""

from __future__ import annotations

import hashlib
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from config.scopes.listener import Listener
from proxy.app import load, load_service
from proxy.mail.session import Session
from proxy.mail.verdict import PASS, Verdict
from proxy.options.outbound import OutboundOptions
from proxy.server.sockets import CannotListen, WorkerSockets
from proxy.smtp.passwords import BadPasswordFile, PasswordFile
from proxy.upstream.tls import context_of
from sieve.phases import Phase
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.worker import Rule, serving

INSIDE, OUTSIDE = "127.0.0.1", "127.0.0.2"
READY = "220 2.0.0 Ready to start TLS"
BANNER = "220 mx.test ESMTP Ringback"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def folder(tmp_path: Path, authority: trustme.CA) -> Path:
    """A folder with a certificate of mx.test, and with passwords in both forms of Momentum."""
    issued = authority.issue_cert("mx.test")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "c.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "k.pem"))
    digest = hashlib.md5(b"us:mail:se:cret", usedforsecurity=False).hexdigest()
    (tmp_path / "clear").write_text("# users\nus:se:cret\n")
    (tmp_path / "digest").write_text(f"us:mail:{digest}\n")
    for each in ("k.pem", "clear", "digest"):
        (tmp_path / each).chmod(0o600)
    return tmp_path


@asynccontextmanager
async def listening(folder: Path, listener: str, *lines: str) -> AsyncIterator[tuple[str, int]]:
    """Serve with this listener; return its address."""
    async with Exchanger() as upstream:
        text = [
            listener.replace("FOLDER", str(folder)),
            "Hostname = mx.test",
            "Relay_Domains = ( example.com )",
            'Gateway = "127.0.0.1"',
            f"Remote_SMTP_Port = {upstream.port}",
            *lines,
        ]
        path = folder / "ecelerity.conf"
        path.write_text("\n".join(text) + "\n")
        worker = load_service(path)
        await worker.start()
        try:
            yield worker.addresses[0]
        finally:
            await worker.stop(now=True)


@asynccontextmanager
async def talking(folder: Path, listener: str) -> AsyncIterator[Conversation]:
    """Serve with this listener, and connect."""
    async with listening(folder, listener) as address, await Conversation.open(*address) as client:
        yield client


def rules(*written: str) -> str:
    return f"ESMTP_Listener = ( 127.0.0.1:0 [ {' '.join(written)} ] )"


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def serial_of(client: Conversation) -> str:
    """Return the server's certificate, as the client saw it."""
    shown = client._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return ssl.DER_cert_to_PEM_cert(shown)


async def secured(client: Conversation, authority: trustme.CA) -> str:
    """Begin TLS and greet; return the EHLO reply."""
    assert await client.ask("STARTTLS") == READY
    await client._writer.start_tls(trusting(authority), server_hostname="mx.test")
    return await client.ehlo()


TLS = 'TLS [ extension = "STARTTLS" certificate = "c.pem" key = "k.pem" ]'
LOGIN = 'LOGIN [ extension = "AUTH" extension_argument = "LOGIN" uri = "file://FOLDER/clear" ]'
DIGEST = 'LOGIN [ extension = "AUTH" extension_argument = "LOGIN" uri = "digest://FOLDER/digest" ]'


# ---------------------------------------------------------------- TLS


async def test_starttls_of_22_shakes_hands_with_the_certificate_of_its_rule(
    folder: Path, authority: trustme.CA
) -> None:
    async with (
        listening(folder, rules(f"0.0.0.0/0 = ( {TLS} continue )")) as address,
        await Conversation.open(*address) as client,
    ):
        assert "STARTTLS" in await client.ehlo()
        await secured(client, authority)
        assert serial_of(client).split() == (folder / "c.pem").read_text().split()


async def test_starttls_of_22_is_for_the_networks_of_its_rule(folder: Path) -> None:
    async with listening(folder, rules(f"{OUTSIDE}/32 = ( {TLS} )")) as address:
        found = {}
        for source in (INSIDE, OUTSIDE):
            async with await Conversation.open(*address, source=source) as client:
                found[source] = "STARTTLS" in await client.ehlo()
        assert found == {INSIDE: False, OUTSIDE: True}


async def test_a_client_certificate_is_required_by_verify_mode_of_22(folder: Path, authority: trustme.CA) -> None:
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    strict = TLS.replace("]", 'clientca = "ca.pem" verify_mode = "require" ]')
    async with (
        listening(folder, rules(f"0.0.0.0/0 = ( {strict} )")) as address,
        await Conversation.open(*address) as client,
    ):
        await client.ehlo()
        with pytest.raises((OSError, ssl.SSLError, AssertionError, EOFError)):
            await secured(client, authority)


async def test_ssl_of_22_speaks_tls_from_the_first_byte_with_the_networks_of_its_rule(
    folder: Path, authority: trustme.CA
) -> None:
    ssl_rule = '0.0.0.0/0 = ( SSL [ certificate = "c.pem" key = "k.pem" ] )'
    async with listening(folder, rules(f"{OUTSIDE}/32 = ( ENHANCEDSTATUSCODES )", ssl_rule)) as address:
        client = await Conversation.connect(*address)
        await client._writer.start_tls(trusting(authority), server_hostname="mx.test")
        assert await client.reply() == BANNER
        assert serial_of(client).split() == (folder / "c.pem").read_text().split()
        client.abort()
        async with await Conversation.open(*address, source=OUTSIDE) as plain:
            assert plain.banner == BANNER


async def test_use_ssl_of_4x_is_implicit_tls(folder: Path, authority: trustme.CA) -> None:
    stanza = 'ESMTP_Listener { Use_SSL = true TLS_Certificate = "c.pem" TLS_Key = "k.pem" Listen "127.0.0.1:0" { } }'
    async with listening(folder, stanza) as address:
        client = await Conversation.connect(*address)
        await client._writer.start_tls(trusting(authority), server_hostname="mx.test")
        assert await client.reply() == BANNER
        client.abort()


def test_tls_verify_optional_delivers_whatever_the_certificate_is() -> None:
    policy = OutboundOptions.model_construct(tls_verify="optional")
    assert context_of(policy).verify_mode is ssl.CERT_NONE
    assert context_of(OutboundOptions.model_construct(tls_verify="host")).verify_mode is ssl.CERT_REQUIRED


# ---------------------------------------------------------------- XCLIENT and AUTH


@pytest.mark.parametrize(
    "listener",
    [
        rules(f'{OUTSIDE}/32 = ( XCLIENT [ extension = "XCLIENT" ] continue )', "0.0.0.0/0 = ( ENHANCEDSTATUSCODES )"),
        f'ESMTP_Listener {{ Listen "127.0.0.1:0" {{ Peer "{OUTSIDE}" {{ SMTP_Extensions = ( "XCLIENT" ) }} }} }}',
    ],
    ids=["2.2", "4.x"],
)
async def test_xclient_is_for_the_networks_that_have_the_extension(folder: Path, listener: str) -> None:
    async with listening(folder, listener) as address:
        found = {}
        for source in (INSIDE, OUTSIDE):
            async with await Conversation.open(*address, source=source) as client:
                found[source] = ("XCLIENT" in await client.ehlo(), await client.ask("XCLIENT ADDR=198.51.100.7"))
        assert found == {INSIDE: (False, "550 5.7.0 Insufficient authorization"), OUTSIDE: (True, BANNER)}


def answer(text: str) -> str:
    return b64encode(text.encode()).decode()


LISTENER_4X = """\
ESMTP_Listener {
  TLS_Certificate = "c.pem"
  TLS_Key = "k.pem"
  Listen "127.0.0.1:0" {
    SMTP_Extensions = ( "ENHANCEDSTATUSCODES" "AUTH LOGIN" "AUTH PLAIN" )
    AuthLoginParameters = [ uri = "file://FOLDER/clear" log_authentication = "true" ]
  }
}
"""


@pytest.mark.parametrize(
    "listener",
    [rules(f"0.0.0.0/0 = ( {TLS} {LOGIN} )"), rules(f"0.0.0.0/0 = ( {TLS} {DIGEST} )"), LISTENER_4X],
    ids=["clear", "digest", "4.x"],
)
async def test_login_checks_the_passwords_of_momentums_files(
    folder: Path, authority: trustme.CA, listener: str
) -> None:
    async with listening(folder, listener) as address:
        said = []
        for password in ("se:cret", "wrong"):
            async with await Conversation.open(*address) as client:
                assert "AUTH" not in await client.ehlo()
                assert "AUTH PLAIN LOGIN" in await secured(client, authority)
                said.append((await client.ask(f"AUTH PLAIN {answer(chr(0) + 'us' + chr(0) + password)}"))[:3])
        assert said == ["235", "535"]


async def test_networks_whose_extensions_lack_auth_are_not_offered_it(folder: Path, authority: trustme.CA) -> None:
    stanza = LISTENER_4X.replace(
        "log_authentication", f'] Peer "{OUTSIDE}" {{ SMTP_Extensions = ( "ENHANCEDSTATUSCODES" ) }} Context = [ x'
    )
    async with listening(folder, stanza) as address:
        found = {}
        for source in (INSIDE, OUTSIDE):
            async with await Conversation.open(*address, source=source) as client:
                await client.ehlo()
                found[source] = "AUTH" in await secured(client, authority)
        assert found == {INSIDE: True, OUTSIDE: False}


@pytest.mark.parametrize(
    ("form", "line"),
    [("clear", "nobody"), ("clear", ":secret"), ("clear", "us:"), ("digest", "us:mail:0123"), ("digest", "us:secret")],
)
def test_a_line_of_another_form_is_an_error_that_does_not_show_it(tmp_path: Path, form: str, line: str) -> None:
    (tmp_path / "users").write_text(f"{line}\n")
    with pytest.raises(BadPasswordFile) as refused:
        PasswordFile(tmp_path / "users", form)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("form", ["hashes", "clear", "digest"])
def test_a_user_who_is_not_in_the_file_has_no_password(tmp_path: Path, form: str) -> None:
    (tmp_path / "users").write_text("")
    assert not PasswordFile(tmp_path / "users", form).hash_of("us").matches("")


# ---------------------------------------------------------------- who may relay, and what scripts see


@pytest.mark.parametrize(
    ("written", "sender", "relays"),
    [
        ("relay_for_sending_domains", "a@any.test", True),
        ("relay_for_sending_domains [ one.test = true two.test = true ]", "a@two.test", True),
        ("relay_for_sending_domains [ one.test = true two.test = false ]", "a@two.test", False),
        ("relay_for_sending_domains [ one.test = true ]", "a@any.test", False),
        ("ENHANCEDSTATUSCODES", "a@one.test", False),
    ],
)
async def test_relay_for_sending_domains_of_22(folder: Path, written: str, sender: str, relays: bool) -> None:  # noqa: FBT001 - a case
    async with (
        listening(folder, rules(f"127.0.0.0/8 = ( {written} )")) as address,
        await Conversation.open(*address) as client,
    ):
        await client.ehlo()
        assert (await client.ask(f"MAIL FROM:<{sender}>")).startswith("250")
        assert (await client.ask("RCPT TO:<b@elsewhere.test>")).startswith("250") is relays


@pytest.mark.parametrize(
    "line", ["( 127.0.0.1:25 [ 0.0.0.0/0 = ( relay_for_sending_domains ) ] )", "( 127.0.0.1:25 [ 0.0.0.0/0 = ( X ) ] )"]
)
def test_relaying_for_senders_warns_as_an_open_relay_does(tmp_path: Path, line: str) -> None:
    path = tmp_path / "e.conf"
    line = line.replace("X", "relay_for_sending_domains [ a.test = true ]")
    path.write_text(f"ESMTP_Listener = {line}\nGateway = 192.0.2.25\nHostname = mx.test\n")
    assert any("accepts mail" in each.message and "to any domain" in each.message for each in load(path)[1])


async def test_the_context_of_a_network_is_there_when_its_session_begins() -> None:
    seen: list[str | None] = []

    async def look(session: Session) -> Verdict:
        seen.append(session.context.get("client"))
        return PASS

    async with serving(None, Rule(Phase.CONNECT, look), Context='[ client = "One Ltd." ]') as stage:
        await stage.conversation()
    assert seen == ["One Ltd."]


async def test_proxy_protocol_of_4x_makes_every_connection_begin_with_a_header(folder: Path) -> None:
    stanza = (
        'ESMTP_Listener { Listen "127.0.0.1:0" { Proxy_Protocol = true Peer "192.0.2.7" { Static_Banner = "you" } } }'
    )
    async with listening(folder, stanza) as address:
        client = await Conversation.connect(*address)
        await client.send("PROXY TCP4 192.0.2.7 127.0.0.1 4000 25")
        assert await client.reply() == "220 you"
        client.abort()


# ---------------------------------------------------------------- addresses


def test_a_duravip_is_bound_although_another_machine_has_it_now() -> None:
    with pytest.raises(CannotListen):
        WorkerSockets.bind([Listener("192.0.2.77", 0)], 1)
    sockets = WorkerSockets.bind([Listener("192.0.2.77", 0, floats=True), Listener("2001:db8::77", 0, floats=True)], 2)
    assert [each.getsockname()[0] for each, _ in sockets.of(1)] == ["192.0.2.77", "2001:db8::77"]
    sockets.close()


def test_a_duravip_that_is_not_here_is_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "e.conf"
    text = 'ESMTP_Listener = ( 192.0.2.77:2525 <duravip="enabled"> )\nGateway = 192.0.2.25\nHostname = mx.test\n'
    path.write_text(f"{text}Relay_Domains = a.test\n")
    assert load(path)[1] == ()
    path.write_text(f"{text}Relay_Domains = a.test\n".replace('<duravip="enabled">', ""))
    assert [each.message[:16] for each in load(path)[1]] == ["cannot listen on"]
