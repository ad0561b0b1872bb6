"""`disclaimer_add`: the text stands below every text part that can take it, and nothing else of the mail changes."""

from __future__ import annotations

import base64
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from config.diagnostics import Source
from proxy.cli.circumstances import Facts, unconfigured
from proxy.cli.trial import Callback, TrialHost, trial_session
from sieve.compile.compiler import compile_script
from sieve.phases import Phase
from sieve.standard import standard_library

TEXT = "-- geprüft é €"


async def disclaimed(message: bytes, text: str = TEXT, html: str = "") -> bytes:
    """Run a script that adds a text to a message; return the message."""
    script = (
        f'$h = hash_create;\nhash_set $h "plain" "{text}";\nhash_set $h "html" "{html or text}";\ndisclaimer_add $h;\n'
    )
    compiled = compile_script(Source("test.siv", script), phase=Phase.DATA, library=standard_library()).script
    assert compiled is not None
    session = trial_session(Facts("192.0.2.1", "a@sender.test", ["b@example.com"]), unconfigured(frozenset()), message)
    host = TrialHost(session, Phase.DATA, Callback.PASS, around=unconfigured(frozenset()))
    try:
        outcome = await compiled.run(host)
        assert not outcome.failed
        assert session.transaction.message is not None
        return await session.transaction.message.raw()
    finally:
        await host.close()


def read(raw: bytes) -> EmailMessage:
    found = message_from_bytes(raw, policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


def message(content_type: str = "", encoding: str = "", body: bytes = b"hello\r\n") -> bytes:
    fields = [f"Content-Type: {content_type}"] if content_type else []
    fields += [f"Content-Transfer-Encoding: {encoding}"] if encoding else []
    return "".join(f"{each}\r\n" for each in ("Subject: x", *fields)).encode() + b"\r\n" + body


def in_base64(octets: bytes) -> bytes:
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")


# ---------------------------------------------------------------- what must be there, and be readable

TAKES = {
    "utf_8": message("text/plain; charset=utf-8", "8bit", "grüße\r\n".encode()),
    "utf_8_declared_7bit": message("text/plain; charset=utf-8", "7bit", b"hello\r\n"),
    "latin_9": message("text/plain; charset=iso-8859-15", "8bit", "grüße\r\n".encode("iso-8859-15")),
    "latin_1_lacks_the_euro": message("text/plain; charset=iso-8859-1", "8bit", "grüße\r\n".encode("latin-1")),
    "us_ascii": message("text/plain; charset=us-ascii"),
    "no_charset": message("text/plain"),
    "no_content_type": message(),
    "quoted_printable": message("text/plain; charset=utf-8", "quoted-printable", b"gr=C3=BC=C3=9Fe\r\n"),
    "soft_break_at_the_end": message("text/plain; charset=utf-8", "quoted-printable", b"gr=C3=BC=C3=9Fe=\r\n"),
    "base64": message("text/plain; charset=utf-8", "base64", in_base64("grüße\r\n".encode())),
    "utf_16": message("text/plain; charset=utf-16", "base64", in_base64("grüße\r\n".encode("utf-16"))),
    "utf_16_big_endian_with_mark": message(
        "text/plain; charset=utf-16", "base64", in_base64(b"\xfe\xff" + "grüße\r\n".encode("utf-16-be"))
    ),
    "utf_16le": message("text/plain; charset=UTF-16LE", "base64", in_base64("grüße\r\n".encode("utf-16-le"))),
    "utf_16be": message("text/plain; charset=utf-16be", "base64", in_base64("grüße\r\n".encode("utf-16-be"))),
    "utf_32": message("text/plain; charset=utf-32", "base64", in_base64("grüße\r\n".encode("utf-32"))),
    "koi8": message("text/plain; charset=koi8-r", "8bit", "привет\r\n".encode("koi8-r")),
    "japanese": message("text/plain; charset=iso-2022-jp", "7bit", "今日は\r\n".encode("iso-2022-jp")),
    "gb2312": message("text/plain; charset=gb2312", "8bit", "你好\r\n".encode("gbk")),
    "html": message("text/html; charset=utf-8", "8bit", "<p>grüße</p>\r\n".encode()),
    "html_without_charset": message("text/html", "", b"<p>hello</p>\r\n"),
    "html_in_latin_1": message("text/html; charset=iso-8859-1", "8bit", "<p>grüße</p>\r\n".encode("latin-1")),
    "no_line_break_at_the_end": message("text/plain; charset=us-ascii", "", b"hello"),
    "flowed": message("text/plain; charset=utf-8; format=flowed", "8bit", b"hello \r\nworld\r\n"),
    "capital_letters": message("TEXT/PLAIN; CHARSET=UTF-8", "BASE64", in_base64("grüße\r\n".encode())),
}


def words(raw: bytes) -> str:
    """Return the text as a reader sees it."""
    (part,) = (each for each in read(raw).walk() if not each.is_multipart())
    text = part.get_content().replace("&#233;", "é").replace("&#252;", "ü").replace("&#8364;", "€")
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("raw", TAKES.values(), ids=TAKES.keys())
async def test_what_was_there_is_there_and_the_text_below_it_is_read_as_it_was_written(raw: bytes) -> None:
    result = await disclaimed(raw)
    before, after = words(raw).rstrip(), words(result)
    assert after.startswith(before), after
    assert after[len(before) :].strip() == TEXT, after
    assert (b"?" in result) <= (b"?" in raw)


@pytest.mark.parametrize("raw", TAKES.values(), ids=TAKES.keys())
async def test_the_fields_say_what_the_octets_are(raw: bytes) -> None:
    found = read(await disclaimed(raw))
    encoding = (found["Content-Transfer-Encoding"] or "7bit").lower()
    body = (await disclaimed(raw)).partition(b"\r\n\r\n")[2]
    assert body.isascii() or encoding in {"8bit", "binary"} or not raw.isascii()
    assert len(found.get_all("Content-Type", [])) <= 1
    assert not found.defects


async def test_a_declared_7bit_part_is_never_given_octets_beyond_ascii() -> None:
    result = await disclaimed(message("text/plain; charset=utf-8"))
    assert result.isascii()
    assert read(result)["Content-Transfer-Encoding"] == "quoted-printable"


@pytest.mark.parametrize("encoding", ["7bit", "quoted-printable", "base64"])
async def test_japanese_text_holds_no_characters_that_only_larger_charsets_have(encoding: str) -> None:
    raw = message("text/plain; charset=iso-2022-jp", encoding)
    if encoding == "base64":
        raw = message("text/plain; charset=iso-2022-jp", encoding, in_base64(b"hello\r\n"))
    part = read(await disclaimed(raw, "caf\u00e9 \u20ac"))
    assert part.get_content_charset() == "utf-8"
    assert part.get_content() == "hello\r\ncaf\u00e9 \u20ac\r\n"


async def test_other_parameters_of_a_part_that_becomes_utf_8_stay() -> None:
    result = await disclaimed(message('text/plain; charset="us-ascii"; format=flowed; delsp=yes'))
    assert read(result)["Content-Type"] == 'text/plain; charset="utf-8"; format="flowed"; delsp="yes"'


async def test_text_below_a_flowed_paragraph_does_not_flow_into_it_and_its_own_lines_do_not_flow() -> None:
    raw = message("text/plain; charset=utf-8; format=flowed", "", b"a paragraph \r\nthat goes on \r\n")
    result = await disclaimed(raw, text="From us:\n > more  \n-- \nend")
    assert result.endswith(b"that goes on \r\n\r\n From us:\r\n  > more\r\n-- \r\nend\r\n")


@pytest.mark.parametrize("text", ["word " * 400, "x" * 1500], ids=["words", "one_word"])
async def test_a_line_of_the_text_that_is_too_long_is_folded_by_quoted_printable(text: str) -> None:
    result = await disclaimed(message("text/plain; charset=us-ascii"), text=text)
    assert max(map(len, result.split(b"\r\n"))) <= 998
    assert text.strip() in words(result)


# ---------------------------------------------------------------- multiparts


def multipart(kind: str, *parts: bytes) -> bytes:
    return (
        f'MIME-Version: 1.0\r\nContent-Type: multipart/{kind}; boundary="b"\r\n\r\n'.encode()
        + b"".join(b"--b\r\n" + each + b"\r\n" for each in parts)
        + b"--b--\r\n"
    )


PLAIN = message("text/plain", "", b"hello").removeprefix(b"Subject: x\r\n")
HTML = message("text/html; charset=iso-8859-1", "", b"<p>hello</p>").removeprefix(b"Subject: x\r\n")
ATTACHED = b"Content-Type: text/plain; name=a.txt\r\nContent-Disposition: attachment\r\n\r\nnotes"
SIGNATURE = b"Content-Type: application/pgp-signature\r\n\r\nxyz"
NESTED = multipart("signed", PLAIN, SIGNATURE).replace(b'"b"', b'"c"').replace(b"--b", b"--c")
IMAGE = b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo="


async def test_both_forms_of_an_alternative_get_their_text() -> None:
    result = read(await disclaimed(multipart("alternative", PLAIN, HTML)))
    plain, html = result.iter_parts()
    assert plain.get_content().splitlines()[:2] == ["hello", TEXT]
    assert "gepr" in html.get_content()
    assert html["Content-Type"] == 'text/html; charset="iso-8859-1"'
    assert not any(each.defects for each in result.walk())


async def test_attachments_stay_as_they_are() -> None:
    raw = multipart("mixed", PLAIN, ATTACHED, IMAGE)
    result = await disclaimed(raw)
    assert ATTACHED in result
    assert IMAGE in result
    assert TEXT in read(result).get_body().get_content()  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["text/plain", "text/html"])
@pytest.mark.parametrize("encoding", ["7bit", "8bit", "quoted-printable", "base64"])
@pytest.mark.parametrize("text", ["-- scanned", TEXT], ids=["ascii", "beyond_ascii"])
@pytest.mark.parametrize("ends", [b"", b"\r\n"], ids=["no_line", "an_empty_line"])
async def test_a_part_without_a_body_stays_apart_from_the_next(
    kind: str, encoding: str, text: str, ends: bytes
) -> None:
    empty = f"Content-Type: {kind}; charset=us-ascii\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    raw = message(
        'multipart/mixed; boundary="b"', "", b"--b\r\n" + empty + ends + b"--b\r\n" + ATTACHED + b"\r\n--b--\r\n"
    )
    first, second = read(await disclaimed(raw, text)).iter_parts()
    assert text in first.get_content().replace("&#233;", "\u00e9").replace("&#252;", "\u00fc").replace(
        "&#8364;", "\u20ac"
    )
    assert second.get_content_disposition() == "attachment"


async def test_a_part_without_a_header_section_that_becomes_utf_8_says_so() -> None:
    (part,) = read(await disclaimed(multipart("mixed", b"\r\nhello"))).iter_parts()
    assert part.get_content().splitlines()[:2] == ["hello", TEXT]


INNER = b"Content-Type: message/rfc822\r\n\r\n" + message("text/plain", "", b"inside")
STAYS = {
    "signed": multipart('signed; protocol="application/pgp-signature"', PLAIN, SIGNATURE),
    "signed_within": multipart(
        "mixed", multipart("signed", PLAIN, SIGNATURE).replace(b'"b"', b'"c"').replace(b"--b", b"--c")
    ),
    "signed_alternative": multipart(
        "signed", multipart("alternative", PLAIN, HTML).replace(b'"b"', b'"c"').replace(b"--b", b"--c"), SIGNATURE
    ),
    "encrypted": multipart("encrypted", b"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1", PLAIN),
    "attached_message": multipart("mixed", INNER),
    "attachment_alone": multipart("mixed", ATTACHED),
    "smime": message("application/pkcs7-mime; smime-type=signed-data", "base64", in_base64(b"xyz")),
    "broken_base64": message("text/plain; charset=utf-8", "base64", b"aGVsbG8\r\nnot base64!\r\n"),
    "base64_without_padding": message("text/plain; charset=utf-8", "base64", b"aGVsbG8\r\n"),
    "base64_in_pieces": message("text/plain; charset=utf-8", "base64", b"aGk=\r\naGk=\r\n"),
    "base64_and_a_footer": message("text/plain; charset=utf-8", "base64", b"aGVsbG8=\r\n\r\n-- list footer\r\n"),
    "unknown_charset": message("text/plain; charset=x-unknown", "8bit", b"hello\xff\r\n"),
    "unknown_charset_ascii": message("text/plain; charset=x-unknown", "", b"hello\r\n"),
    "ebcdic": message("text/plain; charset=cp037", "8bit", "hello\r\n".encode("cp037")),
    "punycode": message("text/plain; charset=punycode", "", b"hello-\r\n"),
    "a_codec_that_is_none": message("text/plain; charset=rot13", "", b"hello\r\n"),
    "unknown_encoding": message("text/plain; charset=utf-8", "x-uuencode", b"begin 644 a\r\n"),
    "utf_16_in_the_clear": message("text/plain; charset=utf-16", "8bit", "hello\r\n".encode("utf-16")),
    "utf_16_cut": message("text/plain; charset=utf-16le", "base64", in_base64(b"h\0e")),
    "octets_that_are_not_of_the_charset": message("text/plain; charset=us-ascii", "8bit", b"gr\xfc\xdfe\r\n"),
    "content_type_that_is_none": message("text", "", b"hello\r\n"),
    "csv": message("text/csv", "", b"a,b\r\n"),
    "digest": multipart("digest", b"\r\n" + message("text/plain", "", b"inside")),
    "digest_with_an_encoding": multipart("digest", b"Content-Transfer-Encoding: 8bit\r\n\r\nSubject: a\r\n\r\ninside"),
    "binary_attachment": multipart("mixed", PLAIN, b"Content-Type: application/x\r\n\r\n\x00\n\x01\r\x02"),
}


@pytest.mark.parametrize("raw", STAYS.values(), ids=STAYS.keys())
async def test_what_cannot_take_the_text_for_certain_stays_as_it_came(raw: bytes) -> None:
    assert await disclaimed(raw) == raw
