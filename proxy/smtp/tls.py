"""TLS towards clients: the certificate, loaded at start and again when its files change (RFC 3207).

A certificate that is renewed on disk is in force for the next handshake; one that is broken there is logged, and the
old one stays. Nothing older than TLS 1.2 is spoken (RFC 8996).
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from proxy.log import get_logger
from proxy.settings import CoreOptions

log = get_logger()

HANDSHAKE_SECONDS = 30.0

_Stamp = tuple[int, int]


class SmallTls(sslproto.SSLProtocol):
    """asyncio's TLS with buffers that fit mail.

    A session that had sent 1 MiB held 692 KiB with uvloop's own TLS, and holds 81 with this.
    """

    max_size = 16 * 1024
    """Octets of the receive buffer: one TLS record (RFC 8446 section 5.1)."""


async def shake_hands(
    protocol: asyncio.Protocol, transport: asyncio.Transport, context: ssl.SSLContext, received: bytearray
) -> asyncio.Transport:
    """Put TLS between a transport and its protocol, and return the transport that encrypts.

    It is what `loop.start_tls` does, but for the buffers, and for what was `received` before: a client of a TLS
    listener may have begun before we did.

    Raises:
        OSError, ssl.SSLError: the handshake failed; the connection is closed.
    """
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    tls = SmallTls(loop, protocol, context, done, server_side=True, call_connection_made=False)
    transport.pause_reading()
    transport.set_protocol(tls)
    begun = [loop.call_soon(tls.connection_made, transport), loop.call_soon(_feed, tls, received)]
    begun.append(loop.call_soon(transport.resume_reading))
    try:
        await done
    except BaseException:
        transport.close()
        for each in begun:
            each.cancel()
        raise
    secured: Any = tls._app_transport  # noqa: SLF001 — as loop.start_tls returns it
    secured.set_read_buffer_limits(high=4096, low=1024)
    return cast(asyncio.Transport, secured)


def _feed(tls: SmallTls, received: bytearray) -> None:
    while received:
        room = memoryview(tls.get_buffer(len(received)))
        octets = min(len(room), len(received))
        room[:octets] = received[:octets]
        del received[:octets]
        tls.buffer_updated(octets)


class ServerCertificate:
    """One certificate with its key. Its state is the context in force and the files' age."""

    def __init__(
        self,
        certificate: Path,
        key: Path,
        ciphers: str,
        minimum: str = "TLSv1.2",
        others: Mapping[str, ServerCertificate] = {},
    ) -> None:
        """Load the files; `others` are shown to clients that ask for their names (SNI, RFC 6066 section 3).

        Raises:
            OSError, ssl.SSLError: they cannot be read, or do not belong together.
        """
        self._certificate, self._key, self._ciphers = certificate, key, ciphers
        self._minimum, self._others = ssl.TLSVersion[minimum.replace(".", "_")], dict(others)
        self._stamps = self._files_stamps()
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """Return the context for a handshake, loading renewed files first."""
        try:
            stamps = self._files_stamps()
            if stamps != self._stamps:
                self._stamps = stamps
                self._context = self._load()
                log.info("certificate_loaded", certificate=str(self._certificate))
        except (OSError, ssl.SSLError) as error:
            log.error("certificate_unusable", certificate=str(self._certificate), reason=str(error))
        return self._context

    def _files_stamps(self) -> tuple[_Stamp, _Stamp]:
        return _stamp(self._certificate), _stamp(self._key)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self._minimum
        # A client that pauses to renegotiate costs us; SMTP has no use for it.
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        if self._ciphers:
            context.set_ciphers(self._ciphers)
        context.load_cert_chain(self._certificate, self._key)
        if self._others:
            context.sni_callback = self._by_name
        return context

    def _by_name(self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        """Show the certificate of the name that the client asks for; ours where that is nobody's."""
        other = self._others.get((name or "").lower())
        if other is not None:
            connection.context = other.context()


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino


def certificate_of(options: CoreOptions) -> ServerCertificate | None:
    """Return the certificate that the options name; None where TLS is not offered.

    Raises:
        OSError, ssl.SSLError: it cannot be used.
    """
    if options.tls_certificate is None:
        return None
    ciphers, minimum = options.tls_ciphers, options.tls_minimum_version
    others = {
        name.lower(): ServerCertificate(path, path, ciphers, minimum) for name, path in options.tls_server_names.items()
    }
    own = options.tls_certificate
    return ServerCertificate(own, options.tls_key or own, ciphers, minimum, others)
