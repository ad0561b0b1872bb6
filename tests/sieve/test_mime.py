"""What bounds the reading of a message's parts, and that ordinary mail is read in one way."""

from __future__ import annotations

import base64

from sieve.message import mime
from sieve.message.mime_parts import DEEPEST, MOST_PARTS

MESSAGE = b"Content-Type: message/rfc822\r\n"
MULTIPART = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
EVIL = b'Content-Disposition: attachment; filename="evil.exe"\r\n\r\nx\r\n'


def names(raw: bytes) -> list[str]:
    """Return the file names of all parts."""
    return [name for part in mime.structure(raw).every_part() for name in part.file_names]


def test_ordinary_mail_is_read_in_one_way() -> None:
    raw = (
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="=_1 (a)"\r\n\r\nThis is a MIME message.\r\n'
        b"--=_1 (a)\r\nContent-Type: multipart/alternative; boundary==_1_2\r\n\r\n"
        b"--=_1_2\r\nContent-Type: text/plain; charset=utf-8; format=flowed\r\n\r\nHello\r\n-- \r\nme\r\n"
        b"--=_1_2\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"=3Cb>\r\n"
        b"--=_1_2--\r\n\r\n"
        b'--=_1 (a)\r\nContent-Type: application/pdf; name="The bill (2026); final.pdf"\r\n'
        b'Content-Disposition: attachment;\r\n\tfilename="The bill (2026); final.pdf"; size=3\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\nQUJD\r\n--=_1 (a)--\r\n"
    )
    found = mime.structure(raw)
    assert found.is_valid
    assert found.others == ()
    assert names(raw) == ["The bill (2026); final.pdf"]
    assert found.read(found.all_leaves(), found.texts) == ("Hello\r\n-- \r\nme", "<b>", "ABC")


def test_a_forwarded_message_that_was_cut_leaves_the_mail_valid() -> None:
    raw = (
        MULTIPART
        + b"--b\r\n"
        + MESSAGE
        + b"\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--b--\r\n"
    )
    assert mime.structure(raw).is_valid


def test_messages_deeper_than_the_bound_are_not_opened_and_the_mail_is_not_valid() -> None:
    deep = (MESSAGE + b"\r\n") * (DEEPEST + 20) + EVIL
    found = mime.structure(deep)
    assert len(found.parts) == DEEPEST + 1
    assert not found.is_valid


def test_multiparts_deeper_than_the_bound_make_the_mail_not_valid_even_if_they_are_closed() -> None:
    most = DEEPEST + 2
    heads = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(most))
    ends = b"".join(b"\r\n--b%d--\r\n" % n for n in reversed(range(most)))
    assert not mime.structure(heads + EVIL + ends).is_valid


def test_encoded_messages_in_encoded_messages_are_bounded_by_the_size_of_the_mail() -> None:
    raw = EVIL
    for _ in range(20):
        raw = MESSAGE + b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(raw)
    found = mime.structure(raw)
    assert "evil.exe" in names(raw)
    decoded = {id(part.source): len(part.source) for part in found.others if part.source is not raw}
    assert sum(decoded.values()) <= mime.MOST_DECODED * len(raw)
    layers = (MESSAGE + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n") * 50 + EVIL + b"x\r\n" * 10_000
    found = mime.structure(layers)
    assert not found.is_valid
    assert len({id(part.source) for part in found.others} - {id(layers)}) <= mime.MOST_DECODED


def test_parts_in_all_readings_are_bounded() -> None:
    inner = b"--b\r\n" + MESSAGE + b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(EVIL) + b"\r\n"
    raw = b"Content-Type: multipart/mixed; boundary=b; boundary=c\r\n\r\n" + inner * (2 * MOST_PARTS)
    found = mime.structure(raw)
    assert not found.is_valid
    assert len(found.every_part()) <= 4 * MOST_PARTS


def test_what_a_test_compares_of_other_readings_is_bounded_and_the_shortest_come_first() -> None:
    fields = b"Content-Type: text/plain; charset=utf-8; charset=utf-16le\r\nContent-Transfer-Encoding: x-base64\r\n"
    other = b"Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n\r\nbmVlZGxl\r\n"
    raw = MULTIPART + b"--b\r\n" + fields + b"\r\n" + b"QQ==" * 100_000 + b"\r\n--b\r\n" + other + b"--b--\r\n"
    found = mime.structure(raw)
    texts = found.read(found.all_leaves(), found.texts)
    assert "needle" in texts
    assert sum(map(len, texts)) <= (mime.MOST_READ + 1) * len(raw)


def test_a_message_in_a_message_is_compared_once_however_deep_it_is() -> None:
    raw = (MESSAGE + b"\r\n") * 90 + b"\r\n" + b"x" * 100_000
    found = mime.structure(raw)
    assert sum(map(len, found.read(found.all_leaves(), found.contents))) <= 2 * len(raw)


def test_the_line_break_before_a_delimiter_is_not_of_a_message_that_is_only_a_header_section() -> None:
    found = mime.structure(MULTIPART + b"--b\r\n" + MESSAGE + b"\r\nSubject: x\r\n--b--\r\n")
    assert list(found.contents(found.parts[1])) == [b"Subject: x"]
