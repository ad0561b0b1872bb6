"""Clients' certificates over real handshakes: who is asked, who may go on, and what scripts learn of it."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from proxy.base.rejected import ConfigurationRejected
from proxy.mail.session import Session
from proxy.mail.verdict import PASS, Verdict
from proxy.smtp import client_certificate
from sieve.phases import Phase
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.waiting import BOUND
from tests.support.worker import ALICE, BOB, LETTER, Rule, WorkerStage, assembly, serving

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
EVERY_VERSION = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
DENIED = "550 5.7.1 Relaying denied"


class Certificates:
    """Two authorities, of which the server trusts one; the server's own certificate comes from that one, too."""

    def __init__(self, folder: Path) -> None:
        self.trusted, self.strange = trustme.CA(organization_name="trusted"), trustme.CA(organization_name="strange")
        own = self.trusted.issue_cert("mx.test")
        own.private_key_and_cert_chain_pem.write_to_path(str(folder / "mx.pem"))
        self.authorities = folder / "authorities.pem"
        self.trusted.cert_pem.write_to_path(str(self.authorities))
        self.options: dict[str, object] = {
            "TLS_Certificate": f'"{folder}/mx.pem"',
            "TLS_Client_CA": f'"{self.authorities}"',
        }

    def client(
        self,
        issuer: trustme.CA | None = None,
        *,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        name: str = "client.test",
        until: dt.datetime | None = None,
    ) -> ssl.SSLContext:
        """Return a client's context, with a certificate if an issuer is given."""
        context = ssl.create_default_context()
        self.trusted.configure_trust(context)
        context.minimum_version = context.maximum_version = version
        if issuer is not None:
            issuer.issue_cert("client.test", common_name=name, not_after=until).configure_cert(context)
        return context


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@asynccontextmanager
async def asking(
    options: Mapping[str, object], *, upstream: Exchanger | None = None
) -> AsyncIterator[tuple[WorkerStage, list[dict[str, str]]]]:
    """Serve, and note the connection's context at each MAIL FROM."""
    seen: list[dict[str, str]] = []

    async def note(session: Session) -> Verdict:
        seen.append(dict(session.context))
        return PASS

    async with serving(upstream, Rule(Phase.MAILFROM, note), **options) as stage:
        yield stage, seen


async def secured(stage: WorkerStage, context: ssl.SSLContext) -> Conversation:
    client = await stage.greeted()
    assert await client.ask("STARTTLS") == "220 2.0.0 Ready to start TLS"
    async with asyncio.timeout(BOUND):
        await client._writer.start_tls(context, server_hostname="mx.test")
    await client.ehlo()
    return client


async def learned(options: Mapping[str, object], context: ssl.SSLContext) -> dict[str, str]:
    """Return what scripts learn of a client that delivers a message over TLS."""
    async with Exchanger() as upstream, asking(options, upstream=upstream) as (stage, seen):
        client = await secured(stage, context)
        assert (await client.deliver(ALICE, [BOB], LETTER)).startswith("250 ")
        await client.close()
        assert len(upstream.messages) == 1
    (found,) = seen
    return {name: value for name, value in found.items() if name.startswith("tls")}


def of_client(found: Mapping[str, str]) -> set[str]:
    return {name for name in found if "_client_" in name}


@EVERY_VERSION
async def test_a_certificate_that_an_authority_issued_is_verified_and_named(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    found = await learned(certificates.options, certificates.client(certificates.trusted, version=version))
    assert (found["tls"], found["tls_client_verified"], found["tls_client_cert_subject_cn"]) == (
        "on", "yes", "client.test",
    )  # fmt: skip
    assert found["tls_client_cert_subject"].endswith("/CN=client.test")
    assert found["tls_client_cert_issuer"].startswith("/O=trusted/OU=Testing CA ")
    assert found["tls_client_cert_issuer_cn"] == ""


@EVERY_VERSION
async def test_a_client_without_a_certificate_delivers(certificates: Certificates, version: ssl.TLSVersion) -> None:
    assert of_client(await learned(certificates.options, certificates.client(version=version))) == set()


@EVERY_VERSION
@pytest.mark.parametrize("mode", ["optional", "require"])
async def test_a_certificate_of_a_strange_authority_is_for_policy_to_judge(
    certificates: Certificates, version: ssl.TLSVersion, mode: str
) -> None:
    options = certificates.options | {"TLS_Verify_Mode": mode}
    found = await learned(options, certificates.client(certificates.strange, version=version))
    assert found["tls_client_cert_subject_cn"] == "client.test"
    assert "tls_client_verified" not in found


async def test_a_certificate_that_is_out_of_date_is_not_verified(certificates: Certificates) -> None:
    past = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    found = await learned(certificates.options, certificates.client(certificates.trusted, until=past))
    assert "tls_client_verified" not in found
    assert found["tls_client_cert_subject_cn"] == "client.test"


@EVERY_VERSION
async def test_where_one_is_required_a_client_without_has_no_tls(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    async with asking(certificates.options | {"TLS_Verify_Mode": "require"}) as (stage, _):
        with pytest.raises((ssl.SSLError, ConnectionError)):  # TLS 1.3: after the client's own handshake
            await secured(stage, certificates.client(version=version))
        await stage.ended()
        client = await secured(stage, certificates.client(certificates.trusted, version=version))
        assert (await client.ask(f"MAIL FROM:<{ALICE}>")).startswith("250 ")


@pytest.mark.parametrize(("mode", "asked"), [("none", False), ("optional", False), ("require", True)])
async def test_without_authorities_only_who_requires_certificates_asks(
    certificates: Certificates, mode: str, *, asked: bool
) -> None:
    options = {"TLS_Certificate": certificates.options["TLS_Certificate"], "TLS_Verify_Mode": mode}
    found = await learned(options, certificates.client(certificates.trusted))
    assert bool(of_client(found)) is asked
    assert "tls_client_verified" not in found


async def test_who_asks_for_none_sees_none(certificates: Certificates) -> None:
    options = certificates.options | {"TLS_Verify_Mode": "none"}
    assert of_client(await learned(options, certificates.client(certificates.trusted))) == set()


async def test_scripts_know_the_cipher_and_its_bits(certificates: Certificates) -> None:
    context = certificates.client(version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    assert await learned(certificates.options, context) == {
        "tls": "on",
        "tls_cipher": "ECDHE-ECDSA-AES128-GCM-SHA256",
        "tls_cipher_algbits": "128",
        "tls_cipher_usebits": "128",
    }


async def test_a_name_in_a_certificate_forges_nothing(certificates: Certificates) -> None:
    name = "a\r\nb/CN=postmaster\x1b\u0101"
    found = await learned(certificates.options, certificates.client(certificates.strange, name=name))
    assert found["tls_client_cert_subject_cn"] == "a\\r\\nb/CN=postmaster\\x1b\\u0101"
    assert "/CN=postmaster" not in found["tls_client_cert_subject"].replace("\\\\/", "")


# ---------------------------------------------------------------- what it opens


@pytest.mark.parametrize(
    ("relays", "issuer", "expected"),
    [
        ("true", "trusted", "250 2.1.5 Ok"),
        ("true", "strange", DENIED),
        ("true", None, DENIED),
        ("false", "trusted", DENIED),
    ],
)
async def test_a_verified_client_may_relay_where_the_operator_says_so(
    certificates: Certificates, relays: str, issuer: str | None, expected: str
) -> None:
    options = certificates.options | {"TLS_Verified_Peer_Can_Relay": relays}
    context = certificates.client(None if issuer is None else getattr(certificates, issuer))
    async with Exchanger() as upstream, asking(options, upstream=upstream) as (stage, seen):
        client = await secured(stage, context)
        await client.ask(f"MAIL FROM:<{ALICE}>")
        assert await client.ask("RCPT TO:<somebody@elsewhere.test>") == expected
        assert [each["can_relay"] for each in seen] == ["true" if expected.startswith("250") else "false"]


async def test_a_verified_client_may_relay_over_implicit_tls(certificates: Certificates) -> None:
    options = certificates.options | {"TLS_Verified_Peer_Can_Relay": "true", "Implicit_TLS": "true"}
    context = certificates.client(certificates.trusted)
    async with Exchanger() as upstream, asking(options, upstream=upstream) as (stage, _):
        async with asyncio.timeout(BOUND):
            streams = await asyncio.open_connection(stage.address, stage.port, ssl=context, server_hostname="mx.test")
        client = Conversation(*streams)
        stage.clients.append(client)
        await client.reply()
        await client.ehlo()
        await client.ask(f"MAIL FROM:<{ALICE}>")
        assert await client.ask("RCPT TO:<somebody@elsewhere.test>") == "250 2.1.5 Ok"
        await client.close()


async def test_a_fronts_certificate_is_not_its_clients(certificates: Certificates) -> None:
    options = certificates.options | {"TLS_Verified_Peer_Can_Relay": "true", "XCLIENT_Hosts": "( 127.0.0.1 )"}
    async with asking(options) as (stage, seen):
        client = await secured(stage, certificates.client(certificates.trusted))
        assert (await client.ask("XCLIENT ADDR=192.0.2.7")).startswith("220 ")
        await client.ehlo()
        await client.ask(f"MAIL FROM:<{ALICE}>")
        assert await client.ask("RCPT TO:<somebody@elsewhere.test>") == DENIED
    assert (seen[0]["tls"], of_client(seen[0])) == ("on", set())


@EVERY_VERSION
async def test_a_session_is_not_resumed_since_it_would_bring_no_verdict(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    context = certificates.client(certificates.trusted, version=version)

    def talk(port: int, before: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None]:
        with socket.create_connection(("127.0.0.1", port), timeout=BOUND) as plain:
            for command in (b"", b"STARTTLS\r\n"):
                plain.sendall(command)
                assert plain.recv(1000).startswith(b"220 ")
            with context.wrap_socket(plain, server_hostname="mx.test", session=before) as tls:
                tls.sendall(b"EHLO client.test\r\n")
                assert tls.recv(1000).startswith(b"250-")
                tls.sendall(b"MAIL FROM:<>\r\n")
                assert tls.recv(1000).startswith(b"250 ")
                return tls.session, tls.session_reused

    async with asking(certificates.options) as (stage, seen):
        session, _ = await asyncio.to_thread(talk, stage.port, None)
        with suppress(ValueError):  # the client has nothing that it could resume
            assert (await asyncio.to_thread(talk, stage.port, session))[1] is False
    assert {each["tls_client_verified"] for each in seen} == {"yes"}


async def test_the_certificate_of_another_name_asks_as_well(certificates: Certificates, tmp_path: Path) -> None:
    other = certificates.trusted.issue_cert("mx2.test")
    other.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "mx2.pem"))
    options = certificates.options | {"TLS_Server_Names": f'[ mx2.test = "{tmp_path}/mx2.pem" ]'}
    async with asking(options) as (stage, seen):
        client = await stage.greeted()
        await client.ask("STARTTLS")
        async with asyncio.timeout(BOUND):
            await client._writer.start_tls(certificates.client(certificates.trusted), server_hostname="mx2.test")
        await client.ehlo()
        await client.ask("MAIL FROM:<>")
    assert seen[0]["tls_client_verified"] == "yes"


async def test_one_network_of_clients_may_be_asked_and_no_other(certificates: Certificates) -> None:
    own, authorities = certificates.options["TLS_Certificate"], certificates.options["TLS_Client_CA"]
    listener = f"( 127.0.0.1:0 [ 127.0.0.9 = ( personality [ TLS_Client_CA = {authorities} ] ) ] )"
    options = {"TLS_Certificate": own, "ESMTP_Listener": listener}
    async with asking(options) as (stage, seen):
        for source in ("127.0.0.9", "127.0.0.8"):
            client = await Conversation.open(stage.address, stage.port, source=source)
            stage.clients.append(client)
            await client.ask("STARTTLS")
            async with asyncio.timeout(BOUND):
                await client._writer.start_tls(certificates.client(certificates.trusted), server_hostname="mx.test")
            await client.ehlo()
            await client.ask("MAIL FROM:<>")
    assert [each.get("tls_client_verified") for each in seen] == ["yes", None]


async def test_renewed_authorities_are_in_force_for_the_next_handshake(certificates: Certificates) -> None:
    async with asking(certificates.options) as (stage, seen):
        for _ in range(2):
            client = await secured(stage, certificates.client(certificates.strange))
            await client.ask("MAIL FROM:<>")
            await client.close()
            certificates.strange.cert_pem.write_to_path(str(certificates.authorities))
    assert [each.get("tls_client_verified") for each in seen] == [None, "yes"]


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file or directory"), ("no certificate", "[X509: NO_CERTIFICATE_OR_CRL_FOUND]")],
)
def test_authorities_that_cannot_be_read_are_a_diagnostic(
    certificates: Certificates, content: str | None, reason: str
) -> None:
    certificates.authorities.unlink()
    if content is not None:
        certificates.authorities.write_text(content)
    with pytest.raises(ConfigurationRejected) as rejected:
        assembly(**certificates.options)
    (found,) = (each for each in rejected.value.diagnostics if each.is_error)
    assert found.message.startswith(f"clients cannot be asked for certificates: {reason}")
    assert found.span is not None


def test_a_python_whose_openssl_is_out_of_reach_is_a_diagnostic(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_certificate, "_ssl", SimpleNamespace(__file__="nowhere.so"))
    client_certificate._openssl.cache_clear()
    with pytest.raises(ConfigurationRejected) as rejected:
        assembly(**certificates.options)
    assert "this Python's OpenSSL cannot be asked" in rejected.value.diagnostics[0].message


# ---------------------------------------------------------------- TLS_Protocols


@pytest.mark.parametrize(
    ("protocols", "spoken"),
    [
        ("+ALL", {"1.2", "1.3"}),
        ("+ALL:-SSLv2:-SSLv3", {"1.2", "1.3"}),
        ("-TLSv1.3", {"1.2"}),
        ("+ALL:-TLSv1.2", {"1.3"}),
        ("+TLSv1.0:+TLSv1.1:+TLSv1.2", {"1.2"}),
        ("TLSv1.3", {"1.3"}),
    ],
)
async def test_only_the_protocols_that_are_named_are_spoken(
    certificates: Certificates, protocols: str, spoken: set[str]
) -> None:
    heard = set()
    async with asking(certificates.options | {"TLS_Protocols": f'"{protocols}"'}) as (stage, _):
        for name, version in zip(("1.2", "1.3"), VERSIONS, strict=True):
            with suppress(ssl.SSLError, ConnectionError):
                client = await secured(stage, certificates.client(version=version))
                await client.close()
                heard.add(name)
    assert heard == spoken


@pytest.mark.parametrize(
    ("protocols", "message"),
    [
        ("+TLSv1.0:+TLSv1.1", "`+TLSv1.0:+TLSv1.1` is not a list of protocols that leaves one enabled"),
        ("+ALL:-TLSv9", "`+ALL:-TLSv9` is not a list of protocols"),
        ("", "the empty value is not a list of protocols"),
    ],
)
def test_protocols_that_cannot_be_spoken_are_a_diagnostic(protocols: str, message: str) -> None:
    with pytest.raises(ConfigurationRejected) as rejected:
        assembly(TLS_Protocols=f'"{protocols}"')
    assert rejected.value.diagnostics[0].message == message


def test_protocols_and_an_oldest_version_that_leave_nothing_are_a_diagnostic(certificates: Certificates) -> None:
    with pytest.raises(ConfigurationRejected) as rejected:
        assembly(TLS_Protocols="+TLSv1.2", TLS_Minimum_Version="TLSv1.3", **certificates.options)
    assert [each.message for each in rejected.value.diagnostics if each.is_error] == [
        "TLS_Minimum_Version and TLS_Protocols together disable every TLS version"
    ]
