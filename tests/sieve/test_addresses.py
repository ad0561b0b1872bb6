"""Address fields, and the addresses that scripts give to actions."""

from __future__ import annotations

import pytest

from config.diagnostics import Severity, Source
from sieve.compile.compiler import compile_script
from sieve.message.addresses import address_in, mailboxes
from sieve.message.spelling import canonical_in_field
from sieve.phases import Phase
from tests.sieve.plain_host import PlainHost


@pytest.mark.parametrize(
    ("field", "found"),
    [
        pytest.param('Joe (5" disk) <joe@bad.example>', [("Joe", "joe@bad.example")], id="quote-in-comment"),
        pytest.param('a@b.test (say "hi), c@d.test', [("", "a@b.test"), ("", "c@d.test")], id="open-quote-in-comment"),
        pytest.param("a@b.test (x \\) (y) z), c@d.test", [("", "a@b.test"), ("", "c@d.test")], id="nested-comment"),
        pytest.param('"J (oe" <joe@b.test>', [("J (oe", "joe@b.test")], id="parenthesis-in-quotes"),
        pytest.param("a@[IPv6:2001:db8::1]", [("", "a@[IPv6:2001:db8::1]")], id="literal"),
        pytest.param("A <a@[IPv6:2001:db8::1]>", [("A", "a@[IPv6:2001:db8::1]")], id="literal-in-brackets"),
        pytest.param("G: a@[IPv6:::1], b@c.test;", [("", "a@[IPv6:::1]"), ("", "b@c.test")], id="literal-in-group"),
        pytest.param("<@r.test:a@[IPv6:::1]>", [("", "a@[IPv6:::1]")], id="literal-behind-route"),
        pytest.param("joe @ b . test (home)", [("", "joe@b.test")], id="blanks"),
        pytest.param('"Joe <joe@b.test>', [('"Joe', "joe@b.test")], id="quote-never-closed"),
        pytest.param("Joe :-( <joe@b.test>", [("-(", "joe@b.test")], id="parenthesis-never-closed"),
    ],
)
def test_an_address_field_is_read_as_rfc_5322_has_it(field: str, found: list[tuple[str, str]]) -> None:
    assert mailboxes(field) == found


@pytest.mark.parametrize(
    ("address", "compared"),
    [
        pytest.param("bob@Example.org.", "bob@Example.org", id="trailing-dot"),
        pytest.param('"b\\ob"@b\u00fccher.example.', "bob@xn--bcher-kva.example", id="u-label"),
    ],
)
def test_an_address_of_a_field_is_compared_without_quotes_and_trailing_dot(address: str, compared: str) -> None:
    assert canonical_in_field(address) == compared


@pytest.mark.parametrize(
    ("text", "address"),
    [
        pytest.param("Ok Good <stephan@example.org>", "stephan@example.org", id="display-name"),
        pytest.param('"Good, Ok" <stephan@example.org>', "stephan@example.org", id="quoted-name"),
        pytest.param("<stephan@example.org>", "stephan@example.org", id="brackets"),
        pytest.param("stephan@example.org (Ok)", "stephan@example.org", id="comment"),
        pytest.param('"user..name"@example.org', '"user..name"@example.org', id="quoted-local-part"),
        pytest.param("a@[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]", id="literal"),
        pytest.param("a@b.test, c@d.test", None, id="two"),
        pytest.param("Ok Good", None, id="none"),
        pytest.param("a@b.test\r\nRCPT TO:<c@d.test>", None, id="line-break"),
        pytest.param("x <a@b.test>\r\n", None, id="line-break-behind"),
    ],
)
def test_the_address_of_a_text_that_a_script_gives(text: str, address: str | None) -> None:
    assert address_in(text) == address


@pytest.mark.parametrize(
    ("dialect", "script", "done"),
    [
        pytest.param("rfc5228", 'redirect "Ok Good <stephan@example.org>";', "redirect", id="standard"),
        pytest.param("sieve++", 'redirect "Ok Good <stephan@example.org>";', "redirect", id="redirect"),
        pytest.param("sieve++", 'ec_redirect "Ok Good <stephan@example.org>";', "redirect", id="ec_redirect"),
        pytest.param("sieve++", 'add_recipient "Ok Good <stephan@example.org>";', "copy", id="add_recipient"),
    ],
)
async def test_an_action_takes_an_address_behind_a_display_name(dialect: str, script: str, done: str) -> None:
    phase = Phase.DATA
    compiled = compile_script(Source("a.siv", script), phase=phase, modules=frozenset(), dialect=dialect)
    assert compiled.script is not None
    host = PlainHost()
    outcome = await compiled.script.run(host)
    assert not outcome.failed
    assert f"{done}: <stephan@example.org>" in host.done


@pytest.mark.parametrize(
    ("script", "hint"),
    [
        pytest.param('if envelope :domain :is "from" "münchen.test" { keep; }', "xn--mnchen-3ya.test", id="domain"),
        pytest.param('if envelope :is "from" ["a@münchen.test"] { keep; }', "a@xn--mnchen-3ya.test", id="in-a-list"),
        pytest.param('$d = "*.MÜNCHEN.test"; ec_log "${d}";', "*.xn--mnchen-3ya.test", id="assigned"),
    ],
)
def test_a_script_constant_with_a_u_label_is_a_load_warning(script: str, hint: str) -> None:
    compiled = compile_script(Source("a.siv", script), phase=Phase.DATA, modules=frozenset())
    assert [(each.severity, each.hint) for each in compiled.diagnostics] == [(Severity.WARNING, f"write {hint}")]


@pytest.mark.parametrize("text", ["Grüße", "Preis: 5.000 €", "jürgen@example.com", "größer. oder kleiner."])
def test_other_text_beyond_ascii_is_none(text: str) -> None:
    compiled = compile_script(Source("a.siv", f'ec_log "{text}";'), phase=Phase.DATA, modules=frozenset())
    assert compiled.diagnostics == ()
