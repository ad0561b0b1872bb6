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
