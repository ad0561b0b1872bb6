"""What Ringback signs: dkimpy, OpenDKIM and Ringback itself verify it."""

from __future__ import annotations

import asyncio
import base64
import itertools
import re
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from proxy.dkim.signing import BadKey, Signing, key_from, key_in, signed
from proxy.mail.session import Letter
from proxy.mail.session import Path as MailPath
from proxy.modules.sieve_policy.signing import sign
from sieve.run.values import ScriptError
from tests.support.programs import find_program
from tests.support.required import need
from tests.support.signing import ed25519_key, rsa_key

BODY = b"Hello,\r\n\r\n.dots  and \t blanks \r\n\r\n"
MESSAGE = b"From: <a@a.test>\r\nTo: b@b.test\r\nSubject: a\r\n folded\r\nX-Many: 1\r\nX-Many: 2\r\n\r\n" + BODY
NOW = 1_790_000_000.0


def verified(message: bytes, record: bytes) -> bool:
    found: bool = dkim.verify(message, dnsfunc=lambda _name, **_more: record)
    return found


MATRIX = list(
    itertools.product(
        ("rsa", "ed25519"), ("simple", "relaxed"), ("simple", "relaxed"), (BODY, b"", b"\r\n\r\n", b"no end"),
        (("from",), ("subject", "x-many*", "to?", "x-absent", "cc?"), ("x-many+", "from")),
    )
)  # fmt: skip


@pytest.mark.parametrize(("kind", "header", "body_canon", "body", "names"), MATRIX)
def test_dkimpy_verifies_it(kind: str, header: str, body_canon: str, body: bytes, names: tuple[str, ...]) -> None:
    made = rsa_key() if kind == "rsa" else ed25519_key()
    message = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body
    how = Signing("a.test", "s1", header_canon=header, body_canon=body_canon, names=names)
    found = signed(message, key_from(made.pem), how, NOW)
    assert verified(found, made.record)
    assert not verified(found.replace(b"a@a.test", b"b@a.test"), made.record)
    assert not verified(found + b"x\r\n", made.record)
    assert all(len(line) < 998 for line in found.partition(b"\r\n\r\n")[0].split(b"\r\n"))


def test_a_missing_field_that_was_signed_cannot_be_added() -> None:
    found = signed(MESSAGE, key_from(rsa_key().pem), Signing("a.test", "s1", names=("from", "reply-to")), NOW)
    assert verified(found, rsa_key().record)
    assert not verified(found.replace(b"To: b", b"Reply-To: eve@e.test\r\nTo: b"), rsa_key().record)


def test_what_the_tags_say() -> None:
    how = Signing("a.test", "s1", identity="me@sub.a.test", length=7, lifetime=3600)
    field = signed(MESSAGE, key_from(rsa_key().pem), how, NOW).partition(b"\r\nFrom:")[0].decode()
    tags = dict(each.split("=", 1) for each in re.sub(r"\s", "", field.partition(":")[2]).split(";"))
    assert {name: tags[name] for name in ("v", "a", "d", "s", "i", "l", "t", "x")} == {
        "v": "1", "a": "rsa-sha256", "d": "a.test", "s": "s1", "i": "me@sub.a.test", "l": "7", "t": "1790000000",
        "x": "1790003600",
    }  # fmt: skip


@pytest.mark.real("opendkim")
@pytest.mark.parametrize("body_canon", ["simple", "relaxed"])
@pytest.mark.parametrize("header", ["simple", "relaxed"])
@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
async def test_opendkim_verifies_it_and_one_changed_octet_fails(
    kind: str, header: str, body_canon: str, tmp_path: Path
) -> None:
    need("opendkim")
    made = rsa_key() if kind == "rsa" else ed25519_key()
    (tmp_path / "keys").write_text(f"s1._domainkey.a.test {made.record.decode()}\n")
    (tmp_path / "opendkim.conf").write_text(f"TestPublicKeys {tmp_path / 'keys'}\nMode v\nSyslog no\n")
    how = Signing("a.test", "s1", header_canon=header, body_canon=body_canon)
    for body in (BODY, b"", b"\r\n\r\n", b"one line\r\n"):
        message = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body
        good = signed(message, key_from(made.pem), how, NOW)
        assert re.fullmatch(
            r"verification \(s=s1, d=a\.test, \d+-bit key\) succeeded", await _said_by_opendkim(tmp_path, good)
        )
        for changed in (good.replace(b"a@a.test", b"b@a.test"), good + b"x\r\n"):
            assert "succeeded" not in await _said_by_opendkim(tmp_path, changed)


async def _said_by_opendkim(folder: Path, message: bytes) -> str:
    (folder / "message").write_bytes(message)
    command = [find_program("opendkim"), "-x", str(folder / "opendkim.conf"), "-t", str(folder / "message")]
    program = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(30):
        said, _ = await program.communicate()
    found = re.search(r"verification \(.*", said.decode().strip())
    return found[0] if found else said.decode()


# ---------------------------------------------------------------- what a script says


PEM = rsa_key().pem
PKCS8 = load_pem_private_key(PEM, None).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def letters() -> list[Letter]:
    path = MailPath(b"a@a.test", "a", "a.test")
    return [Letter(path, (path,), MESSAGE, "generated") for _ in range(2)]


TOLD = {"base_domain": "A.test", "selector": "s1", "keybuf": base64.b64encode(PKCS8).decode()}


async def test_all_letters_so_far_are_signed() -> None:
    found = letters()
    await sign(found, {**TOLD, "Header_Canon": "relaxed", "digest": "rsa-sha1", "headerlist": "from:subject:x-many*"})
    assert all(verified(each.content, rsa_key().record) for each in found)
    assert b"a=rsa-sha256" in found[0].content


async def test_the_key_may_be_in_a_file_named_by_domain_and_selector_and_may_change(tmp_path: Path) -> None:
    file = tmp_path / "a.test.s1"
    told = {**TOLD, "keybuf": "", "keyfile": str(tmp_path / "%{d}.%{s}")}
    for made in (rsa_key(), rsa_key(1024), ed25519_key()):
        file.write_bytes(made.pem)
        found = letters()
        await sign(found, told)
        assert verified(found[0].content, made.record)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"selector": ""}, "ec_dkim_sign needs selector"),
        ({"base_domain": ""}, "ec_dkim_sign needs base_domain"),
        ({"base_domain": "a.test; d=b"}, 'base_domain "a.test; d=b" cannot be used to sign'),
        ({"selector": "x\r\ny"}, 'selector "x\r\ny" cannot be used to sign'),
        ({"identity": "x@b.test"}, 'identity "x@b.test" cannot be used to sign'),
        ({"identity": "x;y@a.test"}, 'identity "x;y@a.test" cannot be used to sign'),
        ({"header_canon": "nofws"}, 'header_canon "nofws" cannot be used to sign'),
        ({"digest": "md5"}, 'digest "md5" cannot be used to sign'),
        ({"lifetime": "soon"}, 'lifetime "soon" cannot be used to sign'),
        ({"headerlist": "from:a b"}, 'headerlist "a b" cannot be used to sign'),
        ({"keybuf": "AAAA"}, "the key in keybuf cannot be used: it is not a private key"),
        ({"keyfile": "/nowhere/key"}, "the key in /nowhere/key cannot be used: No such file or directory"),
        ({"key": "x"}, '"key" is not a key of ec_dkim_sign; write '),
    ],
)
async def test_a_mistake_names_what_is_wrong(changed: dict[str, str], reason: str) -> None:
    found = letters()
    with pytest.raises(ScriptError, match=re.escape(reason)):
        await sign(found, {**TOLD, **changed})
    assert found == letters()


def test_keys_that_do_not_sign_mail(tmp_path: Path) -> None:
    for octets in (b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"\xff" * 100):
        with pytest.raises(BadKey):
            key_from(octets)
    with pytest.raises(OSError, match="No such file"):
        key_in(str(tmp_path / "none"))
