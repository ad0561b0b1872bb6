"""Marks that identify our letters and count their hops: a header field with a token.

Each letter carries a mark, above the marks of its source message. The token is an HMAC over the letter's id, time and
recipients, with a key that only a site's own servers have. So Ringback recognizes a letter that returns, even if
another server has created a letter from it in the meantime. It does not accept a field that a stranger forged or copied
from a letter to someone else: see `Key.knows`.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from config.base.regular_files import read_regular
from proxy.mail.session import Path as Address

FIELD = "X-Ringback-Letter"

MOST_HOPS = 10
"""A message with this many marks is refused before a letter is created from it. These marks need no valid token: as
with Received fields, forging them harms only the forger's own mail."""

LIVES_SECONDS = 10 * 86400.0
"""How long a mark is valid: a letter may wait five days in our outbox, and as long in another server's queue."""

AHEAD_SECONDS = 300.0
"""How far the clocks of a site's servers may differ."""

SHORTEST_KEY = 16
"""Bytes; keys that we create have 64."""

_NAME = "letter.key"
_PRIVATE = 0o600
_TOKEN_DIGITS = 32
_MARK = re.compile(r"id=([0-9A-Za-z.-]{1,64}); time=([0-9]{1,12}); token=([0-9a-f]{32})\Z")


@dataclass(frozen=True, slots=True)
class Mark:
    """One letter's mark, as written in its field."""

    id: str
    """The transaction that created the letter."""
    time: int
    token: str

    @property
    def line(self) -> bytes:
        """The header field."""
        return f"{FIELD}: id={self.id};\r\n\ttime={self.time}; token={self.token}\r\n".encode()


class Key:
    """The site's key. A token reveals nothing about the key or the letter's recipients."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def mark(self, origin: str, now: float, recipients: Iterable[Address]) -> Mark:
        """Return the mark of a letter."""
        return Mark(origin, int(now), self._token(origin, int(now), recipients))

    def knows(self, marks: Sequence[Mark], now: float, recipients: Sequence[frozenset[bytes]]) -> bool:
        """Whether we recently created a letter with one of these marks for one of these sets of recipients.

        The token covers the recipients, so the mark of a notice cannot be reused to suppress letters to other
        recipients.
        """
        return any(
            hmac.compare_digest(mark.token, self._digest(mark.id, mark.time, recipient))
            for mark in marks
            if -AHEAD_SECONDS <= now - mark.time <= LIVES_SECONDS
            for recipient in recipients
        )

    def _token(self, origin: str, time: int, recipients: Iterable[Address]) -> str:
        return self._digest(origin, time, names(recipients))

    def _digest(self, origin: str, time: int, recipients: frozenset[bytes]) -> str:
        told = b"\0".join((b"letter", origin.encode(), b"%d" % time, *sorted(recipients)))
        return hmac.digest(self._octets, told, sha256).hex()[:_TOKEN_DIGITS]


def names(recipients: Iterable[Address]) -> frozenset[bytes]:
    """Return recipients in the form used for comparison: the domain in lower case."""
    return frozenset(
        f"{each.local_part}@{each.domain.lower()}".encode("utf-8", "surrogateescape") for each in recipients
    )


def marks_of(fields: Iterable[str]) -> list[Mark]:
    """Parse the marks in such fields; invalid ones are skipped."""
    found = (_MARK.match(" ".join(each.split())) for each in fields)
    return [Mark(each[1], int(each[2]), each[3]) for each in found if each is not None][:MOST_HOPS]


def key_path(folder: Path, key_file: Path | None) -> Path:
    """Return the path of the key: in the state folder, or where the operator says."""
    return key_file if key_file is not None else folder / _NAME


def read_key(path: Path) -> Key:
    """Read a key.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is too short.
    """
    octets = read_regular(path).strip()
    if len(octets) < SHORTEST_KEY:
        raise ValueError(f"{path} has {len(octets)} octets; a key needs at least {SHORTEST_KEY}")
    return Key(octets)


def own_key(folder: Path) -> Key:
    """Read the key in the state folder, creating it if necessary; if several workers create one, one of them wins.

    Raises:
        OSError, ValueError: as `read_key`.
    """
    path = key_path(folder, None)
    with suppress(FileNotFoundError):
        return read_key(path)
    begun = folder / f"{_NAME}.{secrets.token_hex(6)}.new"
    descriptor = os.open(begun, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE)
    try:
        os.write(descriptor, secrets.token_hex(32).encode() + b"\n")
        os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(begun, path)  # complete when it gets its name, and never replaces another's
    finally:
        os.close(descriptor)
        begun.unlink(missing_ok=True)
    return read_key(path)
