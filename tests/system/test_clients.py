"""Real clients deliver through a running server, and the upstream gets exactly what each of them meant to send."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache

import dkim
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.exchanger import EXTENSIONS, Exchanger, Message
from tests.support.house import House
from tests.support.programs import Folder, find_program, free_port
from tests.support.ringback import Ringback
from tests.support.world import AWKWARD_MESSAGE, Stage
from tests.system.senders import SENDERS, Mail, Place, Sender, Way, run

pytestmark = pytest.mark.real("dnsmasq")

LARGE = 30 << 20
CARRIED = (*EXTENSIONS, "DSN")

HEAD = b"From: alice@sender.test\r\nTo: bob@example.com\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
HEAD += b"Message-ID: <1@sender.test>\r\nSubject: one\r\n\tand  two  \r\n"
AWKWARD_BODY = AWKWARD_MESSAGE.partition(b"\r\n\r\n")[2] + bytes(range(128, 256)) + b"\r\n"

KINDS: Mapping[str, Mail] = {
    "plain": Mail(content=HEAD + b"\r\nbody\r\n.\r\n..dots\r\n\r\nend\r\n"),
    "8-bit": Mail(content=HEAD + b"\r\n" + AWKWARD_BODY, mail_parameters=("BODY=8BITMIME",)),
    "SMTPUTF8": Mail(
        content=HEAD.replace(b"alice", "jürgen".encode()) + "X-Greeting: grüße\r\n\r\nkörper\r\n".encode(),
        sender="jürgen@sender.test",
        recipient="bjørn@example.com",
        mail_parameters=("SMTPUTF8", "BODY=8BITMIME"),
    ),
    "DSN": Mail(
        content=HEAD + b"\r\nbody\r\n",
        mail_parameters=("RET=HDRS", "ENVID=Ab+2Bc"),
        rcpt_parameters=("NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;Robert+2Bx@elsewhere.test"),
    ),
    "30-MiB": Mail(content=HEAD + b"\r\n" + (b"0123456789" * 7 + b"\r\n") * (LARGE // 72)),
}

MEANT = re.compile(r"(?:BODY|RET|ENVID|NOTIFY|ORCPT)=.*|SMTPUTF8", re.IGNORECASE)
"""Parameters that the first sender sets and that go to the end; SIZE and AUTH are each hop's own."""


def matrix() -> Iterator[object]:
    """Yield every cell that its client has the means for; `Sender.cannot` says why the others are not here.

    The large mail, which takes seconds, goes by TLS if the client can, else in clear.
    """
    for sender in SENDERS:
        for kind in KINDS:
            for way in (Way(tls=tls, bdat=bdat) for tls in (False, True) for bdat in (False, True)):
                features = {kind, *(["TLS"] * way.tls), *(["BDAT"] * way.bdat)}
                if features & sender.cannot.keys():
                    continue
                if kind == "30-MiB" and not way.tls and "TLS" not in sender.cannot:
                    continue
                needs = (*sender.needs, *(sender.needs_for_tls if way.tls else ()))
                name = "-".join((sender.__name__, kind, *sorted(features - {kind})))
                yield pytest.param(sender, kind, way, marks=pytest.mark.real(*needs), id=name)


# ---- a signature, as the sender's domain would make it


class Signer:
    """A domain's DKIM key; `simple` canonicalisation, which no changed octet survives (RFC 6376, 3.4)."""

    def __init__(self) -> None:
        """Make the key."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)

    def sign(self, content: bytes) -> bytes:
        """Return the mail with its signature on top."""
        signature: bytes = dkim.sign(
            content, b"sel", b"sender.test", self._private, canonicalize=(b"simple", b"simple")
        )
        return signature + content

    def is_valid(self, content: bytes) -> bool:
        """Tell whether the signature in a mail is right."""
        valid: bool = dkim.verify(content, dnsfunc=lambda name, timeout=5: self._record)  # noqa: ARG005 - dkimpy's
        return valid


@cache
def signer() -> Signer:
    return Signer()


@cache
def signed(kind: str) -> bytes:
    return signer().sign(KINDS[kind].content)


def test_the_signature_notices_one_octet_more_and_one_blank_less() -> None:
    content = signed("plain")
    assert signer().is_valid(b"Received: from nowhere\r\n" + content)
    assert not signer().is_valid(content + b"x\r\n")
    assert not signer().is_valid(content.replace(b"two  \r\n", b"two \r\n"))


# ---- the matrix


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


class Senders:
    """The clients in use so far: a Postfix serves all its cells."""

    def __init__(self, place: Place) -> None:
        """Begin with none."""
        self._place = place
        self._made: dict[type[Sender], Sender] = {}

    def of(self, program: type[Sender]) -> Sender:
        """Return the one client of a program."""
        if program not in self._made:
            self._made[program] = program(self._place)
        return self._made[program]

    def close(self) -> None:
        """Stop them all."""
        for each in self._made.values():
            each.close()


@pytest.fixture(scope="module")
def senders(place: Place) -> Iterator[Senders]:
    made = Senders(place)
    yield made
    made.close()


@pytest.fixture
async def upstream(stage: Stage, place: Place) -> Exchanger:
    """An upstream of which the server has learned what it carries: what was there before may have carried less."""
    made = await stage.upstream(behind=place.server, extensions=CARRIED)
    async with await place.server.conversation() as client:
        await client.deliver("", ["bob@example.com"], b"Subject: first\r\n\r\n")
        offered = {line[4:] for line in (await client.ask("EHLO x")).split("\n")}
    assert {"DSN", "SMTPUTF8", "8BITMIME", "CHUNKING", "STARTTLS"} <= offered
    made.messages.clear()
    return made


def below_traces(message: Message, fields: int = 1) -> bytes:
    """Return the content below a number of trace fields, the first of them ours."""
    content = message.content
    assert content.startswith(b"Received: from "), content[:200]
    for _ in range(fields):
        found = re.match(rb"Received: [^\r]*\r\n(?:[ \t][^\r]*\r\n)*", content)
        assert found is not None, content[:500]
        content = content[found.end() :]
    return content


def came_by_tls(message: Message) -> bool:
    """Tell what our trace field says: ESMTPS and UTF8SMTPS are TLS (RFC 3848, RFC 6531)."""
    found = re.search(rb" with (?:ESMTP|UTF8SMTP|SMTP)(S?) id ", message.content)
    assert found is not None
    return found[1] == b"S"


def meant(command: str) -> tuple[str, frozenset[str]]:
    """Return MAIL or RCPT with its path, and what the first sender set of its parameters."""
    path, *parameters = command.split(" ")[1:]
    return path, frozenset(each for each in parameters if MEANT.fullmatch(each))


@pytest.mark.parametrize(("program", "kind", "way"), list(matrix()))
async def test_what_a_client_sends_arrives_unchanged(
    place: Place, upstream: Exchanger, senders: Senders, program: type[Sender], kind: str, way: Way
) -> None:
    sender = senders.of(program)
    mail = replace(KINDS[kind], content=signed(kind))
    await sender.send(mail, way)
    (message,) = upstream.messages
    assert below_traces(message, 1 + sender.traces) == mail.content + sender.ending
    assert signer().is_valid(message.content)
    assert meant(message.sender) == (f"FROM:<{mail.sender}>", sender.mail_parameters(mail))
    (recipient,) = message.recipients
    assert meant(recipient) == (f"TO:<{mail.recipient}>", sender.rcpt_parameters(mail))
    assert came_by_tls(message) == way.tls
    assert [line for line in place.server.log if line["event"].endswith("_failed")] == []


@pytest.mark.real("smtp-source")
async def test_fifty_mails_over_five_connections_arrive_each_once(place: Place, upstream: Exchanger) -> None:
    load = ["-d", "-s", "5", "-m", "50", "-l", "20000", "-f", "alice@sender.test", "-t", "bob@example.com"]
    await run([find_program("smtp-source"), *load, place.address])
    assert len(upstream.messages) == 50
    contents = [below_traces(each) for each in upstream.messages]
    assert {content.partition(b"\r\n\r\n")[2] for content in contents} == {contents[0].partition(b"\r\n\r\n")[2]}
    assert all(19_000 < len(content) < 21_000 for content in contents)
