"""TLS towards clients: the certificate, loaded at start and again when its files change (RFC 3207).

A certificate that is renewed on disk is used from the next handshake on. If it is broken, that is logged, and the old
one stays in use. TLS 1.2 is the oldest version (RFC 8996).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from asyncio import sslproto
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from config.base.domains import normal_domain
from config.base.regular_files import require_regular
from proxy.base.log import get_logger
from proxy.options.inbound import InboundOptions
from proxy.options.tls import ALL_PROTOCOLS, Protocols
from proxy.smtp.client_certificate import ask, certificate_context

log = get_logger()

HANDSHAKE_SECONDS = 30.0

_Stamp = tuple[int, int]


class SmallTls(sslproto.SSLProtocol):
    """asyncio's TLS with small buffers, and with half-close in TLS 1.3.

    A session that had sent 1 MiB used 692 KiB with uvloop's TLS, and uses 81 with this. In TLS 1.3, close_notify ends
    only the client's side (RFC 8446 section 6.1), so a client that has finished sending still gets its replies, as
    without TLS. In TLS 1.2 it ends both sides (RFC 5246 section 7.2.1), as asyncio does.
    """

    max_size = 16 * 1024
    """Octets of the receive buffer: one TLS record (RFC 8446 section 5.1)."""

    _half_closed = False
    """The client has ended its side but may still read."""
    _fin_is_early = False
    """The client's FIN arrived before its data was read."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """Always tell the session. asyncio does not if the connection was lost during the handshake."""
        untold = self._now is sslproto.SSLProtocolState.DO_HANDSHAKE
        protocol: Any = self._app_protocol
        super().connection_lost(exc)
        if untold and protocol is not None:
            self._loop.call_soon(protocol.connection_lost, exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # typeshed: None, but it returns True in one case
        """Keep the connection if the client ended its side within TLS first; end it if TLS was truncated."""
        if self._is_1_3 and self._now is sslproto.SSLProtocolState.WRAPPED:
            if self._half_closed:
                return True
            if vars(self)["_app_reading_paused"]:
                self._fin_is_early = True
                return True
        ended: bool | None = cast(Any, super()).eof_received()
        return ended

    def _do_read(self) -> None:
        asyncios: Any = super()
        asyncios._do_read()  # noqa: SLF001 — the method that this one overrides
        if not self._fin_is_early or vars(self)["_app_reading_paused"]:
            return
        self._fin_is_early = False
        if not self._half_closed:
            asyncios.eof_received()

    def _call_eof_received(self) -> None:
        asyncios: Any = super()
        asyncios._call_eof_received()  # noqa: SLF001 — as above
        self._half_closed = self._is_1_3

    def _start_shutdown(self) -> None:
        """Start to close, but not just because the client has ended its side, as asyncio would."""
        transport: Any = self._app_transport
        if not self._half_closed or transport is None or transport.is_closing():
            super()._start_shutdown()

    @property
    def _is_1_3(self) -> bool:
        connection = self._get_extra_info("ssl_object")
        return connection is not None and connection.version() == "TLSv1.3"

    @property
    def _now(self) -> sslproto.SSLProtocolState:
        state: sslproto.SSLProtocolState = vars(self)["_state"]  # missing in typeshed
        return state


async def shake_hands(
    protocol: asyncio.Protocol, transport: asyncio.Transport, context: ssl.SSLContext, received: bytearray
) -> asyncio.Transport:
    """Put TLS between a transport and its protocol, and return the encrypting transport.

    It does what `loop.start_tls` does, with other buffers, and with the octets `received` before: a client of a TLS
    listener may start the handshake before we do.

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


@dataclass(frozen=True, slots=True)
class Terms:
    """TLS settings that apply whichever certificate is shown."""

    ciphers: str = ""
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    protocols: Protocols = ALL_PROTOCOLS
    asks: Literal["nobody", "optional", "require"] = "nobody"
    """Whether clients are asked for a certificate, and whether they must have one."""
    authorities: Path | None = None
    """The authorities that may issue client certificates."""

    def new_context(self) -> ssl.SSLContext:
        """Return a context without a certificate of ours.

        Raises:
            OSError, ssl.SSLError: the authorities cannot be read, or the ciphers are invalid.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self.minimum
        # Renegotiation costs us CPU, and SMTP does not need it.
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        self.protocols.apply_to(context)
        if self.ciphers:
            context.set_ciphers(self.ciphers)
        if self.asks != "nobody":
            ask(context, self.authorities, required=self.asks == "require")
        return context


LOOK_SECONDS = 1.0
"""How long a handshake waits for the check of the certificate's files."""


@cache
def _threads() -> ThreadPoolExecutor:
    """Return the threads that check certificate files, and do nothing else, so that no other work can block them."""
    return ThreadPoolExecutor(2, "certificates")


class ServerCertificate:
    """One certificate with its key. Its state is the current context and the files' age."""

    def __init__(
        self, certificate: Path, key: Path, terms: Terms, others: Mapping[str, ServerCertificate] = {}
    ) -> None:
        """Load the files; `others` are shown to clients that ask for their names (SNI, RFC 6066 section 3).

        Raises:
            OSError, ssl.SSLError: they cannot be read, or do not belong together.
        """
        self._certificate, self._key, self._terms, self._others = certificate, key, terms, dict(others)
        self._stamps = self._files_stamps()
        self._context = self._load()
        self._loaded = time.monotonic()
        self._look: asyncio.Future[None] | None = None

    @property
    def certificate(self) -> Path:
        """Its file."""
        return self._certificate

    @property
    def age(self) -> float:
        """How many seconds ago it was loaded."""
        return time.monotonic() - self._loaded

    @property
    def authorities(self) -> Path | None:
        """The file of those who issue clients' certificates."""
        return self._terms.authorities

    @property
    def names(self) -> list[str]:
        """The names for which clients get another certificate."""
        return sorted(self._others)

    async def context(self) -> ssl.SSLContext:
        """Return the context for a handshake. Renewed files are loaded first.

        A thread checks the files, because a dead mount may hang. After a second, the handshake uses the current
        context, as do all others until that check ends.
        """
        if self._look is None or self._look.done():
            self._look = asyncio.get_running_loop().run_in_executor(_threads(), self._load_renewed)
            await asyncio.wait([self._look], timeout=LOOK_SECONDS)
        return self._context

    def _load_renewed(self) -> None:
        for other in {id(each): each for each in self._others.values()}.values():
            other._load_renewed()  # noqa: SLF001 — of its own kind
        try:
            stamps = self._files_stamps()
            if stamps != self._stamps:
                self._stamps = stamps
                self._context = self._load()
                self._loaded = time.monotonic()
                log.info("certificate_loaded", certificate=str(self._certificate))
        except (OSError, ssl.SSLError) as error:
            log.error("certificate_unusable", certificate=str(self._certificate), reason=str(error))

    def _files_stamps(self) -> tuple[_Stamp, ...]:
        files = (self._certificate, self._key, self._terms.authorities)
        return tuple(_stamp(each) for each in files if each is not None)

    def _load(self) -> ssl.SSLContext:
        require_regular(self._certificate, self._key)
        context = self._terms.new_context()
        context.load_cert_chain(self._certificate, self._key, password="")  # otherwise OpenSSL asks on the terminal
        if self._others:
            context.sni_callback = self._by_name
        return context

    def _by_name(self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        """Show the certificate for the name that the client asks for, or our default certificate."""
        other = self._others.get(normal_domain(name or ""))
        if other is not None:
            connection.context = other._context  # noqa: SLF001 — of its own kind


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino


def terms_of(options: InboundOptions) -> Terms:
    """Return the terms that the options set."""
    mode, authorities = options.tls_verify_mode, options.tls_client_ca
    # Without authorities no client certificate is valid, so we do not ask, unless the operator wants it.
    asks = "nobody" if mode == "none" or (mode == "optional" and authorities is None) else mode
    minimum = ssl.TLSVersion[options.tls_minimum_version.replace(".", "_")]
    return Terms(options.tls_ciphers, minimum, options.tls_protocols, asks, authorities)


def certificate_of(options: InboundOptions) -> ServerCertificate | None:
    """Return the certificate that the options name; None if TLS is not offered.

    Raises:
        OSError, ssl.SSLError: it cannot be used.
    """
    if options.tls_certificate is None:
        return None
    terms = terms_of(options)
    names = options.tls_server_names.items()
    others = {normal_domain(name): ServerCertificate(path, path, terms) for name, path in names}
    own = options.tls_certificate
    return ServerCertificate(own, options.tls_key or own, terms, others)


def tls_context(transport: asyncio.Transport) -> dict[str, str]:
    """Return the context variables of an encrypted connection."""
    name, _, used = transport.get_extra_info("cipher") or ("", "", 0)
    bits = {"tls_cipher_algbits": str(_algorithm_bits().get(name, used)), "tls_cipher_usebits": str(used)}
    return {"tls": "on", "tls_cipher": name, **bits, **certificate_context(transport.get_extra_info("ssl_object"))}


@cache
def _algorithm_bits() -> Mapping[str, int]:
    """Return the key bits of each cipher's algorithm; a session may use fewer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:COMPLEMENTOFALL")
    return {each["name"]: each["alg_bits"] for each in context.get_ciphers()}
