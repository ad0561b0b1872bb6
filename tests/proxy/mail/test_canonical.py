"""One form of an address for everything that compares: scripts, context, cache, relay domains, routes, stanzas."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path as FilePath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from config.base.domains import normal_domain
from config.schema.values import DomainPatterns
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.mail.address import BadParameter, BadPath, parse_argument
from sieve.message.spelling import canonical, canonical_local_part
from tests.proxy.upstream.test_routes import GATEWAY, router
from tests.support.callbacks import verifying
from tests.support.exchanger import Exchanger
from tests.support.worker import ALICE, BOB, RECIPIENT_OK, SENDER_OK, Configuration, client_of, serving

SPELLINGS = [
    ('"secret"@example.com', "secret@example.com"),
    (r'"sec\ret"@example.com', "secret@example.com"),
    (r'"\s\e\c\r\e\t"@EXAMPLE.com', "secret@example.com"),
    ('"user..name"@d.test', "user..name@d.test"),
    ("user..name@d.test", "user..name@d.test"),
    ('".user."@d.test', ".user.@d.test"),
    ('"a@b"@c.test', '"a@b"@c.test'),
    (r'"a\@b"@c.test', '"a@b"@c.test'),
    (r'"a\"b"@c.test', r'"a\"b"@c.test'),
    (r'"a\\b"@c.test', r'"a\\b"@c.test'),
    ('"joe smith"@c.test', '"joe smith"@c.test'),
    (r'"joe\ smith"@c.test', '"joe smith"@c.test'),
    ('""@c.test', '""@c.test'),
    ("Secret@c.test", "Secret@c.test"),
    ('"jürgen"@c.test', "jürgen@c.test"),
    ("ju\u0308rgen@c.test", "ju\u0308rgen@c.test"),
    ("a@München.test", "a@xn--mnchen-3ya.test"),
    ("a@mu\u0308nchen.test", "a@xn--mnchen-3ya.test"),
    ("a@XN--MNCHEN-3ya.Test", "a@xn--mnchen-3ya.test"),
    ("a@straße.test", "a@xn--strae-oqa.test"),
    ("a@münchen。test", "a@xn--mnchen-3ya.test"),
    ("a@हिन्दी.test", "a@xn--j2bd4cyah0f.test"),
    ("a@🙂.test", "a@xn--938h.test"),
    ("a@d.test.", "a@d.test"),
    ("@relay.test,@other.test:a@D.test", "a@d.test"),
    ("a@[IPv6:2001:DB8:0:0::1]", "a@[ipv6:2001:db8::1]"),
    ("a@[192.0.2.1]", "a@[192.0.2.1]"),
]
IDS = [f"{number:02}" for number in range(len(SPELLINGS))]


@pytest.mark.parametrize(("spelling", "form"), SPELLINGS, ids=IDS)
def test_spellings_of_one_address_have_one_form(spelling: str, form: str) -> None:
    path, _ = parse_argument(f"TO:<{spelling}>".encode(), b"TO:")
    assert path.text == form == canonical(form)


@pytest.mark.parametrize(("spelling", "form"), SPELLINGS[:7], ids=IDS[:7])
async def test_a_script_its_macros_and_its_context_see_the_one_form(
    tmp_path: FilePath, spelling: str, form: str
) -> None:
    script = (
        '$from = envelope "from";\n$context = vctx_mess_get "mailfrom_string";\n'
        'ec_log "${from} ${context} %{s} %{mailfrom_domain}";\n'
    )
    async with Exchanger() as upstream:
        with capture_logs() as log:
            async with client_of(Configuration(tmp_path, upstream.port).scripts(mailfrom_phase1=script)) as client:
                assert await client.ask(f"MAIL FROM:<{spelling}>") == SENDER_OK
                await client.ask(f"RCPT TO:<{BOB}>")
    domain = form.rpartition("@")[2]
    assert [each["text"] for each in log if each["event"] == "script"] == [f"{form} MAIL FROM:<{form}> {form} {domain}"]


@pytest.mark.parametrize("spelling", ['"secret"@example.com', r'"sec\ret"@EXAMPLE.com.', "secret@example.com."])
async def test_a_recipient_that_a_script_refuses_is_refused_in_every_spelling(
    tmp_path: FilePath, spelling: str
) -> None:
    script = 'if envelope :is "to" "secret@example.com" { ec_action 550 "no"; }\n'
    async with (
        Exchanger() as upstream,
        client_of(Configuration(tmp_path, upstream.port).scripts(rcptto_phase1=script)) as client,
    ):
        assert await client.ask(f"MAIL FROM:<{ALICE}>") == SENDER_OK
        assert await client.ask(f"RCPT TO:<{spelling}>") == "550 no"


@pytest.mark.parametrize("said", ["münchen.test", "xn--mnchen-3ya.test", "XN--MNCHEN-3YA.TEST."], ids=["u", "a", "A"])
@pytest.mark.parametrize("written", ["münchen.test", "MÜNCHEN.test.", "xn--mnchen-3ya.test"], ids=["u", "U", "a"])
async def test_relay_domains_and_recipients_may_have_either_form(written: str, said: str) -> None:
    async with (
        Exchanger(extensions=("SMTPUTF8", "8BITMIME")) as upstream,
        serving(upstream, Relay_Domains=f'( "{written}" )') as stage,
    ):
        client = await stage.greeted()
        assert await client.ask(f"MAIL FROM:<{ALICE}> SMTPUTF8") == SENDER_OK
        assert await client.ask(f"RCPT TO:<bob@{said}>") == RECIPIENT_OK


@pytest.mark.parametrize(
    ("written", "said"),
    [
        pytest.param("mu\u0308nchen.test", "xn--mnchen-3ya.test", id="decomposed"),
        pytest.param("*.mu\u0308nchen.test", "a.xn--mnchen-3ya.test", id="decomposed-pattern"),
        pytest.param("\u0939\u093f\u0928\u094d\u0926\u0940.test", "xn--j2bd4cyah0f.test", id="vowel-signs"),
        pytest.param("m\u00fcnchen\u3002test", "xn--mnchen-3ya.test", id="ideographic-stop"),
    ],
)
async def test_relay_domains_may_hold_any_u_label(written: str, said: str) -> None:
    async with Exchanger() as upstream, serving(upstream, Relay_Domains=f'( "{written}" )') as stage:
        client = await stage.greeted()
        assert await client.ask(f"MAIL FROM:<{ALICE}>") == SENDER_OK
        assert await client.ask(f"RCPT TO:<bob@{said}>") == RECIPIENT_OK


def test_patterns_match_in_either_form() -> None:
    patterns = DomainPatterns(["*.münchen.test", "*bücher.test", "[IPv6:2001:DB8::1]"])
    assert patterns.matches("a.xn--mnchen-3ya.test")
    assert patterns.matches("A.MÜNCHEN.test.")
    assert not patterns.matches("xn--mnchen-3ya.test")
    assert patterns.matches("xn--bcher-kva.test")
    assert patterns.matches("[ipv6:2001:db8:0::1]")


def test_a_domain_stanza_may_have_either_form() -> None:
    subject = router(
        GATEWAY,
        'Domain "münchen.test" { Gateway = "192.0.2.2" }',
        'Domain "xn--bcher-kva.test" { Gateway = "192.0.2.3" }',
    )
    assert subject.of_domain(normal_domain("xn--MNCHEN-3ya.test")).name == "192.0.2.2:25"
    assert subject.of_domain("bücher.test").name == "192.0.2.3:25"


@pytest.mark.parametrize(
    ("asked", "heard"),
    [
        ("user..name@sender.test", 'RCPT TO:<"user..name"@sender.test>'),
        ('"joe smith"@Sender.Test', 'RCPT TO:<"joe smith"@sender.test>'),
        ('"alice"@sender.test.', 'RCPT TO:<"alice"@sender.test>'),
        (ALICE, f"RCPT TO:<{ALICE}>"),
    ],
    ids=["dots", "blank", "quotes", "plain"],
)
async def test_a_probe_hears_the_address_it_was_given_quoted_if_it_is_no_dot_string(asked: str, heard: str) -> None:
    async with Exchanger() as exchanger, verifying(exchanger) as verifier:
        assert (await verifier.verify(asked)).status is Status.PASS
        assert heard in exchanger.commands


@pytest.mark.parametrize(
    "other",
    ['"alice"@sender.test', r'"\alice"@SENDER.test.', "alice@sender.test."],
    ids=["quotes", "pair", "dot"],
)
async def test_spellings_of_one_address_share_a_verdict(other: str) -> None:
    async with Exchanger() as exchanger, verifying(exchanger) as verifier:
        first: CallbackVerdict = await verifier.verify(ALICE)
        second = await verifier.verify(other)
        assert (first.cached, second.cached, exchanger.count("RCPT")) == (False, True, 1)


def test_an_expression_of_a_stanza_with_letters_beyond_ascii_is_a_warning(tmp_path: FilePath) -> None:
    from proxy.app import load  # noqa: PLC0415 — of this test alone

    file = tmp_path / "r.conf"
    file.write_text(
        'ESMTP_Listener = ( 127.0.0.1:0 )\nHostname = "r.test"\nGateway = "192.0.2.1"\n'
        'Domain "/münchen[.]test$/" { RCPTTO_Timeout = 1 }\n'
    )
    found = [each.message for each in load(file)[1]]
    assert any("is compared with A-labels" in each for each in found)


# ---------------------------------------------------------------- whatever comes

NOISE = st.text(alphabet='<>@.," \\\tab0-_=+[]:ü。ßİ🙂', max_size=40)


@given(NOISE)
@example("a..b")
@example('"')
@example('\\"')
def test_the_form_of_a_local_part_is_its_own_form(text: str) -> None:
    form = canonical_local_part(text)
    assert canonical_local_part(form) == form


@given(NOISE)
@example("[..")
def test_the_form_of_a_domain_is_its_own_form(text: str) -> None:
    form = normal_domain(text)
    assert normal_domain(form) == form


@given(NOISE)
@example("@a:b..c@d.")
def test_what_goes_upstream_is_rfc_5321_whatever_came(text: str) -> None:
    for argument in (text, f"<{text}>", f"<{text}@d.test>", f'<"{text}"@d.test>', f"<a@{text}>"):
        with suppress(BadPath, BadParameter):
            path, _ = parse_argument(f"TO:{argument}".encode(), b"TO:", default_domain="site.test")
            again, _ = parse_argument(b"TO:<%b>" % path.raw.replace(b"_", b"u"), b"TO:", strict=True)
            assert again.raw == path.raw.replace(b"_", b"u")
            assert again.text == path.text.replace("_", "u")
