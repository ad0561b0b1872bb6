"""Signing the messages that Ringback makes (RFC 6376 section 5)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

from config.base.regular_files import read_regular
from proxy.dkim.bodies import BodyHashes, Wanted
from proxy.dkim.canonical import PIECE, signed_header
from proxy.dkim.keys import LEAST_BITS
from proxy.mail.fields import Field, parse
from proxy.mail.stuffing import stuffed

PrivateKey = RSAPrivateKey | Ed25519PrivateKey

USUAL = (
    "from", "to?", "cc?", "subject", "date", "message-id?", "reply-to?", "in-reply-to?", "references?", "mime-version?",
    "content-type?", "content-transfer-encoding?", "auto-submitted?",
)  # fmt: skip
"""The fields that are signed if nothing else is said."""

_LINE = 72


class BadKey(ValueError):
    """The key cannot be used."""


@dataclass(frozen=True, slots=True)
class Signing:
    """How to sign."""

    domain: str
    selector: str
    identity: str = ""
    header_canon: str = "simple"
    body_canon: str = "simple"
    names: Sequence[str] = USUAL
    """Names of fields. `name` is signed once, even if it is missing; `name?` if it is there; `name+` as often as
    it is present; `name*` even if it is missing."""
    length: int | None = None
    lifetime: int = 0
    """Seconds; 0: it does not expire."""


@lru_cache(maxsize=64)
def _key_of(path: str, changed: int) -> PrivateKey:
    del changed  # another key then
    return key_from(read_regular(Path(path)))


def key_in(path: str) -> PrivateKey:
    """Return the private key in a file. Raises OSError or BadKey."""
    return _key_of(path, Path(path).stat().st_mtime_ns)


def key_from(octets: bytes) -> PrivateKey:
    """Return a private key from PEM, or from its base64 without the first and last line.

    Raises:
        BadKey: it is not a key, or of a kind that does not sign mail.
    """
    try:
        if b"-----BEGIN" in octets:
            key = load_pem_private_key(octets, None)
        else:
            key = load_der_private_key(base64.b64decode(b"".join(octets.split()), validate=True), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadKey("it is not a private key") from None
    if isinstance(key, RSAPrivateKey) and key.key_size < LEAST_BITS:
        raise BadKey(f"it has only {key.key_size} bits")
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise BadKey("it is of a kind that does not sign mail")
    return key


def signed(message: bytes, key: PrivateKey, signing: Signing, now: float) -> bytes:
    """Return a message, with CRLF line endings and without dot-stuffing, with its signature at the top."""
    head, _, body = message.partition(b"\r\n\r\n")
    fields = parse(head + b"\r\n")
    tags = _tags(fields, body, key, signing, now)
    field = f"DKIM-Signature: {';'.join(tags)};\r\n\tb="
    covered = signed_header(fields, field.encode() + b"\r\n", _names(fields, signing.names), signing.header_canon)
    value = base64.b64encode(_signature(key, covered)).decode()
    lines = [value[at : at + _LINE] for at in range(0, len(value), _LINE)]
    return (field + "\r\n\t ".join(lines) + "\r\n").encode() + message


def _tags(fields: Sequence[Field], body: bytes, key: PrivateKey, signing: Signing, now: float) -> list[str]:
    wanted = Wanted(signing.body_canon, length=signing.length)
    hashes = BodyHashes([wanted])
    wire = b"\r\n" + stuffed(body)
    for at in range(0, len(wire), PIECE):
        hashes.take(wire[at : at + PIECE])
    found = hashes.finish()[wanted]
    tags = [
        f"v=1; a={'rsa' if isinstance(key, RSAPrivateKey) else 'ed25519'}-sha256",
        f"c={signing.header_canon}/{signing.body_canon}; d={signing.domain}; s={signing.selector}",
        *([f"i={signing.identity}"] if signing.identity else []),
        f"t={int(now)}" + (f"; x={int(now) + signing.lifetime}" if signing.lifetime else ""),
        *([f"l={min(signing.length, found.octets)}"] if signing.length is not None else []),
        "h=" + "\r\n\t :".join(_names(fields, signing.names)),
        f"bh={base64.b64encode(found.digest).decode()}",
    ]
    return [tags[0], *(f"\r\n\t{each}" for each in tags[1:])]


def _names(fields: Sequence[Field], wanted: Sequence[str]) -> list[str]:
    """Return the names to sign, each as often as its mark says. From is always signed."""
    names: list[str] = []
    for each in wanted:
        name = each.strip().rstrip("?*+").lower()
        there = sum(field.name.lower() == name for field in fields)
        if each.endswith(("*", "+")):
            times = max(there, each.endswith("*"))
        else:
            times = 1 if there or not each.endswith("?") else 0
        names += [name] * times
    return names if "from" in names else ["from", *names]


def _signature(key: PrivateKey, covered: bytes) -> bytes:
    if isinstance(key, RSAPrivateKey):
        return key.sign(covered, PKCS1v15(), SHA256())
    return key.sign(hashlib.sha256(covered).digest())  # RFC 8463 section 3
