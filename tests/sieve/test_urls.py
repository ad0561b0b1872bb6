"""The links of a message: what a browser would open, however it is written, at a bounded cost."""

from __future__ import annotations

import pytest

from sieve.message import urls
from sieve.message.mime import structure
from sieve.message.urls import address_domains, host_of, links_in, links_of


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("see http://www.example.com/a?b#c.", ("www.example.com",)),
        ("HTTPS://EXAMPLE.COM", ("example.com",)),
        ("www.example.com, and more", ("www.example.com",)),
        ("mail mailto:someone@mail.example.com?subject=x", ("mail.example.com",)),
        ("example.com/path but not example.org", ("example.com",)),
        ("http://good.example@evil.example/", ("evil.example",)),
        ("http://good.example:pw@evil.example:8080/x", ("evil.example",)),
        (r"http:\\evil.example\path", ("evil.example",)),
        ("http:/evil.example", ("evil.example",)),
        ("http://%65vil.example/", ("evil.example",)),
        ("http://3221226219/", ("192.0.2.235",)),
        ("http://0xC0.0.2.1/", ("192.0.2.1",)),
        ("http://0300.0.2.1/", ("192.0.2.1",)),
        ("http://192.0.513/", ("192.0.2.1",)),
        ("http://[2001:DB8::1]:80/", ("2001:db8::1",)),
        ("http://bücher.example/", ("xn--bcher-kva.example",)),
        ("http://evil。example/", ("evil.example",)),
        ("http://ev\u00adil.example/", ("evil.example",)),
        ("http&#58;//evil.example", ("evil.example",)),
        ("http://ev&#x69;l.example/", ("evil.example",)),
        ('<a href="//evil.example/x">', ("evil.example",)),
        ('<a href="ht\ntp:/\n/evil.exam\tple/x">', ("evil.example",)),
        ("<a href=http://evil.example>", ("evil.example",)),
        ("http://go.example/?u=http://evil.example/", ("go.example", "evil.example")),
        ("http://go.example/?u=http%3A%2F%2Fevil.example%2Fx", ("go.example", "evil.example")),
        ("(http://example.com)", ("example.com",)),
        ("http://localhost/ http:// http://?", ()),
        ("someone@example.com at 10:30, 1.2/3.4", ()),
    ],
)
def test_a_link_leads_where_a_browser_goes(text: str, hosts: tuple[str, ...]) -> None:
    assert links_in([text]).hosts == hosts


def test_every_text_part_is_read_decoded() -> None:
    raw = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        b"aHR0cDovL29uZS5leGFtcGxlLw==\r\n--b\r\nContent-Type: text/html\r\n"
        b'Content-Transfer-Encoding: quoted-printable\r\n\r\n<a href=3D"http://two.exam=\r\nple/">\r\n'
        b"--b\r\nContent-Type: application/pdf\r\n\r\nhttp://three.example/\r\n--b--\r\n"
    )
    found = links_of(structure(raw))
    assert found.hosts == ("one.example", "two.example")
    assert found.is_whole
    assert found.found[0].url == "http://one.example/"


def test_a_link_across_the_border_of_two_pieces_is_found() -> None:
    text = "x" * (urls._PIECE - 5) + " http://evil.example/" + "y" * 100
    assert links_in([text]).hosts == ("evil.example",)


def test_a_hundred_thousand_links_are_cut_and_told() -> None:
    found = links_in([" ".join(f"http://h{n}.example/" for n in range(100_000))])
    assert len(found.found) == urls.MOST_LINKS
    assert not found.is_whole


def test_too_long_a_text_is_told() -> None:
    found = links_in(["x" * urls.MOST_CHARACTERS + " http://evil.example/"])
    assert not found.is_whole


def test_domains_of_address_fields() -> None:
    fields = ['"A, B" <a@One.example>, b@[192.0.2.1]', "c@two.example (http://no.example)", "nobody"]
    assert address_domains(fields) == ("one.example", "192.0.2.1", "two.example")
    assert address_domains(fields, most=1) == ("one.example",)


@pytest.mark.parametrize(
    "rest", ["", "a..b", "-x.example", "a" * 64 + ".example", "256.1.1.1", "1.2.3.4.5", "[x]", "é" * 300]
)
def test_what_is_no_host_is_none(rest: str) -> None:
    assert host_of(rest) == ""
