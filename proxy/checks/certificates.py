"""TLS checks: unusable certificates, keys, authorities, ciphers and versions, and certificates that expire soon.

They cover TLS with clients and with next hops. Each problem is reported at its option.
"""

from __future__ import annotations

import _ssl
import operator
import ssl
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from config.base.regular_files import read_regular, require_regular
from config.diagnostics import Diagnostic, Severity, Span
from config.settings import Settings
from proxy.checks.pem import PRIVATE_KEY
from proxy.checks.places import in_force, once, origin_of, within
from proxy.options.core import CoreOptions
from proxy.options.inbound import InboundOptions
from proxy.options.tls import TlsOptions
from proxy.smtp.client_certificate import CannotAsk, ask
from proxy.smtp.tls import terms_of
from proxy.upstream.routes import Router

SOON_SECONDS = 14 * 86400.0
"""Warn this long before a certificate expires; for short-lived ones, in the last third of their lifetime."""

_BEGIN_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_PROTECTED = (b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED")
_OF_OTHERS = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"})
_TOO_WEAK = frozenset({"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"})


class _Pair(NamedTuple):
    """A certificate and its key, and where each is configured."""

    certificate: Path
    key: Path
    at_certificate: Span | None
    at_key: Span | None
    option: str = "TLS_Certificate"


def tls(settings: Settings) -> Iterator[Diagnostic]:
    """Yield each TLS problem once."""
    yield from once((*_inbound(settings), *_outbound(settings), *_page(settings)))


def _inbound(settings: Settings) -> Iterator[Diagnostic]:
    for options in in_force(settings):
        if options.implicit_tls and options.tls_certificate is None:
            yield Diagnostic(
                "Implicit_TLS needs a certificate",
                origin_of(settings, "implicit_tls", True),
                hint="set TLS_Certificate and TLS_Key",
            )
        terms = terms_of(options)
        if terms.minimum > max(terms.protocols.spoken):
            yield Diagnostic(
                "TLS_Minimum_Version and TLS_Protocols together disable every TLS version",
                origin_of(settings, "tls_protocols", options.tls_protocols),
            )
        if terms.asks != "nobody":
            yield from _client_authorities(options, settings)
        yield from _own(options, settings)
        for name, path in options.tls_server_names.items():
            place = origin_of(settings, "tls_server_names", options.tls_server_names)
            at = within(within(place, name), name)
            yield from _pair(_Pair(path, path, at, at, "TLS_Server_Names"))


def _page(settings: Settings) -> Iterator[Diagnostic]:
    core = cast(CoreOptions, settings.core)
    certificate, key = core.web_tls_certificate, core.web_tls_key
    if certificate is not None:
        at = origin_of(settings, "web_tls_certificate", certificate)
        at_key = at if key is None else origin_of(settings, "web_tls_key", key)
        yield from _pair(_Pair(certificate, key or certificate, at, at_key, "Web_TLS_Certificate"))


def _outbound(settings: Settings) -> Iterator[Diagnostic]:
    for upstream in Router(settings).named():
        policy = upstream.policy
        if policy.tls == "no":
            continue
        yield from _own(policy, settings)
        if policy.tls_ca is not None:
            yield from _authorities(policy.tls_ca, "TLS_CA", origin_of(settings, "tls_ca", policy.tls_ca))


def _own(options: TlsOptions, settings: Settings) -> Iterator[Diagnostic]:
    """Yield unusable ciphers, certificates and keys."""
    if options.tls_ciphers and _failure(partial(_fresh().set_ciphers, options.tls_ciphers)) is not None:
        yield Diagnostic(
            f"TLS_Ciphers leaves no cipher: {options.tls_ciphers}",
            origin_of(settings, "tls_ciphers", options.tls_ciphers),
            hint="write a list that `openssl ciphers` accepts, such as HIGH:!aNULL; it applies to TLS 1.2 and older",
        )
    if options.tls_certificate is None:
        if options.tls_key is not None:
            yield Diagnostic(
                "TLS_Key has no effect without TLS_Certificate",
                origin_of(settings, "tls_key", options.tls_key),
                hint="set TLS_Certificate",
                severity=Severity.WARNING,
            )
        return
    at = origin_of(settings, "tls_certificate", options.tls_certificate)
    key = options.tls_key
    at_key = at if key is None else origin_of(settings, "tls_key", key)
    yield from _pair(_Pair(options.tls_certificate, key or options.tls_certificate, at, at_key))


def _pair(pair: _Pair) -> Iterator[Diagnostic]:
    apart = pair.key != pair.certificate
    certificate = yield from _read(pair.certificate, "the TLS certificate cannot be used", pair.at_certificate)
    key = certificate
    if apart and (certificate is not None or pair.key.parent != pair.certificate.parent or pair.key.exists()):
        key = yield from _read(pair.key, f"the key {pair.key} cannot be read", pair.at_key)
    sound = True
    if certificate is not None and (problem := _not_a_certificate(pair.certificate, certificate)):
        sound = False
        yield Diagnostic(
            f"{pair.certificate} {problem}", pair.at_certificate, hint=f"{pair.option} names a PEM file with its chain"
        )
    if key is not None and (problem := _not_a_key(key)):
        sound = False
        own_file = "" if apart or pair.option != "TLS_Certificate" else "; without TLS_Key it is in this file"
        yield Diagnostic(f"{pair.key} {problem}", pair.at_key, hint=_key_hint(problem) + own_file)
    if certificate is None or key is None or not sound:
        return
    load = partial(_fresh().load_cert_chain, pair.certificate, pair.key, password="")
    failure = _failure(load)
    if failure is not None:
        yield _unusable(pair, failure)
        return
    yield from _running_out(pair.certificate, pair.at_certificate)


def _unusable(pair: _Pair, failure: OSError) -> Diagnostic:
    reason = getattr(failure, "reason", None) or ""
    if reason in _OF_OTHERS:
        return Diagnostic(
            f"the key {pair.key} does not belong to the certificate {pair.certificate}",
            pair.at_key,
            hint="use the key that this certificate was requested with",
        )
    if reason in _TOO_WEAK:
        return Diagnostic(
            f"the certificate {pair.certificate} is too weak for OpenSSL: {reason}",
            pair.at_certificate,
            hint="request one with a longer key or a stronger signature",
        )
    return Diagnostic(f"the key {pair.key} cannot be read: {_said(failure)}", pair.at_key, hint=_key_hint(""))


def _read(path: Path, problem: str, origin: Span | None) -> Generator[Diagnostic, None, bytes | None]:
    try:
        return read_regular(path)
    except OSError as error:
        yield Diagnostic(
            f"{problem}: {error.strerror or error}", origin, hint=f"{path} must be a file that this user may read"
        )
        return None


def _not_a_certificate(path: Path, octets: bytes) -> str:
    """Return what is wrong with a file of certificates; empty if it is readable."""
    if _BEGIN_CERTIFICATE not in octets:
        return "contains no PEM certificate"
    try:
        _decoded(path)
        ssl.create_default_context(cafile=path)  # reads the whole chain
    except OSError as error:  # ssl.SSLError is one
        return f"contains an unreadable certificate: {_said(error)}"
    return ""


def _not_a_key(octets: bytes) -> str:
    if PRIVATE_KEY not in octets:
        return "contains no PEM private key"
    if any(each in octets for each in _PROTECTED):
        return "contains a key with a passphrase, which Ringback cannot enter"
    return ""


def _key_hint(problem: str) -> str:
    if "passphrase" in problem:
        return "remove the passphrase: openssl pkey -in key.pem -out plain.pem"
    return "a key is a PEM file that begins with -----BEGIN PRIVATE KEY-----"


def _client_authorities(options: InboundOptions, settings: Settings) -> Iterator[Diagnostic]:
    path = options.tls_client_ca
    origin = origin_of(settings, "tls_client_ca", path)
    if path is not None:
        diagnostics = tuple(_authorities(path, "TLS_Client_CA", origin, "clients cannot be asked for certificates"))
        yield from diagnostics
        if any(diagnostic.is_error for diagnostic in diagnostics):
            return
    failure = _failure(partial(ask, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), path, required=False))
    if failure is not None:
        hint = None if isinstance(failure, CannotAsk) else "TLS_Client_CA names a PEM file"
        yield Diagnostic(f"clients cannot be asked for certificates: {_said(failure)}", origin, hint)


def _authorities(path: Path, option: str, origin: Span | None, problem: str = "") -> Iterator[Diagnostic]:
    """Yield that a file of authorities is unusable, or that all of them have expired."""

    def load() -> list[Mapping[str, Any]]:
        require_regular(path)
        context = _fresh()
        context.load_verify_locations(cafile=path)
        return cast(list[Mapping[str, Any]], context.get_ca_certs())

    try:
        certificates = load()
    except OSError as error:
        yield Diagnostic(
            f"{problem or f'the authorities {path} cannot be read'}: {_said(error)}",
            origin,
            hint=f"{option} must name a PEM file of certificate authorities; {path} is not one",
        )
        return
    if certificates and all(_seconds_left(certificate) <= 0 for certificate in certificates):
        yield Diagnostic(f"the authorities {path} have all expired", origin, severity=Severity.WARNING)


def _running_out(path: Path, origin: Span | None) -> Iterator[Diagnostic]:
    """Warn if the certificate or its chain is expired, expires soon, or is not valid yet."""
    context = _fresh()
    with suppress(OSError):
        context.load_verify_locations(cafile=path)
    chain = [_decoded(path), *context.get_ca_certs()]
    left, certificate = min(((_seconds_left(one), one) for one in chain), key=operator.itemgetter(0))
    began = ssl.cert_time_to_seconds(str(certificate["notBefore"]))
    ends = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    hint = "renew it; Ringback uses the new file without a restart"
    if left <= 0:
        problem = f"expired on {certificate['notAfter']}"
    elif began > time.time():
        problem, hint = f"is not valid before {certificate['notBefore']}", "check this machine's clock"
    elif left < min(SOON_SECONDS, (ends - began) / 3):
        problem = f"expires on {certificate['notAfter']}"
    else:
        return
    yield Diagnostic(f"the certificate {path} {problem}", origin, hint, Severity.WARNING)


def expires(path: Path) -> float:
    """Return when the first certificate of a file expires, in seconds since 1970.

    Raises:
        OSError: it cannot be read.
    """
    return ssl.cert_time_to_seconds(str(_decoded(path)["notAfter"]))


def _seconds_left(certificate: Mapping[str, Any]) -> float:
    return ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()


def _decoded(path: Path) -> Mapping[str, Any]:
    """Return the first certificate of a file, decoded. The ssl module has no public function for this."""
    decoded: Mapping[str, Any] = cast(Any, _ssl)._test_decode_cert(str(path))  # noqa: SLF001 — see above
    return decoded


def _fresh() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def _failure(attempt: Callable[[], object]) -> OSError | None:
    try:
        attempt()
    except OSError as error:  # ssl.SSLError is one
        return error
    return None


def _said(error: OSError) -> str:
    return str(error.strerror or error)
