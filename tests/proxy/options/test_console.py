"""Control_Listener and Authorization, in both dialects of Momentum."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.loader import load
from config.tools.show import show
from proxy.app import SCHEMA
from proxy.options.console import ControlPlace, RoleRules
from proxy.options.core import CoreOptions

OTHERS = 'ESMTP_Listener = ( 127.0.0.1:2525 )\nGateway = "127.0.0.1"\n'

OLD = """
Control_Listener = (
  /tmp/2025 <file_mode=0666> [ 0.0.0.0/0 = ( Authorization [ uri = "groups:///etc/roles" ] ) ]
  *:2025 <proto=ipv4> [ 0.0.0.0/0 = ( DIGEST-MD5 [ uri = digest:///path/passwd log_authentication = "true" ] ) ] )
Authorization { root [ allow = ".*" ] admin [ allow = "^config" allow = "^summary$" ] }
"""
NEW = """
Control_Listener {
  AuthDigestMD5Parameters = [ uri = "ecauth://" ]
  AuthorizationParameters = [ uri = "ecauth://" ]
  Enable_Authentication = "true"
  Listen "/tmp/2025" { File_Mode = 0666 Enable_Authentication = "false" }
  Listen "127.0.0.1:2025" { Peer "127.0.0.1" { Always_Allow = true } } }
Authorization { Role "admin" { allow = ( "^config" "^summary$" ) } }
"""


def loaded(folder: Path, text: str) -> tuple[CoreOptions | None, list[str]]:
    path = folder / "e.conf"
    path.write_text(OTHERS + text)
    found = load(path, SCHEMA)
    core = found.settings.core if found.settings is not None else None
    assert core is None or isinstance(core, CoreOptions)
    return core, [f"{each.severity}: {each.message}" for each in found.diagnostics]


def test_the_form_of_2_2_loads_with_a_warning_for_each_unsafe_part(tmp_path: Path) -> None:
    core, told = loaded(tmp_path, OLD)
    assert core is not None
    assert core.control_listener == (ControlPlace("/tmp/2025", groups="/etc/roles"), ControlPlace("*:2025"))
    assert core.authorization == (RoleRules("root", (".*",)), RoleRules("admin", ("^config", "^summary$")))
    assert [each.partition(" is not")[0] for each in told if "proto" not in each] == [
        "warning: the console",
        "warning: File_Mode 0666",
        "warning: *:2025",
    ]


def test_the_form_of_4_x_loads_too(tmp_path: Path) -> None:
    core, told = loaded(tmp_path, NEW)
    assert core is not None
    assert [each.address for each in core.control_listener] == ["/tmp/2025", "127.0.0.1:2025"]
    assert core.authorization == (RoleRules("admin", ("^config", "^summary$")),)
    assert any("127.0.0.1:2025 is not opened" in each for each in told)
    assert any("ecauth://" in each for each in told)
    assert all(each.startswith("warning") for each in told)


def test_a_safe_mode_and_a_socket_that_is_off_need_no_warning(tmp_path: Path) -> None:
    core, told = loaded(tmp_path, 'Control_Listener { Listen "/run/x" { File_Mode = 0660 Enable = false } }')
    assert core is not None
    assert not core.control_listener[0].enabled
    assert told == []


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('Control_Listener "127.0.0.1:2025" { }', [("127.0.0.1:2025", True)]),
        (
            'Control_Listener "/tmp/2025" { Enable = false Listen "/tmp/2026" { } }',
            [("/tmp/2025", False), ("/tmp/2026", False)],
        ),
        ("Control_Listener { Enable = false }", [("/tmp/2025", False)]),
        ("Control_Listener { File_Mode = 0666 }", [("/tmp/2025", True)]),
        ("Control_Listener { }", []),
    ],
)  # fmt: skip
def test_a_stanza_without_listen_is_not_ignored(tmp_path: Path, text: str, places: list[tuple[str, bool]]) -> None:
    core, told = loaded(tmp_path, text)
    assert core is not None
    assert [(each.address, each.enabled) for each in core.control_listener] == places
    assert ("127.0.0.1:2025" in text) == any("is not opened" in each for each in told)
    assert ("0666" in text) == any("File_Mode 0666 is not used" in each for each in told)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Authorization = 1", "not a stanza"),
        ('Authorization { Role "x" { allow = "(" } }', "("),
        ("Authorization { bogus = 1 }", "unknown option `bogus`"),
        ("Control_Listener { Bogus = 1 Listen x { } }", "unknown option `Bogus`"),
        ("Control_Listener { Bogus = 1 }", "unknown option `Bogus`"),
        ("Control_Listener { Lisen x { } }", "unknown stanza `Lisen`"),
        ("Control_Listener = [ a = b ]", "not a list of addresses"),
        ("smtp_cbv { shadow = true enforce = true }", "enforce and shadow are both set"),
    ],
)
def test_mistakes_are_errors(tmp_path: Path, text: str, error: str) -> None:
    core, told = loaded(tmp_path, text)
    assert core is None
    assert any(error in each for each in told), told


def test_shadow_is_the_reverse_of_enforce(tmp_path: Path) -> None:
    core, _ = loaded(tmp_path, "smtp_cbv { shadow = true }")
    assert core is not None


def test_a_pattern_is_matched_in_linear_time_and_anywhere() -> None:
    assert RoleRules("x", ("(a+)+$",)).allows("a" * 5000 + "b") is False
    assert RoleRules("x", ("sess",)).allows("list sessions")


RULES = r"""
Control_Listener = (
  /tmp/2025 <enable=false>
  "/run/a b" [ 0.0.0.0/0 = ( Authorization [ uri = "groups:///etc/ro les" ] ) ] )
Authorization {
  Role "@sup port" { allow = ( "^config \"a\\.b\"$" "^list\s" ) }
  Role admin { allow = "}" }
  Role x { allow = () } }
"""


@pytest.mark.parametrize("text", [OLD, NEW, RULES, "Authorization {}", ""])
@pytest.mark.parametrize("defaults", [False, True])
def test_what_is_shown_loads_as_the_same(tmp_path: Path, text: str, *, defaults: bool) -> None:
    (tmp_path / "e.conf").write_text(OTHERS + text)
    first = load(tmp_path / "e.conf", SCHEMA)
    assert first.settings is not None, first.diagnostics
    (tmp_path / "shown.conf").write_text(show(first.settings, defaults=defaults))
    again = load(tmp_path / "shown.conf", SCHEMA)
    assert again.settings is not None, again.diagnostics
    before, after = first.settings.core, again.settings.core
    assert isinstance(before, CoreOptions)
    assert isinstance(after, CoreOptions)
    assert after.authorization == before.authorization
    assert after.control_listener == before.control_listener
