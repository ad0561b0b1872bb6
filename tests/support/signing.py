"""Keys, and signatures by dkimpy, in every form that a signer may choose."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import dkim
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from proxy.dns.answers import Value
from proxy.dns.resolver import DnsUnavailable, NoSuchDomain


@dataclass(frozen=True)
class SigningKey:
    """A private key as dkimpy takes it, and its record in DNS."""

    private: bytes
    record: bytes
    pem: bytes


@cache
def rsa_key(bits: int = 2048, exponent: int = 65537) -> SigningKey:
    key = rsa.generate_private_key(exponent, bits)
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return SigningKey(pem, b"v=DKIM1; k=rsa; p=" + base64.b64encode(public), pem)


@cache
def ed25519_key() -> SigningKey:
    key = Ed25519PrivateKey.generate()
    seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return SigningKey(base64.b64encode(seed), b"v=DKIM1; k=ed25519; p=" + base64.b64encode(public), pem)


def signed(
    message: bytes,
    key: SigningKey | None = None,
    *,
    domain: str = "a.test",
    selector: str = "s1",
    canon: str = "relaxed/relaxed",
    algorithm: str = "rsa-sha256",
    names: Sequence[bytes] | None = None,
    length: bool = False,
    identity: bytes | None = None,
) -> bytes:
    """Return the message with a signature by dkimpy at its top."""
    key = key or (ed25519_key() if algorithm.startswith("ed") else rsa_key())
    header, _, body = canon.partition("/")
    field: bytes = dkim.sign(
        message,
        selector.encode(),
        domain.encode(),
        key.private,
        canonicalize=(header.encode(), body.encode()),
        signature_algorithm=algorithm.encode(),
        include_headers=names or [b"from", b"subject", b"to"],
        length=length,
        identity=identity,
    )
    return field + message


class KeyRecords:
    """Key records by name: what is not listed does not exist; an exception is raised."""

    def __init__(self, records: Mapping[str, Sequence[Value] | bytes | Exception]) -> None:
        self.found, self.asked = dict(records), list[str]()

    async def records(self, name: str, record_type: str) -> Sequence[Value]:
        assert record_type == "TXT"
        self.asked.append(name)
        found = self.found.get(name, NoSuchDomain(name))
        if isinstance(found, Exception):
            raise found
        return (found,) if isinstance(found, bytes) else found


def unavailable(name: str) -> DnsUnavailable:
    return DnsUnavailable(f"{name}: SERVFAIL")
