"""Protocols for what a script can access: the session, the message, the callback, the log.

The server implements `Host` for a live session, the command line for its options, and the tests for plain values. This
module does not use SMTP, DNS or sockets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from sieve.settings import BounceRules
from sieve.shared import Counters, Datasources, Duplicates, Lists, Soon


@dataclass(slots=True)
class CallbackAnswer:
    """The result of `smtp_callback_verify`: pass, fail, transient or error, and the full DSN text in one line.

    Not frozen, because each message makes one.
    """

    status: str
    message: str


@runtime_checkable
class MessageView(Protocol):
    """The header section of the message as received. Available from the data phase on."""

    def header(self, name: str) -> Sequence[str]:
        """Return the unfolded bodies of all fields with this name (case-insensitive), top to bottom."""
        ...


class Host(Protocol):
    """A script's view of the session. Operations that may wait are coroutines."""

    @property
    def sender(self) -> str:
        """The reverse-path without angle brackets. Empty for the null sender and before MAIL FROM."""
        ...

    @property
    def recipients(self) -> Sequence[str]:
        """The forward-paths in RCPT TO order. In rcptto and each_rcpt, only the current recipient."""
        ...

    @property
    def message(self) -> MessageView | None:
        """The message's headers; None before the data phase."""
        ...

    @property
    def vctx_conn(self) -> MutableMapping[str, str]:
        """The connection's context variables; they last as long as the connection."""
        ...

    @property
    def vctx_mess(self) -> MutableMapping[str, str]:
        """The message's context variables; cleared for each message."""
        ...

    def callback(self, address: str, sender: str | None) -> CallbackAnswer | Awaitable[CallbackAnswer]:
        """Ask the exchanger of `address` whether the address exists; `sender` replaces the configured probe sender.

        An answer that is at hand is returned immediately.
        """
        ...

    def greylisted(self, name: str) -> Soon[float]:
        """Count an attempt in a `greylist` stanza; return the seconds that the mail must wait. Raises ScriptError."""
        ...

    async def tarpit(self, seconds: float) -> None:
        """Delay the session for this many seconds, or until it ends."""
        ...

    def log(self, text: str) -> None:
        """Write one line to the log, escaped and truncated."""
        ...

    def count(self, counter: str, code: int) -> None:
        """Increase a counter in the class of the reply code (5xx, 4xx, or informational)."""
        ...

    def script_failed(self, script: str, line: int, reason: str) -> None:
        """Log a run-time error of a script with its position."""
        ...


@dataclass(frozen=True, slots=True)
class ConnectionEnd:
    """One end of a connection: the address as text, and the port."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """The result of a DNS look-up.

    The status is `SUCCESS`, the name of an RCODE (RFC 1035, 4.1.1), or `TIMEOUT`. Records are in their text form. MX
    records are only the host names, sorted by preference.
    """

    status: str
    records: tuple[str, ...] = ()


class ContentView(MessageView, Protocol):
    """The whole message, including the edits of this and earlier scripts."""

    @property
    def size(self) -> int:
        """The size in bytes, with CRLF line ends and without dot-stuffing."""
        ...

    @property
    def has_body(self) -> bool:
        """Whether an empty line follows the header section."""
        ...

    @property
    def stuffed_lines(self) -> int:
        """The number of lines that begin with a dot. Dot-stuffing adds one byte to each (RFC 5321, 4.5.2)."""
        ...

    def fields(self) -> Sequence[tuple[str, str]]:
        """Return all fields as pairs of name and unfolded body, top to bottom."""
        ...

    async def raw(self) -> bytes:
        """Return the message, header section and body, with CRLF line ends and without dot-stuffing."""
        ...


class ConnectionView(Protocol):
    """Properties of the connection."""

    @property
    def client(self) -> ConnectionEnd:
        """The client's address and port."""
        ...

    @property
    def local(self) -> ConnectionEnd:
        """The local address and port."""
        ...

    @property
    def ehlo(self) -> str:
        """The client's argument to EHLO or HELO; empty before the command."""
        ...

    @property
    def hostname(self) -> str:
        """The server's own host name."""
        ...

    async def client_name(self) -> str:
        """Return the client's validated host name (RFC 7208, 5.5), or `unknown`."""
        ...


class TransactionView(Protocol):
    """Properties of the message's transaction other than the envelope."""

    @property
    def id(self) -> str:
        """The server's id for the message."""
        ...

    @property
    def created(self) -> float:
        """The start of the transaction, in seconds since 1970."""
        ...


class MessageEdits(Protocol):
    """Changes to the message for all its recipients. The next hop receives the changed message."""

    def add_header(self, name: str, body: str, *, folded: bool = False) -> object:
        """Add a field at the top. Name and body have no control characters and no line breaks.

        With `folded`, its lines are at most 78 characters long if there are spaces, else only as short as they must be.
        """
        ...

    def append_header(self, name: str, body: str) -> None:
        """Add a field below the others. Name and body are as for `add_header`."""
        ...

    def delete_one_header(self, name: str, number: int) -> None:
        """Remove one field with this name. `number` counts from 0 at the top."""
        ...

    def delete_header(self, name: str) -> None:
        """Remove every field with this name (case-insensitive)."""
        ...

    def change_header(self, name: str, number: int, body: str) -> None:
        """Replace the body of one field with this name. `number` counts from 0 at the top."""
        ...

    def mark(self) -> object:
        """Return the present state of the header section, for `go_back`."""
        ...

    def go_back(self, mark: Any) -> None:
        """Undo all changes to the header section since `mark`, except of bodies of fields that were there."""
        ...

    def replace_body(self, body: bytes) -> None:
        """Replace everything after the empty line of the header section. Lines end in CRLF."""
        ...


class EnvelopeEdits(Protocol):
    """Changes to the envelope."""

    def set_sender(self, address: str) -> None:
        """Replace the envelope sender; empty is the null sender."""
        ...

    def redirect(self, address: str) -> None:
        """Replace the current recipient with `address`, or all recipients if the phase has no current recipient."""
        ...

    def copy(self, address: str) -> None:
        """Add a recipient."""
        ...


class Mail(Protocol):
    """Messages that a script creates. They are sent when the current message is accepted, or with its rejection."""

    def forward(self, sender: str, recipients: Sequence[str], text: str, subject: str, original: bytes) -> None:
        """Send each recipient a message with `text` and the original attached."""
        ...

    def send(self, sender: str, recipients: Sequence[str], text: str) -> None:
        """Send a complete message that the script wrote: header section and body, as lines."""
        ...

    async def sign(self, settings: Mapping[str, str]) -> None:
        """Sign the messages that the script has made so far. A ScriptError if that is not possible."""
        ...


class Control(Protocol):
    """Control of the session, and information about the server."""

    def advertise(self, capability: str) -> None:
        """Add a line to the EHLO reply."""
        ...

    def withdraw(self, capability: str) -> None:
        """Remove a line from the EHLO reply, by its keyword."""
        ...

    def route(self, gateway: str) -> None:
        """Set the next hop of the current recipient."""
        ...

    def has_binding(self, name: str) -> bool:
        """Tell whether the configuration has a binding."""
        ...

    def has_binding_group(self, name: str) -> bool:
        """Tell whether the configuration has a group of bindings."""
        ...

    def bind(self, name: str) -> bool:
        """Relay the message by way of a binding; False if it does not exist."""
        ...

    def bind_to_one_of(self, name: str) -> bool:
        """Relay the message by way of a random binding of a group; False if the group has none."""
        ...

    def option(self, scopes: Sequence[str], name: str) -> str | Sequence[str] | None:
        """Return the effective value of an option in a scope; None if the option or scope does not exist."""
        ...

    def interfaces(self) -> Sequence[str]:
        """Return the IPv4 addresses of this machine, except loopback."""
        ...

    def memory(self) -> int:
        """Return the server's memory usage in MiB."""
        ...

    async def spool_space(self) -> tuple[int, int, int]:
        """Return size and free space of the spool's partition in MB, and the percentage in use."""
        ...

    async def write_line(self, path: str, line: str) -> None:
        """Append a line to one of the operator's log files.

        Raises:
            OSError: the file cannot be written.
        """
        ...


class FullHost(Host, Protocol):
    """Everything that functions can access. `Host` is the part that every implementation has."""

    @property
    def connection(self) -> ConnectionView:
        """The connection."""
        ...

    @property
    def transaction(self) -> TransactionView:
        """The transaction."""
        ...

    @property
    def content(self) -> ContentView | None:
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
        """Messages that the script creates."""
        ...

    @property
    def duplicates(self) -> Duplicates:
        """The messages that `duplicate` knows."""
        ...

    @property
    def datasources(self) -> Datasources:
        """Databases and directories."""
        ...

    @property
    def lists(self) -> Lists:
        """Lists of networks."""
        ...

    @property
    def counters(self) -> Counters:
        """What scripts count together."""
        ...

    @property
    def control(self) -> Control:
        """Control of the session and the server."""
        ...

    async def bounce_rules(self) -> BounceRules:
        """Return the site's rules about bounces."""
        ...

    async def listed_links(self) -> Mapping[str, Sequence[str]]:
        """Return what blocklists list of the message's links and addresses, by context variable."""
        ...

    async def resolve(self, name: str, record: str, server: str | None) -> DnsAnswer:
        """Look up records of one type (`a aaaa txt ptr ns mx`); `server` replaces the configured name servers."""
        ...

    def now(self) -> float:
        """Return the wall clock, in seconds since 1970."""
        ...

    def random(self, below: int) -> int:
        """Return a random whole number from 0 to one below this one, which is at least 1."""
        ...
