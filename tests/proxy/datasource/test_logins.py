"""Logins by datasources: which stored passwords are right, which never are, and what a scheme asks."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.datasource.hashes import NeverRight, matches
from proxy.datasource.logins import CannotCheck, Judged, is_yes, judge, parameters_of
from proxy.datasource.sources import Datasources
from proxy.options.login_schemes import ACCEPTED, REFUSED, LoginScheme

PASSWORD = "pass:wörd"
OCTETS = PASSWORD.encode()


def b64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


SHA256, SHA512 = hashlib.sha256(OCTETS), hashlib.sha512(OCTETS)
SALTED = b64(hashlib.sha256(OCTETS + b"salt").digest() + b"salt")
SALTED512 = b64(hashlib.sha512(OCTETS + b"salt").digest() + b"salt")

RIGHT = {
    ("clear", PASSWORD),
    ("sha256_hex", SHA256.hexdigest()),
    ("sha256_hex", SHA256.hexdigest().upper()),
    ("sha256_base64", b64(SHA256.digest())),
    ("sha512_hex", SHA512.hexdigest()),
    ("sha512_base64", b64(SHA512.digest())),
    ("ssha256", SALTED),
    ("ssha512", SALTED512),
    ("rfc2307", PASSWORD),
    ("rfc2307", "{CLEARTEXT}" + PASSWORD),
    ("rfc2307", "{SSHA256}" + SALTED),
    ("rfc2307", "{ssha512}" + SALTED512),
    ("rfc2307", "{SHA256}" + b64(SHA256.digest())),
}


@pytest.mark.parametrize(("kind", "stored"), sorted(RIGHT))
def test_a_stored_password_is_right_for_its_password_alone(kind: str, stored: str) -> None:
    assert matches(kind, stored, PASSWORD)
    for wrong in ("", "pass:word", PASSWORD + " ", PASSWORD[:-1]):
        assert not matches(kind, stored, wrong)


HELLO = "Hello world!"
CRYPTED = {
    # as openssl passwd and libxcrypt's own tests have them
    "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5": HELLO,
    "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1": HELLO,
    "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW": "U*U",
    "$2y$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK": "U*U*",
}


@pytest.mark.parametrize(("stored", "password"), CRYPTED.items())
def test_crypt_of_the_system_compares_sha2_and_bcrypt(stored: str, password: str) -> None:
    for kind, text in (("ucrypt", stored), ("rfc2307", stored), ("rfc2307", "{CRYPT}" + stored)):
        assert matches(kind, text, password)
        assert not matches(kind, text, password + "x")


WEAK = [
    ("ucrypt", "$1$saltsalt$UsdFqFVB.FsuinRDK5eE.."),
    ("ucrypt", "abJnggxhB/yWI"),
    ("ucrypt", "_J9..CCCCXBrJUJV154M"),
    ("ucrypt", "$sha1$40000$jtNX3nZ2$hBNaIXkt4wBI2o5rsi8KejSjNqIq"),
    ("ucrypt", "*"),
    ("ucrypt", ""),
    ("ucrypt", "$6$rounds=900000000$salt$" + "x" * 86),
    ("ucrypt", "$2b$31$" + "x" * 53),
    ("rfc2307", "{MD5}" + b64(hashlib.md5(OCTETS, usedforsecurity=False).digest())),
    ("rfc2307", "{SHA}" + b64(hashlib.sha1(OCTETS, usedforsecurity=False).digest())),
    ("rfc2307", "{SSHA}" + SALTED),
    ("rfc2307", "{SMD5}" + SALTED),
    ("rfc2307", "{CRYPT}abJnggxhB/yWI"),
    ("rfc2307", "{WHAT}" + PASSWORD),
    ("sha256_hex", "abc"),
    ("sha256_base64", "!"),
    ("sha256_base64", SALTED),
    ("ssha256", b64(SHA256.digest())),
    ("md5", hashlib.md5(OCTETS, usedforsecurity=False).hexdigest()),
    *((kind, hashlib.sha1(OCTETS, usedforsecurity=False).hexdigest()) for kind in REFUSED),
]


@pytest.mark.parametrize(("kind", "stored"), WEAK)
def test_weak_and_malformed_forms_are_never_right_and_the_text_does_not_quote_them(kind: str, stored: str) -> None:
    with pytest.raises(NeverRight) as never:
        matches(kind, stored, PASSWORD)
    assert not stored or len(stored) < 4 or stored not in str(never.value)


def test_every_accepted_kind_has_a_case() -> None:
    assert {kind for kind, _ in RIGHT} | {"ucrypt", "bcrypt", "scrypt"} == set(ACCEPTED)


def test_parameters_come_from_the_map_and_are_not_read_again() -> None:
    names = {"u": "%{username}", "l": "%{username_localpart}", "d": "%{username_domain||here.example}", "x": "a%{uri}b"}
    assert parameters_of(names, "joe@example.com", "p") == {
        "u": "joe@example.com", "l": "joe", "d": "example.com", "x": "ab",
    }  # fmt: skip
    assert parameters_of({"u": "%{username}"}, "%{password}", "secret") == {"u": "%{password}"}
    assert parameters_of(names, "joe", "p")["d"] == "here.example"


@pytest.mark.parametrize("cell", ["1", "-1", "0.5", "t", "TRUE", "12"])
def test_a_column_that_is_not_zero_says_yes(cell: str) -> None:
    assert is_yes(cell)


@pytest.mark.parametrize("cell", ["", "0", "0.0", "f", "false", "nan", "inf", "joe", " "])
def test_a_column_that_is_zero_or_no_number_says_no(cell: str) -> None:
    assert not is_yes(cell)


async def at_once(work: Callable[[], bool]) -> bool:
    return work()


def scheme(**options: Any) -> LoginScheme:
    return LoginScheme(name="s", cache="d", **options)


Make = Callable[..., Datasources]


async def test_a_query_may_say_itself_whether_a_login_is_right(sqlite: Path, made: Make) -> None:
    sources = made(f"sqlite:{sqlite}")
    asked = scheme(query="select count(*) from users where name = :username and mail = :password")
    assert await judge(sources, asked, "joe", "joe@example.com", at_once) == Judged(is_right=True)
    assert await judge(sources, asked, "joe", "' OR 1=1 --", at_once) == Judged(is_right=False)
    assert await judge(sources, asked, "' OR 1=1 --", "x", at_once) == Judged(is_right=False)


async def test_a_stored_password_is_compared_by_the_kind_of_its_row(sqlite: Path, made: Make) -> None:
    sources = made(f"sqlite:{sqlite}")
    for name, stored, kind in (("a", PASSWORD, "plain"), ("b", SHA256.hexdigest(), "new"), ("c", "x", "md5"),
                               ("d", "", "plain"), ("e", PASSWORD, "")):  # fmt: skip
        await sources.execute("d", "insert into users (name, mail, note) values (?, ?, ?)", (name, stored, kind))
    asked = scheme(
        query="select note as kind, mail as stored from users where name = $username",
        returns_password=True, password_column="STORED", type_column="kind",
        type_map={"plain": "clear", "new": "sha256_hex"},
    )  # fmt: skip
    for name, right in (("a", True), ("b", True), ("c", False), ("d", False), ("e", True), ("nobody", False)):
        assert (await judge(sources, asked, name, PASSWORD, at_once)).is_right is right, name
        assert not (await judge(sources, asked, name, PASSWORD + "x", at_once)).is_right
    assert "md5" in (await judge(sources, asked, "c", PASSWORD, at_once)).refused_kind
    first = scheme(query="select mail from users where name = $username", returns_password=True)
    assert (await judge(sources, first, "a", PASSWORD, at_once)).is_right
    numbered = scheme(query="select 'x', mail from users where name = $username", returns_password=True,
                      password_column="1")  # fmt: skip
    assert (await judge(sources, numbered, "a", PASSWORD, at_once)).is_right


async def test_a_datasource_that_is_down_says_nothing_about_a_password(made: Make) -> None:
    with pytest.raises(CannotCheck, match="datasource d: "):
        await judge(made("sqlite:/nowhere"), scheme(query="select 1"), "a", "b", at_once)
