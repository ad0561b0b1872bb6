"""From an address to a `Wire`: connection, greeting, EHLO and TLS, for relay and probes.

`proxy.outgoing.dial` connects the socket. aiosmtplib's protocol then reads the greeting, sends EHLO and starts TLS. Its
reader is lenient: it takes the last code of a reply with mixed codes, and drops unsolicited replies. So this module
gives it only octets that a strict parser has accepted, and never more than one reply may have.

Its client, `aiosmtplib.SMTP`, is not used: it keeps 1.6 KB of settings for each connection, and checks them twice.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import Any, cast

import aiosmtplib
from aiosmtplib.esmtp import parse_esmtp_extensions
from aiosmtplib.protocol import SMTPProtocol

from config.base.deadlines import Within
from proxy.base import closing
from proxy.outgoing.wire import Garbled, Listener, ReplyParser, Wire, WireBroken


class GreetingRefused(Exception):
    """The peer refused us in its greeting or its reply to EHLO. `code` and `text` are its own."""

    def __init__(self, stage: str, code: int, text: str) -> None:
        """`stage` is the step at which the peer refused."""
        super().__init__(f"{stage}: {code} {text}")
        self.stage, self.code, self.text = stage, code, text


class Unreached(WireBroken):
    """No connection was made."""


class TlsFailed(WireBroken):
    """The TLS handshake failed; the same address may still accept a conversation without TLS."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Whether to use TLS (`no`, `ifavailable`, `required`), the context, and the name to verify."""

    mode: str
    context: ssl.SSLContext | None = None
    name: str = ""
    may_fall_back: bool = True
    """Whether `ifavailable` continues without TLS if STARTTLS is rejected. If it is not offered, it always does."""

    @property
    def needs_success(self) -> bool:
        """Whether STARTTLS, once offered, must succeed."""
        return self.mode == "required" or not self.may_fall_back


IN_THE_CLEAR = Tls("no")


@dataclass(frozen=True, slots=True)
class Dial:
    """Where to connect, and how to introduce ourselves. Times in seconds."""

    address: str
    port: int
    helo: str
    connect_timeout: float
    reply_timeout: float
    tls: Tls = IN_THE_CLEAR
    lmtp: bool = False
    local: str = ""
    """A local address to connect from."""
    listener: Listener | None = None


class _Greeter(SMTPProtocol):
    """aiosmtplib's protocol behind our parser: anything but exactly one expected reply ends the connection."""

    def __init__(self, listener: Listener | None) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._drain_waiters: Any = []  # nothing here waits to write; an empty deque takes 0.6 KB
        self.listener = listener
        self.garbled: str | None = None
        """What was wrong with the peer's bytes."""
        self.extensions: dict[str, str] = {}
        self.peer_name = ""
        self._parser = ReplyParser()
        self._closing: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if self.listener is not None:
            self.listener(False, data)
        try:
            self._check(data)
        except Garbled as error:
            self.garbled = self.garbled or str(error)
            if self.transport is not None:
                cast(asyncio.Transport, self.transport).abort()
        else:
            super().data_received(data)

    def _check(self, data: bytes) -> None:
        asked = self._response_pending and self._response_waiter is not None and not self._response_waiter.done()
        complete = list(self._parser.feed(data)) if asked else []
        if not asked or len(complete) > 1 or (complete and not self._parser.at_rest):
            raise Garbled("an unexpected reply")

    def write(self, data: bytes) -> None:
        if self.listener is not None:
            self.listener(True, data)
        super().write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._closing is not None:
            self._closing.cancel()
        super().connection_lost(exc)

    def close(self) -> None:
        """Close the connection; a peer that does not read is finally cut off."""
        if self.transport is not None and self._closing is None:
            self._closing = closing.close(self.transport)

    def take_leave(self, code: int) -> None:
        """Send QUIT after a refusal, as RFC 5321 sections 3.1 and 4.1.1.10 require, without waiting for the reply.

        It is not sent after a 421, because the server closes, or after a syntax violation.
        """
        if self.transport is not None and not self.transport.is_closing() and code != _CLOSING and not self.garbled:
            self.write(b"QUIT\r\n")

    async def introduce(self, verb: bytes, name: str) -> aiosmtplib.SMTPResponse:
        """Say who we are; remember the peer's name and what it offers."""
        answer = await self.execute_command(verb, name.encode("ascii", "replace"))
        if answer.code == _COMPLETED:
            self.extensions = {} if verb == b"HELO" else parse_esmtp_extensions(answer.message)[0]
            self.peer_name = answer.message.split(maxsplit=1)[0].lower() if answer.message.strip() else ""
        return answer

    def adopted(self) -> Wire:
        """Move the connection to a `Wire`.

        Raises:
            WireBroken: the peer is gone.
        """
        transport = cast(asyncio.Transport | None, self.transport)
        if transport is None or transport.is_closing():
            raise WireBroken("closed by the peer")
        wire = Wire(transport, self.extensions)
        wire.listener, wire.peer_name = self.listener, self.peer_name
        # The whole protocol object is replaced: uvloop keeps the bound methods of the old one.
        transport.set_protocol(wire)
        self.transport = None
        return wire


_READY = 220
_COMPLETED = 250
_CLOSING = 421


async def dial(target: Dial, sock: socket.socket | None = None) -> Wire:
    """Connect, read the greeting, send EHLO (or HELO if EHLO is unknown), start TLS, and return the wire.

    If `sock` is given, it is used as the connection; on any failure it is closed.

    Raises:
        GreetingRefused: the greeting, EHLO and HELO, or STARTTLS was refused.
        Unreached: no connection was made, if no socket is given.
        TlsFailed: the handshake failed.
        WireBroken: the peer closed or violated the syntax of replies.
        TimeoutError: a step took too long.
    """
    greeter = _Greeter(target.listener)
    try:
        await _connected(greeter, target, sock)
        with Within(target.reply_timeout):
            await _introduce(greeter, target)
            if target.tls.mode != "no":
                await _encrypt(greeter, target)
        return greeter.adopted()
    except GreetingRefused as refused:
        greeter.take_leave(refused.code)
        raise
    except (aiosmtplib.SMTPException, OSError) as error:
        if isinstance(error, TimeoutError):
            raise
        raise (Garbled(greeter.garbled) if greeter.garbled else WireBroken(str(error))) from error
    finally:
        greeter.close()  # a no-op once adopted; otherwise it drops the connection


async def _connected(greeter: _Greeter, target: Dial, sock: socket.socket | None) -> None:
    """Connect and read the greeting in time."""
    try:
        with Within(target.connect_timeout):
            await _connect(greeter, target, sock)
    except TimeoutError as error:
        if sock is None and greeter.transport is None:
            raise Unreached("timeout") from error
        raise


async def _connect(greeter: _Greeter, target: Dial, sock: socket.socket | None) -> None:
    loop = asyncio.get_running_loop()
    if sock is not None:
        try:
            await loop.create_connection(lambda: greeter, sock=sock)
        except BaseException:
            sock.close()  # harmless if a transport owns it; otherwise nothing else closes it
            raise
    else:
        local = (target.local, 0) if target.local else None
        try:
            await loop.create_connection(lambda: greeter, target.address, target.port, local_addr=local)
        except OSError as error:
            raise Unreached(str(error)) from error
    greeting = await greeter.read_response()
    if greeting.code != _READY:
        raise GreetingRefused("banner", greeting.code, greeting.message)


async def _introduce(greeter: _Greeter, target: Dial) -> None:
    """Send EHLO, or HELO to a server that does not know it (RFC 5321 section 3.2), or LHLO in LMTP (RFC 2033)."""
    stage = "lhlo" if target.lmtp else "ehlo"
    answer = await greeter.introduce(stage.upper().encode(), target.helo)
    if stage == "ehlo" and 500 <= answer.code < 600:  # permanent: the command is unknown
        stage = "helo"
        answer = await greeter.introduce(b"HELO", target.helo)
    if answer.code != _COMPLETED:
        raise GreetingRefused(stage, answer.code, answer.message)


async def _encrypt(greeter: _Greeter, target: Dial) -> None:
    """Start TLS if it is offered, and introduce ourselves again (RFC 3207 section 4.2)."""
    tls = target.tls
    if "starttls" not in greeter.extensions:
        if tls.mode == "required":
            raise GreetingRefused("starttls", 0, "TLS is required but not offered")
        return
    try:
        context = tls.context or ssl.create_default_context()
        await greeter.start_tls(context, server_hostname=tls.name or None)
    except aiosmtplib.SMTPResponseException as error:
        if tls.needs_success:
            raise GreetingRefused("starttls", error.code, error.message) from error
        return
    except (aiosmtplib.SMTPException, OSError) as error:
        raise TlsFailed(f"TLS handshake failed: {error}") from error
    await _introduce(greeter, target)
