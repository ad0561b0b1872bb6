"""What a stranger's octets cost a script grows with their number and no faster, in CPU time of this thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from sieve.functions.encodings import ec_base64_decode, ec_rfc2047_encode_addresses, qp_encode
from sieve.message import disclaimer, mime
from sieve.message.addresses import AddressPart, is_plausible, mailboxes, part_of
from sieve.message.bounces import classify
from sieve.message.comments import without_comments
from sieve.message.encoded_words import decoded_words, encoded_words, joined_words
from sieve.message.file_names import readings
from sieve.message.parameters import parameters
from sieve.message.urls import links_in
from sieve.rfc5228.editing import field_body
from sieve.run.matching import CASEMAP, NUMERIC, Comparison, MatchType, casemapped, numeric, predicate
from sieve.run.patterns import glob_pattern, linear_pattern
from sieve.run.values import ScriptError, as_number, flat
from sieve.settings import BounceRules, Rule
from tests.support.growth import assert_linear, seconds

MIB = 1 << 20
MESSAGE = 4 * MIB
"""Octets of a message here. Above 32 MiB the C library maps each block anew, and page faults would be measured."""
FIELD = MIB
"""Octets of one field, as many as a whole header section may have by default."""
STRING = MIB
"""Characters of a string in a script."""

Made = tuple[Callable[[int], object], Callable[[object], object], int]


def _message(head: str, filling: bytes) -> Callable[[int], bytes]:
    return lambda size: head.encode() + b"\r\n\r\n" + filling * (size // len(filling))


def _nested(size: int) -> bytes:
    """Multiparts inside each other, then lines that look like delimiters of none."""
    deep = "".join(f"--b{n}\r\nContent-Type: multipart/mixed; boundary=b{n + 1}\r\n\r\n" for n in range(98))
    return b"Content-Type: multipart/mixed; boundary=b0\r\n\r\n" + deep.encode() + b"--x\n" * (size // 4)


def _many_parts(piece: bytes) -> Callable[[int], bytes]:
    return lambda size: (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + (b"--b\r\n" + piece) * (size // (len(piece) + 5))
    )


def _text(charset: str, filling: bytes) -> Callable[[int], mime.Structure]:
    return lambda size: mime.structure(_message(f"Content-Type: text/plain; charset={charset}", filling)(size))


def _encoded(encoding: str, filling: bytes) -> Callable[[int], mime.Structure]:
    return lambda size: mime.structure(_message(f"Content-Transfer-Encoding: {encoding}", filling)(size))


def _repeated_field(piece: str) -> Callable[[int], bytes]:
    return lambda size: b"Content-Type: text/plain;" + piece.encode() * (size // len(piece)) + b"\r\n\r\n\xff"


def _every_text(made: object) -> object:
    assert isinstance(made, mime.Structure)
    return tuple(made.texts(made.parts[0]))


def _decoded(made: object) -> object:
    assert isinstance(made, mime.Structure)
    return made.text(made.parts[0])


def _repeated(piece: str) -> Callable[[int], str]:
    return lambda size: piece * (size // len(piece))


def _tried(function: Callable[[str], object]) -> Callable[[object], object]:
    def run(given: object) -> object:
        assert isinstance(given, str)
        try:
            return function(given)
        except ScriptError:
            return None

    return run


def _in_every_reading(given: object) -> object:
    """Take a message apart and read all that a script can ask for."""
    assert isinstance(given, bytes)
    found = mime.structure(given)
    return [part.file_names for part in found.every_part()], found.read(found.all_leaves(), found.texts)


def _report(filling: bytes) -> Callable[[int], bytes]:
    return _message("Content-Type: message/delivery-status", filling)


def _classified(given: object) -> object:
    assert isinstance(given, bytes)
    headers = {"from": "MAILER-DAEMON", "subject": "failure notice"}
    rules = BounceRules((Rule(51, "user|user|x"),), (Rule(51, "user|user|x"),))
    return classify(mime.structure(given), headers, rules)


def _linked(given: object) -> object:
    assert isinstance(given, str)
    return links_in([given])


def _names(text: str) -> object:
    found = parameters(text)
    return readings(found.all("filename") + found.all("boundary"), "utf-8"), found.value


def _layers(size: int) -> bytes:
    """Encoded messages inside each other: in quoted-printable the same octets are a message again."""
    head = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    return head * 150 + b"x\r\n" * (size // 3)


def _structure(given: object) -> object:
    assert isinstance(given, bytes)
    return mime.structure(given)


CHARSETS = (
    "punycode",
    "idna",
    "utf-8",
    "utf-7",
    "utf-16",
    "gb18030",
    "big5",
    "iso-2022-jp",
    "iso-2022-kr",
    "hz",
    "cp864",
)

CASES: dict[str, Made] = {
    "nested-multiparts-and-dashes": (_nested, _structure, MESSAGE),
    "parts-without-an-empty-line": (_many_parts(b"X: y\r\n"), _structure, MESSAGE),
    "parts-of-many-fields": (_many_parts(b"A: b\r\n" * 50 + b"\r\n"), _structure, MESSAGE),
    "parts-of-folded-fields": (_many_parts(b"A: b\r\n" + b" c\r\n" * 500 + b"\r\n"), _structure, MESSAGE),
    "dashes-only": (_message("Content-Type: multipart/mixed; boundary=b", b"--\n"), _structure, MESSAGE),
    "an-endless-boundary": (_message("Content-Type: multipart/mixed; boundary=b", b"--b"), _structure, MESSAGE),
    "an-empty-boundary": (_message('Content-Type: multipart/mixed; boundary=""', b"--\r\n"), _structure, MESSAGE),
    "lines-that-close-nothing": (
        _message("Content-Type: multipart/mixed; boundary=b", b"--b--\n"),
        _structure,
        MESSAGE,
    ),
    "base64-of-noise": (_encoded("base64", b"A=\x00=\n"), _decoded, MESSAGE),
    "quoted-printable-without-a-line": (_encoded("quoted-printable", b"="), _decoded, MESSAGE),
    "quoted-printable-of-blanks": (_encoded("quoted-printable", b" "), _decoded, MIB),
    **{
        f"parameters-of-{name}": (_repeated(piece), _tried(_names), FIELD)
        for name, piece in {
            "pieces": ";filename*1=b",
            "extended-pieces": ";filename*1*=%41",
            "quotes": ';filename="\\',
            "open-quotes": ';filename="',
            "blanks": ";   ",
            "blanks-behind-a-name": " filename   ",
            "names": " filename=",
            "stars": ";filename*",
            "digits": "filename*9",
            "comments": "(x)",
            "open-comments": "(",
            "closed-comments": ")",
            "words": ";filename==?utf-8?q?=41?= ",
            "words-never-ended": ";filename==?utf-8?q?",
            "paths": ";filename=\\a/b",
            "dots": "filename=. . ",
            "controls": ";filename=\x00\u202e",
            "apostrophes": ";filename*='",
            "octets": ";filename=\udcff%ff",
        }.items()
    },
    "words-of-blanks": (_repeated("=?a?b?   "), _tried(joined_words), FIELD),
    "words-with-stars": (_repeated("=?a*"), _tried(joined_words), FIELD),
    "words-of-one-set": (_repeated("=?utf-8?b?QQ==?="), _tried(joined_words), FIELD),
    "comments-of-quotes": (_repeated('"('), _tried(without_comments), FIELD),
    "messages-in-messages": (
        lambda size: b"Content-Type: message/rfc822\r\n\r\n" * (size // 32),
        _in_every_reading,
        MESSAGE,
    ),
    "encoded-messages-in-messages": (_layers, _in_every_reading, MESSAGE),
    "fields-of-two-types": (
        _message("Content-Type: multipart/mixed; boundary=b; boundary=c", b"--b\r\nContent-Type: x\r\n--c\r\n"),
        _in_every_reading,
        MESSAGE,
    ),
    "lines-longer-than-boundaries": (
        _message("Content-Type: multipart/mixed; boundary=b", b"--bc\r\n--b--\r\n\r\n"),
        _in_every_reading,
        MESSAGE,
    ),
    "boundaries-of-many-lengths": (
        lambda size: (
            b"Content-Type: multipart/mixed"
            + b"".join(b";boundary=" + b"y" * length for length in range(1, 100))
            + b"\r\n\r\n"
            + (b"--" + b"x" * 100 + b"\n") * (size // 103)
        ),
        _in_every_reading,
        MESSAGE,
    ),
    "many-types": (lambda size: b"Content-Type: multipart/x; boundary=b\r\n" * (size // 39), _in_every_reading, FIELD),
    "many-character-sets": (_repeated_field("charset=utf-8;charset=gbk;"), _in_every_reading, FIELD),
    "base64-of-ends": (_encoded("x-base64 (c)", b"QQ=="), _every_text, MESSAGE),
    "encoded-words": (_repeated("=?utf-8?q?=41?= "), _tried(decoded_words), FIELD),
    "encoded-words-of-punycode": (
        lambda size: f"=?punycode?q?{'x' * size}-{'a' * size}?=",
        _tried(decoded_words),
        FIELD,
    ),
    "encoded-words-never-closed": (_repeated("=?a*?q?"), _tried(decoded_words), FIELD),
    "encoded-words-far-apart": (_repeated("?=" + " " * 500), _tried(lambda text: decoded_words("=?" + text)), FIELD),
    "words-to-encode": (_repeated("\u00e9"), _tried(encoded_words), STRING),
    "addresses": (_repeated("a <b@c>, "), _tried(mailboxes), FIELD),
    "addresses-of-open-comments": (_repeated("("), _tried(mailboxes), FIELD),
    "addresses-of-open-quotes": (_repeated('"\\'), _tried(mailboxes), FIELD),
    "reports": (_report(b"Final-Recipient: rfc822; a@b\r\nStatus: 5.0.0\r\n\r\n"), _classified, MESSAGE),
    "reports-of-one-line": (_report(b"Diagnostic-Code: user user user "), _classified, MESSAGE),
    "texts-of-bounces": (_message("From: MAILER-DAEMON\r\nSubject: failure notice", b"user "), _classified, MESSAGE),
    "links": (_repeated("http://a.example/?b=http%3a//c "), _linked, FIELD),
    "links-of-names": (_repeated("www.a."), _linked, FIELD),
    "links-of-attributes": (_repeated('href="'), _linked, FIELD),
    "links-of-references": (_repeated("&"), _linked, FIELD),
    "addresses-of-colons": (_repeated("a<b:"), _tried(mailboxes), FIELD),
    "an-address-of-signs": (_repeated("@"), _tried(lambda text: part_of(text, AddressPart.DOMAIN)), FIELD),
    "a-plausible-address": (_repeated("a@"), _tried(is_plausible), STRING),
    "addresses-to-encode": (_repeated("\u00e9 <a@b>,"), _tried(ec_rfc2047_encode_addresses.run), FIELD),
    "base64-in-a-string": (_repeated("A=\x00"), _tried(ec_base64_decode.run), STRING),
    "qp-encode": (_repeated("\u00e9 "), _tried(qp_encode.run), STRING),
    "digits-compared": (_repeated("9"), _tried(numeric), STRING),
    "digits-as-a-number": (_repeated("9"), _tried(as_number), STRING),
    "controls-made-flat": (_repeated("\x00a"), _tried(flat), STRING),
    "casemap": (_repeated("a\u00e9"), _tried(casemapped), STRING),
    "matches-many-stars": (_repeated("a"), _tried(glob_pattern("*a*a*a*a*a*b").found), STRING),
    "regex-that-backtracks-elsewhere": (_repeated("a"), _tried(linear_pattern("(a*)*b").found), STRING),
    "contains-nearly": (
        _repeated("a"),
        _tried(predicate(Comparison(MatchType.CONTAINS, CASEMAP), ["a" * 500 + "b"])),
        STRING,
    ),
    "value-of-digits": (_repeated("1"), _tried(predicate(Comparison(MatchType.VALUE, NUMERIC, "gt"), ["5"])), STRING),
    **{
        f"{of}-of-{name}": (_repeated(piece), _tried(work), STRING)
        for name, piece in (("blanks", " "), ("tabs", "\t"), ("line-breaks", "\n"), ("blank-lines", " \n"))
        for of, work in (("field-body", field_body), ("flowed-text", partial(disclaimer._flowed, b"x")))
    },
    **{f"text-in-{name}": (_text(name, b"\x1b$B!~{\xff-a"), _decoded, MESSAGE) for name in CHARSETS},
    "text-in-punycode-of-letters": (_text("punycode", b"x-a"), _decoded, MESSAGE),
    **dict(
        zip(
            map("text-of-one-octet-in-{}".format, CHARSETS),
            ((_text(name, b"\xff"), _decoded, MESSAGE) for name in CHARSETS),
            strict=True,
        )
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_four_times_the_octets_cost_no_more_than_six_times_the_time(name: str) -> None:
    make, work, largest = CASES[name]

    def run(size: int) -> Callable[[], object]:
        given = make(size)
        return lambda: work(given)

    assert_linear(name, run, largest=largest)


def test_a_line_of_dashes_costs_the_same_at_any_depth() -> None:
    lines = b"--x\n" * 50_000
    head = _nested(0)
    shallow = b"Content-Type: multipart/mixed; boundary=b0\r\n\r\n--b0\r\n\r\n" + lines
    deep = head + lines
    assert seconds(lambda _: lambda: mime.structure(deep), 0) < 4 * seconds(
        lambda _: lambda: mime.structure(shallow), 0
    )
