"""ARC chains, made by dkimpy, verified by us; and dkimpy's opinion of what we say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import dkim
import pytest

from proxy.arc.verifying import ChainResult, claim_of, verified
from proxy.dkim.bodies import BodyHashes
from proxy.dkim.keys import KeyCache
from proxy.mail.fields import parse
from proxy.mail.stuffing import stuffed
from tests.support.signing import KeyRecords, SigningKey, rsa_key, unavailable

PLAIN = (
    b"From: Alice <alice@a.test>\r\nTo: list@l.test\r\nSubject: hi\r\nDate: Mon, 30 Nov 2026 10:00:00 +0000\r\n"
    b"Message-ID: <1@a.test>\r\n\r\nhello\r\n.dot  and   blanks \r\n\r\n"
)
KEYS: Mapping[str, Any] = {f"s1._domainkey.l{at}.test": rsa_key().record for at in range(1, 9)}


def sealed(message: bytes, at: int, key: SigningKey | None = None, domain: str = "") -> bytes:
    """Return the message with one more set, by the sealer of this number."""
    domain = domain or f"l{at}.test"
    before = "none" if at == 1 else "pass"
    received = f"Authentication-Results: {domain}; spf=pass smtp.mailfrom=a@a.test; arc={before}\r\n"
    message = received.encode() + message
    private, names = (key or rsa_key()).private, [b"from", b"subject"]
    fields = dkim.arc_sign(message, b"s1", domain.encode(), private, domain.encode(), include_headers=names)
    assert fields, "dkimpy seals nothing"
    return b"".join(fields) + message


def chain(length: int, change: Callable[[bytes, int], bytes] = lambda message, _at: message) -> bytes:
    """Return a message that this many forwarders have sealed; each may change it before it seals."""
    message = PLAIN
    for at in range(1, length + 1):
        message = sealed(change(message, at), at)
    return message


async def result(message: bytes, records: Mapping[str, Any] = KEYS) -> ChainResult:
    head, _, body = message.partition(b"\r\n\r\n")
    claim = claim_of(parse(head + b"\r\n"))
    hashes = BodyHashes([] if claim.wanted is None else [claim.wanted])
    await hashes.feed(b"\r\n" + stuffed(body))
    keys = KeyCache(KeyRecords(records), size=10, life=10, missing_life=10)
    return await verified(claim, hashes.finish(), keys)


def dkimpys_opinion(message: bytes) -> str:
    def found(name: bytes, timeout: int = 5) -> bytes | None:
        del timeout
        return KEYS.get(name.decode().rstrip("."))

    status, _, _ = dkim.arc_verify(message, dnsfunc=found)
    return {b"none": "none", b"pass": "pass"}.get(status, "fail")


async def test_a_message_without_a_chain_has_none() -> None:
    assert await result(PLAIN) == ChainResult("none")


@pytest.mark.parametrize("length", [1, 2, 3, 7])
async def test_a_chain_passes_and_names_its_sealers(length: int) -> None:
    message = chain(length)
    assert dkimpys_opinion(message) == "pass"
    found = await result(message)
    assert (found.status, found.reason) == ("pass", "")
    assert found.sealers == tuple(f"l{at}.test" for at in range(1, length + 1))
    assert found.newest == f"l{length}.test"


async def test_a_forwarder_may_change_the_message_before_it_seals() -> None:
    message = chain(2, lambda each, at: each.replace(b"Subject: hi", b"Subject: [list] hi") + b"-- \r\nlist\r\n" * at)
    assert (await result(message)).status == dkimpys_opinion(message) == "pass"


CHANGES: dict[str, tuple[bytes, bytes]] = {
    "body": (rb"hello", b"hullo"),
    "subject": (rb"Subject: hi", b"Subject: ho"),
    "from": (rb"alice@a.test>", b"malice@a.test>"),
    "results of an older set": (rb"(ARC-Authentication-Results: i=1;[^:]*?spf=)pass", rb"\1fail"),
    "newest cv": (rb"cv=pass", b"cv=fail"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_one_change_breaks_the_chain(change: str) -> None:
    old, new = CHANGES[change]
    whole = chain(2)
    message = re.sub(old, new, whole, count=1)
    assert message != whole
    assert (await result(message)).status == "fail"
    assert dkimpys_opinion(message) == "fail"


async def test_one_changed_octet_of_any_signature_breaks_the_chain() -> None:
    whole = chain(2)
    found = list(re.finditer(rb"\bb=([A-Za-z0-9+/]{8})", whole))
    assert len(found) == 4
    for match in found:
        at = match.start(1)
        other = b"A" if whole[at : at + 1] != b"A" else b"B"
        assert (await result(whole[:at] + other + whole[at + 1 :])).status == "fail"


def without(message: bytes, pattern: bytes) -> bytes:
    return re.sub(rb"(?m)^" + pattern + rb".*\r\n(?:[ \t].*\r\n)*", b"", message, count=1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda each: without(each, b"ARC-Seal: i=1"), "set 1 has no field arc-seal"),
        (lambda each: without(each, b"ARC-Message-Signature: i=2"), "set 2 has no field arc-message-signature"),
        (lambda each: b"ARC-Authentication-Results: i=2; x; none\r\n" + each, "set 2 has two fields"),
        (lambda each: each.replace(b"i=2;", b"i=3;"), "not numbered from 1"),
        (lambda each: each.replace(b"i=1;", b"i=0;"), "no number of a set"),
        (lambda each: re.sub(rb"(ARC-Seal: i=2; )", rb"\1h=from; ", each), "must not have h="),
        (lambda each: re.sub(rb"(ARC-Message-Signature: i=2;[^;]*;)", rb"\1 q=finger;", each), "unknown way to find"),
        (lambda each: each.replace(b"rsa-sha256", b"rsa-sha1"), "rsa-sha1 is not accepted"),
    ],
)
async def test_what_is_no_chain_fails_with_a_reason(change: Callable[[bytes], bytes], reason: str) -> None:
    whole = chain(2)
    message = change(whole)
    assert message != whole
    found = await result(message)
    assert found.status == "fail"
    assert reason in found.reason


async def test_a_message_with_too_many_sets_costs_little_and_fails() -> None:
    one = b"ARC-Seal: i=%d; a=rsa-sha256; cv=none; d=x.test; s=s; b=AA==\r\n"
    fields = b"".join([one % at for at in range(1, 10_000)])
    found = await result(fields + PLAIN)
    assert (found.status, found.reason) == ("fail", "there are too many ARC fields")


@pytest.mark.parametrize(
    ("records", "status", "reason"),
    [
        ({}, "fail", "no key"),
        ({**KEYS, "s1._domainkey.l1.test": b"v=DKIM1; p="}, "fail", "revoked"),
        ({**KEYS, "s1._domainkey.l1.test": unavailable("l1.test")}, "temperror", "looked up"),
        ({**KEYS, "s1._domainkey.l1.test": rsa_key(1024).record}, "fail", "did not verify"),
        ({**KEYS, "s1._domainkey.l2.test": b"v=DKIM1; k=rsa; p=AA=="}, "fail", "key"),
    ],
)
async def test_keys_decide(records: Mapping[str, Any], status: str, reason: str) -> None:
    found = await result(chain(2), records)
    assert found.status == status
    assert reason in found.reason
