"""Messages for the fuzzers: by the grammar and against it, nested, encoded and labelled in every way."""

from __future__ import annotations

import base64
import quopri
import random

from tests.fuzz.fuzzing import joined, mutated, octets, some

CHARSETS = (
    *("utf-8", "us-ascii", "iso-8859-1", "utf-16", "utf-16le", "utf-32", "utf-7", "iso-2022-jp", "iso-2022-kr", "hz"),
    *("gb18030", "gb2312", "big5", "euc-kr", "shift_jis", "koi8-r", "windows-1252", "punycode", "idna", "viscii"),
    *("rot13", "x-unknown", "", "\xff", "utf-8*en"),
)
TYPES = (
    *("text/plain", "text/html", "TEXT/Plain", "multipart/mixed", "multipart/alternative", "multipart/signed", "text"),
    *("message/rfc822", "multipart/digest", "message/delivery-status", "image/png", "application/octet-stream"),
    *("/", "", "a/b/c"),
)
ENCODINGS = ("7bit", "8bit", "binary", "base64", "quoted-printable", "BASE64 (c)", "x-uuencode", "", "base64; x")
NAMES = (
    *("Subject", "From", "To", "Received", "X-A", "Content-Type", "Content-Disposition", "content-type"),
    *("DKIM-Signature", "Content-Transfer-Encoding", "X" * 100),
)
VALUES = (
    *("=?utf-8?B?w6k=?=", "=?utf-8?q?=C3=A9?= =?utf-8?q?b?=", "=?x?b?a?=", "=?utf-8*en?Q?a_b?=", "=?utf-7?B?K0FH?="),
    *("=?utf-7?Q?+2AA-?=", "=?"),
    *("Bob <bob@example.com>", '"a, b" <c@d.test>', "g: a@b.test, c@d.test;", "(c (d) \\)) e@f.test"),
    "<@r.test:a@b.test>",
    *("a@[IPv6:2001:db8::1]", 'Joe (5" disk) <j@b.test>', "<>", "é <ü@ö.test>", "x" * 1200, "word " * 300),
    *("\t\t  \t", ""),
    *('; filename="a.exe"', "; filename*=utf-8'en'%C3%A9.exe", "; filename*1=b; filename*0=a", '; name="a\\"b'),
    "; boundary=b",
    *(";;=;", '; charset="utf-8', "; format=flowed", "\r\n folded", "\r\n\tfolded", "\r\n \r\n x", "\udcff", "\0"),
    "\x1b[1m",
)  # fmt: skip
PIECES = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"--", b"--b\r\n", b"--b--\r\n", b"--b0\r\n", b"--b1--\r\n", b"\r\n.\r\n",
    b"..", b".", b":",
    b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: text/plain; charset=utf-16\r\n", b"From x\r\n",
    b">From y\r\n",
    b" ", b"\t", b"=", b"=\r\n", b"=ZZ", b"\xff\xfe", b"\xc3\xa9", b"=?utf-8?b?", b"?=", b'"', b";", b"\0", b"(",
    b"x" * 1100,
    b"Content-Transfer-Encoding: base64\r\n", b"YQ==", b"AAAA" * 50, b"X-A: b\r\n",
)  # fmt: skip


def field(chance: random.Random) -> bytes:
    value = joined(chance, VALUES, 4)
    raw = f"{chance.choice(NAMES)}: {value}".encode("utf-8", "surrogateescape")
    return raw.replace(b"\r\n", chance.choice((b"\r\n ", b"\r\n\t"))) + b"\r\n"


def text(chance: random.Random) -> bytes:
    words = joined(
        chance, ("hello ", "é", "不", "\r\n", "<b>", "&", "\x1b", ".", "--b", " ", "=20", "~{", "+2AA-", "x" * 90), 20
    )
    try:
        return words.encode(chance.choice(CHARSETS), "replace")
    except (LookupError, ValueError):
        return words.encode()


def body(chance: random.Random, encoding: str) -> bytes:
    content = chance.choice((text, octets))(chance)
    if encoding.startswith("base64"):
        return base64.encodebytes(content).replace(b"\n", b"\r\n")
    return quopri.encodestring(content) if encoding.startswith("quoted") else content


def part(chance: random.Random, depth: int = 0) -> bytes:
    """Return an entity: header section and body, with parts inside if its type says so, at times if not."""
    kind, encoding = chance.choice(TYPES), chance.choice(ENCODINGS)
    head = [field(chance) for _ in some(chance, 4)]
    boundary = chance.choice((f"b{depth}", "b", "b b", "=_b'()+,-./:=?", "é", ""))
    charset = chance.choice(("", f"; charset={chance.choice(CHARSETS)}", f'; charset="{chance.choice(CHARSETS)}"'))
    head.append(
        f'Content-Type: {kind}{charset}; boundary="{boundary}"{chance.choice(VALUES)}\r\n'.encode("utf-8", "replace")
    )
    head += [f"Content-Transfer-Encoding: {encoding}\r\n".encode()] * chance.randrange(3)
    chance.shuffle(head)
    if depth < 5 and kind.startswith("message/rfc822"):
        return b"".join(head) + b"\r\n" + part(chance, depth + 1)
    if depth < 5 and kind.startswith("multipart"):
        line = b"\r\n--" + boundary.encode()
        inside = b"".join(line + b"\r\n" + part(chance, depth + 1) for _ in some(chance, 4))
        return b"".join(head) + b"\r\n" + inside + line + b"--\r\n"
    return b"".join(head) + b"\r\n" + body(chance, encoding)


def message(chance: random.Random) -> bytes:
    """Return a message, at times broken."""
    raw = part(chance) if chance.random() < 0.8 else joined(chance, PIECES, 40)
    return mutated(chance, raw, PIECES) if chance.random() < 0.6 else raw
