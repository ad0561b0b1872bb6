"""Real clients deliver through a running server, and the upstream gets exactly what each of them meant to send."""

from __future__ import annotations

import asyncio
import base64
import os
import pwd
import re
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.support.exchanger import EXTENSIONS, Exchanger, Message
from tests.support.programs import Folder, find_program, free_port
from tests.support.ringback import Ringback
from tests.support.servers import Postfix
from tests.support.waiting import eventually
from tests.system.house import House
from tests.system.stage import AWKWARD_MESSAGE, Stage

pytestmark = pytest.mark.real("dnsmasq")

RECIPIENT = "bob@example.com"
MEBI = 1 << 20
LARGE = 30 * MEBI
CARRIED = (*EXTENSIONS, "DSN")
EXIM_FOLDER = "RINGBACK_EXIM"
"""The environment variable that names a folder into which exim4-daemon-light and its libraries were unpacked."""

HEAD = b"From: alice@sender.test\r\nTo: bob@example.com\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
PLAIN = HEAD + b"Message-ID: <plain@sender.test>\r\nSubject: plain\r\n\r\nbody\r\n.\r\n..dots\r\n\r\nend\r\n"
EIGHT_BIT = HEAD + b"Message-ID: <eight@sender.test>\r\nSubject: eight\r\n\r\n" + bytes(range(128, 256)) + b"\r\n"
LONG = HEAD + b"Message-ID: <long@sender.test>\r\nSubject: long\r\n\r\n" + (b"0123456789" * 7 + b"\r\n") * (LARGE // 72)


@dataclass(frozen=True, slots=True)
class Place:
    """A server that offers TLS, where its upstream is expected, and the certificate's authority in a file."""

    server: Ringback
    authority: trustme.CA
    bundle: Path

    def trust(self) -> ssl.SSLContext:
        """Return what a client needs to trust the server."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    folder, authority = Folder("clients"), trustme.CA()
    issued = authority.issue_cert("ringback.test", "127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(folder.path / "certificate.pem"))
    issued.private_key_pem.write_to_path(str(folder.path / "key.pem"))
    bundle = folder.path / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    lines = ('TLS_Certificate = "certificate.pem"', 'TLS_Key = "key.pem"')
    server = Ringback(House(listen_port=free_port(), upstream_port=free_port(), lines=lines), folder.path).start()
    try:
        yield Place(server, authority, bundle)
    finally:
        server.stop()
        folder.remove()


@pytest.fixture
async def upstream(stage: Stage, place: Place) -> Exchanger:
    return await stage.upstream(behind=place.server, extensions=CARRIED)


async def run(arguments: Sequence[str], *, given: bytes = b"", **environment: str) -> str:
    """Run a client to its end; it must succeed. Return what it printed."""

    def work() -> subprocess.CompletedProcess[bytes]:
        variables = {**os.environ, **environment}
        return subprocess.run(arguments, input=given, capture_output=True, check=False, timeout=60, env=variables)

    done = await asyncio.to_thread(work)
    shown = (done.stdout + done.stderr).decode(errors="backslashreplace")
    assert done.returncode == 0, shown[-3000:]
    return shown


def below_traces(message: Message, fields: int = 1) -> bytes:
    """Return the content below so many trace fields, the first of them ours."""
    content = message.content
    assert content.startswith(b"Received: from "), content[:200]
    for _ in range(fields):
        found = re.match(rb"Received: [^\r]*\r\n(?:[ \t][^\r]*\r\n)*", content)
        assert found is not None, content[:500]
        content = content[found.end() :]
    return content


async def offered(place: Place, upstream: Exchanger) -> None:
    """Let the server learn what this upstream carries: what was there before may have carried less."""
    async with await place.server.conversation() as client:
        await client.deliver("", [RECIPIENT], b"Subject: first\r\n\r\n")
        assert {"DSN", "SMTPUTF8", "8BITMIME"} <= {line[4:] for line in (await client.ask("EHLO x")).split("\n")}
    upstream.messages.clear()


# ---- programs that send


@pytest.mark.real("swaks")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_swaks(place: Place, upstream: Exchanger, tls: bool) -> None:  # noqa: FBT001 - a parameter
    if tls and "Net::SSLeay" in await run([find_program("swaks"), "--support"]):
        pytest.skip("swaks cannot speak TLS here: Perl's Net::SSLeay is not installed")
    body = "Subject: swaks\\n\\n.\\n..\\nbody"
    arguments = [find_program("swaks"), "--server", f"127.0.0.1:{place.server.port}", "--helo", "client.test"]
    arguments += ["--from", "<>", "--to", RECIPIENT, "--data", body, *(["--tls"] if tls else [])]
    shown = await run(arguments)
    assert "queued as" in shown
    (message,) = upstream.messages
    assert below_traces(message).rstrip(b"\r\n") == b"Subject: swaks\r\n\r\n.\r\n..\r\nbody"
    assert (b" with ESMTPS id " if tls else b" with ESMTP id ") in message.content


@pytest.mark.parametrize("content", [PLAIN, EIGHT_BIT, AWKWARD_MESSAGE, LONG], ids=["plain", "8bit", "awkward", "30M"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_smtplib(place: Place, upstream: Exchanger, content: bytes, tls: bool) -> None:  # noqa: FBT001
    await offered(place, upstream)

    def work() -> None:
        with smtplib.SMTP("127.0.0.1", place.server.port, "client.test", timeout=60) as client:
            if tls:
                client.starttls(context=place.trust())
            options = ["BODY=8BITMIME", "RET=HDRS", "ENVID=Ab+2Bc"]
            refused = client.sendmail("alice@sender.test", [RECIPIENT], content, options, ["NOTIFY=SUCCESS,FAILURE"])
            assert refused == {}

    await asyncio.to_thread(work)
    (message,) = upstream.messages
    assert message.sender.startswith("MAIL FROM:<alice@sender.test> ")
    assert {"BODY=8BITMIME", "RET=HDRS", "ENVID=Ab+2Bc"} <= set(message.sender.split())
    assert message.recipients == (f"RCPT TO:<{RECIPIENT}> NOTIFY=SUCCESS,FAILURE",)
    assert below_traces(message) == content


async def test_smtplib_with_addresses_beyond_ascii(place: Place, upstream: Exchanger) -> None:
    await offered(place, upstream)
    content = "Subject: grüße\r\nFrom: jürgen@sender.test\r\n\r\nkörper\r\n".encode()

    def work() -> None:
        with smtplib.SMTP("127.0.0.1", place.server.port, "client.test", timeout=60) as client:
            client.ehlo()
            client.command_encoding = "utf-8"
            refused = client.sendmail("jürgen@sender.test", ["bjørn@example.com"], content, ["SMTPUTF8"])
            assert refused == {}

    await asyncio.to_thread(work)
    (message,) = upstream.messages
    assert message.sender.startswith("MAIL FROM:<jürgen@sender.test> ")
    assert "SMTPUTF8" in message.sender.split()
    assert message.recipients == ("RCPT TO:<bjørn@example.com>",)
    assert below_traces(message) == content


@pytest.mark.real("smtp-source")
async def test_smtp_source(place: Place, upstream: Exchanger) -> None:
    load = ["-d", "-s", "5", "-m", "50", "-l", "20000", "-f", "alice@sender.test", "-t", RECIPIENT]
    await run([find_program("smtp-source"), *load, f"127.0.0.1:{place.server.port}"])
    assert len(upstream.messages) == 50
    contents = [below_traces(each) for each in upstream.messages]
    assert {content.partition(b"\r\n\r\n")[2] for content in contents} == {contents[0].partition(b"\r\n\r\n")[2]}
    assert all(19_000 < len(content) < 21_000 for content in contents)


async def test_a_signed_message_is_as_valid_behind_as_before(place: Place, upstream: Exchanger) -> None:
    dkim = pytest.importorskip("dkim", reason="dkimpy is not installed")
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    await offered(place, upstream)
    message = EIGHT_BIT.replace(b"\r\n\r\n", b"\r\nX-Folded: one\r\n\ttwo  \r\n\r\n.\r\n..\r\n.dot  \r\n", 1)
    for form in (b"simple", b"relaxed"):
        signature = dkim.sign(message, b"sel", b"sender.test", private, canonicalize=(form, form))
        signed = signature + message
        async with await place.server.conversation() as client:
            assert (await client.deliver("alice@sender.test", [RECIPIENT], signed)).startswith("250 ")
        received = upstream.messages[-1].content
        assert received.endswith(signed)
        assert dkim.verify(received, dnsfunc=lambda name, timeout=5: record)  # noqa: ARG005 - dkimpy's signature
        assert not dkim.verify(received + b"x\r\n", dnsfunc=lambda name, timeout=5: record)  # noqa: ARG005


# ---- mail servers that send


@pytest.fixture(scope="module")
def postfix_before(place: Place) -> Iterator[Postfix]:
    """A Postfix whose relay is the server: what is submitted to it comes out there."""
    options = {
        "relayhost": f"[127.0.0.1]:{place.server.port}",
        "virtual_mailbox_domains": "",
        "relay_domains": "example.com",
        "relay_transport": "smtp",
        "mynetworks": "127.0.0.0/8",
        "smtpd_recipient_restrictions": "permit_mynetworks, reject",
        "smtp_tls_CAfile": str(place.bundle),
        "smtp_tls_security_level": "may",
        "smtputf8_enable": "yes",
        "disable_dns_lookups": "yes",
        "myhostname": "client.test",
    }
    with Postfix(options=options) as server:
        yield server


async def submitted(postfix: Postfix, content: bytes, sender: str, *parameters: str, notify: str = "") -> None:
    """Submit a message to a Postfix."""

    def work() -> None:
        with smtplib.SMTP("127.0.0.1", postfix.port, "submitter.test", timeout=60) as client:
            client.ehlo()
            client.command_encoding = "utf-8"
            client.sendmail(sender, [RECIPIENT], content, list(parameters), [notify] if notify else [])

    await asyncio.to_thread(work)


@pytest.mark.real("postfix")
@pytest.mark.parametrize(
    ("name", "content"),
    [("plain", PLAIN), ("eight", EIGHT_BIT), ("long", LONG)],
    ids=["plain", "8bit", "30M"],
)
async def test_postfix_as_a_client_over_tls(
    place: Place, upstream: Exchanger, postfix_before: Postfix, name: str, content: bytes
) -> None:
    await offered(place, upstream)
    await submitted(postfix_before, content, "alice@sender.test", "BODY=8BITMIME")
    await upstream.until(lambda: len(upstream.messages) == 1, "Postfix delivers", within=30)
    (message,) = upstream.messages
    assert below_traces(message, 2) == content, name
    assert b" with ESMTPS id " in message.content.split(b"Subject:")[0]


@pytest.mark.real("postfix")
async def test_postfix_as_a_client_passes_dsn_on(place: Place, upstream: Exchanger, postfix_before: Postfix) -> None:
    await offered(place, upstream)
    await submitted(
        postfix_before, PLAIN, "alice@sender.test", "RET=HDRS", "ENVID=Ab+2Bc", notify="NOTIFY=FAILURE,DELAY"
    )
    await upstream.until(lambda: len(upstream.messages) == 1, "Postfix delivers")
    (message,) = upstream.messages
    assert {"RET=HDRS", "ENVID=Ab+2Bc"} <= set(message.sender.split())
    (recipient,) = message.recipients
    assert {"NOTIFY=FAILURE,DELAY", f"ORCPT=rfc822;{RECIPIENT}"} <= set(recipient.split())


@pytest.mark.real("postfix")
async def test_postfix_as_a_client_passes_addresses_beyond_ascii_on(
    place: Place, upstream: Exchanger, postfix_before: Postfix
) -> None:
    await offered(place, upstream)
    content = PLAIN.replace(b"Subject: plain", "Subject: grüße".encode())
    await submitted(postfix_before, content, "jürgen@sender.test", "SMTPUTF8", "BODY=8BITMIME")
    await upstream.until(lambda: len(upstream.messages) == 1, "Postfix delivers")
    (message,) = upstream.messages
    assert message.sender.startswith("MAIL FROM:<jürgen@sender.test> ")
    assert "SMTPUTF8" in message.sender.split()
    assert below_traces(message, 2) == content


EXIM = """\
primary_hostname = client.test
exim_path = {program}
deliver_drop_privilege = true
spool_directory = {folder}/spool
log_file_path = {folder}/log-%s
pid_file_path = {folder}/pid
exim_user = {user}
exim_group = {group}
never_users =
keep_environment = *
host_lookup =
tls_advertise_hosts =
allow_utf8_domains = true
local_from_check = false
untrusted_set_sender = *
disable_ipv6 = true
begin routers
there:
  driver = manualroute
  route_list = * 127.0.0.1 byname
  self = send
  transport = out
begin transports
out:
  driver = smtp
  port = {port}
  hosts_require_tls = {tls}
  hosts_avoid_tls = {clear}
  tls_verify_certificates = {bundle}
  tls_verify_hosts = {tls}
  tls_verify_cert_hostnames =
  hosts_try_prdr =
"""


@pytest.fixture
def exim() -> Iterator[tuple[list[str], dict[str, str], Path]]:
    """The command that runs Exim, its environment, and a folder; Debian installs one mail server at a time."""
    folder = Folder("exim")
    try:
        unpacked = os.environ.get(EXIM_FOLDER)
        program = shutil.which("exim4", path="/usr/sbin") if unpacked is None else f"{unpacked}/usr/sbin/exim4"
        if program is None or not Path(program).exists():
            pytest.skip(f"exim4 is not installed, and {EXIM_FOLDER} names no folder that it was unpacked into")
        if os.geteuid() != 0:
            pytest.skip("exim4 runs as root only")
        variables = {} if unpacked is None else _as_installed(Path(unpacked), folder.path)
        owner = pwd.getpwnam("nobody")
        os.chown(folder.path, owner.pw_uid, owner.pw_gid)
        # Set-user-id programs lose LD_LIBRARY_PATH when they drop privileges and run themselves again: a copy is none.
        shutil.copyfile(program, folder.path / "exim4")
        (folder.path / "exim4").chmod(0o755)
        yield [str(folder.path / "exim4"), "-C", str(folder.path / "exim.conf")], variables, folder.path
    finally:
        folder.remove()


def _as_installed(unpacked: Path, folder: Path) -> dict[str, str]:
    """Return the variables under which an unpacked Exim finds its libraries, and the user that its package makes."""
    for name, line in (("passwd", "Debian-exim:x:65533:65533::/:/bin/false"), ("group", "Debian-exim:x:65533:")):
        (folder / name).write_text(Path("/etc", name).read_text() + line + "\n")
    (wrapper,) = unpacked.rglob("libnss_wrapper.so")
    return {
        "LD_LIBRARY_PATH": str(wrapper.parent),
        "LD_PRELOAD": str(wrapper),
        "NSS_WRAPPER_PASSWD": str(folder / "passwd"),
        "NSS_WRAPPER_GROUP": str(folder / "group"),
    }


@pytest.mark.parametrize("content", [PLAIN, EIGHT_BIT, LONG], ids=["plain", "8bit", "30M"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_exim_as_a_client(
    place: Place,
    upstream: Exchanger,
    exim: tuple[list[str], dict[str, str], Path],
    content: bytes,
    tls: bool,  # noqa: FBT001 - a parameter
) -> None:
    await offered(place, upstream)
    command, variables, folder = exim
    text = EXIM.format(
        folder=folder, program=command[0], port=place.server.port, bundle=place.bundle, user="nobody", group="nogroup",
        tls="*" if tls else "", clear="" if tls else "*",
    )  # fmt: skip
    (folder / "exim.conf").write_text(text)
    sent = content.replace(b"\r\n", b"\n")
    shown = await run([*command, "-odf", "-oi", "-f", "alice@sender.test", RECIPIENT], given=sent, **variables)
    logs = "".join(each.read_text() for each in folder.glob("log-*"))
    await eventually(lambda: upstream.messages, f"Exim delivers: {shown}{logs}", within=5)
    (message,) = upstream.messages
    assert below_traces(message, 2) == content
    assert (b" with ESMTPS id " if tls else b" with ESMTP id ") in message.content.split(b"Subject:")[0]
    assert [line for line in place.server.log if line["event"].endswith("_failed")] == []
