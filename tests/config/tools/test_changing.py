"""Settings from the console over a loaded configuration: which are possible, what they change, and what is shown."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from config.loader import Loaded, bound, load
from config.overlay import Change
from config.settings import Settings
from config.tools.changing import WrongValue, setting_of
from config.tools.pages import differences, located, scope_page
from config.tools.questions import Unanswerable
from proxy.app import SCHEMA

FILE = """
Gateway = "127.0.0.1:2526"
Hostname = mx.example.com
Idle_Time = 60
ESMTP_Listener { Idle_Time = 50 Listen ":2525" { Peer "10.0.0.0/8" { Idle_Time = 30 } } Listen "127.0.0.1:2626" { } }
domain "example.com" { gateway = "127.0.0.1:99" }
sieve "sieve1" { mailfrom_phase1 = "m.siv" }
smtp_cbv "cbv" { store = "redis://:hunter2@127.0.0.1/0" }
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    path = tmp_path / "ecelerity.conf"
    path.write_text(FILE)
    found = load(path, SCHEMA)
    assert found.settings is not None
    return found


def change(loaded: Loaded, line: str, *, sets: bool = True, **texts: str) -> Change:
    assert loaded.settings is not None
    return setting_of(loaded.settings, SCHEMA, shlex.split(line), texts, sets=sets)


def changed(loaded: Loaded, *changes: Change) -> Settings:
    settings, found = bound(loaded.statements, SCHEMA, changes)
    assert settings is not None, [each.message for each in found]
    return settings


def changes_to(loaded: Loaded, line: str, *, sets: bool = True) -> list[str]:
    """Return what a reload would take back after a setting."""
    assert loaded.settings is not None
    after = changed(loaded, change(loaded, line, sets=sets))
    return [line for each in differences(after, loaded.settings) for line in each.lines]


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("idle_time 30", ["- idle_time = 30", "+ idle_time = 60"]),
        ("global idle_time = 30", ["- idle_time = 30", "+ idle_time = 60"]),
        ("static_banner 'hello world'", ['- static_banner = "hello world"']),
        (
            "domain example.com gateway 127.0.0.1:98",
            ["- domain example.com gateway = 127.0.0.1:98", "+ domain example.com gateway = 127.0.0.1:99"],
        ),
        (
            "esmtp_listener listen :2525 peer 10.0.0.0/8 idle_time 5",
            [
                '- esmtp_listener listen "*:2525" peer "10.0.0.0/8" idle_time = 5',
                '+ esmtp_listener listen "*:2525" peer "10.0.0.0/8" idle_time = 30',
            ],
        ),
        ("esmtp_listener idle_time 7", ["- esmtp_listener idle_time = 7", "+ esmtp_listener idle_time = 50"]),
        ("sieve script_timeout 5", ['- sieve "sieve1" script_timeout = 5']),
        ("smtp_cbv cbv enforce false", ['- smtp_cbv "cbv" enforce = false']),
    ],
)
def test_a_setting_changes_its_scope_only(loaded: Loaded, line: str, lines: list[str]) -> None:
    assert changes_to(loaded, line) == lines


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("idle_time", ["+ idle_time = 60"]),
        ("domain example.com gateway", ["+ domain example.com gateway = 127.0.0.1:99"]),
        ("domain example.com", ["+ domain example.com gateway = 127.0.0.1:99"]),
        ("esmtp_listener idle_time", ["+ esmtp_listener idle_time = 50"]),
        (
            "esmtp_listener listen :2525 peer 10.0.0.0/8 idle_time",
            ['+ esmtp_listener listen "*:2525" peer "10.0.0.0/8" idle_time = 30'],
        ),
    ],
)
def test_what_is_unset_falls_back(loaded: Loaded, line: str, lines: list[str]) -> None:
    assert changes_to(loaded, line, sets=False) == lines


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("workers 4", "needs a reload"),
        ("hostname other.test", "needs a reload"),
        ("esmtp_listener listen :2525 enable false", "needs a reload"),
        ("smtp_cbv timeout 5", "needs a reload"),
        ("tls_certificate /etc/passwd", "no path can be set here"),
        ("tls_server_names [ a.test = /etc/passwd ]", "no path can be set here"),
        ("sieve mailfrom_phase1 /etc/passwd", "was not sent"),
        ("idle_time", "needs a value"),
        ("python handler os.system", "no python is loaded"),
        ("domain", "domain needs a name"),
        ("sieve other script_timeout 5", "sieve other is not loaded"),
    ],
)
def test_what_cannot_be_set_is_said_with_what_to_do(loaded: Loaded, line: str, told: str) -> None:
    with pytest.raises(Unanswerable, match=told):
        change(loaded, line)


@pytest.mark.parametrize("value", ["5 } include x {", "5\ninclude /etc/passwd", "( 1", "5 6", '"5" workers = 7'])
def test_a_value_is_one_value_and_never_another_statement(loaded: Loaded, value: str) -> None:
    try:
        made = setting_of(loaded.settings, SCHEMA, ["idle_time", *value.split(" ")], {})  # type: ignore[arg-type]
    except (Unanswerable, WrongValue):
        return
    settings, found = bound(loaded.statements, SCHEMA, [made])
    assert settings is None
    assert found


def test_diagnostics_of_a_setting_show_the_line_with_a_caret(loaded: Loaded) -> None:
    settings, (found,) = bound(loaded.statements, SCHEMA, [change(loaded, "idle_time never")])
    assert settings is None
    assert found.span is not None
    assert (str(found.span), found.span.text) == ("console:1:13", "never")


def test_a_text_from_the_console_is_used_in_place_of_a_file(loaded: Loaded) -> None:
    made = change(loaded, "sieve sieve1 script mailfrom_phase1 source x.siv", **{"x.siv": "ec_log 'a';"})
    (module, _) = changed(loaded, made).modules
    assert module.texts == {"mailfrom_phase1": "ec_log 'a';"}


def test_secrets_are_masked_on_every_page(loaded: Loaded) -> None:
    settings = loaded.settings
    assert settings is not None
    page = "\n".join(scope_page(settings, (), recurse=True) or ())
    assert "store = ***" in page
    assert "hunter2" not in page
    other = changed(loaded, Change((("smtp_cbv", "cbv"),), "store", '"redis://:other@127.0.0.1/0"'))
    (found,) = differences(other, settings)
    assert found.lines == ['- smtp_cbv "cbv" store = ***', '+ smtp_cbv "cbv" store = ***']


def test_a_scope_is_shown_with_the_scopes_inside_it_folded(loaded: Loaded) -> None:
    settings = loaded.settings
    assert settings is not None
    assert scope_page(settings, [("domain", "example.com")], recurse=False) == ["gateway = 127.0.0.1:99"]
    assert 'smtp_cbv "cbv" { … }' in (scope_page(settings, (), recurse=False) or ())
    assert scope_page(settings, [("domain", "other.test")], recurse=False) is None
    assert located(settings, "peer", lambda _name: True) == ["esmtp_listener::listen:*\\:2525:::peer:10.0.0.0/8:"]
