"""What a script may ask of the world, as protocols: the session it runs in, the message, the callback, the log.

The server implements `Host` over a live session, the command line over options, tests over plain values. Nothing of
SMTP, DNS or sockets is known here.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class CallbackAnswer:
    """What `smtp_callback_verify` returns: one of pass, fail, transient, error, and the full DSN text in one line."""

    status: str
    message: str


@runtime_checkable
class MessageView(Protocol):
    """The header section of the message, as it came over the wire. Present from the data phase on."""

    def header(self, name: str) -> Sequence[str]:
        """Return the unfolded bodies of every field of that name (case-insensitive), top to bottom."""
        ...


class Host(Protocol):
    """A script's view of the session. Reads are plain attributes; what may wait is a coroutine."""

    @property
    def sender(self) -> str:
        """The reverse-path without angle brackets; empty for the null sender and before MAIL FROM."""
        ...

    @property
    def recipients(self) -> Sequence[str]:
        """Forward-paths in the order of RCPT TO; in rcptto and each_rcpt the one in question only."""
        ...

    @property
    def message(self) -> MessageView | None:
        """The message's headers; None before the data phase."""
        ...

    @property
    def vctx_conn(self) -> MutableMapping[str, str]:
        """The connection's context dictionary; it lives as long as the connection."""
        ...

    @property
    def vctx_mess(self) -> MutableMapping[str, str]:
        """The message's context dictionary; emptied for each message."""
        ...

    async def callback(self, address: str, sender: str | None) -> CallbackAnswer:
        """Ask the exchanger of `address` whether it exists; `sender` replaces the configured probe sender."""
        ...

    async def tarpit(self, seconds: float) -> None:
        """Hold the session for so long, or until it ends."""
        ...

    def log(self, text: str) -> None:
        """Write one line to the log, escaped and cut."""
        ...

    def count(self, counter: str, code: int) -> None:
        """Increase an operator's counter, in the class of the reply code (5xx, 4xx, else informational)."""
        ...

    def script_failed(self, script: str, line: int, reason: str) -> None:
        """Record a run-time error of a script, with its place, in the log."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a connection: the address in its text form, and the port."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """What a look-up gave.

    The status is `SUCCESS`, the name of an RCODE (RFC 1035, 4.1.1), or `TIMEOUT` where no answer came. Records are in
    their text form; those of MX are the exchangers alone, in the order of preference.
    """

    status: str
    records: tuple[str, ...] = ()


class Content(MessageView, Protocol):
    """The whole message. Reads see what the edits of this and earlier scripts did."""

    @property
    def size(self) -> int:
        """Bytes of the message with CRLF line ends, before dot-stuffing."""
        ...

    @property
    def stuffed_lines(self) -> int:
        """Lines that begin with a dot: each has one byte more on the wire (RFC 5321, 4.5.2)."""
        ...

    def fields(self) -> Sequence[tuple[str, str]]:
        """Return every field as name and unfolded body, top to bottom."""
        ...

    async def raw(self) -> bytes:
        """Return the message, header section and body, with CRLF line ends and no dot-stuffing."""
        ...


class Connection(Protocol):
    """What is known of the connection."""

    @property
    def client(self) -> Endpoint:
        """The client's end."""
        ...

    @property
    def local(self) -> Endpoint:
        """Our end."""
        ...

    @property
    def ehlo(self) -> str:
        """The client's argument to EHLO or HELO; empty before it."""
        ...

    @property
    def protocol(self) -> str:
        """`SMTP`, `ESMTP`, `ESMTPS`, `ESMTPA` or `ESMTPSA` (RFC 3848)."""
        ...

    @property
    def hostname(self) -> str:
        """Our own name."""
        ...

    async def client_name(self) -> str:
        """Return the client's validated host name (RFC 7208, 5.5), or `unknown`."""
        ...


class Transaction(Protocol):
    """What is known of the message's transaction beside its envelope."""

    @property
    def id(self) -> str:
        """The server's id for the message."""
        ...

    @property
    def created(self) -> float:
        """When it began, in seconds since 1970."""
        ...


class MessageEdits(Protocol):
    """Changes to the message, for all its recipients; the upstream receives them."""

    def add_header(self, name: str, body: str) -> None:
        """Add a field above the others. Name and body are clean: no control characters, no line breaks."""
        ...

    def delete_header(self, name: str) -> None:
        """Remove every field of that name (case-insensitive)."""
        ...

    def change_header(self, name: str, number: int, body: str) -> None:
        """Give the field of that name with this number, from 0 at the top, another body."""
        ...

    def replace_body(self, body: bytes) -> None:
        """Replace everything behind the header section's empty line; CRLF line ends."""
        ...


class EnvelopeEdits(Protocol):
    """Changes to the envelope."""

    def set_sender(self, address: str) -> None:
        """Relay in the name of another sender; empty is the null sender."""
        ...

    def redirect(self, address: str) -> None:
        """Put `address` in the place of the recipient in question; of all of them where none is in question."""
        ...

    def copy(self, address: str) -> None:
        """Add a recipient beside the others."""
        ...


class Mail(Protocol):
    """Messages of a script's own making. They leave when the message in hand is accepted, or with its refusal."""

    def forward(self, sender: str, recipients: Sequence[str], text: str, subject: str, original: bytes) -> None:
        """Send each recipient a message of `text`, with the original attached."""
        ...

    def send(self, sender: str, recipients: Sequence[str], text: str) -> None:
        """Send a message that the script wrote whole, header section and body, in lines."""
        ...


class Control(Protocol):
    """What a script may do to the session and ask of the server."""

    def advertise(self, capability: str) -> None:
        """Add a line to the EHLO reply."""
        ...

    def withdraw(self, capability: str) -> None:
        """Take a line out of the EHLO reply, by its keyword."""
        ...

    def route(self, gateway: str) -> None:
        """Relay to another upstream for the recipient in question."""
        ...

    def option(self, scopes: Sequence[str], name: str) -> str | Sequence[str] | None:
        """Return the effective value of a configuration option in a scope, None if there is no such option or scope."""
        ...

    def interfaces(self) -> Sequence[str]:
        """Return the IPv4 addresses of this machine but for loopback."""
        ...

    def memory(self) -> int:
        """Return the memory that the server uses, in MiB."""
        ...

    async def write_line(self, path: str, line: str) -> None:
        """Append a line to a log file of the operator's.

        Raises:
            OSError: the file cannot be written.
        """
        ...


class World(Host, Protocol):
    """The whole of what functions may ask; `Host` is the part that every script can count on."""

    @property
    def connection(self) -> Connection:
        """The connection."""
        ...

    @property
    def transaction(self) -> Transaction:
        """The transaction."""
        ...

    @property
    def content(self) -> Content | None:
        """The whole message; None before the data phase."""
        ...

    @property
    def edits(self) -> MessageEdits:
        """Changes to the message."""
        ...

    @property
    def envelope(self) -> EnvelopeEdits:
        """Changes to the envelope."""
        ...

    @property
    def mail(self) -> Mail:
        """Messages of the script's own making."""
        ...

    @property
    def control(self) -> Control:
        """The session and the server."""
        ...

    async def resolve(self, name: str, record: str, server: str | None) -> DnsAnswer:
        """Look up records of one type (`a aaaa txt ptr ns mx`), with `server` instead of the configured ones."""
        ...

    def now(self) -> float:
        """Return the wall clock, in seconds since 1970."""
        ...
