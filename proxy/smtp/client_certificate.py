"""Requests and verifies a client certificate without ending the handshake, and reports the result to scripts.

According to Momentum's manual, a client with an invalid certificate may continue, and policy decides. OpenSSL supports
this with a callback that overrides its verdict, but Python's ssl cannot set one, and ends the handshake. So this module
uses ctypes to set the callback in the library that ssl uses. It is loaded only if a listener asks for certificates.
"""

from __future__ import annotations

import _ssl
import ctypes
import ssl
import threading
from functools import cache
from pathlib import Path
from typing import Any

from config.base.regular_files import require_regular
from proxy.base.log import printable

_VERIFY_PEER, _FAIL_WITHOUT = 1, 2
_SET_SESSION_CACHE_MODE, _NO_SESSION_CACHE = 44, 0
"""From OpenSSL's ssl.h. They have not changed since they are documented."""

_LONGEST_NAME = 500
"""Most characters of a subject or issuer that scripts see."""

_SHORT_NAMES = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "domainComponent": "DC",
    "userId": "UID",
}

_said = threading.local()
"""OpenSSL's verdicts during this thread's current handshake step. The callback runs in the same thread."""


class CannotAsk(ssl.SSLError):
    """The ssl module's OpenSSL cannot be reached: it is linked into the interpreter, or has an unknown layout."""


_Verdict = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


def _note(valid: int, _store: int) -> int:
    """Record OpenSSL's verdict on one certificate in the chain, and let the handshake continue."""
    _said.verdicts.append(valid)
    return 1


_go_on = _Verdict(_note)
"""Never freed: OpenSSL calls it while contexts exist."""


class AskingTls(ssl.SSLObject):
    """A connection that requested a certificate. `verified` is False until a valid certificate has been seen."""

    verified = False

    def do_handshake(self) -> None:
        """Do a handshake step, and keep its verdict."""
        _said.verdicts = []
        try:
            super().do_handshake()
        finally:
            if _said.verdicts:
                self.verified = all(_said.verdicts)


@cache
def _openssl() -> Any:
    """Return the OpenSSL that the ssl module uses, with the types of the functions that we call."""
    try:
        library = ctypes.CDLL(_ssl.__file__)
        library.SSL_CTX_set_verify.argtypes = (ctypes.c_void_p, ctypes.c_int, _Verdict)
        library.SSL_CTX_set_verify.restype = None
        library.SSL_CTX_get_verify_mode.argtypes = (ctypes.c_void_p,)
        library.SSL_CTX_ctrl.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p)
    except (OSError, AttributeError) as error:
        raise CannotAsk(f"this Python's OpenSSL cannot be asked for clients' certificates: {error}") from error
    return library


def ask(context: ssl.SSLContext, authorities: Path | None, *, required: bool) -> None:
    """Make a server context ask each client for a certificate. With `required`, a client without one fails.

    A certificate from another authority, or an expired one, does not end the handshake: see `AskingTls`. Without
    authorities, no certificate is valid.

    Raises:
        OSError, ssl.SSLError: the authorities cannot be read, or (CannotAsk) this Python cannot do it.
    """
    library = _openssl()
    if authorities is not None:
        require_regular(authorities)
        context.load_verify_locations(authorities)
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    # CPython keeps OpenSSL's context right after the object header. Check the pointer by reading the mode.
    found = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    mode = _VERIFY_PEER | (_FAIL_WITHOUT if required else 0)
    if library.SSL_CTX_get_verify_mode(found) != mode:
        raise CannotAsk("this Python keeps OpenSSL's context elsewhere: clients cannot be asked for certificates")
    library.SSL_CTX_set_verify(found, mode, _go_on)
    # A resumed session has its certificate, but no verdict.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    library.SSL_CTX_ctrl(found, _SET_SESSION_CACHE_MODE, _NO_SESSION_CACHE, None)
    context.sslobject_class = AskingTls


def certificate_context(tls: ssl.SSLObject) -> dict[str, str]:
    """Return the context variables of a client's certificate; none if it sent none."""
    if not isinstance(tls, AskingTls):
        return {}
    try:
        certificate: Any = tls.getpeercert()
    except (ValueError, ssl.SSLError):  # it contains a name that cannot be decoded
        return {}
    if not certificate:
        return {}
    found = {"tls_client_verified": "yes"} if tls.verified else {}
    for whose in ("subject", "issuer"):
        parts = [part for group in certificate.get(whose, ()) for part in group]
        common = [value for name, value in parts if name == "commonName"]
        found[f"tls_client_cert_{whose}"] = printable(_one_line(parts), _LONGEST_NAME)
        found[f"tls_client_cert_{whose}_cn"] = printable(common[-1] if common else "", _LONGEST_NAME)
    return found


def _one_line(parts: list[tuple[str, str]]) -> str:
    """Return a name in OpenSSL's one-line form, `/O=example/CN=mx`. A slash within a value is escaped."""
    return "".join(f"/{_SHORT_NAMES.get(name, name)}=" + value.replace("/", "\\/") for name, value in parts)
