"""The real clients of the matrix: how each of them sends one mail, and what it has no way to send.

The matrix itself, and what must arrive, is `test_clients.py`.
"""

from __future__ import annotations

import asyncio
import os
import re
import smtplib
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import trustme

from tests.support.conversation import stuffed
from tests.support.exim import Exim
from tests.support.programs import Folder, find_program
from tests.support.ringback import Ringback
from tests.support.servers import Postfix
from tests.support.waiting import eventually

RUN_BOUND = 60
"""Seconds that a client may take for one mail."""


@dataclass(frozen=True, slots=True)
class Place:
    """A server that offers TLS, and its certificate's authority, also in a file."""

    server: Ringback
    authority: trustme.CA
    bundle: Path

    @property
    def address(self) -> str:
        """`127.0.0.1:port`."""
        return f"127.0.0.1:{self.server.port}"

    def trust(self) -> ssl.SSLContext:
        """Return what a client needs to trust the server."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One mail as its sender means it: the envelope with its parameters, and every octet of the content."""

    content: bytes
    sender: str = "alice@sender.test"
    recipient: str = "bob@example.com"
    mail_parameters: tuple[str, ...] = ()
    rcpt_parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """How a mail travels from the client to the server."""

    tls: bool = False
    bdat: bool = False


async def run(arguments: Sequence[str], *, given: bytes = b"", **environment: str) -> str:
    """Run a client to its end; it must succeed. Return what it printed."""

    def work() -> subprocess.CompletedProcess[bytes]:
        variables = {**os.environ, **environment}
        return subprocess.run(
            arguments, input=given, capture_output=True, check=False, timeout=RUN_BOUND, env=variables
        )

    done = await asyncio.to_thread(work)
    shown = (done.stdout + done.stderr).decode(errors="backslashreplace")
    assert done.returncode == 0, shown[-3000:]
    return shown


class Sender:
    """A client program, ready to send to a place."""

    needs: ClassVar[tuple[str, ...]] = ()
    """The programs that it is made of."""
    needs_for_tls: ClassVar[tuple[str, ...]] = ()
    cannot: ClassVar[Mapping[str, str]] = {}
    """Kind of mail, or way, that the program has no means for → why."""
    traces: ClassVar[int] = 0
    """Trace fields that it puts on top of the mail, as every server must that passes it on."""
    ending: ClassVar[bytes] = b""
    """What it puts at the end of every mail."""
    silent_about: ClassVar[frozenset[str]] = frozenset()
    """Parameters that it understands and does not say, whatever the server offers."""

    def __init__(self, place: Place) -> None:
        """Nothing runs before the first mail."""
        self.place = place
        self._stack = ExitStack()

    async def send(self, mail: Mail, way: Way) -> None:
        """Have the program deliver a mail; it must say that it did."""
        raise NotImplementedError

    def mail_parameters(self, mail: Mail) -> frozenset[str]:
        """Return what it says of the sender's wishes at MAIL."""
        return frozenset(mail.mail_parameters) - self.silent_about

    def rcpt_parameters(self, mail: Mail) -> frozenset[str]:
        """Return what it says of the sender's wishes at RCPT."""
        return frozenset(mail.rcpt_parameters)

    def close(self) -> None:
        """Stop and remove everything that it needed."""
        self._stack.close()

    def _written(self, content: bytes) -> Path:
        """Write a mail to a file."""
        folder = Folder("mail")
        self._stack.callback(folder.remove)
        path = folder.path / "mail"
        path.write_bytes(content)
        return path


class Smtplib(Sender):
    """Python's own client."""

    cannot: ClassVar[Mapping[str, str]] = {"BDAT": "smtplib knows DATA only"}

    async def send(self, mail: Mail, way: Way) -> None:
        """Deliver in a thread."""
        await asyncio.to_thread(self._send, mail, way)

    def _send(self, mail: Mail, way: Way) -> None:
        with smtplib.SMTP("127.0.0.1", self.place.server.port, "client.test", timeout=RUN_BOUND) as client:
            if way.tls:
                client.starttls(context=self.place.trust())
            submit(client, mail)


def submit(client: smtplib.SMTP, mail: Mail) -> None:
    """Hand a mail over in an open conversation."""
    client.ehlo()
    client.command_encoding = "utf-8"  # smtplib's send_message does so for SMTPUTF8; sendmail leaves it to its caller
    refused = client.sendmail(
        mail.sender, [mail.recipient], mail.content, list(mail.mail_parameters), list(mail.rcpt_parameters)
    )
    assert refused == {}


class Swaks(Sender):
    """The Swiss army knife for SMTP."""

    needs: ClassVar[tuple[str, ...]] = ("swaks",)
    needs_for_tls: ClassVar[tuple[str, ...]] = ("Net::SSLeay",)
    cannot: ClassVar[Mapping[str, str]] = {
        "SMTPUTF8": "swaks has no option for a parameter of MAIL",
        "DSN": "swaks has no option for a parameter of MAIL or RCPT",
        "BDAT": "swaks knows DATA only",
    }
    silent_about: ClassVar[frozenset[str]] = frozenset({"BODY=8BITMIME"})

    async def send(self, mail: Mail, way: Way) -> None:
        """Run it once; it puts a line end between the mail in the file and the dot."""
        path = self._written(mail.content.removesuffix(b"\r\n"))
        arguments = [find_program("swaks"), "--server", self.place.address, "--helo", "client.test"]
        arguments += ["--from", mail.sender, "--to", mail.recipient, "--data", f"@{path}"]
        if way.tls:
            arguments += ["--tls", "--tls-verify", "--tls-ca-path", str(self.place.bundle)]
        assert "queued as" in await run([*arguments, "--suppress-data"])


class SmtpSource(Sender):
    """Postfix's load generator, with a mail of our own."""

    needs: ClassVar[tuple[str, ...]] = ("smtp-source",)
    cannot: ClassVar[Mapping[str, str]] = {
        "TLS": "smtp-source does not link TLS",
        "SMTPUTF8": "smtp-source says MAIL without parameters",
        "DSN": "smtp-source says MAIL and RCPT without parameters",
        "BDAT": "smtp-source knows DATA only",
    }
    ending: ClassVar[bytes] = b"\r\n"  # a line end before the dot, whatever came before; DKIM ignores empty lines there
    silent_about: ClassVar[frozenset[str]] = frozenset({"BODY=8BITMIME"})

    async def send(self, mail: Mail, way: Way) -> None:
        """Run it once; it makes CR LF of the line ends in the file."""
        assert not way.tls
        path = self._written(mail.content.replace(b"\r\n", b"\n"))
        await run(
            [find_program("smtp-source"), "-F", str(path), "-f", mail.sender, "-t", mail.recipient, self.place.address]
        )


class PostfixAsClient(Sender):
    """A Postfix that relays what is submitted to it."""

    needs: ClassVar[tuple[str, ...]] = ("postfix",)
    cannot: ClassVar[Mapping[str, str]] = {"BDAT": "Postfix takes BDAT as a server and never says it as a client"}
    traces: ClassVar[int] = 1

    def __init__(self, place: Place) -> None:
        """Nothing runs before the first mail; one server speaks TLS, another does not."""
        super().__init__(place)
        self._servers: dict[bool, Postfix] = {}

    async def send(self, mail: Mail, way: Way) -> None:
        """Submit the mail and wait until it has left the queue."""
        server = self._servers.get(way.tls) or self._start(tls=way.tls)
        before = len(server.log)
        await asyncio.to_thread(self._submit, server, mail)
        status = await eventually(
            lambda: re.findall(r" status=\w+ \(.*", server.log[before:]), "Postfix tries to deliver", within=RUN_BOUND
        )
        assert status[0].startswith(" status=sent (250 "), status

    def rcpt_parameters(self, mail: Mail) -> frozenset[str]:
        """It says which recipient the mail was for when it came to it, unless that was said before (RFC 3461, 4.2)."""
        if any(each.startswith("ORCPT=") for each in mail.rcpt_parameters):
            return super().rcpt_parameters(mail)
        return super().rcpt_parameters(mail) | {f"ORCPT=rfc822;{_xtext(mail.recipient)}"}

    def _submit(self, server: Postfix, mail: Mail) -> None:
        with smtplib.SMTP("127.0.0.1", server.port, "submitter.test", timeout=RUN_BOUND) as client:
            submit(client, mail)

    def _start(self, *, tls: bool) -> Postfix:
        options = {
            "relayhost": f"[127.0.0.1]:{self.place.server.port}",
            "virtual_mailbox_domains": "",
            "relay_domains": "example.com",
            "relay_transport": "smtp",
            "mynetworks": "127.0.0.0/8",
            "smtpd_recipient_restrictions": "permit_mynetworks, reject",
            "smtp_tls_CAfile": str(self.place.bundle),
            "smtp_tls_security_level": "encrypt" if tls else "none",
            "smtputf8_enable": "yes",
            "disable_dns_lookups": "yes",
            "myhostname": "client.test",
        }
        self._servers[tls] = self._stack.enter_context(Postfix(options=options))
        return self._servers[tls]


def _xtext(text: str) -> str:
    """Return an ORCPT's form of an address (RFC 3461, 4)."""
    return "".join(chr(each) if 33 <= each <= 126 and each not in b"+=" else f"+{each:02X}" for each in text.encode())


class EximAsClient(Sender):
    """An Exim that relays what is submitted to it."""

    needs: ClassVar[tuple[str, ...]] = ("exim4",)
    traces: ClassVar[int] = 1
    silent_about: ClassVar[frozenset[str]] = frozenset({"BODY=8BITMIME"})

    async def send(self, mail: Mail, way: Way) -> None:
        """Submit the mail, and deliver it in the same process."""
        with Exim() as exim:
            command = exim.command(
                port=self.place.server.port, authority=self.place.bundle, tls=way.tls, chunking=way.bdat
            )
            shown = await run(command, given=_dialogue(mail), **exim.environment)
            log = exim.log
        deliveries = [line for line in log.splitlines() if " => " in line]
        assert len(deliveries) == 1, shown + log
        (delivery,) = deliveries
        assert (" X=TLS1." in delivery) == way.tls, log
        assert (" K " in delivery) == way.bdat, log
        assert ' C="250 ' in delivery, log


def _dialogue(mail: Mail) -> bytes:
    """Return what a client would say."""
    lines = [
        "EHLO submitter.test",
        " ".join((f"MAIL FROM:<{mail.sender}>", *mail.mail_parameters)),
        " ".join((f"RCPT TO:<{mail.recipient}>", *mail.rcpt_parameters)),
        "DATA",
    ]
    return "".join(f"{line}\r\n" for line in lines).encode() + stuffed(mail.content) + b".\r\nQUIT\r\n"


SENDERS: tuple[type[Sender], ...] = (Smtplib, Swaks, SmtpSource, PostfixAsClient, EximAsClient)
