"""Signatures of every kind: what passes, what does not and why, and what a stranger's may cost."""

from __future__ import annotations

import asyncio
import base64
import itertools
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proxy.dkim.bodies import BodyHashes
from proxy.dkim.keys import KeyCache, read_key
from proxy.dkim.verifying import Judgement, best_of, claims_of, judged
from proxy.mail.fields import parse
from proxy.mail.stuffing import stuffed
from tests.support.opendkim import signed_by_milter, signer
from tests.support.required import need
from tests.support.signing import KeyRecords, ed25519_key, rsa_key, signed, unavailable

BODY = b"Hello,\r\n\r\n.dots  and \t blanks \r\n\r\n\r\n"
MESSAGE = (
    b"From: Alice <alice@a.test>\r\nTo: bob@b.test\r\nSubject: a\r\n folded \t subject\r\n"
    b"X-Note: from x\r\nX-Note: from y\r\n\r\n" + BODY
)
NAME = "s1._domainkey.a.test"


def keys(*, size: int = 10, life: float = 300.0, missing_life: float = 3600.0, **records: Any) -> KeyCache:
    found = {NAME: rsa_key().record, "e1._domainkey.a.test": ed25519_key().record, **records}
    return KeyCache(KeyRecords(found), size=size, life=life, missing_life=missing_life)


def keys_of(records: Mapping[str, Any]) -> KeyCache:
    return KeyCache(KeyRecords(records), size=10, life=300.0, missing_life=300.0)


async def judgements(message: bytes, cache: KeyCache | None = None) -> list[Judgement]:
    head, _, body = message.partition(b"\r\n\r\n")
    claims = claims_of(parse(head + b"\r\n"))
    hashes = BodyHashes([each.wanted for each in claims if each.wanted is not None])
    await hashes.feed(b"\r\n" + stuffed(body))
    return await judged(claims, hashes.finish(), keys() if cache is None else cache)


async def values(message: bytes, cache: KeyCache | None = None) -> list[str]:
    return [each.value for each in await judgements(message, cache)]


MATRIX = list(
    itertools.product(
        ("rsa-sha256", "ed25519-sha256"),
        ("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"),
        ((b"from",), (b"from", b"to", b"subject"), (b"from", b"x-note", b"x-note", b"x-note", b"x-absent")),
        (BODY, b"", b"\r\n\r\n", b"one line\r\n", b"no end", b" \r\n" * 5, b"x" * 40_000 + b"\r\n"),
    )
)


@pytest.mark.parametrize(("algorithm", "canon", "names", "body"), MATRIX)
async def test_what_dkimpy_signs_passes(algorithm: str, canon: str, names: Sequence[bytes], body: bytes) -> None:
    message = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body
    selector = "e1" if algorithm.startswith("ed") else "s1"
    found = signed(message, canon=canon, algorithm=algorithm, names=names, selector=selector)
    assert await values(found) == ["pass"]
    assert await values(found.replace(b"From: Alice", b"From: alice")) == ["fail"]
    assert await values(found + b"x") == ["fail"]


@pytest.mark.parametrize("canon", ["simple/simple", "relaxed/relaxed"])
@pytest.mark.parametrize("algorithm", ["rsa-sha256", "ed25519-sha256"])
async def test_one_changed_octet_of_what_is_signed_fails(algorithm: str, canon: str) -> None:
    selector = "e1" if algorithm.startswith("ed") else "s1"
    found = signed(b"From: a@a.test\r\nSubject: hi\r\n\r\nhello\r\n", canon=canon, algorithm=algorithm,
                   selector=selector, names=[b"from", b"subject"])  # fmt: skip
    field = found.index(b"From: a@a.test")
    for at in range(field, len(found)):
        if found[at : at + 1] in b"\r\n:" or found[at : at + 1].isspace():
            continue
        changed = found[:at] + bytes([found[at] ^ 1]) + found[at + 1 :]
        assert await values(changed) == ["fail"], changed[at - 5 : at + 5]


@pytest.mark.parametrize("tag", [b"b", b"bh", b"d", b"s", b"h", b"c", b"a", b"i", b"t"])
async def test_one_changed_octet_of_the_signature_does_not_pass(tag: bytes) -> None:
    found = signed(MESSAGE, identity=b"x@a.test")
    place = re.search(rb";\s*%b=\s*" % tag, found)
    assert place is not None
    at = place.end()
    changed = found[:at] + (b"B" if found[at : at + 1] != b"B" else b"C") + found[at + 1 :]
    assert "pass" not in await values(changed)


@pytest.mark.parametrize("bits", [1024, 1536, 2048, 4096])
async def test_rsa_keys_of_these_sizes_pass(bits: int) -> None:
    assert await values(signed(MESSAGE, rsa_key(bits)), keys_of({NAME: rsa_key(bits).record})) == ["pass"]


def _record(bits: int, exponent: int = 65537, modulus: int = 0) -> bytes:
    numbers = rsa.RSAPublicNumbers(exponent, modulus or (1 << (bits - 1)) + 12345)
    public = numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; p=" + base64.b64encode(public)


@pytest.mark.parametrize(
    ("record", "value"),
    [
        (_record(1023), "policy"), (_record(4097), "policy"), (_record(8192), "policy"), (_record(16384), "policy"),
        (_record(2048, (1 << 64) + 1), "policy"), (_record(2048, (1 << 32) + 1), "policy"),
        (b"v=DKIM1; p=", "permerror"), (b"v=DKIM1; k=rsa", "permerror"), (b"v=DKIM2; p=AAAA", "permerror"),
        (b"k=rsa; v=DKIM1; p=AAAA", "permerror"), (b"p=AAAA", "permerror"), (b"p=%%%", "permerror"),
        (b"p=AAAA; p=AAAA", "permerror"), (b"nonsense", "permerror"), (b"\xff\xfe", "permerror"),
        (b"v=DKIM1; p=" + b"A" * 100_000, "permerror"), (b"k=dsa; p=AAAA", "permerror"),
        (b"v=DKIM1; k=ed25519; p=AAAA", "permerror"),
    ],
)  # fmt: skip
async def test_a_key_that_cannot_be_used_never_passes(record: bytes, value: str) -> None:
    assert read_key(record).public is None
    assert await values(signed(MESSAGE), keys_of({NAME: record})) == [value]


@pytest.mark.parametrize(
    ("tags", "value"),
    [
        (b"h=sha1", "permerror"), (b"h=sha1:sha256", "pass"), (b"s=tlsrpt", "permerror"), (b"s=email", "pass"),
        (b"s=other:*", "pass"), (b"t=s", "pass"), (b"t=y", "pass"), (b"n=a note", "pass"), (b"g=*", "pass"),
        (b"x_unknown=1", "pass"), (b"k=ed25519", "permerror"),
    ],
)  # fmt: skip
async def test_the_tags_of_a_key_record(tags: bytes, value: str) -> None:
    record = b"v=DKIM1; " + tags + b"; " + rsa_key().record.partition(b"k=rsa; ")[2]
    assert await values(signed(MESSAGE), keys_of({NAME: record})) == [value]


async def test_a_strict_key_wants_the_signers_domain_as_identity() -> None:
    record = b"t=s; " + rsa_key().record.partition(b"k=rsa; ")[2]
    found = signed(MESSAGE, identity=b"x@sub.a.test")
    assert await values(found, keys_of({NAME: record})) == ["permerror"]
    assert await values(found) == ["pass"]


async def test_a_signature_that_fails_under_a_test_key_counts_as_none() -> None:
    record = b"t=y; " + rsa_key().record.partition(b"k=rsa; ")[2]
    broken = signed(MESSAGE).replace(b"bob@b.test", b"eve@b.test")
    assert await values(broken, keys_of({NAME: record})) == ["neutral"]


async def test_rsa_sha1_never_passes() -> None:
    message = signed(MESSAGE, algorithm="rsa-sha1")
    assert dkim.verify(message, dnsfunc=lambda _name, **_more: rsa_key().record) in {True, False}
    assert await values(message) == ["policy"]


async def test_a_length_that_covers_the_whole_body_passes_and_a_shorter_one_is_policy() -> None:
    found = signed(MESSAGE, length=True)
    assert await values(found) == ["pass"]
    assert await values(found + b"more\r\n") == ["policy"]
    assert await values(found[:-20]) == ["fail"]


async def test_names_that_do_not_exist_or_do_not_answer() -> None:
    found = signed(MESSAGE)
    assert await values(found, keys_of({})) == ["permerror"]
    assert await values(found, keys_of({NAME: ()})) == ["permerror"]
    assert await values(found, keys_of({NAME: unavailable(NAME)})) == ["temperror"]
    assert await values(found, keys_of({NAME: (b"v=spf1 -all", rsa_key().record)})) == ["pass"]


BAD = {
    "v=2; a=rsa-sha256; b=QQ==; bh=QQ==; d=a.test; h=from; s=s1": "neutral",
    "v=1; a=rsa-md5; b=QQ==; bh=QQ==; d=a.test; h=from; s=s1": "neutral",
    "v=1; a=rsa-sha256; b=QQ==; bh=QQ==; d=a.test; h=to; s=s1": "permerror",
    "v=1; a=rsa-sha256; b=QQ==; bh=QQ==; d=a.test; h=from": "neutral",
    "v=1; a=rsa-sha256; b=QQ==; bh=QQ==; d=a.test; h=from; s=s1; s=s1": "neutral",
    "v=1; a=rsa-sha256; b=***; bh=QQ==; d=a.test; h=from; s=s1": "neutral",
    "v=1; a=rsa-sha256; b=QQ==; bh=QQ==; d=a.test; h=from; s=s1; c=other": "neutral",
    "v=1; a=rsa-sha256; b=QQ==; bh=QQ==; d=a.test; h=from; s=s1; i=@b.test": "neutral",
    "v=1; a=rsa-sha256; b=QQ==; bh=QQ==; d=a.test; h=from; s=s1; l=-1": "neutral",
    "v=1; a=rsa-sha256; b=QQ==; bh=QQ==; d=a.test; h=from; s=s1; q=http": "neutral",
    "v=1; a=rsa-sha256; b=QQ==; bh=QQ==; d=a.test; h=from; s=s1; t=5; x=5": "neutral",
    "v=1; a=rsa-sha256; b=QQ==; bh=QQ==; d=a.test; h=from; s=../x": "neutral",
    "v=1; a=rsa-sha256; b=QQ==; bh=QQ==; d=; h=from; s=s1": "neutral",
    "nonsense": "neutral",
    "": "neutral",
    "v=1; a=rsa-sha256; b=QQ==; bh=QQ==; d=a.test; h=from; s=s1": "fail",
}


@pytest.mark.parametrize(("field", "value"), BAD.items())
async def test_a_signature_that_cannot_be_read_says_why(field: str, value: str) -> None:
    (found,) = await judgements(f"DKIM-Signature: {field}\r\n".encode() + MESSAGE)
    assert found.value == value
    assert found.reason


async def test_an_expired_signature_fails() -> None:
    found = signed(MESSAGE)
    field, _, rest = found.partition(b"\r\nFrom:")
    expired = re.sub(rb"t=\d+;", b"t=1600000000; x=1700000000;", field)
    (judgement,) = await judgements(expired + b"\r\nFrom:" + rest)
    assert (judgement.value, judgement.reason) == ("fail", "the signature has expired")


async def test_each_signature_is_judged_up_to_the_fifth() -> None:
    message = signed(signed(MESSAGE), domain="b.test").replace(b"=b.test", b"=c.test").replace(b"=@b.test", b"=@c.test")
    assert await values(message, keys_of({NAME: rsa_key().record, "s1._domainkey.c.test": rsa_key().record})) == [
        "fail", "pass",
    ]  # fmt: skip
    many = signed(MESSAGE)
    for _ in range(6):
        many = signed(MESSAGE)[: -len(MESSAGE)] + many
    assert await values(many) == ["pass"] * 5


def test_the_message_has_the_best_result() -> None:
    def best(*words: str) -> str:
        return best_of([Judgement(each) for each in words])

    assert best("fail", "pass") == "pass"
    assert best("neutral", "temperror", "fail") == "temperror"
    assert best("neutral", "permerror", "policy") == "policy"
    assert best() == "none"


async def test_keys_are_kept_for_their_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    records = KeyRecords({NAME: rsa_key().record})
    cache = KeyCache(records, size=1, life=300.0, missing_life=3600.0)
    message = signed(MESSAGE)
    for seconds, asked in ((0, 1), (299, 1), (2, 2)):
        now += seconds
        assert await values(message, cache) == ["pass"]
        assert len(records.asked) == asked
    missing = signed(MESSAGE, domain="gone.test")
    for seconds, asked in ((0, 3), (3599, 3), (2, 4)):
        now += seconds
        assert await values(missing, cache) == ["permerror"]
        assert len(records.asked) == asked
    assert len(cache) == 1
    records.found[NAME] = unavailable(NAME)
    for asked in (5, 6):
        assert await values(message, cache) == ["temperror"]
        assert len(records.asked) == asked


async def test_a_cache_of_no_size_keeps_nothing() -> None:
    records = KeyRecords({NAME: rsa_key().record})
    cache = KeyCache(records, size=0, life=300.0, missing_life=300.0)
    for _ in range(2):
        assert await values(signed(MESSAGE), cache) == ["pass"]
    assert len(cache) == 0
    assert len(records.asked) == 2


# ---------------------------------------------------------------- the examples of the RFCs


RFC6376 = b"""\
DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
""".replace(b"\n", b"\r\n")
"""Appendix A.2, with the blanks of errata 3192 and 4926: as printed, the signature does not verify."""
RFC6376_KEYS = {
    "brisbane._domainkey.example.com": (
        b"v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b"
        b"4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYck"
        b"cQ2QIDAQAB"
    ),
}

RFC8463 = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
""".replace(b"\n", b"\r\n")
RFC8463_KEYS = {
    "brisbane._domainkey.football.example.com": (b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
    "test._domainkey.football.example.com": (
        b"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J"
        b"16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTI"
        b"KT+l/K4w3QIDAQAB"
    ),
}


async def test_the_example_of_rfc_6376_passes_and_fails_with_one_blank_more() -> None:
    (found,) = await judgements(RFC6376, keys_of(RFC6376_KEYS))
    assert (found.value, found.signature and found.signature.identity) == ("pass", "joe@football.example.com")
    for printed in (RFC6376.replace(b"game. Are", b"game.  Are"), RFC6376.replace(b"      bh=", b"       bh=")):
        assert await values(printed, keys_of(RFC6376_KEYS)) == ["fail"]


async def test_the_example_of_rfc_8463_passes_with_both_keys_and_fails_with_one_letter_changed() -> None:
    assert await values(RFC8463, keys_of(RFC8463_KEYS)) == ["pass", "pass"]
    changed = RFC8463.replace(b"hungry", b"Hungry")
    assert await values(changed, keys_of(RFC8463_KEYS)) == ["fail", "fail"]


def test_the_examples_of_rfc_6376_section_3_4_5_have_their_forms() -> None:
    from proxy.dkim.canonical import signed_fields  # noqa: PLC0415 - here it is read best

    fields = parse(b"A: X\r\nB : Y\t\r\n\tZ  \r\n")
    assert list(signed_fields(fields, ("a", "b"), "relaxed")) == [b"a:X\r\n", b"b:Y Z\r\n"]
    assert list(signed_fields(fields, ("a", "b"), "simple")) == [b"A: X\r\n", b"B : Y\t\r\n\tZ  \r\n"]


# ---------------------------------------------------------------- hostile


def _costs(message: bytes) -> float:
    head = message.partition(b"\r\n\r\n")[0]
    fields = parse(head + b"\r\n")
    began = time.thread_time()
    claims_of(fields)
    return time.thread_time() - began


async def test_ten_thousand_signatures_cost_as_much_as_five() -> None:
    one = signed(MESSAGE)[: -len(MESSAGE)]
    message = one * 10_000 + MESSAGE
    cache = keys()
    assert await values(message, cache) == ["pass"] * 5
    assert _costs(message) < 5.0  # a bound, not a measurement: 0.05 s here


HOSTILE = {
    "many names": "h=" + ":".join(["from"] * 3000),
    "a long name": "h=from:" + "x" * 10_000,
    "many tags": "; ".join(f"x{number}=1" for number in range(2000)),
    "blanks": "b2=" + " " * 10_000,
    "semicolons": ";" * 10_000,
    "too long": "z=" + "x" * 1_000_000,
    "a long number": "l=" + "9" * 10_000,
    "a large number": "l=" + "9" * 76,
    "large times": "t=" + "9" * 76 + "; x=" + "9" * 75 + "99",
}


@pytest.mark.parametrize("tag", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_signature_does_not_pass_and_costs_little(tag: str) -> None:
    base = "v=1; a=rsa-sha256; b=QQ==; bh=QQ==; d=a.test; s=s1"
    names = "" if tag.startswith("h=") else "; h=from"
    message = f"DKIM-Signature: {base}{names}; {tag}\r\n".encode() + MESSAGE
    assert _costs(message) < 0.5  # a bound, not a measurement
    assert (await values(message))[0] in {"neutral", "fail"}


# ---------------------------------------------------------------- OpenDKIM


BODIES = [b"hello\r\n", b"", b"\r\n\r\n", b"line \t with  blanks \r\n.dot\r\n\r\n\r\n", (b"x" * 900 + b"\r\n") * 100]


@pytest.mark.real("opendkim")
@pytest.mark.parametrize(
    ("canon", "algorithm"),
    [*[(f"{head}/{body}", "rsa-sha256") for head in ("simple", "relaxed") for body in ("simple", "relaxed")],
     ("relaxed/relaxed", "ed25519-sha256")],
)  # fmt: skip
async def test_what_opendkim_signs_passes_and_one_changed_octet_fails(
    canon: str, algorithm: str, tmp_path: Path
) -> None:
    need("opendkim")
    key = ed25519_key() if algorithm.startswith("ed") else rsa_key()
    cache = keys_of({NAME: key.record})
    async with signer(tmp_path, key.pem, canon, algorithm) as port:
        for body in BODIES:
            message = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body
            found = await signed_by_milter(port, message)
            assert await values(found, cache) == ["pass"], found
            assert await values(found.replace(b"alice@", b"Alice@"), cache) == ["fail"]
            if body.strip():
                changed = found[: -len(body)] + body.replace(b"l", b"L", 1).replace(b"x", b"y", 1)
                assert await values(changed, cache) == ["fail"]


async def test_a_key_that_is_late_leaves_the_other_signatures_their_results() -> None:
    class Slow(KeyRecords):
        async def records(self, name: str, record_type: str) -> Sequence[Any]:
            if name.startswith("e1."):
                await asyncio.Event().wait()
            return await super().records(name, record_type)

    message = signed(signed(MESSAGE), algorithm="ed25519-sha256", selector="e1")
    head, _, body = message.partition(b"\r\n\r\n")
    claims = claims_of(parse(head + b"\r\n"))
    hashes = BodyHashes([each.wanted for each in claims if each.wanted is not None])
    await hashes.feed(b"\r\n" + stuffed(body))
    cache = KeyCache(Slow({NAME: rsa_key().record}), size=10, life=300.0, missing_life=300.0)
    found = await judged(claims, hashes.finish(), cache, seconds=0.1)
    assert [each.value for each in found] == ["temperror", "pass"]


@pytest.mark.parametrize(
    "domain", [b"evil\\.a.test", b"*.test", b"@a.test", b"a/b.test", b"a\x00.test", b"a..test", b""]
)
async def test_a_domain_that_is_none_is_not_looked_up(domain: bytes) -> None:
    message = signed(MESSAGE).replace(b"d=a.test", b"d=" + domain)
    assert await values(message, keys_of({})) == ["neutral"]
