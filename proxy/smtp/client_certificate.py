"""Clients' certificates: asking for one, judging it without ending the handshake, and what scripts learn of it.

Momentum's manual lets a client go on whose certificate is not valid, and policy decides. OpenSSL provides for that by a
callback that overrides its verdict; Python's ssl has no way to set one, and ends the handshake. So this module sets it,
by ctypes, in the library that ssl itself uses. Nothing of it is loaded unless a listener asks for certificates.
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
"""Of OpenSSL's ssl.h; they have not changed since there are man pages of them."""

_LONGEST_NAME = 500
"""Characters of a subject or issuer that scripts see."""

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
"""OpenSSL's verdicts within the step of a handshake that this thread does; the callback is called in that thread."""


class CannotAsk(ssl.SSLError):
    """The ssl module's OpenSSL cannot be reached from here: it is linked into the interpreter, or not as we know it."""


_Verdict = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


def _note(valid: int, _store: int) -> int:
    """Note what OpenSSL found of one certificate in the chain, and let the handshake go on."""
    _said.verdicts.append(valid)
    return 1


_go_on = _Verdict(_note)
"""Kept for ever: OpenSSL calls it as long as there are contexts."""


class AskingTls(ssl.SSLObject):
    """A connection on which the client was asked. `verified` is False until a valid certificate has been seen."""

    verified = False

    def do_handshake(self) -> None:
        """Do a step, and keep the verdict that came in it."""
        _said.verdicts = []
        try:
            super().do_handshake()
        finally:
            if _said.verdicts:
                self.verified = all(_said.verdicts)


@cache
def _openssl() -> Any:
    """Return the OpenSSL that the ssl module uses, with the types of what we call there."""
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
    """Have a server's context ask each client for a certificate; without one, `required` ends the handshake.

    A certificate that the authorities did not issue, or that is out of date, does not end it: see `AskingTls`. Without
    authorities no certificate is valid.

    Raises:
        OSError, ssl.SSLError: the authorities cannot be read, or (CannotAsk) this Python cannot do it.
    """
    library = _openssl()
    if authorities is not None:
        require_regular(authorities)
        context.load_verify_locations(authorities)
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    # CPython keeps OpenSSL's context right behind an object's own head; what is found there must know the mode.
    found = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    mode = _VERIFY_PEER | (_FAIL_WITHOUT if required else 0)
    if library.SSL_CTX_get_verify_mode(found) != mode:
        raise CannotAsk("this Python keeps OpenSSL's context elsewhere: clients cannot be asked for certificates")
    library.SSL_CTX_set_verify(found, mode, _go_on)
    # A session that is resumed brings its certificate along, but no verdict.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    library.SSL_CTX_ctrl(found, _SET_SESSION_CACHE_MODE, _NO_SESSION_CACHE, None)
    context.sslobject_class = AskingTls


def certificate_context(tls: ssl.SSLObject) -> dict[str, str]:
    """Return the context variables of a client's certificate; none where it showed none."""
    if not isinstance(tls, AskingTls):
        return {}
    try:
        certificate: Any = tls.getpeercert()
    except (ValueError, ssl.SSLError):  # a name in it that cannot be decoded
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
    """Return a name as OpenSSL shows it in one line, `/O=example/CN=mx`; a slash within a value is escaped."""
    return "".join(f"/{_SHORT_NAMES.get(name, name)}=" + value.replace("/", "\\/") for name, value in parts)
