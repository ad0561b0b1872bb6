"""STARTTLS towards clients, over real handshakes."""

import asyncio
import smtplib
import ssl
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from proxy.app import load, load_service
from proxy.base.rejected import ConfigurationRejected
from proxy.server.worker import Worker
from proxy.smtp import tls
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.waiting import BOUND


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def write_certificate(authority: trustme.CA, folder: Path, name: str) -> None:
    issued = authority.issue_cert(name)
    issued.cert_chain_pems[0].write_to_path(str(folder / "certificate.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "key.pem").chmod(0o600)


def write_configuration(folder: Path, upstream_port: int) -> Path:
    path = folder / "ecelerity.conf"
    path.write_text(
        "ESMTP_Listener = ( 127.0.0.1:0 )\nRelay_Domains = ( example.com )\nHostname = mx.test\n"
        f'Gateway = "127.0.0.1"\nRemote_SMTP_Port = {upstream_port}\n'
        "TLS_Certificate = certificate.pem\nTLS_Key = key.pem\n"
    )
    return path


@pytest.fixture
async def worker(authority: trustme.CA, tmp_path: Path) -> AsyncIterator[Worker]:
    write_certificate(authority, tmp_path, "mx.test")
    async with Exchanger() as upstream:
        service = load_service(write_configuration(tmp_path, upstream.port))
        await service.start()
        try:
            yield service
        finally:
            await service.stop(now=True)


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def names_of_peer(client: smtplib.SMTP) -> object:
    assert isinstance(client.sock, ssl.SSLSocket)
    certificate = client.sock.getpeercert()
    assert certificate is not None
    return certificate["subjectAltName"]


async def test_mail_is_taken_over_tls_and_the_trace_field_says_so(worker: Worker, authority: trustme.CA) -> None:
    def deliver() -> tuple[bool, bool, dict[str, object]]:
        with smtplib.SMTP(*worker.addresses[0], timeout=10) as client:
            client._host = "mx.test"  # type: ignore[attr-defined]  # the name that smtplib verifies
            client.ehlo()
            before = client.has_extn("starttls")
            client.starttls(context=trusting(authority))
            client.ehlo()
            return (
                before,
                client.has_extn("starttls"),
                client.sendmail("", ["u@example.com"], b"Subject: x\r\n\r\nx\r\n"),
            )

    assert await asyncio.to_thread(deliver) == (True, False, {})


async def test_after_starttls_the_client_must_introduce_itself_again(worker: Worker, authority: trustme.CA) -> None:
    def talk() -> tuple[tuple[int, bytes], tuple[int, bytes]]:
        with smtplib.SMTP(*worker.addresses[0], timeout=10) as client:
            client._host = "mx.test"  # type: ignore[attr-defined]
            client.ehlo()
            client.starttls(context=trusting(authority))
            return client.docmd("MAIL FROM:<>"), client.docmd("STARTTLS")

    assert await asyncio.to_thread(talk) == ((503, b"5.5.1 Send EHLO first"), (554, b"5.5.1 TLS already active"))


async def test_what_is_pipelined_behind_starttls_ends_the_session(worker: Worker) -> None:
    reader, writer = await asyncio.open_connection(*worker.addresses[0])
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"220 ")
        writer.write(b"STARTTLS\r\nMAIL FROM:<injected@example.org>\r\n")
        assert await reader.read() == b"554 5.5.0 SMTP protocol synchronization error\r\n"
    writer.close()


async def test_what_is_pipelined_behind_starttls_is_dropped_where_the_operator_says_so(
    authority: trustme.CA, tmp_path: Path
) -> None:
    write_certificate(authority, tmp_path, "mx.test")
    async with Exchanger() as upstream:
        path = write_configuration(tmp_path, upstream.port)
        path.write_text(path.read_text() + "Starttls_Injection_Policy = ignore\n")
        service = load_service(path)
        await service.start()
        try:
            client = await Conversation.open(*service.addresses[0])
            async with client:
                await client.send("EHLO client.test")
                assert (await client.reply()).startswith("250")
                await client.send_raw(b"STARTTLS\r\nMAIL FROM:<injected@example.org>\r\nRCPT TO:<u@example.com>\r\n")
                assert await client.reply() == "220 2.0.0 Ready to start TLS"
                async with asyncio.timeout(BOUND):
                    await client._writer.start_tls(trusting(authority), server_hostname="mx.test")
                assert await client.ask("RCPT TO:<u@example.com>") == "503 5.5.1 Send EHLO first"
                await client.ehlo()
                assert await client.ask("RCPT TO:<u@example.com>") == "503 5.5.1 Need MAIL command"
            assert upstream.count("MAIL") == 0
        finally:
            await service.stop(now=True)


async def test_to_allow_what_is_behind_starttls_is_a_warning_and_rejects(authority: trustme.CA, tmp_path: Path) -> None:
    write_certificate(authority, tmp_path, "mx.test")
    path = write_configuration(tmp_path, 2525)
    path.write_text(path.read_text() + "Starttls_Injection_Policy = allow\n")
    assembly, (warning,) = load(path)
    assert warning.message == "Starttls_Injection_Policy = allow is not supported and rejects"
    service = Worker(assembly)
    await service.start()
    try:
        async with await Conversation.open(*service.addresses[0]) as client:
            await client.send_raw(b"STARTTLS\r\nMAIL FROM:<injected@example.org>\r\n")
            assert await client.rest() == b"554 5.5.0 SMTP protocol synchronization error\r\n"
    finally:
        await service.stop(now=True)


async def test_a_renewed_certificate_is_in_force_for_the_next_handshake(
    worker: Worker, authority: trustme.CA, tmp_path: Path
) -> None:
    def peer_names(expected: str) -> object:
        with smtplib.SMTP(*worker.addresses[0], timeout=10) as client:
            client._host = expected  # type: ignore[attr-defined]
            client.starttls(context=trusting(authority))
            return names_of_peer(client)

    assert await asyncio.to_thread(peer_names, "mx.test") == (("DNS", "mx.test"),)
    write_certificate(authority, tmp_path, "renewed.test")
    assert await asyncio.to_thread(peer_names, "renewed.test") == (("DNS", "renewed.test"),)
    (tmp_path / "key.pem").write_text("broken")
    assert await asyncio.to_thread(peer_names, "renewed.test") == (("DNS", "renewed.test"),)


async def test_a_client_sees_the_certificate_of_the_name_that_it_asks_for(
    authority: trustme.CA, tmp_path: Path
) -> None:
    write_certificate(authority, tmp_path, "mx.test")
    other = authority.issue_cert("mx2.test")
    other.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "mx2.pem"))
    async with Exchanger() as upstream:
        path = write_configuration(tmp_path, upstream.port)
        path.write_text(path.read_text() + "TLS_Server_Names = [ MX2.test = mx2.pem ]\n")
        service = load_service(path)
        await service.start()

        def peer_names(asked: str) -> object:
            with smtplib.SMTP(*service.addresses[0], timeout=10) as client:
                client._host = asked  # type: ignore[attr-defined]
                client.starttls(context=trusting(authority))
                return names_of_peer(client)

        try:
            assert await asyncio.to_thread(peer_names, "mx2.test") == (("DNS", "mx2.test"),)
            assert await asyncio.to_thread(peer_names, "mx.test") == (("DNS", "mx.test"),)
        finally:
            await service.stop(now=True)


async def test_a_certificate_that_vanished_before_the_start_costs_tls_and_no_mail(
    authority: trustme.CA, tmp_path: Path
) -> None:
    write_certificate(authority, tmp_path, "mx.test")
    async with Exchanger() as upstream:
        service = load_service(write_configuration(tmp_path, upstream.port))
        (tmp_path / "key.pem").unlink()
        with capture_logs() as log:
            await service.start()
            try:
                async with await Conversation.open(*service.addresses[0]) as client:
                    assert "STARTTLS" not in await client.ehlo()
                    assert (await client.deliver("", ["u@example.com"], b"Subject: x\r\n\r\n")).startswith("250 ")
                assert "certificate_unusable" in [each["event"] for each in log]
                write_certificate(authority, tmp_path, "mx.test")
                async with await Conversation.open(*service.addresses[0]) as client:
                    assert "STARTTLS" in await client.ehlo()
            finally:
                await service.stop(now=True)


async def test_a_certificate_whose_folder_answers_no_more_holds_up_no_session(
    worker: Worker, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead mount: the look at the files never ends, and handshakes go on with the certificate at hand."""
    ended = threading.Event()
    monkeypatch.setattr(tls, "_stamp", lambda _path: ended.wait())
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.05)

    def shake_hands() -> object:
        with smtplib.SMTP(*worker.addresses[0], timeout=60) as client:
            client._host = "mx.test"  # type: ignore[attr-defined]
            client.starttls(context=trusting(authority))
            return names_of_peer(client)

    try:
        for _ in range(3):
            assert await asyncio.to_thread(shake_hands) == (("DNS", "mx.test"),)
    finally:
        ended.set()


async def test_a_tls_that_is_too_old_is_not_spoken(authority: trustme.CA, tmp_path: Path) -> None:
    write_certificate(authority, tmp_path, "mx.test")
    async with Exchanger() as upstream:
        path = write_configuration(tmp_path, upstream.port)
        path.write_text(path.read_text() + "TLS_Minimum_Version = TLSv1.3\n")
        service = load_service(path)
        await service.start()

        def shake_hands(most: ssl.TLSVersion) -> str | None:
            context = trusting(authority)
            context.maximum_version = most
            with smtplib.SMTP(*service.addresses[0], timeout=10) as client:
                client._host = "mx.test"  # type: ignore[attr-defined]
                client.starttls(context=context)
                assert isinstance(client.sock, ssl.SSLSocket)
                return client.sock.version()

        try:
            assert await asyncio.to_thread(shake_hands, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
            with pytest.raises((ssl.SSLError, ConnectionError, smtplib.SMTPException)):
                await asyncio.to_thread(shake_hands, ssl.TLSVersion.TLSv1_2)
        finally:
            await service.stop(now=True)


async def test_a_handshake_that_fails_ends_the_session_and_nothing_else(worker: Worker) -> None:
    reader, writer = await asyncio.open_connection(*worker.addresses[0])
    async with asyncio.timeout(10):
        await reader.readline()
        writer.write(b"STARTTLS\r\n")
        assert await reader.readline() == b"220 2.0.0 Ready to start TLS\r\n"
        writer.write(b"this is no handshake\r\n")
        await reader.read()
    writer.close()
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*worker.addresses[0])
        assert (await reader.readline()).startswith(b"220 ")
    writer.close()


def test_a_certificate_that_is_not_there_is_a_diagnostic_at_its_option(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationRejected) as rejected:
        load(write_configuration(tmp_path, 2525))
    (found,) = rejected.value.diagnostics
    assert found.message == "the TLS certificate cannot be used: No such file or directory"
    assert found.span is not None
    assert found.span.text == "certificate.pem"
