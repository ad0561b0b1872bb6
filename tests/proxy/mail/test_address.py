"""MAIL and RCPT arguments by the grammar of RFC 5321 and RFC 6531: what is a path, and what is not."""

from __future__ import annotations

import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mail.address import BadParameter, BadPath, parse_argument
from proxy.mail.session import NULL_PATH, Path


def to(argument: bytes) -> Path:
    return parse_argument(argument, b"TO:")[0]


@pytest.mark.parametrize(
    ("argument", "raw", "local_part", "domain"),
    [
        (b"<bob@example.com>", b"bob@example.com", "bob", "example.com"),
        (b"<Bob.O'Hara+tag=x@Example.COM>", b"Bob.O'Hara+tag=x@Example.COM", "Bob.O'Hara+tag=x", "example.com"),
        (b" <bob@example.com>", b"bob@example.com", "bob", "example.com"),
        (b"<!#$%&'*+-/=?^_`{|}~@a.b>", b"!#$%&'*+-/=?^_`{|}~@a.b", "!#$%&'*+-/=?^_`{|}~", "a.b"),
        (b"<-@a>", b"-@a", "-", "a"),
        (b'<"bob smith"@example.com>', b'"bob smith"@example.com', '"bob smith"', "example.com"),
        (b'<"a@b\\">c"@example.com>', b'"a@b\\">c"@example.com', '"a@b\\">c"', "example.com"),
        (b'<""@example.com>', b'""@example.com', '""', "example.com"),
        (b"<bob@[192.0.2.1]>", b"bob@[192.0.2.1]", "bob", "[192.0.2.1]"),
        (b"<bob@[IPv6:2001:db8::1]>", b"bob@[IPv6:2001:db8::1]", "bob", "[ipv6:2001:db8::1]"),
        (b"<bob@[ipv6:::1]>", b"bob@[ipv6:::1]", "bob", "[ipv6:::1]"),
        ("<jürgen@bücher.example>".encode(), "jürgen@bücher.example".encode(), "jürgen", "xn--bcher-kva.example"),
        (b"<@a.test,@b.test:bob@example.com>", b"bob@example.com", "bob", "example.com"),
        (b"<@example.com:bob@evil.test>", b"bob@evil.test", "bob", "evil.test"),
        (b"<postmaster>", b"postmaster", "postmaster", ""),
        (b"<PostMaster>", b"PostMaster", "PostMaster", ""),
    ],
)
def test_a_path_is_read_as_it_stands(argument: bytes, raw: bytes, local_part: str, domain: str) -> None:
    assert to(b"TO:" + argument) == Path(raw, local_part, domain)


def test_the_null_sender_is_the_null_path() -> None:
    assert parse_argument(b"FROM:<>", b"FROM:") == (NULL_PATH, {})


def test_the_keyword_may_have_any_case() -> None:
    assert parse_argument(b"fRoM:<a@b.test>", b"FROM:")[0].text == "a@b.test"


@pytest.mark.parametrize(
    "argument",
    [
        b"",
        b"TO",
        b"TO:",
        b"FROM:<bob@example.com>",
        b"TO :<bob@example.com>",
        b"TO:<bob@example.com",
        b"TO:bob@example.com>",
        b"TO:<<bob@example.com>>",
        b"TO:<bob@example.com>>",
        b"TO:<bob smith@example.com>",
        b"TO:<bob@exam ple.com>",
        b"TO:<bob>",
        b"TO:<@example.com>",
        b"TO:<bob@>",
        b"TO:<bob@@example.com>",
        b"TO:<bob@a@example.com>",
        b"TO:<bob@.example.com>",
        b"TO:<bob@example..com>",
        b"TO:<bob@example.com..>",
        b"TO:<bob@-example.com>",
        b"TO:<bob@example-.com>",
        b"TO:<bob@example.-com>",
        b"TO:<bob(comment)@example.com>",
        b"TO:<a,b@example.com>",
        b"TO:<bob@example.com,carol@example.com>",
        b"TO:<bob@example.com:25>",
        b"TO:<Bob <bob@example.com>>",
        b'TO:<"bob@example.com>',
        b'TO:<"bob"x@example.com>',
        b'TO:<"bob\\"@example.com>',
        b'TO:<"b\x01b"@example.com>',
        b"TO:<b\rb@example.com>",
        b"TO:<bob@example.com\r>",
        b"TO:<b\0b@example.com>",
        b"TO:<bob@example.com\0>",
        b"TO:<b\nb@example.com>",
        b"TO:<b\x7fb@example.com>",
        b"TO:<b\xff@example.com>",
        b"TO:<bob@exam\xff.com>",
        b"TO:<bob@[192.0.2.256]>",
        b"TO:<bob@[192.0.2.1>",
        b"TO:<bob@192.0.2.1]>",
        b"TO:<bob@[2001:db8::1]>",
        b"TO:<bob@[IPv6:zz]>",
        b"TO:<bob@[]>",
        b"TO:<@a.test,b.test:bob@example.com>",
        b"TO:<@a.test bob@example.com>",
        b"TO:<bob@example.com>SIZE=1",
        b"TO:<" + b"b" * 600 + b"@example.com>",
        b"TO:<" + b'"' + b"b" * 600 + b'"@example.com>',
    ],
)
def test_what_is_not_a_path_is_refused(argument: bytes) -> None:
    with pytest.raises(BadPath):
        to(argument)


@pytest.mark.parametrize("scope", [b"%eth0", b"%x y", b"%(x)"])
def test_an_address_literal_has_no_scope(scope: bytes) -> None:
    # RFC 5321 section 4.1.3 knows no zone identifier
    with pytest.raises(BadPath):
        to(b"TO:<bob@[IPv6:fe80::1" + scope + b"]>")


@pytest.mark.parametrize("argument", [b"TO:" + bytes((octet,)) for octet in range(256)])
def test_no_single_octet_is_a_path(argument: bytes) -> None:
    with pytest.raises(BadPath):
        to(argument)


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize("path", [b"<a@b.test>", b'<"a b"@b.test>', b"<>", b"<postmaster>"])
def test_parameters_have_keywords_in_capitals_and_values_as_they_came(path: bytes) -> None:
    _, parameters = parse_argument(b"FROM:" + path + b" size=1000  BODY=8BitMime\tENVID=aBc+3D smtputf8", b"FROM:")
    assert parameters == {"SIZE": "1000", "BODY": "8BitMime", "ENVID": "aBc+3D", "SMTPUTF8": None}


def test_spaces_behind_the_path_are_no_parameter() -> None:
    assert parse_argument(b"FROM:<a@b.test>   ", b"FROM:")[1] == {}


@pytest.mark.parametrize(
    "parameters",
    [
        b"SIZE=1 SIZE=2",
        b"SIZE=1 size=1",
        b"SIZE=",
        b"=1",
        b"SIZE==1",
        b"SIZE=1=2",
        b"-SIZE=1",
        b"SI ZE=a b=",
        b"SIZE=\x01",
        b"SIZE=\xff",
        b"S\xc3\xbcZE=1",
        b"<b@c.test>",
    ],
)
def test_malformed_or_repeated_parameters_are_refused(parameters: bytes) -> None:
    with pytest.raises(BadParameter):
        parse_argument(b"FROM:<a@b.test> " + parameters, b"FROM:")


@pytest.mark.parametrize("separator", [b"\x0b", b"\x0c", b"\x1c", b"\xc2\x85", b"\xc2\xa0", b"\xe2\x80\xa8"])
def test_only_space_and_tab_part_parameters(separator: bytes) -> None:
    with pytest.raises(BadParameter):
        parse_argument(b"FROM:<a@b.test> SIZE=1" + separator + b"BODY=7BIT", b"FROM:")


# ---------------------------------------------------------------- whatever comes


@given(st.binary(max_size=80))
def test_whatever_comes_is_a_path_or_a_bad_one(noise: bytes) -> None:
    for argument in (noise, b"TO:" + noise, b"TO:<" + noise + b">", b"TO:<a@b.test> " + noise):
        with suppress(BadPath, BadParameter):
            parse_argument(argument, b"TO:")


@given(st.text(alphabet='<>@,:"\\[]. \tab=-IPv6%\r\n\0ü', max_size=40))
def test_no_arrangement_of_the_grammars_own_signs_breaks_the_reader(text: str) -> None:
    with suppress(BadPath, BadParameter):
        path, _ = parse_argument(b"TO:<" + text.encode() + b">", b"TO:")
        assert not set(path.raw) & set(b"\r\n\0<") or path.raw.startswith(b'"')
        assert parse_argument(b"TO:<" + path.raw + b">", b"TO:", strict=b"_" not in path.raw)[0] == path


@given(
    st.text(alphabet=string.ascii_letters + string.digits + "!#$%&'*+-/=?^_`{|}~", min_size=1, max_size=20),
    st.text(alphabet=string.ascii_letters + string.digits, min_size=1, max_size=20),
)
def test_every_dot_string_at_a_domain_is_a_path(local_part: str, label: str) -> None:
    raw = f"{local_part}@{label}.test"
    assert to(f"TO:<{raw}>".encode()) == Path(raw.encode(), local_part, f"{label}.test".lower())
