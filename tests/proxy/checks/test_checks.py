"""What is found wrong beyond the text of a configuration: Unix sockets and folders that are not there.

What must never pass `check`: test_checks_served. What is open to everybody: test_checks_access.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from config.diagnostics import Severity, render
from proxy.app import load
from proxy.base.rejected import ConfigurationRejected

LINES = ("ESMTP_Listener = ( 127.0.0.1:0 )", 'Hostname = "ringback.test" Relay_Domains = a.test')


def complaints(folder: Path, *lines: str) -> list[tuple[Severity, str, int | None]]:
    path = folder / "r.conf"
    path.write_text("\n".join([*LINES, *lines]) + "\n")
    found = load(path)[1]
    return [(each.severity, each.message, each.span.line if each.span else None) for each in found]


def test_a_unix_socket_that_is_not_there_is_a_warning_at_its_place_and_only_once(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert complaints(
        tmp_path,
        'Gateway = "127.0.0.1"',
        f'Domain "a.test" {{ Gateway = "unix:{gone}" }}',
        f'Domain "b.test" {{ Routes = ( "192.0.2.1" "unix:{gone}?pref=5" ) }}',
    ) == [(Severity.WARNING, f"{gone} cannot be used (No such file or directory): mail for it is deferred", 4)]


def test_a_file_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert complaints(tmp_path, f'Routes = ( "unix:{tmp_path}/file" )') == [
        (Severity.WARNING, f"{tmp_path}/file is not a socket: mail for it is deferred", 3)
    ]


def test_a_unix_socket_that_is_there_is_nothing_to_complain_of(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "lmtp"))
        assert complaints(tmp_path, f'Gateway = "unix:{tmp_path}/lmtp"') == []


ASKS = """\
($a) = ds_fetch "users" "select 1";
($b) = ds_fetch_flat "user" "select 1";
$c = ds_fetch_hash "none" "select 1";
ds_execute "users" "delete from x";
define_cidr "list" "usres" "select 1";
$name = "other"; ($d) = ds_fetch "${name}" "select 1";
ec_include ":datasource:users:select 1";
"""


def test_a_script_that_names_a_datasource_that_nobody_declared_is_told_where(tmp_path: Path) -> None:
    (tmp_path / "a.siv").write_text(ASKS)
    path = tmp_path / "r.conf"
    source, script = 'Datasource "users" { uri = "sqlite:users.db" }', 'sieve "s" { mailfrom_phase1 = "a.siv" }'
    path.write_text("\n".join([*LINES, 'Gateway = "127.0.0.1"', source, script]))
    found = [each for each in load(path)[1] if each.message.startswith("there is no datasource")]
    assert {each.severity for each in found} == {Severity.WARNING}
    assert [(each.message.split(":")[0], each.span and each.span.line, each.hint) for each in found] == [
        ("there is no datasource `user`", 2, "did you mean users?"),
        ("there is no datasource `none`", 3, "the datasources are: users"),
        ("there is no datasource `usres`", 5, "did you mean users?"),
    ]
    assert [each for each in load(path)[1] if "only be included from files" in each.message]


def test_a_module_that_names_a_datasource_that_nobody_declared_is_an_error_at_its_option(tmp_path: Path) -> None:
    path = tmp_path / "r.conf"
    wrong = 'bounce_classifier { user_mdn_classification_override = ":datasource:user:select code, rule from r" }'
    path.write_text("\n".join([*LINES, 'Gateway = "127.0.0.1"', 'Datasource "users" { uri = "sqlite:u.db" }', wrong]))
    with pytest.raises(ConfigurationRejected) as caught:
        load(path)
    (found,) = caught.value.diagnostics
    assert (found.message, found.severity, found.hint) == (
        "there is no datasource `user`",
        Severity.ERROR,
        "did you mean users?",
    )
    assert 'user_mdn_classification_override = ":datasource:user:select' in render([found])
    assert "^" in render([found])


FORWARDS = 'ec_forward "" "x@y.test" "look";\n'
GENERATES = '$a = "1"; if is_true $a { generate_mail_raw "" "x@y.test" "Subject: x"; }\n'


@pytest.mark.parametrize(
    ("phase", "script", "lines", "place"),
    [
        ("data_phase1", FORWARDS, (), 5),
        ("connect_phase2", GENERATES, (), 5),
        ("data_phase1", "keep;\n", ('Multi_Recipient = "dsn"',), 3),
        ("data_phase1", "keep;\n", ("ESMTP_Listener {", 'Listen "127.0.0.1:0" { Multi_Recipient = "dsn" }', "}"), 4),
    ],
)
def test_what_needs_an_outbox_needs_a_folder_that_can_be_written(
    tmp_path: Path, phase: str, script: str, lines: tuple[str, ...], place: int
) -> None:
    (tmp_path / "x.siv").write_text(script)
    house = (*lines, f'State_Directory = "{tmp_path}/state"', "sieve {", f'  {phase} = "x.siv"', "}")
    gateway = 'Gateway = "127.0.0.1"'
    with pytest.raises(ConfigurationRejected) as rejected:
        complaints(tmp_path, *house, gateway)
    (found,) = rejected.value.diagnostics
    assert found.message == (f"Ringback's own messages need an outbox, but {tmp_path}/state is not a writable folder")
    assert found.span is not None
    assert found.span.line == place
    (tmp_path / "state").mkdir()
    assert complaints(tmp_path, *house, gateway) == []


def test_what_makes_no_mail_does_without_a_folder_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.siv").write_text("keep;\n")
    lines = ('sieve { data_phase1 = "x.siv" }', 'Gateway = "127.0.0.1"')
    assert complaints(tmp_path, *lines) == []
    assert complaints(tmp_path, f'State_Directory = "{tmp_path}/state"', *lines) == [
        (
            Severity.WARNING,
            f"State_Directory: {tmp_path}/state is not a writable folder: nothing survives a restart",
            3,
        )
    ]


LIMITS = (
    'Connection_Rate_Per_Client = "60/60"',
    "Max_Connections_Per_Client = 5",
    'ESMTP_Listener { Listen "127.0.0.1:0" { Listener_Sessions = 7 } }',
    'Domain "a.test" { Max_Outbound_Connections = 9 }',
    'Authentication_Failure_Rate = "0"',
)


def test_limits_that_a_site_may_have_divided_by_its_workers_are_warned_about_once_each(tmp_path: Path) -> None:
    found = complaints(tmp_path, 'Gateway = "192.0.2.9"', "Workers = 4", *LIMITS)
    said = "holds for all 4 workers together; in older versions, each had its own"
    assert found == [
        (Severity.WARNING, f"Connection_Rate_Per_Client {said}", 5),
        (Severity.WARNING, f"Max_Connections_Per_Client {said}", 6),
        (Severity.WARNING, f"Listener_Sessions {said}", 7),
        (Severity.WARNING, f"Max_Outbound_Connections {said}", 8),
    ]


def test_one_worker_shares_its_limits_with_nobody(tmp_path: Path) -> None:
    assert complaints(tmp_path, 'Gateway = "192.0.2.9"', *LIMITS) == []


def test_modules_of_two_types_with_one_name_are_told_because_they_are_switched_together(tmp_path: Path) -> None:
    stanzas = ('spf_v1 "x" { }', 'dkim_validate "x" { }', 'iprev "y" { }', 'spf_v1 "x" { shadow = true }', "arc { }")
    assert complaints(tmp_path, 'Gateway = "127.0.0.1"', *stanzas) == [
        (
            Severity.WARNING,
            'spf_v1 and dkim_validate are both named "x": the console and `shadow` switch them together',
            5,
        )
    ]
