"""A file of users and their passwords, read at start and again when it changes.

Passwords should be hashed with scrypt (RFC 7914). A line is then `user:$scrypt$ln=15,r=8,p=3$salt$key`: cost
parameters, salt and key in base64 without padding. passlib and its successors use the same form. Momentum's files work
too: `user:password`, and htdigest's `user:realm:hash`. Empty lines and lines that begin with `#` are ignored.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeAlias

from config.base.regular_files import read_regular
from proxy.base.log import get_logger

log = get_logger()

_SALT_OCTETS = 16
_KEY_OCTETS = 32
_LOG_COST, _BLOCK, _PARALLEL = 15, 8, 3
"""Measured: 32 MiB and 0.2 s of one core per password. Not below OWASP's minimum for scrypt."""

_MOST_MEMORY = 256 << 20
"""Most octets that one hash may need: a typo in the file must not exhaust the machine's memory."""

_HASH = re.compile(
    r"\$scrypt\$ln=(?P<ln>\d{1,2}),r=(?P<r>\d{1,2}),p=(?P<p>\d{1,2})\$(?P<salt>[A-Za-z0-9+/]+)\$(?P<key>[A-Za-z0-9+/]+)"
)


_MD5 = re.compile(r"[0-9A-Fa-f]{32}")


class BadPasswordFile(Exception):
    """A line is malformed. The message does not quote it, because it may hold a password."""


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """One password, hashed."""

    log_cost: int
    block: int
    parallel: int
    salt: bytes = field(repr=False)
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, password: str) -> Self:
        """Hash a password with a new salt."""
        salt = secrets.token_bytes(_SALT_OCTETS)
        bare = cls(_LOG_COST, _BLOCK, _PARALLEL, salt, bytes(_KEY_OCTETS))
        return cls(_LOG_COST, _BLOCK, _PARALLEL, salt, bare.derived(password))

    @classmethod
    def decoy(cls) -> Self:
        """Return a hash that no password matches. Unknown users are checked against it, so that timing is the same."""
        return cls(_LOG_COST, _BLOCK, _PARALLEL, secrets.token_bytes(_SALT_OCTETS), secrets.token_bytes(_KEY_OCTETS))

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Parse the written form; None if it is malformed or its cost is out of bounds."""
        found = _HASH.fullmatch(text)
        if found is None:
            return None
        try:
            salt, key = _bare_base64(found["salt"]), _bare_base64(found["key"])
        except binascii.Error:
            return None
        hashed = cls(int(found["ln"]), int(found["r"]), int(found["p"]), salt, key)
        sane = 1 <= hashed.log_cost <= 30 and hashed.block and hashed.parallel and len(key) >= _SALT_OCTETS
        return hashed if sane and hashed.memory <= _MOST_MEMORY else None

    @property
    def memory(self) -> int:
        """Octets that hashing takes (RFC 7914 section 2), plus OpenSSL's overhead."""
        return 128 * self.block * ((1 << self.log_cost) + self.parallel + 2)

    def derived(self, password: str) -> bytes:
        """Return the key derived from a password. It is slow: do not call it in the event loop's thread."""
        return hashlib.scrypt(
            password.encode(),
            salt=self.salt,
            n=1 << self.log_cost,
            r=self.block,
            p=self.parallel,
            maxmem=2 * self.memory,
            dklen=len(self.key),
        )

    def matches(self, password: str) -> bool:
        """Whether this is the hash of `password`, compared in constant time."""
        return hmac.compare_digest(self.derived(password), self.key)

    def __str__(self) -> str:
        """Return the written form."""
        cost = f"ln={self.log_cost},r={self.block},p={self.parallel}"
        salt, key = (base64.b64encode(each).decode().rstrip("=") for each in (self.salt, self.key))
        return f"$scrypt${cost}${salt}${key}"


@dataclass(frozen=True, slots=True)
class ClearPassword:
    """A password that the file holds in clear text."""

    secret: bytes = field(repr=False)

    @classmethod
    def decoy(cls) -> Self:
        """Return one that no password matches."""
        return cls(secrets.token_bytes(_KEY_OCTETS))

    def matches(self, password: str) -> bool:
        """Whether this is `password`. Both are hashed first, so that the time does not depend on their lengths."""
        return hmac.compare_digest(hashlib.sha256(password.encode()).digest(), hashlib.sha256(self.secret).digest())


@dataclass(frozen=True, slots=True)
class DigestPassword:
    """A line of htdigest: MD5 of `user:realm:password`."""

    prefix: str = field(repr=False)
    digest: str = field(repr=False)

    @classmethod
    def decoy(cls) -> Self:
        """Return one that no password matches."""
        return cls("::", secrets.token_hex(16))

    def matches(self, password: str) -> bool:
        """Whether the file's hash matches `password`."""
        digest = hashlib.md5(f"{self.prefix}{password}".encode(), usedforsecurity=False).hexdigest()
        return hmac.compare_digest(digest, self.digest)


Known: TypeAlias = PasswordHash | ClearPassword | DigestPassword


def _hashed(line: str) -> tuple[str, Known] | None:
    user, _, written = line.rpartition(":")  # a user name may contain a colon, a hash never does
    hashed = PasswordHash.read(written)
    return None if hashed is None else (user, hashed)


def _clear(line: str) -> tuple[str, Known] | None:
    user, colon, password = line.partition(":")
    return (user, ClearPassword(password.encode())) if colon and password else None


def _digest(line: str) -> tuple[str, Known] | None:
    user, _, rest = line.partition(":")
    realm, _, digest = rest.rpartition(":")
    sound = _MD5.fullmatch(digest) is not None
    return (user, DigestPassword(f"{user}:{realm}:", digest.lower())) if sound else None


@dataclass(frozen=True, slots=True)
class _Form:
    """How the lines of a file are written; `what` describes it to the operator."""

    read: Callable[[str], tuple[str, Known] | None]
    decoy: Callable[[], Known]
    what: str


_FORMS = {
    "hashes": _Form(_hashed, PasswordHash.decoy, "`user:hash` with an scrypt hash"),
    "clear": _Form(_clear, ClearPassword.decoy, "`user:password`"),
    "digest": _Form(_digest, DigestPassword.decoy, "`user:realm:hash` with an MD5 hash"),
}
"""By the values of Authentication_File_Form."""


def _bare_base64(text: str) -> bytes:
    return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)


class PasswordFile:
    """One password file. Its state is the last content and the file's age then. Threads may share it."""

    def __init__(self, path: Path, form: str = "hashes") -> None:
        """Read the file, whose lines have the given form (see `Authentication_File_Form`).

        Raises:
            OSError: it cannot be read.
            BadPasswordFile: a line has another form.
        """
        self._path = path
        self._form = _FORMS[form]
        self._stamp = self._age()
        self._hashes = _read(path, self._form)
        self._decoy = self._form.decoy()

    def hash_of(self, user: str) -> Known:
        """Return a user's hash, or a hash that no password matches if there is no such user. Rereads a changed file.

        If a changed file cannot be used, that is logged, and the old content stays in force.
        """
        try:
            age = self._age()
            if age != self._stamp:
                self._stamp = age
                self._hashes = _read(self._path, self._form)
                log.info("password_file_loaded", path=str(self._path), users=len(self._hashes))
        except (OSError, BadPasswordFile) as error:
            log.error("password_file_unusable", path=str(self._path), reason=str(error))
        return self._hashes.get(user, self._decoy)

    def _age(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_ino, found.st_size


def _read(path: Path, form: _Form) -> dict[str, Known]:
    hashes: dict[str, Known] = {}
    for number, octets in enumerate(read_regular(path).splitlines(), 1):
        line = octets.decode("utf-8", "replace").strip()
        if not line or line.startswith("#"):
            continue
        user, password = form.read(line) or ("", None)
        if not user or password is None:
            raise BadPasswordFile(f"line {number} is not {form.what}")
        if user in hashes:
            raise BadPasswordFile(f"line {number} names a user for the second time")
        hashes[user] = password
    return hashes
