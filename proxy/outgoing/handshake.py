"""From an address to a `Wire`: the connection, the greeting, EHLO and TLS, for relay and probes alike.

`proxy.outgoing.dial` connects the socket and aiosmtplib speaks: it reads the greeting, says EHLO and begins TLS. Its
reader is lenient (it takes the last code of a reply that mixes them, and drops what nobody asked for), so that its
protocol is given a stricter ear here, and not more of a stranger's octets than one reply may have.
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


class Refused(Exception):
    """The peer greeted or answered EHLO with a refusal. `code` and `text` are its own."""

    def __init__(self, stage: str, code: int, text: str) -> None:
        """Keep what the peer said, and at which step."""
        super().__init__(f"{stage}: {code} {text}")
        self.stage, self.code, self.text = stage, code, text


class Unreached(WireBroken):
    """No connection came about."""


class TlsFailed(WireBroken):
    """The TLS handshake failed; the same address may still take a conversation in the clear."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Whether TLS is asked for (`no`, `ifavailable`, `required`), with what, and the name that is verified."""

    mode: str
    context: ssl.SSLContext | None = None
    name: str = ""
    may_fall_back: bool = True
    """Whether `ifavailable` goes on in the clear if STARTTLS is refused; if it is not offered, it always does."""

    @property
    def needs_success(self) -> bool:
        """Whether a STARTTLS that was offered must lead to TLS."""
        return self.mode == "required" or not self.may_fall_back


IN_THE_CLEAR = Tls("no")


@dataclass(frozen=True, slots=True)
class Dial:
    """Where to connect and how to introduce ourselves. Times in seconds."""

    address: str
    port: int
    helo: str
    connect_timeout: float
    reply_timeout: float
    tls: Tls = IN_THE_CLEAR
    lmtp: bool = False
    local: str = ""
    """An address of ours that the connection leaves from."""
    listener: Listener | None = None


class _StrictProtocol(SMTPProtocol):
    """aiosmtplib's protocol behind our parser: whatever is not exactly the one reply asked for ends the connection."""

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
            raise Garbled("a reply that nobody asked for")

    def write(self, data: bytes) -> None:
        if self._client.listener is not None:
            self._client.listener(True, data)
        super().write(data)


class _Client(aiosmtplib.SMTP):
    """aiosmtplib's client, on a connected socket or an address, with the strict protocol in the place of its own."""

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
        """What was wrong with what the peer said."""
        self._closing: asyncio.TimerHandle | None = None

    def lost(self, protocol: SMTPProtocol) -> None:
        if self._closing is not None:
            self._closing.cancel()
        self._on_connection_lost(protocol)

    def close(self) -> None:
        """Close what was not adopted; a peer that does not read is cut off in the end."""
        transport = self.transport
        super().close()
        if transport is not None and self._closing is None:
            self._closing = closing.close(transport)

    def take_leave(self, code: int) -> None:
        """Say QUIT after a refusal, as RFC 5321 sections 3.1 and 4.1.1.10 ask; the answer is not waited for.

        Whoever says 421 closes, and so does a server that spoke against the grammar: it hears nothing more.
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
    """Connect, read the greeting, say EHLO (HELO where that is not known), begin TLS, and return the wire.

    A connected socket is taken over where one is given; it is closed whatever goes wrong.

    Raises:
        Refused: the greeting, EHLO and HELO, or STARTTLS were refused.
        Unreached: no connection, where no socket is given.
        TlsFailed: the handshake failed.
        WireBroken: the peer closed or spoke against the grammar.
        TimeoutError: a step took too long.
    """
    client = _Client(target, sock)
    try:
        return await _greeted(client, target)
    except aiosmtplib.SMTPConnectResponseError as error:
        raise Refused("banner", error.code, error.message) from error
    except Refused as refused:
        client.take_leave(refused.code)
        raise
    except (aiosmtplib.SMTPException, OSError) as error:
        if isinstance(error, TimeoutError):
            raise
        raise (Garbled(client.garbled) if client.garbled else WireBroken(str(error))) from error
    finally:
        client.close()  # without a transport, once adopted; it drops the connection otherwise


async def _greeted(client: _Client, target: Dial) -> Wire:
    try:
        async with asyncio.timeout(target.connect_timeout):
            await client.connect()
    except BaseException as error:
        if isinstance(error, TimeoutError) and not client.reached:
            raise Unreached("timeout") from error
        if client.sock is not None:
            client.sock.close()  # where it came to no transport, nobody else does; where it did, this changes nothing
        raise
    async with asyncio.timeout(target.reply_timeout):
        await _introduce(client, target)
        if target.tls.mode != "no":
            await _encrypt(client, target)
    return _adopt(client)


async def _introduce(client: _Client, target: Dial) -> None:
    """Say EHLO, and HELO to a server that does not know it (RFC 5321 section 3.2); LHLO in LMTP (RFC 2033)."""
    if target.lmtp:
        answer = await client.execute_command(b"LHLO", target.helo.encode("ascii", "replace"))
        if answer.code != 250:
            raise Refused("lhlo", answer.code, answer.message)
        client.last_ehlo_response = answer
        return
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError as refused:
        if not 500 <= refused.code < 600:  # permanent: the command is not known
            raise Refused("ehlo", refused.code, refused.message) from refused
        try:
            await client.helo()
        except aiosmtplib.SMTPHeloError as error:
            raise Refused("helo", error.code, error.message) from error


async def _encrypt(client: _Client, target: Dial) -> None:
    """Begin TLS where it is offered, and introduce ourselves again (RFC 3207 section 4.2)."""
    if "starttls" not in client.esmtp_extensions:
        if target.tls.mode == "required":
            raise Refused("starttls", 0, "TLS is required and not offered")
        return
    try:
        await client.starttls(tls_context=target.tls.context, server_hostname=target.tls.name or None)
    except aiosmtplib.SMTPResponseException as error:
        if target.tls.needs_success:
            raise Refused("starttls", error.code, error.message) from error
        return
    except (aiosmtplib.SMTPException, OSError) as error:
        raise TlsFailed(f"TLS handshake failed: {error}") from error
    await _introduce(client, target)


def _adopt(client: _Client) -> Wire:
    """Put a `Wire` on the connection of an aiosmtplib client that has said EHLO; the client is empty afterwards.

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
    # The whole protocol is exchanged: uvloop keeps the bound methods of the old one.
    transport.set_protocol(wire)
    client.transport = client.protocol = None
    return wire
