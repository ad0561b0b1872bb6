"""From an address to a `Wire`: connection, greeting, EHLO and TLS, for relay and probes.

`proxy.outgoing.dial` connects the socket. aiosmtplib then reads the greeting, sends EHLO and starts TLS. Its reader is
lenient: it takes the last code of a reply with mixed codes, and drops unsolicited replies. So this module gives it only
octets that a strict parser has accepted, and never more than one reply may have.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import cast

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol

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
    """Whether `ifavailable` goes on without TLS if STARTTLS is refused. If it is not offered, it always does."""

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


class _StrictProtocol(SMTPProtocol):
    """aiosmtplib's protocol behind our parser: anything but exactly one expected reply ends the connection."""

    def __init__(self, client: _Client) -> None:
        super().__init__(loop=asyncio.get_running_loop(), connection_lost_callback=client.lost)
        self._client = client
        self._parser = ReplyParser()

    def data_received(self, data: bytes) -> None:
        client = self._client
        if client.listener is not None:
            client.listener(False, data)
        try:
            self._check(data)
        except Garbled as error:
            client.garbled = client.garbled or str(error)
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
        if self._client.listener is not None:
            self._client.listener(True, data)
        super().write(data)


class _Client(aiosmtplib.SMTP):
    """aiosmtplib's client, for a connected socket or an address, with the strict protocol."""

    def __init__(self, target: Dial, sock: socket.socket | None) -> None:
        super().__init__(
            hostname=target.address if sock is None else None,
            port=target.port if sock is None else None,
            sock=sock,
            local_hostname=target.helo,
            timeout=None,
            start_tls=False,
        )
        self._place = target.address, target.port
        self._local = (target.local, 0) if target.local else None
        self.reached = sock is not None
        self.listener = target.listener
        self.garbled: str | None = None
        """What was wrong with the peer's bytes."""
        self._closing: asyncio.TimerHandle | None = None

    def lost(self, protocol: SMTPProtocol) -> None:
        if self._closing is not None:
            self._closing.cancel()
        self._on_connection_lost(protocol)

    def close(self) -> None:
        """Close the connection if it was not adopted; a peer that does not read is finally cut off."""
        transport = self.transport
        super().close()
        if transport is not None and self._closing is None:
            self._closing = closing.close(transport)

    def take_leave(self, code: int) -> None:
        """Send QUIT after a refusal, as RFC 5321 sections 3.1 and 4.1.1.10 require, without waiting for the reply.

        It is not sent after a 421, because the server closes, or after a syntax violation.
        """
        if self.protocol is not None and self.transport is not None and code != _CLOSING and not self.garbled:
            self.protocol.write(b"QUIT\r\n")

    async def _create_connection(self, timeout: float | None) -> aiosmtplib.SMTPResponse:  # noqa: ASYNC109 — theirs
        protocol = _StrictProtocol(self)
        loop = asyncio.get_running_loop()
        if self.sock is not None:
            transport, _ = await loop.create_connection(lambda: protocol, sock=self.sock)
        else:
            try:
                transport, _ = await loop.create_connection(lambda: protocol, *self._place, local_addr=self._local)
            except OSError as error:
                raise Unreached(str(error)) from error
        self.reached = True
        self.protocol, self.transport = protocol, transport
        greeting = await protocol.read_response(timeout=timeout)
        if greeting.code != _READY:
            self.take_leave(greeting.code)
            raise aiosmtplib.SMTPConnectResponseError(greeting.code, greeting.message)
        return greeting


_READY = 220
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
    client = _Client(target, sock)
    try:
        return await _greeted(client, target)
    except aiosmtplib.SMTPConnectResponseError as error:
        raise GreetingRefused("banner", error.code, error.message) from error
    except GreetingRefused as refused:
        client.take_leave(refused.code)
        raise
    except (aiosmtplib.SMTPException, OSError) as error:
        if isinstance(error, TimeoutError):
            raise
        raise (Garbled(client.garbled) if client.garbled else WireBroken(str(error))) from error
    finally:
        client.close()  # a no-op once adopted; otherwise it drops the connection


async def _greeted(client: _Client, target: Dial) -> Wire:
    try:
        async with asyncio.timeout(target.connect_timeout):
            await client.connect()
    except BaseException as error:
        if isinstance(error, TimeoutError) and not client.reached:
            raise Unreached("timeout") from error
        if client.sock is not None:
            client.sock.close()  # harmless if a transport owns it; otherwise nothing else closes it
        raise
    async with asyncio.timeout(target.reply_timeout):
        await _introduce(client, target)
        if target.tls.mode != "no":
            await _encrypt(client, target)
    return _adopt(client)


async def _introduce(client: _Client, target: Dial) -> None:
    """Send EHLO, or HELO to a server that does not know it (RFC 5321 section 3.2), or LHLO in LMTP (RFC 2033)."""
    if target.lmtp:
        answer = await client.execute_command(b"LHLO", target.helo.encode("ascii", "replace"))
        if answer.code != 250:
            raise GreetingRefused("lhlo", answer.code, answer.message)
        client.last_ehlo_response = answer
        return
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError as refused:
        if not 500 <= refused.code < 600:  # permanent: the command is unknown
            raise GreetingRefused("ehlo", refused.code, refused.message) from refused
        try:
            await client.helo()
        except aiosmtplib.SMTPHeloError as error:
            raise GreetingRefused("helo", error.code, error.message) from error


async def _encrypt(client: _Client, target: Dial) -> None:
    """Start TLS if it is offered, and introduce ourselves again (RFC 3207 section 4.2)."""
    if "starttls" not in client.esmtp_extensions:
        if target.tls.mode == "required":
            raise GreetingRefused("starttls", 0, "TLS is required but not offered")
        return
    try:
        await client.starttls(tls_context=target.tls.context, server_hostname=target.tls.name or None)
    except aiosmtplib.SMTPResponseException as error:
        if target.tls.needs_success:
            raise GreetingRefused("starttls", error.code, error.message) from error
        return
    except (aiosmtplib.SMTPException, OSError) as error:
        raise TlsFailed(f"TLS handshake failed: {error}") from error
    await _introduce(client, target)


def _adopt(client: _Client) -> Wire:
    """Move the connection of an aiosmtplib client that has said EHLO to a `Wire`; the client is empty afterwards.

    Raises:
        WireBroken: the peer is gone.
    """
    protocol = client.protocol
    if protocol is None or client.transport is None or client.transport.is_closing():
        raise WireBroken("closed by the peer")
    transport = cast(asyncio.Transport, client.transport)
    wire = Wire(transport, dict(client.esmtp_extensions))
    wire.listener = client.listener
    hello = client.last_ehlo_response or client.last_helo_response
    wire.peer_name = hello.message.split(maxsplit=1)[0].lower() if hello is not None and hello.message else ""
    # The whole protocol object is replaced: uvloop keeps the bound methods of the old one.
    transport.set_protocol(wire)
    client.transport = client.protocol = None
    return wire
