"""Whom a refusal is about, by what real servers say: the rows of `refusals.tsv`, and what changes the answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.mail.replies import Reply
from proxy.mail.session import Path as MailPath
from proxy.modules.sieve_policy.effects import path_of
from proxy.upstream.client_words import Standing
from proxy.upstream.verdicts import Asked, is_about_mail
from tests.proxy.upstream.test_pool import Balanced
from tests.support.exchanger import Exchanger, Step, says
from tests.support.worker import serving

US = Standing("10.0.0.2", "mx.ringback.test", "upstream.test")
TOLD = Standing("10.0.0.2", "mx.ringback.test", "upstream.test", announced=True)
PATHS = tuple(path_of(each) for each in ("alice@sender.test", "bob@example.com", "bob@mx.ringback.test.invalid"))
ROWS = [
    line.split("\t")
    for line in Path(__file__).with_name("refusals.tsv").read_text(encoding="ascii").splitlines()
    if not line.startswith("#")
]


def answer(text: str) -> Reply:
    return Reply(int(text[:3]), (text[4:].encode(),))


def about(text: str, standing: Standing = US, paths: tuple[MailPath, ...] = PATHS, command: bytes = b"") -> str:
    asked = Asked(standing, paths, command, "203.0.113.9")
    return "mail" if is_about_mail(answer(text), asked) else "us"


@pytest.mark.parametrize(("expected", "server", "text"), ROWS, ids=[f"{at}-{row[1]}" for at, row in enumerate(ROWS)])
def test_a_refusal_is_about_what_its_row_says(expected: str, server: str, text: str) -> None:
    del server
    assert about(text) == expected


@pytest.mark.parametrize("row", ROWS, ids=[f"{at}-{row[1]}" for at, row in enumerate(ROWS)])
def test_where_the_client_was_announced_only_the_code_speaks_of_us(row: list[str]) -> None:
    expected, _, text = row
    of_us = {"500", "502", "503", "530"}
    assert about(text, TOLD) == ("us" if text[:3] in of_us else "mail"), expected


@pytest.mark.parametrize(
    "local_part",
    ['"Client host rejected"', '"your ip"', '"x 10.0.0.2"', "10.0.0.2", '"mx.ringback.test is bad"', "helo"],
    ids=["restriction", "your-ip", "quoted-address", "address", "name", "helo"],
)
@pytest.mark.parametrize("form", ["{}", "<{}>", "<{}>: no", "[{}]"], ids=["bare", "angle", "colon", "bracket"])
def test_words_of_an_address_are_not_the_upstreams(local_part: str, form: str) -> None:
    path = path_of(f"{local_part}@sender.test")
    for address in (path.text, path.text.replace('"', ""), path.text.upper()):
        assert about(f"550 5.1.1 {form.format(address)} unknown", US, (path,)) == "mail"


@pytest.mark.parametrize(
    ("standing", "paths", "text", "expected"),
    [
        (Standing("10.0.0.2", "mail"), PATHS, "550 5.7.1 no mail from you", "mail"),
        (Standing("10.0.0.2", "mail"), PATHS, "550 5.7.1 <mail[192.0.2.1]>: no", "us"),
        (US, (path_of("bob@mx.ringback.test"),), "550 5.7.1 mx.ringback.test is no domain of ours", "mail"),
        (US, (path_of("bob@mx.ringback.test"),), "550 5.7.1 <mx.ringback.test[172.17.0.1]>: no", "us"),
        (Standing("10.0.0.2", "mx.test", "mx.test"), PATHS, "550 5.4.1 no such user [mx.test]", "mail"),
        (Standing("2001:db8::2", "mx.test"), PATHS, "550 5.7.1 [IPv6:2001:DB8:0::2] no", "us"),
        (Standing("2001:db8::2", "mx.test"), PATHS, "550 5.7.1 [2001:db8::20] no", "mail"),
        (Standing("2001:db8::2", "mx.test"), PATHS, "550 5.7.1 client:2001:db8::2 no", "us"),
        (Standing("fe80::2", "mx.test"), PATHS, "550 5.7.1 IP:fe80::2 no", "us"),
        (
            Standing("2001:db8::2", "mx.test"),
            PATHS,
            f"550 5.7.1 see {'2.0.0.0.' + 20 * '0.'}8.b.d.0.1.0.0.2.bl.test",
            "us",
        ),
        (Standing("", "[10.0.0.2]"), PATHS, "550 5.7.1 [10.0.0.2] no", "us"),
    ],
    ids=["a-word", "a-word-with-address", "a-domain-of-the-mail", "it-with-address", "the-upstreams-own-name", "ipv6",
         "another-ipv6", "ipv6-behind-a-word", "ipv6-of-letters-behind-a-word", "ipv6-in-reverse", "literal"],
)  # fmt: skip
def test_a_name_that_is_not_ours_alone_counts_with_an_address_behind_it(
    standing: Standing, paths: tuple[MailPath, ...], text: str, expected: str
) -> None:
    assert about(text, standing, paths) == expected


def given(argument: bytes) -> MailPath:
    return MailPath(b"bob@example.com", "bob", "example.com", given=argument)


@pytest.mark.parametrize(
    ("path", "command", "expected"),
    [
        (given(b"<bob@example.com>"), b":<bob@example.com>\r\n", "mail"),
        (given(b"<bob@example.com> notify=NEVER"), b":<bob@example.com> NOTIFY=NEVER\r\n", "mail"),
        (given(b"<bob@example.com> SIZE=1 ENVID=x"), b":<bob@example.com> SIZE=1\r\n", "mail"),
        (given(b"<bob@example.com>"), b":<bob@example.com> SMTPUTF8\r\n", "us"),
        (given(b"<bob@example.com> AUTH=x"), b":<bob@example.com> AUTH=<>\r\n", "us"),
        (given(b"<bob@example.com> ORCPT=rfc822;a=b"), b":<bob@example.com> ORCPT=rfc822;a+3Db\r\n", "us"),
        (given(b"<@a.test:bob@example.com>"), b":<bob@example.com>\r\n", "us"),
        (given(b"bob@example.com"), b":<bob@example.com>\r\n", "us"),
        (given(b""), b":<bob@example.com>\r\n", "us"),
    ],
    ids=[
        "path",
        "letter-case",
        "dropped",
        "added",
        "changed",
        "repaired-parameter",
        "route",
        "repaired-path",
        "policy",
    ],
)
@pytest.mark.parametrize("code", [501, 504, 555])
def test_a_bad_argument_is_the_clients_if_all_of_its_octets_are(
    path: MailPath, command: bytes, expected: str, code: int
) -> None:
    assert about(f"{code} 5.5.4 bad argument", US, (path,), command) == expected
    assert about(f"{code} 5.1.3 bad address", US, (path,), command) == "mail"
    assert about(f"{code} no: need fully-qualified address", US, (path,), command) == "mail"


@pytest.mark.parametrize("subject", range(9))
def test_521_is_about_the_mail_by_the_subject_of_its_enhanced_code(subject: int) -> None:
    assert about(f"521 5.{subject}.1 no") == ("mail" if subject in {1, 2, 6, 7} else "us")


@pytest.mark.parametrize("enhanced", ["", "5.1.1 ", "5.7.1 "], ids=["none", "address", "policy"])
@pytest.mark.parametrize("code", [421, 500, 502, 503, *range(530, 539)])
def test_no_enhanced_code_makes_these_codes_speak_of_the_mail(code: int, enhanced: str) -> None:
    assert about(f"{code} {enhanced}no") == "us"


@pytest.mark.parametrize(("option", "expected"), [("v2", "554 5.7.1 "), ("no", "451 4.3.5 ")], ids=["proxy", "plain"])
async def test_by_a_proxy_header_the_client_is_announced(option: str, expected: str) -> None:
    upstream = Balanced() if option == "v2" else Exchanger()
    upstream.script[Step.RCPT] = says("554 5.7.1 <ringback.test[127.0.0.1]>: Client host rejected: Access denied")
    async with upstream, serving(upstream, Upstream_Proxy_Protocol=option) as stage:
        client = await stage.greeted()
        assert (await client.ask("MAIL FROM:<alice@sender.test>")).startswith("250 ")
        assert (await client.ask("RCPT TO:<bob@example.com>")).startswith(expected)
