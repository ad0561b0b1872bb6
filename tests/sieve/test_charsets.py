"""The character sets of mail are a fixed table; a sender cannot name another of Python's codecs."""

from __future__ import annotations

import codecs
from encodings.aliases import aliases

import pytest

from sieve.message import charsets, mime
from sieve.message.encoded_words import decoded_words

NOT_MAIL = (
    "punycode",
    "idna",
    "unicode_escape",
    "raw_unicode_escape",
    "rot13",
    "base64",
    "hex",
    "zlib",
    "undefined",
    "mbcs",
)

TEXTS = {
    "windows-1252": ("\u20ac 5", b"\x80 5"),
    "x-sjis": ("\u65e5\u672c", "\u65e5\u672c".encode("shift_jis")),
    "ISO-2022-JP": ("\u65e5\u672c", "\u65e5\u672c".encode("iso2022_jp")),
    "GB2312": ("\u4e2d", "\u4e2d".encode("gb2312")),
    "gb_18030": ("\U0001f600", "\U0001f600".encode("gb18030")),
    "ks_c_5601-1987": ("\ud55c", "\ud55c".encode("euc_kr")),
    "koi8-r": ("\u0416", "\u0416".encode("koi8_r")),
    "utf-16": ("\u00e9", b"\xfe\xff\x00\xe9"),
    "UTF-7": ("\u00e9", b"+AOk-"),
    "unicode-1-1-utf-7": ("\ufffd\U0001f600\ufffd", b"+3gDYPd4A2AA-"),
    "iso-8859-8-i": ("\u05d0", b"\xe0"),
    "ANSI_X3.4-1968": ("a", b"a"),
    "unknown-8bit": ("\u00e9", "\u00e9".encode()),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_read_by_the_name_that_mail_gives_its_character_set(name: str) -> None:
    text, raw = TEXTS[name]
    assert charsets.decoded(raw, name) == text


@pytest.mark.parametrize("name", NOT_MAIL)
def test_a_codec_that_is_no_character_set_of_mail_is_not_used(name: str) -> None:
    message = mime.structure(f"Content-Type: text/plain; charset={name}\r\n\r\nxn-a\\u0041".encode())
    assert charsets.codec_of(name) is None
    assert message.text(message.parts[0]) == "xn-a\\u0041"
    assert decoded_words(f"=?{name}?q?xn-a?=") == f"=?{name}?q?xn-a?="


def test_every_codec_of_the_table_exists_and_reads_as_python_does() -> None:
    raw = bytes(range(256)) * 40  # more than one piece
    used = {name for name in map(charsets.codec_of, charsets._codecs()) if name is not None}
    assert len(used) > 60
    for name in sorted(used):
        codecs.lookup(name)
        assert charsets.decoded(raw, name) == raw.decode(name, "replace"), name


def test_python_codecs_that_are_not_in_the_table_are_named_here() -> None:
    """A codec that a new Python brings is a decision, not an accident."""
    known = {codecs.lookup(name).name for name in map(charsets.codec_of, charsets._codecs()) if name is not None}
    left = set()
    for name in set(aliases.values()):
        try:
            found = codecs.lookup(name)
        except LookupError:  # of another platform
            continue
        if found._is_text_encoding and found.name not in known:
            left.add(found.name)
    assert {each for each in left if not each.startswith(("cp", "iso2022", "euc", "shift", "mac"))} <= {
        "hp-roman8", "kz1048", "ptcp154", "undefined", "utf-8-sig", "iso8859-11", "big5hkscs", "gb18030",
    }  # fmt: skip
