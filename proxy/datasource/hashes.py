"""Stored passwords of other programs, compared in constant time. Hashing is slow: do it in a thread.

crypt(3) is the system's library: SHA-2 (`$5$`, `$6$`), bcrypt (`$2b$`), scrypt (`$7$`) and yescrypt (`$y$`). The forms
of RFC 2307 have their kind in braces. MD5, SHA-1, DES and anything older never match: a stolen copy of such hashes is a
list of passwords.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import hashlib
import hmac
import re
import secrets
from functools import cache

_CRYPT_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2", "libcrypt.so")
_CRYPT_MEMORY = 1 << 18
"""Octets of crypt_r's own memory: libxcrypt needs 32 KiB, glibc's old library 128 KiB."""

_CRYPT_FORMS = re.compile(r"\$(?:5|6|2[aby]|7|y|gy)\$[!-9;-~]{8,380}")
_ROUNDS = re.compile(r"\$[56]\$rounds=(\d{1,12})\$|\$2[aby]\$(\d\d)\$")
_MOST_ROUNDS, _MOST_COST = 5_000_000, 16
"""Seconds of a core. A thread that hashes cannot be stopped."""

_BRACED = re.compile(r"\{([A-Za-z0-9._-]{1,24})\}(.*)", re.DOTALL)
_OF_BRACES = {
    **dict.fromkeys(("CRYPT", "BLF-CRYPT", "SHA256-CRYPT", "SHA512-CRYPT"), "ucrypt"),
    **dict.fromkeys(("CLEARTEXT", "CLEAR", "PLAIN"), "clear"),
    "SHA256": "sha256_base64",
    "SHA512": "sha512_base64",
    "SSHA256": "ssha256",
    "SSHA512": "ssha512",
}
_DIGEST = re.compile(r"(s?)(sha256|sha512)(?:_(hex|base64))?")


class NeverRight(Exception):
    """The stored password has a form that is not accepted. The text names the form, never the password."""


def matches(kind: str, stored: str, password: str) -> bool:
    """Whether a stored password of some kind is `password`.

    Raises:
        NeverRight: no password of this kind is accepted, or it is malformed.
    """
    if kind == "rfc2307":
        braced = _BRACED.fullmatch(stored)
        if braced is None:
            kind = "ucrypt" if stored.startswith("$") else "clear"
        else:
            kind, stored = _OF_BRACES.get(braced[1].upper(), braced[1].lower()), braced[2]
    if kind == "clear":
        return _same(hashlib.sha256(stored.encode()).digest(), hashlib.sha256(password.encode()).digest())
    if kind in {"ucrypt", "bcrypt", "scrypt"}:
        return _crypt_matches(stored, password)
    digest = _DIGEST.fullmatch(kind)
    if digest is None:
        raise NeverRight(f"passwords of the kind {kind} are never accepted")
    return _digest_matches(digest[2], stored, password, salted=bool(digest[1]), is_hex=digest[3] == "hex")


def waste_time(kind: str, password: str) -> None:
    """Take about as long as `matches`, for a user that does not exist."""
    if kind in {"ucrypt", "rfc2307", "bcrypt", "scrypt"}:
        _crypt(password, "$2b$10$" + "." * 22 if kind == "bcrypt" else f"$6${secrets.token_hex(8)}$")
    else:
        matches("clear", secrets.token_hex(16), password)


def _digest_matches(name: str, stored: str, password: str, *, salted: bool, is_hex: bool) -> bool:
    try:
        octets = bytes.fromhex(stored) if is_hex else base64.b64decode(stored, validate=True)
    except (ValueError, binascii.Error):
        raise NeverRight(f"a stored password is not the {'hex' if is_hex else 'base64'} form of {name}") from None
    size = hashlib.new(name).digest_size
    digest, salt = octets[:size], octets[size:]
    if len(digest) < size or bool(salt) is not salted:
        raise NeverRight(f"a stored password has the wrong length for {name}")
    return _same(hashlib.new(name, password.encode() + salt).digest(), digest)


def _crypt_matches(stored: str, password: str) -> bool:
    if _CRYPT_FORMS.fullmatch(stored) is None:
        raise NeverRight("a stored password is not SHA-2, bcrypt, scrypt or yescrypt of crypt(3): it is never accepted")
    rounds = _ROUNDS.match(stored)
    if rounds is not None and (int(rounds[1] or 0) > _MOST_ROUNDS or int(rounds[2] or 0) > _MOST_COST):
        raise NeverRight("a stored password has a cost that would take minutes")
    found = _crypt(password, stored)
    if found is None:
        raise NeverRight("crypt(3) of this system does not know a stored password's form")
    return _same(found.encode(), stored.encode())


def _crypt(password: str, setting: str) -> str | None:
    """Call the system's crypt_r; None if it does not know the form."""
    memory = ctypes.create_string_buffer(_CRYPT_MEMORY)
    found = _library().crypt_r(password.encode(), setting.encode(), memory)
    text = found.decode("ascii", "replace") if found else "*"
    return None if text.startswith("*") else text


@cache
def _library() -> ctypes.CDLL:
    """Load crypt(3). Calls of it do not hold the interpreter's lock."""
    for name in _CRYPT_LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.crypt_r.restype = ctypes.c_char_p
        library.crypt_r.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        return library
    raise NeverRight("this system has no libcrypt, so stored passwords of crypt(3) cannot be compared")


def _same(one: bytes, other: bytes) -> bool:
    return hmac.compare_digest(one, other)
